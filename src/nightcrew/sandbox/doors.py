"""Exits of a sandbox without a network of its own: sockets on the host's loopback that admit nobody but it.

``serve`` (see ``exits``) gets listening sockets as from any other sandbox. A stranger on this machine who finds the port
is let go of before anything is read from it: only connections that we made ourselves are handed to whoever serves.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Self

from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Listen
from nightcrew.sandbox.exits import Serve

_LOOPBACK: Final = "127.0.0.1"
_BACKLOG: Final = 256
_ANY: Final = "0.0.0.0"  # noqa: S104 - of a sandbox's own network; here only its name


class Door(socket.socket):
    """A listening socket that accepts only those who came through ``admit``."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self._guard = threading.Lock()
        self._admitted: set[int] = set()

    @classmethod
    def open(cls) -> Self:
        """Return one on a free port of the host's loopback."""
        door = cls()
        door.bind((_LOOPBACK, 0))
        door.listen(_BACKLOG)
        door.setblocking(False)
        return door

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        """Return the next connection that was admitted; raises BlockingIOError when there is none."""
        while True:
            connection, peer = super().accept()
            with self._guard:
                # Others of this machine can have the same port at another of its addresses.
                known = peer[0] == _LOOPBACK and peer[1] in self._admitted
                if known:
                    self._admitted.discard(peer[1])
            if known:
                return connection, peer
            connection.close()

    def admit(self, taken: socket.socket) -> None:
        """Connect a socket of the sandbox to this door, and admit it.

        Raises:
            OSError: it is connected already, or EINPROGRESS as for any other connection.
        """
        prefix = "::ffff:" if taken.family == socket.AF_INET6 else ""
        if taken.getsockname()[1] == 0:
            # Its own port must be known before the other side can see it.
            taken.bind((f"{prefix}{_LOOPBACK}", 0))
        port = taken.getsockname()[1]
        with self._guard:
            self._admitted.add(port)
        try:
            taken.connect((f"{prefix}{_LOOPBACK}", self.getsockname()[1]))
        except BlockingIOError:
            raise
        except OSError:
            with self._guard:
                self._admitted.discard(port)  # or it stays open for whoever has that port next
            raise


def find_door(doors: Mapping[tuple[str, int], Door], host: str, port: int) -> Door | None:
    """Return the door that stands for an address inside; None when nothing does."""
    local = host.startswith("127.") or host == "::1"
    return doors.get((host, port)) or (doors.get((_ANY, port)) if local else None)


@contextlib.contextmanager
def serve_doors(exits: Sequence[Listen], serve: Serve | None) -> Iterator[Mapping[tuple[str, int], Door]]:
    """Open a door for every TCP exit and have it served until the end of the block.

    Of UDP a program has no sockets at this level; who serves gets one that hears nobody, as its place is asked for.

    Raises:
        UsageError: there are exits and nobody to serve them.
    """
    if exits and serve is None:
        raise UsageError("a sandbox has exits that nothing answers", code="sandbox.exits")
    with contextlib.ExitStack() as stack:
        doors = {each: stack.enter_context(Door.open()) for each in exits if each.kind == "tcp"}
        opened: dict[str, socket.socket] = {each.name: door for each, door in doors.items()}
        opened |= {each.name: stack.enter_context(_open_deaf()) for each in exits if each.kind == "udp"}
        if serve is not None:
            stack.enter_context(serve(opened))
        yield {(each.address, each.port): door for each, door in doors.items()}


def _open_deaf() -> socket.socket:
    """Return a UDP socket that receives from nobody but itself."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((_LOOPBACK, 0))
    opened.connect(opened.getsockname())
    opened.setblocking(False)
    return opened
