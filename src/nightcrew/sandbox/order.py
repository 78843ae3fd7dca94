"""What the launcher tells the zygote, as plain values.

Paths and words are text in which bytes that are not UTF-8 are surrogate escapes, whatever the locale is.
"""

from __future__ import annotations

import marshal
import os
from typing import Final, Literal, TypedDict


class OverlayOrder(TypedDict):
    """One copy-on-write mount; see model.isolation.Overlay."""

    target: str
    lowers: list[str]
    upper: str
    work: str


class BindOrder(TypedDict):
    """One bind mount; see model.isolation.Bind."""

    source: str
    target: str
    writable: bool


class ExitOrder(TypedDict):
    """One socket to listen on inside; see model.isolation.Listen."""

    kind: Literal["tcp", "udp"]
    address: str
    port: int


class RestrictOrder(TypedDict):
    """What a program at level S1 may reach: paths to read and execute, to change, and devices."""

    readable: list[str]
    writable: list[str]
    devices: list[str]


class InheritOrder(TypedDict):
    """A file that the program gets opened, as descriptor ``number``."""

    number: int
    path: str
    writable: bool


class Order(TypedDict):
    """One sandbox.

    ``home`` is the one inside; ``covered`` are places below system directories that must not show.
    ``proc`` says what /proc may be: ``fresh`` or it fails, ``bound`` (the host's, the weaker way), or ``any``:
    fresh if the kernel lets us. Without ``confined`` there are no namespaces: the program runs as it is, under
    ``restrict``, or is one that confines another (bwrap, podman): then ``inherit`` is what it reads and writes,
    ``term`` who gets the polite signal (all, all but the program itself, only the program), and ``cleanup`` a command
    that ends what is not below us when the launcher has died. ``attempts`` replaces ``argv`` in the self-test: escapes to try, with their arguments.
    """

    confined: bool
    proc: Literal["fresh", "bound", "any"]
    argv: list[str]
    cwd: str
    env: dict[str, str]
    home: str
    covered: list[str]
    hostname: str
    overlays: list[OverlayOrder]
    binds: list[BindOrder]
    memory_bytes: int
    cpus: float
    processes: int
    open_files: int
    file_bytes: int
    scratch_bytes: int
    scratch_inodes: int
    attempts: dict[str, str]
    exits: list[ExitOrder]
    restrict: RestrictOrder | None
    inherit: list[InheritOrder]
    term: Literal["tree", "below", "child"]
    cleanup: list[str]


_FORMAT: Final = 4  # read by every interpreter from 3.4 on; ten times as quick to read as JSON in a process that has just been forked


#: An order up to this length is sent as a message, a longer one as a file.
AT_ONCE_BYTES: Final = 16384


def portable(text: str) -> str:
    """Return ``text`` so that the zygote's UTF-8 gives the same bytes as this process's file system encoding."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def encode(order: Order) -> bytes:
    """Return the order as bytes for the zygote."""
    return marshal.dumps(dict(order), _FORMAT)


def decode(data: bytes) -> Order:
    """Read an order; the sender is our own process, so its shape is not checked again."""
    order: Order = marshal.loads(data)  # noqa: S302 - see above
    return order
