"""A change as hunks: pieces that a person or a rule can take or leave, put back together to the exact byte.

Git finds the hunks, without context and by lines that end in a line feed and nothing else, so carriage returns, a missing
last line feed and bytes that are no text come through as they are. Between two hunks at least one line is the same on
both sides; that is why any subset of them can be applied, in any order.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.checkpoint.compare import Difference, list_differences
from nightcrew.checkpoint.objects import LARGE_BYTES, MODE_EXECUTABLE, MODE_FILE, TreeEntry
from nightcrew.checkpoint.trees import TreeReader
from nightcrew.host.git import Git
from nightcrew.model.errors import StaleError, UsageError
from nightcrew.model.text import shown
from nightcrew.model.trees import Hunk, HunkKind

_HEAD: Final = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_REGULAR: Final = frozenset({MODE_FILE, MODE_EXECUTABLE})
_DIGITS: Final = 12
#: Shortest beginning of an id that may stand for it.
_SHORTEST: Final = 4


@dataclass(frozen=True, slots=True)
class Lines:
    """Where some lines of one text take the place of some lines of another; starts count the lines before."""

    old_start: int
    new_start: int
    removed: bytes
    added: bytes


def list_hunks(git: Git, old_tree: str, new_tree: str) -> tuple[Hunk, ...]:
    """Return every hunk of the change from one tree to another, by path and then by place in the file."""
    differences = list_differences(git, old_tree, new_tree)
    if not differences:
        return ()
    edited = [difference for difference in differences if difference.kind == "modified"]
    # The same filter, the same order: git names paths in the order of the tree both times.
    sections = diff_lines(git, old_tree, new_tree, "--diff-filter=M") if edited else []
    lines = {difference.path: found for difference, found in zip(edited, sections, strict=True)}
    return tuple(hunk for each in differences for hunk in _cut(each, lines.get(each.path, ())))


def diff_lines(git: Git, old_tree: str, new_tree: str, *options: str) -> list[tuple[Lines, ...]]:
    """Return the differing lines of each file that git shows, in git's order; of binary content none."""
    done = git.run(
        "-c",
        f"core.bigFileThreshold={LARGE_BYTES}",
        "diff-tree",
        "-r",
        "-p",
        "--unified=0",
        "--no-renames",
        "--full-index",
        "--diff-algorithm=histogram",
        "--no-ext-diff",
        "--no-textconv",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        *options,
        old_tree,
        new_tree,
    )
    return [tuple(found) for found in _read_sections(done.stdout)]


def apply_lines(old: bytes, chosen: Iterable[Hunk]) -> bytes:
    """Return the old content of a file with some of its ``lines`` hunks applied.

    Raises:
        StaleError: a hunk was made for another content than this.
    """
    lines = split_lines(old)
    made: list[bytes] = []
    at = 0
    for hunk in sorted(chosen, key=lambda hunk: hunk.old_start):
        removed = split_lines(hunk.removed)
        end = hunk.old_start + len(removed)
        if hunk.old_start < at or lines[hunk.old_start : end] != removed:
            raise StaleError(
                f"hunk {hunk.id} does not fit {hunk.path} any more; nothing was changed", code="hunk.stale"
            )
        made += lines[at : hunk.old_start]
        made.append(hunk.added)
        at = end
    return b"".join([*made, *lines[at:]])


def merge_entries(
    hunks: Iterable[Hunk],
    find: Callable[[bytes], TreeEntry | None],
    read: Callable[[str], bytes],
    write: Callable[[bytes], str],
) -> dict[bytes, TreeEntry | None]:
    """Return what stands at each path when these hunks are applied to a tree, None where nothing does.

    Args:
        hunks: of one change, at most once each.
        find: the entry of a path in the tree they are applied to (the change's old tree).
        read, write: blobs of the store.

    Raises:
        StaleError: a hunk was made for another content than the tree has.
    """
    by_path: dict[str, list[Hunk]] = defaultdict(list)
    for hunk in hunks:
        by_path[hunk.path].append(hunk)
    return {
        os.fsencode(path): _merge_entry(chosen, find(os.fsencode(path)), read, write)
        for path, chosen in by_path.items()
    }


