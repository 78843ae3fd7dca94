"""What a task changed: a walk over the writable layer of its overlay. The cost is that of the changes."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightcrew.host.descent import Descent
from nightcrew.model.trees import Entry
from nightcrew.shadow.layers import Stack, is_opaque, is_whiteout
from nightcrew.shadow.names import GIT, is_git_name

_KINDS: Final = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_PIECE_BYTES: Final = 1 << 18
# Two ticks of the slowest kernel clock (100 Hz).
_TICKS_NS: Final = 20_000_000

# Linux takes 4096 bytes in one call (PATH_MAX), our own directories before it included; an agent can build deeper.
MAX_PATH_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory of the writable layer.

    Attributes:
        items: path in the repository, place on disk, and why it is refused without a look, sorted by name.
        names: of everything in it.
        opaque: it hides all that lies under it.
        replaces: says so when what lies under it is no directory.
    """

    items: tuple[tuple[str, str, Entry | None], ...]
    names: frozenset[str]
    opaque: bool
    replaces: Entry | None


_Found = Entry | Listing | tuple[Entry, ...]
"""What something in the layer stands for: a change, a directory, or the deletions of a whiteout; none for what is only there."""


class ScanMemory:
    """What earlier scans of one writable layer found changed, so that it is compared with what lies under it but once.

    Nobody but the kernel sets the time of a file's last change; two changes within a tick of its clock may show the same
    one, so what changed just now is not remembered. Nor is what was found *unchanged*: a program that has the file mapped can
    write to it a second time without any time being set.

    What is found as it was is told by the very same entry: so whoever kept it need not compare.

    Args:
        under: what the layer lies on; never changes.
        clock: a file of ours on the same file system, touched to learn its time.
    """

    def __init__(self, under: Stack, clock: Path) -> None:
        self.under = under
        self._clock = clock
        self._now_ns = 0
        self._known: dict[str, tuple[tuple[int, ...], _Found]] = {}
        self._covered: dict[str, tuple[str, os.stat_result] | None] = {}

    def start(self) -> None:
        """Take the time of a scan that begins."""
        os.utime(self._clock)
        self._now_ns = self._clock.stat().st_ctime_ns

    def begin(self, descent: Descent, upper: str) -> _Found:
        """Return what is in the layer.

        Args:
            descent: into the layer; upper: where it is.
        """
        status = os.lstat(upper)
        known = self._known.get("")
        return (
            known[1]
            if known is not None and known[0] == _sign(status)
            else self._look_at(descent, "", upper, status)
        )

    def look_through(
        self,
        descent: Descent,
        listed: Listing,
        hidden: bool,
        entries: list[Entry],
        waiting: list[tuple[str, bool, Listing]],
    ) -> None:
        """Find what is changed in a directory of the layer, and what is in those below it.

        Args:
            descent: into the layer; hidden: what lies under the directory is hidden.
            entries, waiting: get what was found. This is done for every changed file of a task: a list for each
                directory would cost as much as asking for its status.
        """
        look, recall, fd = os.lstat, self._known.get, descent.top
        for path, place, refused in listed.items:
            if refused is not None:
                entries.append(refused)
                continue
            status = look(path, dir_fd=fd)
            known = recall(path)
            if known is not None and status.st_ctime_ns == known[0][3] and _sign(status) == known[0]:
                found = known[1]
            else:
                found = self._look_at(descent, path, place, status)
            if isinstance(found, Entry):
                entries.append(found)
            elif isinstance(found, Listing):
                if found.replaces is not None:
                    entries.append(found.replaces)
                waiting.append((path, hidden or found.opaque, found))
            else:
                entries += found

    def _look_at(self, descent: Descent, path: str, place: str, status: os.stat_result) -> _Found:
        found: _Found
        if stat.S_ISDIR(status.st_mode):
            # Whatever comes into it, leaves it or is renamed in it changes its times, as a change of its marks does.
            found = self._look_into(descent, path, place)
        elif is_whiteout(status):
            found = tuple(Entry(leaf, "deleted") for leaf in self.under.leaves(path))
        elif self._is_untouched(descent, path, status):
            return ()
        else:
            found = describe(path, place, status)
        if status.st_ctime_ns + _TICKS_NS < self._now_ns and getattr(found, "kind", "") != "refused":
            self._known[path] = _sign(status), found
        return found

    def _look_into(self, descent: Descent, path: str, place: str) -> Listing | Entry:
        """Return what is in a directory, or a refusal when it cannot be read."""
        listed = list_directory(descent, path)
        if isinstance(listed, Entry):
            return listed
        names, opaque = listed
        before = self.under.find(path) if path else None
        replaces = before is not None and not stat.S_ISDIR(before[1].st_mode)
        return Listing(
            tuple((below, f"{place}/{name}", each) for below, name, each in name_items(path, names)),
            frozenset(names),
            bool(path) and opaque,
            Entry(path, "opaque") if replaces else None,
        )

    def _is_untouched(self, descent: Descent, path: str, status: os.stat_result) -> bool:
        """Tell whether a file of the layer is as the one under it: same kind, content and executable bit."""
        if path not in self._covered:
            self._covered[path] = self.under.find(path)
        return _is_untouched(descent, path, status, self._covered[path])


