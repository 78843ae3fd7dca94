"""What a task changed: a walk over the writable layer of its overlay. The cost is that of the changes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from nightcrew.model.trees import Entry
from nightcrew.shadow.layers import Stack, is_opaque, is_whiteout
from nightcrew.shadow.names import GIT, is_git_name

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}
_PIECE_BYTES = 1 << 18


def scan_layer(upper: str, under: Stack) -> Iterator[Entry]:
    """Yield what the writable layer changes, in a fixed order, a replaced directory before what is in it.

    Files that were only touched (same content and executable bit as under them) are left out. That matters beyond
    tidiness: what lies under them may have gone through the user's filters (line endings, LFS) on its way out of
    git, so its bytes need not be those of the blob.
    """
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for path, item in _children(upper, directory):
            if isinstance(item, Entry):
                yield item
                continue
            found = item.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                waiting.append(path)
                if is_opaque(item.path):
                    yield Entry(path, "opaque")
            elif is_whiteout(found):
                yield Entry(path, "deleted")
            elif not _is_untouched(item.path, found, under.find(path)):
                yield describe(path, item.path, found)


def describe(path: str, source: str, found: os.stat_result) -> Entry:
    """Return the entry of something that is not a directory."""
    if stat.S_ISLNK(found.st_mode):
        return Entry(path, "symlink", source, 0o120000)
    if stat.S_ISREG(found.st_mode):
        # Git looks at the owner's bit alone.
        return Entry(path, "file", source, 0o100755 if found.st_mode & stat.S_IXUSR else 0o100644)
    return Entry(path, "refused", detail=_KINDS.get(stat.S_IFMT(found.st_mode), "a special file"))


def list_directory(root: str, directory: str) -> list[os.DirEntry[str]] | Entry:
    """Return what is in a directory of a shadow, sorted by name, or a refusal when it cannot be read."""
    place = f"{root}/{directory}" if directory else root
    try:
        with os.scandir(place) as found:
            return sorted(found, key=lambda item: item.name)
    except PermissionError:
        return Entry(directory, "refused", detail="a directory whose mode forbids reading it")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return Entry(directory[:200], "refused", detail="a path longer than the system allows")


def is_apart(path: str, name: str) -> Entry | bool:
    """Tell what to do about a name: False to look at it, True to pass over it, an entry to refuse it."""
    if path == GIT:
        return True
    return Entry(path, "refused", detail="a nested git directory") if is_git_name(name) else False


def same_content(first: str, second: str) -> bool:
    """Compare two files of the same size byte by byte."""
    with open(first, "rb") as one, open(second, "rb") as two:  # noqa: PTH123
        while piece := one.read(_PIECE_BYTES):
            if piece != two.read(_PIECE_BYTES):
                return False
    return True


def _children(root: str, directory: str) -> Iterator[tuple[str, os.DirEntry[str] | Entry]]:
    listed = list_directory(root, directory)
    if isinstance(listed, Entry):
        yield directory, listed
        return
    for item in listed:
        path = f"{directory}/{item.name}" if directory else item.name
        apart = is_apart(path, item.name)
        if isinstance(apart, Entry):
            yield path, apart
        elif not apart:
            yield path, item


def _is_untouched(place: str, found: os.stat_result, under: tuple[str, os.stat_result] | None) -> bool:
    if under is None or not stat.S_ISREG(found.st_mode) or not stat.S_ISREG(under[1].st_mode):
        return False
    same_mode = found.st_mode & stat.S_IXUSR == under[1].st_mode & stat.S_IXUSR
    try:
        return same_mode and found.st_size == under[1].st_size and same_content(place, under[0])
    except PermissionError:
        return False