def check_room(edits: Mapping[bytes, TreeEntry | None], reader: TreeReader, tree: str) -> None:
    """Check that nothing which stays in a tree is where edits put something: a file for a folder, or the other way round.

    Raises:
        UsageError: names both.
    """
    for path in [path for path, entry in edits.items() if entry is not None]:
        stays = next(
            (each for each in _in_the_way(reader, tree, path) if edits.get(each, each) is not None), None
        )
        if stays is not None:
            made, old = os.fsdecode(path), os.fsdecode(stays)
            raise UsageError(
                f"{shown(made)} has no room beside {shown(old)}, which would stay; nothing was changed",
                code="hunk.no_room",
                hint="name the hunk that deletes it, too",
            )


def leave_out_homeless(hunks: Sequence[Hunk], kept: Sequence[Hunk]) -> tuple[Hunk, ...]:
    """Return the kept hunks without those that add a file for which there is no room when the others do not go.

    Args:
        hunks: all of a change. kept: some of them.
    """
    stay = {hunk.id for hunk in kept}
    left = {hunk.path for hunk in hunks if not hunk.new_mode and hunk.id not in stay}
    if not left:
        return tuple(kept)
    above = {folder for path in left for folder in _above(path)}
    return tuple(
        hunk
        for hunk in kept
        if hunk.old_mode or not (hunk.path in above or any(folder in left for folder in _above(hunk.path)))
    )


def choose(hunks: Sequence[Hunk], names: Collection[str], *, listing: str) -> tuple[Hunk, ...]:
    """Return the hunks that a person named by their ids or the beginnings of these.

    Args:
        hunks: of the change in question. names: what was typed.
        listing: command that shows these hunks with their ids.

    Raises:
        UsageError: a name means none of them or several; nothing was chosen.
    """
    return tuple(hunk for name in dict.fromkeys(names) for hunk in [_choose_one(hunks, name, listing)])