def scan_layer(upper: str, memory: ScanMemory, empty: list[str] | None = None) -> Iterator[Entry]:
    """Return what the writable layer changes, in a fixed order, a replaced directory before what is in it.

    Files that were only touched (same content and executable bit as under them) are left out. That matters beyond
    tidiness: what lies under them may have gone through the user's filters (line endings, LFS) on its way out of
    git, so its bytes need not be those of the blob.

    Args:
        empty: gets the directories that the layer made and that nothing is in: no entry stands for them.
    """
    memory.start()
    # From here the way to a file is short: that is a third of what it costs to ask for its status.
    fd = os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    descent = Descent(fd)
    try:
        return iter(_scan(descent, memory.begin(descent, upper), memory, empty))
    finally:
        descent.close()
        os.close(fd)


def _scan(descent: Descent, top: _Found, memory: ScanMemory, empty: list[str] | None) -> list[Entry]:
    if not isinstance(top, Listing):
        return [top] if isinstance(top, Entry) else [*top]
    entries: list[Entry] = []
    # Each directory with whether what lies under it is hidden: it was made anew, or is in one that was.
    waiting = [("", False, top)]
    while waiting:
        directory, hidden, listed = waiting.pop()
        if hidden:
            entries += vanished(directory, listed.names, memory.under)
        if (
            empty is not None
            and directory
            and not listed.names
            and (hidden or memory.under.find(directory) is None)
        ):
            empty.append(directory)
        memory.look_through(descent, listed, hidden, entries, waiting)
    return entries


def vanished(directory: str, here: Collection[str], under: Stack) -> Iterator[Entry]:
    """Yield a deletion for everything that lies under a directory and is not in it any more; ``here`` is what is in it."""
    for name in sorted(under.list(directory).keys() - here):
        if directory or name != GIT:
            yield from (Entry(leaf, "deleted") for leaf in under.leaves(join(directory, name)))


def join(directory: str, name: str) -> str:
    """Return the path of a name in a directory; the top directory is empty."""
    return f"{directory}/{name}" if directory else name


def describe(path: str, source: str, found: os.stat_result) -> Entry:
    """Return the entry of something that is not a directory."""
    if stat.S_ISLNK(found.st_mode):
        return Entry(path, "symlink", source, 0o120000, signature=_sign(found))
    if stat.S_ISREG(found.st_mode):
        # Git looks at the owner's bit alone.
        mode = 0o100755 if found.st_mode & stat.S_IXUSR else 0o100644
        return Entry(path, "file", source, mode, signature=_sign(found))
    return Entry(path, "refused", detail=_KINDS.get(stat.S_IFMT(found.st_mode), "a special file"))


def _sign(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


def list_directory(descent: Descent, directory: str) -> tuple[list[str], bool] | Entry:
    """Return the names in a directory of a shadow, sorted, and whether it is opaque; a refusal when it cannot be read.

    No link is followed on the way there: an agent that runs may put one where a directory was.

    Args:
        descent: into the shadow; directory: its path in the repository.

    Raises:
        FileNotFoundError: it is gone, or something else took its place.
    """
    try:
        opened = descent.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return Entry(directory, "refused", detail="a directory whose mode forbids reading it")
    try:
        return sorted(os.listdir(opened)), is_opaque(opened)  # noqa: PTH208
    finally:
        os.close(opened)


def name_items(directory: str, names: Sequence[str]) -> Iterator[tuple[str, str, Entry | None]]:
    """Yield path and name of what is in a directory, with a refusal of what is not to be looked at; our git directory is passed over."""
    for name in names:
        path = join(directory, name)
        if is_git_name(name):
            if path != GIT:
                yield path, name, Entry(path, "refused", detail="a nested git directory")
        elif len(os.fsencode(path)) > MAX_PATH_BYTES:
            yield path, name, Entry(path, "refused", detail=f"a path longer than {MAX_PATH_BYTES} bytes")
        else:
            yield path, name, None


def same_content(descent: Descent, path: str, other: str) -> bool:
    """Compare a file of a shadow with another of the same size byte by byte."""
    opened = descent.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(opened, "rb") as one, open(other, "rb") as two:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            # A FIFO or a device took its place.
            return False
        while piece := one.read(_PIECE_BYTES):
            if piece != two.read(_PIECE_BYTES):
                return False
    return True


def _is_untouched(
    descent: Descent, path: str, found: os.stat_result, under: tuple[str, os.stat_result] | None
) -> bool:
    if under is None or not stat.S_ISREG(found.st_mode) or not stat.S_ISREG(under[1].st_mode):
        return False
    same_mode = found.st_mode & stat.S_IXUSR == under[1].st_mode & stat.S_IXUSR
    try:
        return same_mode and found.st_size == under[1].st_size and same_content(descent, path, under[0])
    except PermissionError:
        return False
