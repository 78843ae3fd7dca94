"""The part of git's index that remembers tree ids of whole directories (extension ``TREE``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TreeIds = tuple[bytes, bytes]
"""Ids of a directory's tree before and after, empty where it does not exist."""


def forget(content: bytes, id_bytes: int, changed: Iterable[bytes]) -> bytes:
    """Return the extension without the ids of directories in which something changed; see ``renew``."""
    return renew(content, id_bytes, dict.fromkeys(changed, 0), {})


def renew(
    content: bytes, id_bytes: int, changed: Mapping[bytes, int], trees: Mapping[bytes, TreeIds]
) -> bytes:
    """Return the extension with the new ids of directories in which something changed, without those that are not known.

    Git finds those anew when it needs them; it keeps the ids of all others and need not look into them, which is
    what makes ``git status`` and ``git commit`` quick in a large repository.

    Args:
        content: for each directory, before those in it: name, NUL, number of entries (-1: not known), space,
            number of directories in it, line feed, and the tree id when it is known.
        changed: by how many entries there are more, for each path: 1 added, 0 changed, -1 taken out.
        trees: ids by directory, with a slash at its end, the topmost empty. An id is put in the place of the one before it and
            of no other: where the index had something else than that tree, nobody knows what it has now.
    """
    touched = _directories_of(changed)
    # Above what comes, goes or is not known, nothing is known either.
    odd = [name[:-1] for name in (*touched, *trees) if name and not all(trees.get(name, (b"", b"")))]
    unsure = _directories_of(odd) if odd else {}
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
            pieces.append(content[kept_from : name_end + 1])
            old, new = trees.get(path, (b"", b"")) if path not in unsure else (b"", b"")
            if old and new and content[line_end + 1 : after] == old:
                pieces += b"%d " % (int(count) + touched[path]), below + b"\n" + new
            else:
                pieces.append(b"-1 " + below + b"\n")
            kept_from = after
        at = after
        way = _step(way, path, int(below))
    return b"".join([*pieces, content[kept_from:]])


def root_of(content: bytes, id_bytes: int, count: int) -> str:
    """Return the id of the topmost tree, empty when it is not known; ``count`` is how many entries the index has."""
    line_end = content.find(b"\n", 0, 64)
    if line_end < 0 or content.startswith(b"\0-1 ") or not counts(content, count):
        return ""
    return content[line_end + 1 : line_end + 1 + id_bytes].hex()


def counts(content: bytes, count: int) -> bool:
    """Tell whether what is remembered is of so many entries, or does not say; else a program that does not know it left it behind."""
    return content.startswith((b"\0%d " % count, b"\0-1 "))


def _step(way: list[tuple[bytes, int]], path: bytes, below: int) -> list[tuple[bytes, int]]:
    """Go into a directory, and out of those that have no more to come."""
    if way:
        way[-1] = (way[-1][0], way[-1][1] - 1)
    way.append((path, below))
    while way and way[-1][1] == 0:
        way.pop()
    return way


def _directories_of(paths: Mapping[bytes, int] | Iterable[bytes]) -> dict[bytes, int]:
    """Return every directory above the paths, with a slash at its end, the topmost empty; and the sum of what is in it."""
    found: dict[bytes, int] = {b"": 0}
    for path in paths:
        number = paths[path] if isinstance(paths, Mapping) else 0
        directory = path.rpartition(b"/")[0]
        found[b""] += number
        while directory and (number or directory + b"/" not in found):
            found[directory + b"/"] = found.get(directory + b"/", 0) + number
            directory = directory.rpartition(b"/")[0]
    return found
