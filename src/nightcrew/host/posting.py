"""One HTTP POST to an address that a person has named: no redirects, no proxies, bounded in time and size."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

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
    parts = urlsplit(url)
    end = time.monotonic() + timeout_s
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        return Posted(answer.status, _read(answer, end))
    except TimeoutError:
        return Posted(0, problem="it did not answer in time")
    except ssl.SSLCertVerificationError as error:
        return Posted(0, problem=f"its certificate is not good: {error.verify_message}")
    except (OSError, http.client.HTTPException) as error:
        return Posted(0, problem=_describe(error))
    finally:
        connection.close()


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
