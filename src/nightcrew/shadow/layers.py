"""Directories stacked the way overlayfs stacks them: writing a difference as a layer, looking through a stack."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from nightcrew.host import files
from nightcrew.model.trees import DeltaEntry
from nightcrew.shadow.names import is_plain_path

OPAQUE: Final = "user.overlay.opaque"
_LINK: Final = 0o120000
_EXECUTABLE: Final = 0o100755
_PIECE_BYTES: Final = 1 << 16


def is_whiteout(found: os.stat_result) -> bool:
    """Tell whether it is overlayfs' mark for a deleted path: a character device 0:0."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def hide(target: str | Path) -> None:
    """Mark a path of a layer as deleted, for the layers under it.

    A file system that is itself an overlay refuses the mark; no overlay can be mounted on it either, so its layers
    are read by ``Stack`` alone, to which a FIFO says the same: git has none, and neither has an export.
    """
    try:
        os.mknod(target, stat.S_IFCHR, os.makedev(0, 0))
    except PermissionError:
        os.mkfifo(target)


def _hides(found: os.stat_result) -> bool:
    return is_whiteout(found) or stat.S_ISFIFO(found.st_mode)


def is_opaque(directory: str | int) -> bool:
    """Tell whether a directory of a layer, by its place or open, hides everything that the layers under it have there."""
    try:
        return os.getxattr(directory, OPAQUE, follow_symlinks=isinstance(directory, int)) == b"y"
    except OSError:
        # ENODATA: it does not; ENOTSUP: a file system without user attributes, where overlayfs marks nothing.
        return False


class Stack:
    """Read-only layers seen as one directory tree, topmost first. Never follows a link of a layer."""

    def __init__(self, layers: Sequence[str]) -> None:
        self._layers = tuple(layers)
        # What nobody writes to needs to be asked but once.
        self._known: tuple[dict[str, bool | None], ...] = tuple({"": True} for _ in layers)

    def find(self, path: str) -> tuple[str, os.stat_result] | None:
        """Return where the visible file of a path lies and its status, None when there is none."""
        above = path.rpartition("/")[0]
        for number, layer in enumerate(self._layers):
            way = self._is_directory(number, above)
            if way is None:
                continue
            found = _status(f"{layer}/{path}") if way else None
            if not way or found is not None:
                return None if found is None or _hides(found) else (f"{layer}/{path}", found)
        return None

    def list(self, directory: str) -> dict[str, tuple[str, os.stat_result]]:
        """Return what is visible in a directory, by name; empty when it is not a directory."""
        shown: dict[str, tuple[str, os.stat_result] | None] = {}
        for number, layer in enumerate(self._layers):
            way = self._is_directory(number, directory)
            if way is None:
                continue
            if not way:
                break
            with os.scandir(f"{layer}/{directory}" if directory else layer) as items:
                for item in items:
                    status = item.stat(follow_symlinks=False)
                    shown.setdefault(item.name, None if _hides(status) else (item.path, status))
        return {name: seen for name, seen in shown.items() if seen is not None}

    def _is_directory(self, number: int, directory: str) -> bool | None:
        """Tell whether a layer has a directory; None when it says nothing, False when something else is in the way."""
        known, layer = self._known[number], self._layers[number]
        if directory in known:
            return known[directory]
        place = ""
        answer: bool | None = True
        for name in directory.split("/"):
            place = f"{place}/{name}" if place else name
            if place in known:
                answer = known[place]
            elif answer:
                found = _status(f"{layer}/{place}")
                answer = None if found is None else stat.S_ISDIR(found.st_mode)
            known[place] = answer
        return answer

    def leaves(self, path: str) -> Iterator[str]:
        """Yield what vanishes when a path is deleted: its files; an empty directory (a submodule) as itself."""
        waiting = [path]
        while waiting:
            directory = waiting.pop()
            below = self.list(directory)
            if not below:
                yield directory
            waiting += [f"{directory}/{name}" for name in sorted(below, reverse=True)]


