"""What a command line comes to: program starts, paths written, and what cannot be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from nightcrew.policy.lines.words import Word, join_words

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801  (it is used like property)
    """A property that is computed once; as ``cached_property``, without the lock that Python 3.11 takes every time."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> T:
        value = instance.__dict__[self.name] = self.make(instance)
        return value


@dataclass(frozen=True, slots=True)
class Stdin:
    """Where a command reads from.

    Attributes:
        kind: ``none`` (inherited), ``pipe``, ``text`` (here-document or here-string) or ``file``.
        text: what it reads, as far as it is known: the document, or what the programs before the pipe were given.
        exact: ``text`` is exactly what it will read.
    """

    kind: Literal["none", "pipe", "text", "file"] = "none"
    text: str = ""
    exact: bool = False


NO_STDIN = Stdin()


@dataclass(frozen=True)
class Start:
    """One program that the line starts, wrappers taken off.

    Attributes:
        program: its name without folder; empty when it is not known.
        words: the program as written and its arguments (git's own global options removed).
        via: wrappers that start it, outermost first.
        stdin: what it reads.
        opaque: why it, or what it does, is not known before it runs; empty when it is.
    """

    program: str
    words: tuple[Word, ...]
    via: tuple[str, ...] = ()
    stdin: Stdin = NO_STDIN
    opaque: str = ""

    @once
    def effective(self) -> str:
        """The command as it could be typed, without wrappers."""
        if self.program and self.words and self.words[0].text != self.program:
            return join_words((Word(self.program), *self.words[1:]))
        return join_words(self.words)

    @once
    def subcommands(self) -> frozenset[str]:
        """Every first word and pair of words that may be its subcommand.

        A word behind an option may be the option's value, so the one after it counts too: ``npm --prefix x install``.
        """
        found: set[str] = set()
        plain = [n for n, w in enumerate(self.words) if n and not w.text.startswith("-")]
        for place, number in enumerate(plain):
            found.add(self.words[number].text)
            if place + 1 < len(plain):
                found.add(f"{self.words[number].text} {self.words[plain[place + 1]].text}")
            if not self.words[number - 1].text.startswith("-"):
                break
        return frozenset(found)

    @once
    def text(self) -> str:
        """Everything it is given: its words and what it reads."""
        words = " ".join(w.text for w in self.words)
        return f"{words}\n{self.stdin.text}" if self.stdin.text else words


Do = Literal["write", "delete", "chmod", "symlink"]


@dataclass(frozen=True, slots=True)
class Effect:
    """A path that the line writes, deletes or changes: relative to the repository, or ``//`` and outside of it."""

    do: Do
    path: str


@dataclass(frozen=True, slots=True)
class Line:
    """All of a command line."""

    starts: tuple[Start, ...] = ()
    effects: tuple[Effect, ...] = ()

    @property
    def opaque(self) -> tuple[str, ...]:
        """Why parts of it cannot be known, each reason once."""
        return tuple(dict.fromkeys(s.opaque for s in self.starts if s.opaque))
