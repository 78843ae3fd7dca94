"""The other end of an agent's command hooks: a door of the attempt that tells what was decided, and decides nothing.

A hook (``agents/hook.py``) runs inside the sandbox before a tool is used, and asks here what was said to this very call over
the agent's own protocol. Whoever runs inside can ask too: they learn a verdict that the agent was given already, open no
question and leave no event. A call that nobody decided on in time, or whose arguments are others, is denied.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol, runtime_checkable

from nightcrew.agents import hook
from nightcrew.model.isolation import Listen, SandboxSpec, Session

#: Longest question; a tool may write a whole file.
_LARGEST: Final = 64 << 20
_READ_S: Final = 10.0
#: Hooks of one attempt that are answered at once; an agent that starts more waits.
_MOST: Final = 16
_NAME: Final = "hooks"


@runtime_checkable
class Deciding(Protocol):
    """A session that remembers what it answered."""

    def recall(self, call: str, tool: str, given: Mapping[str, Any], patience_s: float) -> tuple[str, str]:
        """Return verdict and reason that a call got; waits so long for it. A no when it got none."""


class HookDoor:
    """A Way (see ``engine.network``) that answers the hooks of one attempt.

    Args:
        session: of the agent; asked from other threads.
        address: where it is inside.
    """

    def __init__(self, session: Deciding, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._session = session
        self.exits = (Listen("tcp", host, int(port), _NAME),)
        self._over = threading.Event()
        self._room = threading.BoundedSemaphore(_MOST)

    @contextmanager
    def serve(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        """Answer until the end of the block."""
        thread = threading.Thread(target=self._accept, args=(sockets[_NAME],), name="hooks", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _accept(self, listening: socket.socket) -> None:
        poll = select.poll()
        poll.register(listening, select.POLLIN)
        while not self._over.is_set():
            if not poll.poll(100):
                continue
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                if not self._room.acquire(blocking=False):
                    # Nobody is answered: the hook takes that for a no.
                    connection.close()
                    continue
                threading.Thread(target=self._answer, args=(connection,), name="hook", daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                connection.settimeout(_READ_S)
                verdict, reason = self._decide(_read(connection))
                said = {"verdict": verdict, "reason": reason}
                connection.sendall(json.dumps(said).encode("ascii") + b"\n")
        except OSError:
            return  # the hook is gone, and its tool with it
        finally:
            self._room.release()

    def _decide(self, line: bytes) -> tuple[str, str]:
        try:
            asked = json.loads(line)
            call, tool, given = asked["call"], asked["tool"], asked["input"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "deny", "the question was not understood"
        if not (isinstance(call, str) and isinstance(tool, str) and isinstance(given, dict)):
            return "deny", "the question was not understood"
        return self._session.recall(call, tool, given, hook.ANSWER_S - _READ_S)


def _read(connection: socket.socket) -> bytes:
    """Return one line; what is longer than a question may be is cut, and then is none."""
    data = bytearray()
    while not data.endswith(b"\n") and len(data) <= _LARGEST:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return bytes(data)


def find_hooks(session: Session, spec: SandboxSpec) -> tuple[HookDoor, ...]:
    """Return the door of an attempt whose agent was given hooks; none for any other."""
    listener = getattr(session, "listener", session)
    address = spec.env.get(hook.ADDRESS, "")
    return (HookDoor(listener, address),) if address and isinstance(listener, Deciding) else ()
