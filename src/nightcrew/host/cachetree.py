"""The part of git's index that remembers tree ids of whole directories (extension ``TREE``)."""

from __future__ import annotations

from collections.abc import Iterable


def forget(content: bytes, id_bytes: int, changed: Iterable[bytes]) -> bytes:
    """Return the extension without the ids of directories in which something changed.

    Git finds those anew when it needs them; it keeps the ids of all others and need not look into them, which is
    what makes ``git status`` and ``git commit`` quick in a large repository.

    Args:
        content: for each directory, before those in it: name, NUL, number of entries (-1: not known), space,
            number of directories in it, line feed, and the tree id when it is known.
        changed: paths that were added, changed or taken out.
    """
    touched = _directories_of(changed)
    pieces: list[bytes] = []
    # The directories we are in, outermost first, each with how many below it are still to come.
    way: list[tuple[bytes, int]] = []
    at = kept_from = 0
    while at < len(content):
        name_end = content.index(0, at)
        line_end = content.index(b"\n", name_end)
        count, below = content[name_end + 1 : line_end].split(b" ")
        after = line_end + 1 + (0 if count == b"-1" else id_bytes)
        path = way[-1][0] + content[at:name_end] + b"/" if way else b""
        if path in touched and count != b"-1":
            pieces += content[kept_from : name_end + 1], b"-1 " + below + b"\n"
            kept_from = after
        at = after
        way = _step(way, path, int(below))
    return b"".join([*pieces, content[kept_from:]])


def _step(way: list[tuple[bytes, int]], path: bytes, below: int) -> list[tuple[bytes, int]]:
    """Go into a directory, and out of those that have no more to come."""
    if way:
        way[-1] = (way[-1][0], way[-1][1] - 1)
    way.append((path, below))
    while way and way[-1][1] == 0:
        way.pop()
    return way


def _directories_of(paths: Iterable[bytes]) -> set[bytes]:
    """Return every directory above the paths, with a slash at its end; the topmost is empty."""
    found: set[bytes] = {b""}
    for path in paths:
        directory = path.rpartition(b"/")[0]
        while directory and directory + b"/" not in found:
            found.add(directory + b"/")
            directory = directory.rpartition(b"/")[0]
    return found