def split_lines(data: bytes) -> list[bytes]:
    """Return the lines with their line feeds; only a last line may lack one."""
    lines = [line + b"\n" for line in data.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _above(path: str) -> list[str]:
    """Return the folders that a path is in."""
    return [path[:at] for at, letter in enumerate(path) if letter == "/"]


def _in_the_way(reader: TreeReader, tree: str, path: bytes) -> Iterator[bytes]:
    """Yield the files of a tree that cannot be there together with a file at this path."""
    there = reader.find(tree, path)
    if there is not None and there.is_tree:
        yield from (name for name, _ in reader.walk(there.id, path + b"/"))
    yield from (
        folder for folder in map(os.fsencode, _above(os.fsdecode(path))) if reader.find_leaf(tree, folder)
    )


def _read_sections(patch: bytes) -> Iterator[list[Lines]]:
    """Yield the hunks of each file of a patch without context; lines are counted, so content is never taken for more."""
    rows = patch.split(b"\n")
    found: list[Lines] | None = None
    at = 0
    while at < len(rows):
        head = _HEAD.match(rows[at])
        if rows[at].startswith(b"diff --git "):
            if found is not None:
                yield found
            found = []
        at += 1
        if head and found is not None:
            (old_start, old_count), (new_start, new_count) = (_read_range(head, 1), _read_range(head, 3))
            removed, at = _read_side(rows, at, old_count)
            added, at = _read_side(rows, at, new_count)
            found.append(Lines(old_start, new_start, removed, added))
    if found is not None:
        yield found


def _read_range(head: re.Match[bytes], group: int) -> tuple[int, int]:
    """Return how many lines are before the hunk and how many are in it; git names the line before an empty range."""
    start, count = int(head[group]), int(head[group + 1] or 1)
    return (start - 1 if count else start), count


def _read_side(rows: Sequence[bytes], at: int, count: int) -> tuple[bytes, int]:
    """Return the lines of one side of a hunk, and where the next row is."""
    side = b"".join(row[1:] + b"\n" for row in rows[at : at + count])
    at += count
    if count and rows[at].startswith(b"\\"):
        # "\\ No newline at end of file"
        return side[:-1], at + 1
    return side, at


def _choose_one(hunks: Sequence[Hunk], name: str, listing: str) -> Hunk:
    wanted = name if name.startswith("H-") else f"H-{name}"
    found = {hunk.id: hunk for hunk in hunks if hunk.id.startswith(wanted)}
    if wanted in found:
        return found[wanted]
    if len(found) == 1 and len(wanted) >= _SHORTEST + 2:
        return next(iter(found.values()))
    raise UsageError(
        f"{name} means {'several hunks' if found else 'no hunk'} of this change; nothing was changed",
        code="hunk.unknown",
        where=[f"{hunk.id} {hunk.path}" for hunk in found.values()],
        hint=f"list them: {listing}",
    )


def _merge_entry(
    chosen: Sequence[Hunk],
    old: TreeEntry | None,
    read: Callable[[str], bytes],
    write: Callable[[bytes], str],
) -> TreeEntry | None:
    mode, blob = (old.mode, old.id) if old else (0, "")
    for hunk in chosen:
        if hunk.old_id != blob or (_sets_mode(hunk) and hunk.old_mode != mode):
            raise StaleError(
                f"hunk {hunk.id} was made for another {hunk.path} than there is; nothing was changed",
                code="hunk.stale",
            )
    mode = next((hunk.new_mode for hunk in chosen if _sets_mode(hunk)), mode)
    blob = next((hunk.new_id for hunk in chosen if hunk.kind == "whole"), blob)
    lines = [hunk for hunk in chosen if hunk.kind == "lines"]
    if lines:
        blob = write(apply_lines(read(blob), lines))
    return TreeEntry(mode, blob) if mode else None


def _sets_mode(hunk: Hunk) -> bool:
    """Tell whether the mode is what the hunk is about, and not only the bytes of a regular file."""
    return hunk.kind == "mode" or (hunk.kind == "whole" and not {hunk.old_mode, hunk.new_mode} <= _REGULAR)


def _cut(difference: Difference, lines: Sequence[Lines]) -> Iterator[Hunk]:
    """Yield the hunks of one path."""
    modes = difference.old_mode, difference.new_mode
    if not set(modes) <= _REGULAR:
        yield _make(difference, "whole", *modes, Lines(0, 0, b"", b""), 0)
        return
    if difference.old_id != difference.new_id and not lines:
        # Binary, or too large to be looked at by lines; the executable bit is still a question of its own.
        yield _make(difference, "whole", modes[0], modes[0], Lines(0, 0, b"", b""), 0)
    seen: Counter[tuple[bytes, bytes]] = Counter()
    for each in lines:
        yield _make(difference, "lines", modes[0], modes[0], each, seen[each.removed, each.added])
        seen[each.removed, each.added] += 1
    if modes[0] != modes[1]:
        yield _make(difference, "mode", *modes, Lines(0, 0, b"", b""), 0)


def _make(
    difference: Difference, kind: HunkKind, old_mode: int, new_mode: int, lines: Lines, number: int
) -> Hunk:
    """Make a hunk; ``number`` tells apart those that do the same to the same file."""
    said = [difference.path, kind.encode(), b"%o %o %d" % (old_mode, new_mode, number)]
    said += [lines.removed, lines.added] if kind == "lines" else []
    said += [difference.old_id.encode(), difference.new_id.encode()] if kind == "whole" else []
    digest = hashlib.sha256(b"".join(b"%d:%s" % (len(each), each) for each in said)).hexdigest()
    return Hunk(
        id=f"H-{digest[:_DIGITS]}",
        path=os.fsdecode(difference.path),
        kind=kind,
        old_mode=old_mode,
        new_mode=new_mode,
        old_id=difference.old_id,
        new_id=difference.new_id,
        old_start=lines.old_start,
        new_start=lines.new_start,
        removed=lines.removed,
        added=lines.added,
    )
