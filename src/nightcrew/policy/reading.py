"""A policy document whose shape may be wrong, asked for values: what has the wrong type was reported and is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place, Problem
from nightcrew.model.yamltext import Document, YamlPath, name_path
from nightcrew.policy.globs import check_glob
from nightcrew.policy.linear import CannotMatch, compile_linear
from nightcrew.policy.rules import Example, Placed

WORDS: Final[Mapping[str, Verdict]] = {
    "allow": Verdict.ALLOW,
    "ask": Verdict.ASK,
    "prompt": Verdict.ASK,
    "deny": Verdict.DENY,
}
"""Decisions as they may be written."""


@dataclass
class Reading:
    """A document and what was found wrong in it.

    Attributes:
        document: as read. problems: what is wrong is added here.
        ceiling: the document belongs to the owner of the machine: inner layers may only tighten it.
        ids: id of a rule → where it stands.
    """

    document: Document
    problems: list[Problem]
    ceiling: bool = False
    ids: dict[str, Place] = field(default_factory=dict)

    def at(self, *path: str | int) -> Any:
        """Return the value at a path, None when there is none."""
        value = self.document.value
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part] if part < len(value) else None
            else:
                return None
        return value

    def complain(self, path: YamlPath, message: str, hint: str = "", *, key: bool = False) -> None:
        """Note a problem at a value, or at its key."""
        place = self.document.key_place(*path) if key else self.document.place(*path)
        self.problems.append(Problem(place, f"{name_path(path)}{message}", hint))

    def text(self, *path: str | int) -> str:
        """Return a text, empty when it is none."""
        value = self.at(*path)
        return value if isinstance(value, str) else ""

    def texts(self, *path: str | int) -> tuple[str, ...]:
        """Return a list of texts, or the one text that stands for it."""
        value = self.at(*path)
        if isinstance(value, str):
            return (value,)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()

    def verdict(self, *path: str | int) -> Verdict | None:
        """Return a decision, None when there is none."""
        return WORDS.get(self.text(*path))

    def names(self, *block: str) -> tuple[str, ...]:
        """Return the keys of a mapping."""
        value = self.at(*block)
        return tuple(name for name in value if isinstance(name, str)) if isinstance(value, dict) else ()

    def items(self, *block: str) -> Iterator[tuple[YamlPath, Mapping[str, Any]]]:
        """Yield the mappings of a list, each with its path."""
        value = self.at(*block)
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, dict):
                yield (*block, index), item

    def check_glob(self, glob: str, path: YamlPath) -> None:
        """Note what is wrong with a glob."""
        wrong = check_glob(glob)
        if wrong:
            self.complain(path, f"bad glob {glob!r}: {wrong}")

    def check_regex(self, path: YamlPath) -> None:
        """Note what is wrong with a regular expression."""
        pattern = self.text(*path)
        if not pattern:
            return
        try:
            compile_linear(pattern)
        except CannotMatch as error:
            at = f" (at {pattern[error.at : error.at + 20]!r})" if error.at >= 0 else ""
            self.complain(path, f"bad regular expression: {error}{at}", error.hint)

    def take_id(self, name: str, path: YamlPath, *, key: bool = False) -> None:
        """Note the id of a rule; a second rule of that id in one file is a slip."""
        place = self.document.key_place(*path) if key else self.document.place(*path)
        first = self.ids.setdefault(name, place)
        if first != place:
            self.complain(path, f"a rule {name!r} stands already in line {first.line}", key=key)

    def put(self, found: dict[str, Placed[Any]], path: YamlPath, value: Any, *, name: str = "") -> None:
        """Add a single value under its dotted name (or another), with its place."""
        known = name or ".".join(map(str, path))
        if known in found:
            self.complain(path, f"says {known} again (line {found[known].place.line})", key=True)
        found[known] = Placed(value, self.document.key_place(*path), self.ceiling)

    def examples(self, path: YamlPath) -> tuple[Example, ...]:
        """Return the examples of a rule."""
        found = []
        for name, matches in (("match", True), ("not_match", False)):
            for index, text in enumerate(self.texts(*path, "examples", name)):
                found.append(Example(text, matches, self.document.place(*path, "examples", name, index)))
        return tuple(found)
