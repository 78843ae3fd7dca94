"""One HTTP POST to an address that a person has named: no redirects, no proxies, bounded in time and size."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

MOST_BYTES: Final = 64 << 10
"""Of an answer no more than this is read."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What came back.

    Attributes:
        status: of HTTP, 0 when there was no answer. body: what it said, cut off at MOST_BYTES.
        problem: why there was none, in words without any of the content.
    """

    status: int
    body: bytes = b""
    problem: str = ""

    @property
    def ok(self) -> bool:
        """It was taken."""
        return 200 <= self.status < 300


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float) -> Posted:
    """Send ``body`` and return what came back; never raises for what the other side does.

    Args:
        url: ``https://…``, or ``http://`` to an address of this machine; checked by whoever read it.
        timeout_s: for all of it.
    """
    end = time.monotonic() + timeout_s
    try:
        parts = urlsplit(url)
        connection = _connect(parts, timeout_s)
    except (ValueError, OSError, http.client.HTTPException):
        return Posted(0, problem="its address cannot be used")
    # A time-out of the socket is for one piece: this one is for all of them, headers in drops too.
    cut = threading.Timer(timeout_s, _cut, [connection])
    cut.daemon = True
    cut.start()
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        return Posted(answer.status, _read(answer, end))
    except TimeoutError:
        return Posted(0, problem="it did not answer in time")
    except ssl.SSLCertVerificationError as error:
        return Posted(0, problem=f"its certificate is not good: {error.verify_message}")
    except ValueError:
        # A name or a path that cannot be put into a request, or a response that is none.
        return Posted(0, problem="its address cannot be used, or its answer makes no sense")
    except (OSError, http.client.HTTPException) as error:
        late = time.monotonic() >= end
        return Posted(0, problem="it did not answer in time" if late else _describe(error))
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a conversation, whoever waits for what in it."""
    there = connection.sock
    if there is not None:
        with suppress(OSError):
            there.shutdown(socket.SHUT_RDWR)


def _connect(parts: SplitResult, timeout_s: float) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _read(answer: http.client.HTTPResponse, end: float) -> bytes:
    data = bytearray()
    while len(data) < MOST_BYTES:
        if time.monotonic() > end:
            raise TimeoutError
        piece = answer.read1(MOST_BYTES - len(data))
        if not piece:
            break
        data += piece
    return bytes(data)


def _describe(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return getattr(error, "strerror", None) or type(error).__name__
