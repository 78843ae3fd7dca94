"""Globs on paths with the meaning of .gitignore: the last one that matches decides, ``!`` opens again.

Paths are as in the rest of the product: relative to the repository without a leading ``/``. A path that begins with
``//`` is outside of it (``//dev/sda``); globs that begin with ``//`` are about those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

# pathspec's expressions use `.`, which does not match a line feed; a name may hold one and must not slip through.
_NEWLINE_STANDS_FOR = "\x1a"
#: Expressions try every way to share a path out among what is left open: with the power of how much that is.
_MOST = 4
_STARS = re.compile(r"\*+")
_GROUP_NAME = re.compile(r"\(\?P<\w+>")


def check_glob(glob: str) -> str:
    """Return what is wrong with a glob, in words; empty when it is fine."""
    plain = glob.removeprefix("!")
    if not plain.strip("/ "):
        return "an empty glob matches nothing"
    if plain.startswith(("./", "../")) or "/../" in plain or plain in (".", ".."):
        return "globs are relative to the repository; ./ and ../ never match"
    if plain.split("/").count("**") > _MOST or any(_count_stars(part) > _MOST for part in plain.split("/")):
        return (
            f"more than {_MOST} of * in one name, or of **/: telling whether a path matches could take hours"
        )
    if plain.startswith("#"):
        return "a glob that begins with # is a comment; write \\#"
    try:
        _compile([_strip_root(glob)])
    except ValueError as error:
        return str(error)
    return ""


def _count_stars(part: str) -> int:
    """Return how many pieces of a name are left open."""
    return len(_STARS.findall(part))


def _strip_root(glob: str) -> str:
    return glob.replace("//", "/", 1) if glob.startswith(("//", "!//")) else glob


def _compile(patterns: Sequence[str]) -> Any:
    from pathspec import GitIgnoreSpec

    # Its other engines, which it takes by itself where they are installed, fail at names that are not UTF-8.
    return GitIgnoreSpec.from_lines(
        [p.replace("\n", _NEWLINE_STANDS_FOR) for p in patterns], backend="simple"
    )


class Globs:
    """Several globs, compiled."""

    __slots__ = ("_ignore_case", "_inside", "_maybe_inside", "_maybe_outside", "_outside", "patterns")

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = False) -> None:
        self.patterns = tuple(p.lower() if ignore_case else p for p in patterns)
        self._ignore_case = ignore_case
        rooted = [p.startswith(("//", "!//")) for p in self.patterns]
        # A glob of the other sort keeps its number by standing as a comment, which matches nothing.
        self._inside = _compile(["#" if r else p for p, r in zip(self.patterns, rooted, strict=True)])
        self._outside = _compile(
            [_strip_root(p) if r else "#" for p, r in zip(self.patterns, rooted, strict=True)]
        )
        self._maybe_inside = _any_of(self._inside)
        self._maybe_outside = _any_of(self._outside)

    def find(self, path: str) -> int | None:
        """Return the number of the glob that catches ``path``, None when none does or the last one opens it again.

        A path outside the repository (``//x``) is caught by ``//`` globs and by those that match at any depth.
        """
        if not self.patterns:
            return None
        if self._ignore_case:
            path = path.lower()
        path = path.replace("\n", _NEWLINE_STANDS_FOR)
        if path.startswith("//") and self._maybe_outside(_as_matched(path[2:])):
            found = self._outside.check_file(path[2:])
            if found.include:
                return _number(found.index)
        inside = path.lstrip("/")
        if not self._maybe_inside(_as_matched(inside)):
            return None
        found = self._inside.check_file(inside)
        return _number(found.index) if found.include else None

    def matches(self, path: str) -> bool:
        """Tell whether ``path`` is caught."""
        return self.find(path) is not None


def _any_of(spec: Any) -> Callable[[str], object]:
    """Return a test that fails only where no pattern of a spec includes a path: one expression in place of many."""
    texts = [each.regex.pattern for each in spec.patterns if each.include]
    # Names of groups are there for pathspec's own bookkeeping, and may stand only once in one expression.
    return re.compile("|".join(_GROUP_NAME.sub("(", text) for text in texts) or r"(?!)").search


def _as_matched(path: str) -> str:
    """Return a path as pathspec gives it to its expressions."""
    return path[1:] if path.startswith("/") else path.removeprefix("./")


def _number(index: int | None) -> int:
    return index if index is not None else 0