def _status(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except FileNotFoundError:
        return None


def _descend(layer: str, path: str) -> tuple[str, os.stat_result | None]:
    """Return the deepest part of ``path`` that decides: the path itself, something in its way, or nothing."""
    place = layer
    found: os.stat_result | None = None
    for name in path.split("/"):
        place = f"{place}/{name}"
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return place, None
        if not stat.S_ISDIR(found.st_mode):
            break
    return place, found


def write_layer(layer: Path, delta: Sequence[DeltaEntry], under: Stack, modified_s: int) -> None:
    """Write a difference as an overlay layer over ``under``.

    Args:
        layer: empty directory.
        delta: deletions become whiteouts; a directory that loses everything is whited out itself.
        under: what the layer will lie on.
        modified_s: modification time of all files, so that the same difference gives the same layer.

    Raises:
        ValueError: a path leaves the tree or enters a git directory.
    """
    way = _Way(layer)
    told: set[int] = set()
    for entry in _deletions_first(delta):
        target = way.clear(entry.path)
        if entry.mode == 0:
            hide(target)
            way.marks.add(entry.path)
        else:
            _write_entry(target, entry, modified_s, told)
    for directory in sorted(
        {p for e in delta if e.mode == 0 for p in _parents(e.path)}, key=len, reverse=True
    ):
        _close_if_empty(layer, directory, under)


class _Way:
    """What has been made in a layer that began empty: known here, it need not be asked of the file system."""

    def __init__(self, layer: Path) -> None:
        self._layer = layer
        self._directories = {""}
        self._told: set[int] = set()
        self.marks: set[str] = set()

    def clear(self, path: str) -> str:
        """Make the directories above a path, remove what is at it (one of our own marks), and return its place."""
        if not is_plain_path(path):
            raise ValueError(f"not a path of a working tree: {path!r}")
        above = path.rpartition("/")[0]
        if above not in self._directories:
            self._enter(above)
        place = f"{self._layer}/{path}"
        if path in self.marks:
            Path(place).unlink()
            self.marks.remove(path)
        elif path in self._directories:
            files.remove_tree(place, inside=self._layer)
            self._directories = {d for d in self._directories if d != path and not d.startswith(f"{path}/")}
        return place

    def _enter(self, directory: str) -> None:
        for here in (*reversed(list(_parents(directory))), directory):
            if here not in self._directories:
                place = f"{self._layer}/{here}"
                if here in self.marks:
                    Path(place).unlink()
                    self.marks.remove(here)
                # Without a Path for each: there are as many directories as files where the changes are far apart.
                os.mkdir(place, 0o755)  # noqa: PTH102
                if not self._told and not _is_as_told(os.lstat(place), 0o755, self._told):
                    os.chmod(place, 0o755)  # noqa: PTH101, S103
                self._directories.add(here)


def white_out(layer: Path, paths: Iterable[str], under: Stack) -> None:
    """Hide paths of the layers under a layer whose own files are in place already.

    Args:
        paths: repository-relative; what the layer itself has there hides what is under it anyway.
        under: what the layer lies on; what is not there needs no hiding.
    """
    parents: set[str] = set()
    for path in paths:
        if under.find(path) is None or _descend(str(layer), path)[1] is not None:
            continue
        target = _make_way(layer, path)
        hide(target)
        parents.update(_parents(path))
    for directory in sorted(parents, key=len, reverse=True):
        _close_if_empty(layer, directory, under)


def _write_entry(target: str, entry: DeltaEntry, modified_s: int, told: set[int]) -> None:
    """Write the new content of one path; nothing may be there.

    Args:
        told: modes that files are made with as they are told, whatever the umask; added to.
    """
    with entry.open() as content:
        if entry.mode == _LINK:
            Path(target).symlink_to(os.fsdecode(content.read()))
            os.utime(target, (modified_s, modified_s), follow_symlinks=False)
            return
        mode = 0o755 if entry.mode == _EXECUTABLE else 0o644
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            if mode not in told and not _is_as_told(os.fstat(out), mode, told):
                os.fchmod(out, mode)
            _write_sparsely(content, out)
            os.utime(out, (modified_s, modified_s))
        finally:
            os.close(out)


def _is_as_told(found: os.stat_result, mode: int, told: set[int]) -> bool:
    """Tell whether something new has the mode that was asked for; then all that comes after it will have it, too."""
    if stat.S_IMODE(found.st_mode) != mode:
        return False
    told.add(mode)
    return True


def _write_sparsely(content: BinaryIO, out: int) -> None:
    """Write a file with holes where its content is zeros: a sparse file comes out of the store as sparse as it was."""
    size = end = 0
    while piece := content.read(_PIECE_BYTES):
        if piece.count(0) < len(piece):
            left = memoryview(piece)
            while left:
                left = left[os.pwrite(out, left, size + len(piece) - len(left)) :]
            end = size + len(piece)
        size += len(piece)
    if end < size:
        os.ftruncate(out, size)


def _deletions_first(delta: Iterable[DeltaEntry]) -> list[DeltaEntry]:
    """Order a difference so that a file can take the place of a directory and the other way round."""
    return sorted(delta, key=lambda entry: entry.mode != 0)


def _make_way(root: Path, path: str) -> Path:
    """Make the directories above a path where nothing is, and return its place.

    Raises:
        ValueError: the path leaves the tree or enters a git directory.
    """
    if not is_plain_path(path):
        raise ValueError(f"not a path of a working tree: {path!r}")
    place = root
    for part in path.split("/")[:-1]:
        place = place / part
        if not place.is_dir():
            place.mkdir()
            place.chmod(0o755)
    return place / path.rpartition("/")[2]


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _close_if_empty(layer: Path, directory: str, under: Stack) -> None:
    """Replace a directory of whiteouts by one whiteout when nothing under it stays visible."""
    place = layer / directory
    if place.is_symlink() or not place.is_dir():
        return
    mine = {item.name: _hides(item.lstat()) for item in place.iterdir()}
    if all(mine.values()) and under.list(directory).keys() <= mine.keys():
        files.remove_tree(place, inside=layer)
        hide(place)
