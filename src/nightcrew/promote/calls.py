"""Which files of the working tree the scripts start that git's hooks and settings start: calls followed from file to file.

Read as they lie there, not run: what stands behind an interpreter or ``source``, what can be executed and is named by a path, and
what is called like a script. Bounded in depth and number; imports of a language are not followed, and no names put together.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

DEPTH: Final = 4
"""Files one behind the other, the one that a hook names counted."""
FILES: Final = 100
"""So many are read."""
BYTES: Final = 1 << 16
"""Of each as much is read; one that is larger is no script."""
WORDS: Final = 1000
"""Of each so many words are looked up, those that are said to be started first; a file of names would take minutes."""

_WORD: Final = r"(?P<word>[^\s\"';&|()<>`]{1,512})"
_STARTED: Final = re.compile(
    r"(?:^|[\s;&|({`\"'@])(?:source|\.|exec|(?:ba|z|da|k)?sh|python[0-9.]*|node|deno|bun|ruby|perl|php)[ \t]+"
    rf"(?:(?:-[\w=-]+|run)[ \t]+){{0,4}}[\"']?{_WORD}",
    re.MULTILINE,
)
_MODULE: Final = re.compile(r"\s-m[\s'\"]+([A-Za-z_][\w.]*)")
_BETWEEN: Final = re.compile(r"[\s;&|(){}'\"`$=<>\\,\[\]@]+")
_SCRIPT: Final = re.compile(r".+\.(?:sh|bash|zsh|ksh|py|rb|pl|php|js|mjs|cjs|ts|mk)\Z")
_BUILDS: Final = (
    (re.compile(r"(?:^|[\s;&|({`\"'@])g?make\b", re.MULTILINE), ("Makefile", "makefile", "GNUmakefile")),
    (re.compile(r"(?:^|[\s;&|({`\"'@])(?:npm|pnpm|yarn|bun)[ \t]", re.MULTILINE), ("package.json",)),
    (re.compile(r"(?:^|[\s;&|({`\"'@])just\b", re.MULTILINE), ("justfile", "Justfile", ".justfile")),
)

Resolve = Callable[[str, Iterable[str]], Iterator[str]]


def follow_calls(
    root: str, named: Collection[str], texts: Iterable[str], paths: Collection[str], resolve: Resolve
) -> dict[str, str]:
    """Return the paths that are reached by way of others, each with the files on the way to it, in words.

    Args:
        root: of the working tree.
        named: paths relative to it that git or a hook names itself.
        texts: of hooks and settings: the builds that they start are read too.
        paths: those that may be new, and so not lie there yet.
        resolve: yields the paths in the working tree that a word may mean from some folders.
    """
    changed = set(paths)
    reached: dict[str, str] = {}
    chains = {path: path for path in sorted(named)}
    for text in texts:
        chains |= {name: name for name in _builds(text) if Path(root, name).is_file()}
    read = 0
    for _ in range(DEPTH - 1):
        found: dict[str, str] = {}
        for path, chain in chains.items():
            text = _read(Path(root, path)) if read < FILES else ""
            read += bool(text)
            folder = str(Path(root, path).parent)
            for word, started in islice(_words(text), WORDS):
                for place in resolve(word, (root, folder)):
                    known = place in named or place in reached or place in found or place == path
                    if not known and _counts(f"{root}/{place}", word, started, place in changed):
                        found[place] = (
                            f"{chain} starts {place}" if chain == path else f"{chain}, which starts {place}"
                        )
        reached |= found
        chains = found
    return reached


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield what may name a file, and whether something is said to start it."""
    started = {match["word"].strip("${}") for match in _STARTED.finditer(text)}
    # `$(dirname "$0")/x` and `$here/x`: the rest of a word whose beginning a shell would put in.
    started |= {word.partition("}")[2] or word.partition("/")[2] for word in started if "/" in word}
    modules = {each.replace(".", "/") for each in _MODULE.findall(text)}
    started |= {f"{each}{end}" for each in modules for end in (".py", "/__main__.py")}
    started |= set(_builds(text))
    yield from ((word, True) for word in sorted(started) if word)
    for word in dict.fromkeys(_BETWEEN.split(text)):
        if word not in started and ("/" in word or _SCRIPT.match(word)):
            yield word, False


def _builds(text: str) -> Iterator[str]:
    for pattern, names in _BUILDS:
        if pattern.search(text):
            yield from names


def _counts(place: str, word: str, started: bool, changed: bool) -> bool:
    """Tell whether a word that may mean this file is a call of it."""
    try:
        mode = os.stat(place).st_mode  # noqa: PTH116 - tens of thousands of them
    except (OSError, ValueError):
        return changed and (started or _SCRIPT.match(word) is not None or "/" in word)
    if not stat.S_ISREG(mode):
        return False
    return started or _SCRIPT.match(word) is not None or ("/" in word and bool(mode & stat.S_IXUSR))


def _read(place: Path) -> str:
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            return ""
        with place.open("rb") as file:
            content = file.read(BYTES)
    except (OSError, ValueError):
        return ""  # not there yet, or not for us to read
    return "" if b"\0" in content else os.fsdecode(content)
