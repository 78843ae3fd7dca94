"""The way down a tree that others change: no link is followed on it, and what lies on the way to the last place is held."""

from __future__ import annotations

import errno
import os
from typing import Final

_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD: Final = 32
"""Open at most at a time: a tree can be deeper than a process may have open files."""

_IN_THE_WAY: Final = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What the kernel answers when there is a link, a file where a directory was, or a socket instead of what was looked for."""


class Descent:
    """Opens what is below one directory, name by name from the directory above.

    Who swaps a directory for a link, in whatever moment, leads nobody out of the tree. Places asked for in their order cost one
    call for each directory.

    Args:
        top: descriptor of that directory; stays open.

    Attributes:
        top: as given.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self._last: str | None = None
        self._here = -1
        self._names: list[str] = []
        self._fds: list[int] = []
        self._deep = -1

    def enter(self, directory: str) -> int:
        """Return a descriptor of a directory, which holds until the next call; its path is relative, empty for the top.

        Raises:
            FileNotFoundError: it is gone, or something else took its place.
            PermissionError: the mode of one above it forbids that.
        """
        if directory != self._last:
            self._last = None
            try:
                self._here = self._go(directory.split("/") if directory else [])
            except OSError as error:
                raise lost(error, directory) from error
            self._last = directory
        return self._here

    def open(self, path: str, flags: int) -> int:
        """Open what is at a path, without following a link there either.

        Raises:
            FileNotFoundError: it is gone, or something else took its place.
        """
        above, _, name = path.rpartition("/")
        fd = self.enter(above)
        try:
            return os.open(name or ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        except OSError as error:
            raise lost(error, path) from error

    def close(self) -> None:
        """Let go of what is held."""
        self._last = None
        self._leave(0)

    def _go(self, parts: list[str]) -> int:
        shared = 0
        for held, part in zip(self._names, parts, strict=False):
            if held != part:
                break
            shared += 1
        self._leave(shared)
        here = self._fds[-1] if self._fds else self.top
        for part in parts[shared:]:
            here = os.open(part, _DIRECTORY, dir_fd=here)
            if len(self._fds) < _HELD:
                self._names.append(part)
                self._fds.append(here)
            else:
                self._let_go_of_deep()
                self._deep = here
        return here

    def _leave(self, kept: int) -> None:
        self._let_go_of_deep()
        del self._names[kept:]
        while len(self._fds) > kept:
            os.close(self._fds.pop())

    def _let_go_of_deep(self) -> None:
        if self._deep >= 0:
            os.close(self._deep)
            self._deep = -1


def lost(error: OSError, path: str) -> OSError:
    """Return what to raise: an error that says something else took the place of a path says that it is not there."""
    if error.errno in _IN_THE_WAY:
        return FileNotFoundError(errno.ENOENT, "something else took its place", path)
    return error
