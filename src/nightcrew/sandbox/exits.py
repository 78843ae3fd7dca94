"""Exits: sockets that listen inside a sandbox and are answered by us, outside.

A socket belongs to the network namespace it was made in. The first process of a tree makes these inside and passes
them out, so that a program inside reaches exactly what we serve there, and there is no bridge, no other interface and
no process in between. The program is started only once we have said that they are served.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final

from nightcrew.sandbox.order import ExitOrder

#: Begins to answer at the sockets, by name; the end of the block ends it. The sockets are closed after that.
Serve = Callable[[Mapping[str, socket.socket]], AbstractContextManager[object]]

#: At most this many in one sandbox: a message carries 253 descriptors, and nobody needs more doors than this.
MOST: Final = 32
#: What the launcher says once all of them are served.
SERVED: Final = b"s"
_BACKLOG: Final = 256
_TYPES: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_NAME_SERVICE: Final = 53


def open_all(orders: Sequence[ExitOrder]) -> tuple[int, ...]:
    """Inside: make the sockets, in order; needs CAP_NET_BIND_SERVICE for low ports.

    Raises:
        OSError: a port is taken twice, or an address is none of the sandbox's own.
    """
    with contextlib.ExitStack() as made:
        opened = [made.enter_context(_open(order)) for order in orders]
        return tuple(each.detach() for each in opened)


def _open(order: ExitOrder) -> socket.socket:
    family = socket.AF_INET6 if ":" in order["address"] else socket.AF_INET
    opened = socket.socket(family, _TYPES[order["kind"]] | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((order["address"], order["port"]))
        if order["kind"] == "tcp":
            opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def find_name_server(orders: Sequence[ExitOrder]) -> str:
    """Return the address at which names are answered; empty when they are not."""
    found = (o["address"] for o in orders if o["kind"] == "udp" and o["port"] == _NAME_SERVICE)
    return next(found, "")


class Doors:
    """Outside: the sockets of one sandbox, and what serves them.

    Args:
        names: of the exits, in the order of their sockets.
        serve: see ``Serve``.
    """

    def __init__(self, names: Sequence[str], serve: Serve) -> None:
        self._names = tuple(names)
        self._serve = serve
        self._stack = contextlib.ExitStack()

    def begin(self, descriptors: Sequence[int]) -> None:
        """Take the sockets over and begin to serve them.

        Raises:
            OSError: the sandbox has sent other sockets than were asked for.
        """
        sockets: dict[str, socket.socket] = {}
        for number, fd in enumerate(descriptors):
            each = self._stack.enter_context(socket.socket(fileno=fd))
            each.setblocking(False)
            if number < len(self._names):
                sockets[self._names[number]] = each
        if len(descriptors) != len(self._names):
            raise OSError(f"{len(self._names)} exits were asked for and {len(descriptors)} came")
        self._stack.enter_context(self._serve(sockets))

    def close(self) -> None:
        """End serving, then close the sockets; may be called twice."""
        self._stack.close()
