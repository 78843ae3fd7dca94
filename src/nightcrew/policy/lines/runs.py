"""What a program runs in turn, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.policy.lines.words import Word

Words = Sequence[Word]


@dataclass(frozen=True, slots=True)
class Script:
    """A text that a shell will run; ``arguments`` are its ``$1``.. when they are known."""

    text: Word
    arguments: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """What one start runs in turn.

    Attributes:
        commands: programs with their arguments.
        scripts: shell texts.
        assignments: ``NAME=value`` words set for them.
        opaque: why what it runs cannot be known; empty when it can.
        itself: the program itself counts as started (a wrapper that runs something does not).
        words: its own words when they are to be shown and matched in another form (git without global options).
    """

    commands: tuple[tuple[Word, ...], ...] = ()
    scripts: tuple[Script, ...] = ()
    assignments: tuple[str, ...] = ()
    opaque: str = ""
    itself: bool = True
    words: tuple[Word, ...] = ()
