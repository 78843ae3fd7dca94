"""Which directories a change makes and empties, and in which order its moves can be carried out."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from nightcrew.promote.comparison import name_path
from nightcrew.promote.standing import EMPTY_DIRECTORY, Standing

_NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class Want:
    """What shall stand at a path: ``entry`` (``<mode> <id>``), ``dir``, or nothing; now it is ``found``.

    ``own``: the bytes hold edits of the user's; they are exactly the blob that ``entry`` names, whatever git would convert.
    """

    path: str
    found: str
    entry: str
    own: bool = False


@dataclass(slots=True)
class Layout:
    """Plans the directories around files that come and go.

    Attributes:
        tree: the working tree.
        leaving: files that will be moved away.
        keeps_directory: tells whether the new tree has a directory.
        problems: what stands in the way, in words.
    """

    tree: Standing
    leaving: Collection[str]
    keeps_directory: Callable[[Collection[str]], Collection[str]]
    problems: list[str] = field(default_factory=list)
    _kinds: dict[str, str] = field(default_factory=dict)

    def order(self, files: Iterable[Want]) -> list[Want]:
        """Return all moves, directories included, in the order in which each of them can be carried out."""
        files = list(files)
        arriving = [want for want in files if want.entry]
        away = [want for want in files if not want.entry]
        gone = self._emptied() | self._cleared(arriving)
        made = self._needed(arriving, gone)
        return [
            *away,
            *(Want(path, EMPTY_DIRECTORY, "") for path in sorted(gone, key=_depth, reverse=True)),
            *(Want(path, "", EMPTY_DIRECTORY) for path in sorted(made, key=_depth)),
            *(replace(want, found="" if want.path in gone else want.found) for want in arriving),
        ]

    def _emptied(self) -> set[str]:
        """Directories in which nothing is left once the leaving files have left, and that the new tree has not."""
        candidates = {parent for path in self.leaving for parent in parents(path)}
        kept = set(self.keeps_directory(candidates))
        gone: set[str] = set()
        for directory in sorted(candidates - kept, key=_depth, reverse=True):
            inside = (f"{directory}/{name}" for name in self.tree.names(directory))
            if self._kind(directory) == "dir" and all(p in self.leaving or p in gone for p in inside):
                gone.add(directory)
        return gone

    def _cleared(self, arriving: Iterable[Want]) -> set[str]:
        """Directories that stand where a file shall be; whatever is in them and does not leave is a problem."""
        gone: set[str] = set()
        for want in arriving:
            if want.found.startswith("dir"):
                gone |= self._clear(want.path)
        return gone

    def _clear(self, directory: str) -> set[str]:
        found, waiting = {directory}, [directory]
        while waiting:
            here = waiting.pop()
            for path in (f"{here}/{name}" for name in self.tree.names(here)):
                if self._kind(path) == "dir":
                    found.add(path)
                    waiting.append(path)
                elif path not in self.leaving and len(self.problems) < _NAMED_AT_MOST:
                    self.problems.append(name_path(path, "is in a directory that would become a file"))
        return found

    def _needed(self, arriving: Iterable[Want], gone: Collection[str]) -> set[str]:
        made: set[str] = set()
        for want in arriving:
            if want.found and not want.found.startswith("dir"):
                continue  # something stands there: so do the directories above it
            for directory in reversed(parents(want.path)):
                if directory in made:
                    continue
                kind = self._kind(directory)
                if kind == "dir" and directory not in gone:
                    continue
                if kind in ("", "dir") or directory in self.leaving:
                    made.add(directory)
                    continue
                self.problems.append(name_path(directory, f"a {kind} stands in the way of {want.path}"))
                break
        return made

    def _kind(self, path: str) -> str:
        if path not in self._kinds:
            found = self.tree.status(path)
            self._kinds[path] = "" if found is None else _name_kind(found.st_mode)
        return self._kinds[path]


def _name_kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "dir"
    if stat.S_ISLNK(mode):
        return "symbolic link"
    return "file"


def parents(path: str) -> list[str]:
    """Return the directories above a path, nearest first."""
    found = []
    while "/" in path:
        path = path.rpartition("/")[0]
        found.append(path)
    return found


def _depth(path: str) -> tuple[int, str]:
    return path.count("/"), path
