"""Which processes belong to a tree, read from /proc; used inside by level S0 and outside by the supervisor."""

from __future__ import annotations

import contextlib
import os


def children_of(pid: int) -> list[int]:
    """Return the children of every thread of ``pid``; empty when it is gone.

    Raises:
        OSError: nobody can tell, for want of descriptors: that is not the same as that there are none.
    """
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += _children_of_thread(pid, thread)
    return found


def _children_of_thread(pid: int, thread: str) -> list[int]:
    try:
        fd = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError):
        return []  # the thread has ended meanwhile
    try:
        data = b""
        while chunk := os.read(fd, 65536):
            data += chunk
    except ProcessLookupError:
        return []  # ended while we read
    finally:
        os.close(fd)
    return [int(number) for number in data.split()]


def descendants_of(pid: int) -> list[int]:
    """Return every process below ``pid``, parents first; ``pid`` itself is not in it. Raises as children_of does."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children_of(todo.pop())
        found += below
        todo += below
    return found
