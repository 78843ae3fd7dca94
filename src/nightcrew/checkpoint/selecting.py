"""Keeping what passes and putting back what does not: by file, and inside a file by hunk. Values in, values out.

What passes is somebody else's word: ``judge`` says which paths of a change may not stay. A path that may not stay is tried
again without some of its hunks, so that an executable bit or one oversized piece does not cost the rest of the file.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from nightcrew.checkpoint.hunks import split_lines
from nightcrew.model.actions import Change, PathChange
from nightcrew.model.trees import Hunk

Judge = Callable[[Change], Mapping[str, Sequence[str]]]
"""A change → why a path may not stay, by path; the empty path stands for the change as a whole."""

#: How many ways of leaving hunks out are tried for one path before all of it is put back: some tenths of a second.
_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class PutBack:
    """A path that does not stay as it is.

    Attributes:
        path: repository-relative.
        hunks: those that are put back. whole: they are all that the change does to the path.
        why: what was said against it.
    """

    path: str
    hunks: tuple[Hunk, ...]
    whole: bool
    why: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What stays of a change.

    Attributes:
        kept: hunks that stay. put_back: paths that do not, or not as a whole.
        left: what is still said against the change as a whole, and no choice among its paths can mend.
    """

    kept: tuple[Hunk, ...]
    put_back: tuple[PutBack, ...]
    left: tuple[str, ...]


def keep_valid(change: Change, hunks: Sequence[Hunk], judge: Judge) -> Choice:
    """Choose the hunks that may stay.

    Args:
        change: the whole change; ``hunks`` all of its hunks.
        judge: asked about the change, about single paths with fewer hunks, and about what is left at the end.
    """
    by_path: dict[str, list[Hunk]] = defaultdict(list)
    for hunk in hunks:
        by_path[hunk.path].append(hunk)
    against = judge(change)
    put_back: list[PutBack] = []
    changes: dict[str, PathChange] = {path.path: path for path in change.paths}
    for path in [path.path for path in change.paths if against.get(path.path)]:
        kept, left = _try_path(change, changes[path], by_path[path], judge)
        stay = {hunk.id for hunk in kept}
        gone = tuple(hunk for hunk in by_path[path] if hunk.id not in stay)
        put_back.append(PutBack(path, gone, not kept, tuple(against[path])))
        by_path[path] = list(kept)
        if left is None:
            del changes[path]
        else:
            changes[path] = left
    rest = replace(change, paths=tuple(changes.values()), refused=())
    still = judge(rest) if put_back or change.refused else against
    chosen = {hunk.id for kept in by_path.values() for hunk in kept}
    return Choice(tuple(h for h in hunks if h.id in chosen), tuple(put_back), tuple(still.get("", ())))


def _try_path(
    change: Change, path: PathChange, hunks: Sequence[Hunk], judge: Judge
) -> tuple[tuple[Hunk, ...], PathChange | None]:
    """Return the hunks of a path that may stay, and the path as it is with them; nothing when none may."""
    for kept in _candidates(hunks):
        less = _shrink(path, hunks, kept)
        if not judge(replace(change, paths=(less,), refused=())).get(path.path):
            return kept, less
    return (), None


def _candidates(hunks: Sequence[Hunk]) -> Iterator[tuple[Hunk, ...]]:
    """Yield what to try, best first: without one hunk (the largest first), without the largest two, three and so on."""
    largest = sorted(hunks, key=lambda hunk: (hunk.kind != "mode", -len(hunk.added)))[:_TRIES]
    for one in largest if len(hunks) > 1 else ():
        yield tuple(hunk for hunk in hunks if hunk is not one)
    for count in range(2, min(len(hunks), _TRIES)):
        gone = {hunk.id for hunk in largest[:count]}
        yield tuple(hunk for hunk in hunks if hunk.id not in gone)


def _shrink(path: PathChange, hunks: Sequence[Hunk], kept: Sequence[Hunk]) -> PathChange:
    """Return what the path would be with fewer hunks, as policy sees it; no content has to be written for that."""
    stay = {hunk.id for hunk in kept}
    away = [hunk for hunk in hunks if hunk.id not in stay]
    lost = Counter(hunk.kind for hunk in away)
    gone = [hunk for hunk in away if hunk.kind == "lines"]
    whole = bool(lost["whole"])
    return replace(
        path,
        new_mode=path.old_mode if lost["mode"] else path.new_mode,
        new_id=path.old_id if whole or not any(hunk.kind == "lines" for hunk in kept) else path.new_id,
        # The size of old binary content is not known here; it is the user's own, and the limit is about new content.
        size_bytes=0 if whole else path.size_bytes - sum(len(h.added) - len(h.removed) for h in gone),
        lines_added=path.lines_added - sum(len(split_lines(hunk.added)) for hunk in gone),
        lines_deleted=path.lines_deleted - sum(len(split_lines(hunk.removed)) for hunk in gone),
    )
