"""Fills slots with what is to come: files as the user's checkout would have them, links, directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence

from nightcrew.promote import standing
from nightcrew.promote.layout import Want, parents
from nightcrew.promote.moves import Move
from nightcrew.promote.site import Configured
from nightcrew.promote.standing import EMPTY_DIRECTORY, LINK, SYNC_ALL_FROM, Signature, Standing, identify


class Staging:
    """Writes slots ``s/0``, ``s/1`` ... of one transaction, in the order of the moves.

    Args:
        tree, slots, name: the working tree, where slots are, and the transaction's name.
        read: gives the content for a path and blob, and its id where that is certain; for no path the blob as it is.
        configured: what the user's configuration says.
        reuse: for an undo, the moves of the promotion that it takes back, by path.

    Attributes:
        born: what tells the file that is to come to a path, for those that hold what their entry says (see ``identify``).
    """

    def __init__(
        self,
        tree: Standing,
        slots: Standing,
        name: str,
        read: Callable[[str, str], tuple[bytes, str]],
        *,
        configured: Configured,
        reuse: Mapping[str, Move] | None = None,
    ) -> None:
        self._tree = tree
        self._slots = slots
        self._name = name
        self._read = read
        self._configured = configured
        self._reuse = reuse or {}
        self._homes: dict[str, os.stat_result | None] = {}
        self.born: dict[str, Signature] = {}

    def fill(self, wants: Sequence[Want]) -> tuple[Move, ...]:
        """Write everything that is to come; return the moves, which nobody may begin before ``flush``.

        Raises:
            OSError: disk full, no permission; nothing but slots was touched.
        """
        with self._slots.parent(f"{self._name}/s/0") as (fd, _):
            return tuple(self._stage(fd, number, want) for number, want in enumerate(wants))

    def flush(self, moves: Sequence[Move]) -> None:
        """Make what was written survive a power loss.

        Raises:
            OSError: it cannot be written to the disk.
        """
        files = [move.slot for move in moves if move.new.startswith(("100644:", "100755:"))]
        if len(files) >= SYNC_ALL_FROM:
            self._slots.sync_all()
            return
        for slot in files:
            self._flush(slot)
        # And the names of the directories above, which are as new: without them nobody finds the slots.
        for place in (f"{self._name}/s", self._name, ""):
            self._slots.sync(place)

    def _stage(self, fd: int, number: int, want: Want) -> Move:
        earlier = self._reuse.get(want.path)
        if earlier and self._fits(earlier, want):
            # An undo: what was displaced comes back itself, with its times and attributes.
            self._note_reused(earlier, want)
            return Move(want.path, earlier.slot, want.found, earlier.old)
        slot = f"{self._name}/s/{number}"
        return Move(want.path, slot, want.found, self._write(fd, str(number), want) if want.entry else "")

    def _note_reused(self, earlier: Move, want: Want) -> None:
        if not want.own and ":" in earlier.old and earlier.old.replace(":", " ", 1) == want.entry:
            _, inode, _, size, modified_ns, _ = self._slots.seen[earlier.slot]
            self.born[want.path] = (inode, size, modified_ns)

    def _fits(self, earlier: Move, want: Want) -> bool:
        if not want.entry or not earlier.old:
            return False
        if (want.entry == EMPTY_DIRECTORY) != (earlier.old == EMPTY_DIRECTORY):
            return False
        if want.own and want.entry != earlier.old.replace(":", " ", 1):
            return False
        return self._slots.fingerprint(earlier.slot) == earlier.old

    def _write(self, fd: int, name: str, want: Want) -> str:
        """Make one slot in the directory ``fd``; return its fingerprint."""
        if want.entry == EMPTY_DIRECTORY:
            os.mkdir(name, dir_fd=fd)
            self._adopt(fd, name, want)
            return EMPTY_DIRECTORY
        mode, object_id = want.entry.split(" ")
        data, known_id = self._read("" if want.own else want.path, object_id)
        if mode == LINK and self._configured.symlinks:
            os.symlink(data, os.fsencode(name), dir_fd=fd)
            return f"{LINK}:{self._slots.blob_id(data)}"
        executable = mode == standing.EXECUTABLE
        bits = self._adopt(fd, name, want, file=_write_file(fd, name, data, executable=executable))
        kind = standing.EXECUTABLE if bits & stat.S_IXUSR else standing.FILE
        return f"{kind}:{known_id or self._slots.blob_id(data)}"

    def _adopt(self, directory: int, name: str, want: Want, file: int = -1) -> int:
        """Give something new the permissions of what it replaces, and the group its directory hands down.

        Args:
            directory, name: where it was made.
            want: what it is.
            file: its descriptor, for a file; closed here.

        Returns:
            its mode.
        """
        try:
            own = os.fstat(file) if file >= 0 else os.lstat(name, dir_fd=directory)
            bits = own.st_mode
            if file >= 0 and not want.own:
                self.born[want.path] = identify(own)
            # As it was when it was looked at; what changes it after that is found out before anything is moved.
            replaced = next(iter(self._tree.seen.get(want.path, ())), 0)
            if file >= 0 and stat.S_ISREG(replaced):
                wanted = _permissions(
                    stat.S_IMODE(replaced) & 0o777, want.entry.startswith(standing.EXECUTABLE)
                )
                if wanted != stat.S_IMODE(bits):
                    os.fchmod(file, wanted)
                    bits = wanted
            home = self._home(want.path)
            if home and home.st_mode & stat.S_ISGID and home.st_gid != own.st_gid:
                os.chown(name, -1, home.st_gid, dir_fd=directory, follow_symlinks=False)
        finally:
            if file >= 0:
                os.close(file)
        return bits

    def _home(self, path: str) -> os.stat_result | None:
        """Return the status of the nearest directory above a path that exists."""
        above = parents(path)
        nearest = above[0] if above else ""
        if nearest not in self._homes:
            self._homes[nearest] = next(
                (found for parent in [*above, ""] if (found := self._tree.directory(parent))), None
            )
        return self._homes[nearest]

    def _flush(self, slot: str) -> None:
        with self._slots.parent(slot) as (fd, name):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _write_file(directory: int, name: str, data: bytes, *, executable: bool) -> int:
    """Write a new file; return its descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o777 if executable else 0o666, dir_fd=directory)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
    except OSError:
        os.close(fd)
        raise
    return fd


def _permissions(mode: int, executable: bool) -> int:
    """Return the mode of the replaced file with the executable bits where it can be read, or without any."""
    return mode | (mode & 0o444) >> 2 | 0o100 if executable else mode & ~0o111
