"""Rule files of a tree (``.gitignore``, ``.gitattributes``), laid out where git can read them for a moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from nightcrew.checkpoint.objects import MODE_EXECUTABLE, MODE_FILE
from nightcrew.checkpoint.trees import TreeReader


def find_rules(
    reader: TreeReader, read: Callable[[str], bytes], tree: str, name: bytes, paths: Iterable[bytes]
) -> dict[bytes, bytes]:
    """Return the content of every rule file of a tree that could speak about one of the paths, by directory.

    The cost is that of the directories above the paths. A rule file that is a symbolic link does not count, as git
    does not follow it either.
    """
    found: dict[bytes, bytes] = {}
    for directory in {parent for path in paths for parent in _parents(path)}:
        entry = reader.find(tree, directory + b"/" + name if directory else name)
        if entry is not None and entry.mode in (MODE_FILE, MODE_EXECUTABLE):
            found[directory] = read(entry.id)
    return found


def lay_out(place: Path, name: bytes, rules: Mapping[bytes, bytes]) -> None:
    """Write rule files below a new directory."""
    place.mkdir()
    for directory, content in rules.items():
        target = place / os.fsdecode(directory)
        target.mkdir(parents=True, exist_ok=True)
        (target / os.fsdecode(name)).write_bytes(content)


def _parents(path: bytes) -> Iterator[bytes]:
    """Yield every directory above a path, the top (empty) included."""
    while path:
        path = path.rpartition(b"/")[0]
        yield path
