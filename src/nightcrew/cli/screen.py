"""How things look: data goes to stdout, talk to stderr, colour only where a person looks."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from typing import IO, Any, Final, TextIO

from nightcrew.model.text import shown

_CODES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
}
_VERB_WIDTH: Final = 12
_LINES: Final = "\n\t"

STATE_STYLE: Final = {
    "succeeded": "green",
    "verified": "green",
    "promoted": "green",
    "published": "green",
    "approved": "green",
    "accepted": "green",
    "in_review": "green",
    "ok": "green",
    "running": "cyan",
    "failed": "red",
    "denied": "red",
    "rejected": "red",
    "blocked": "yellow",
    "unverified": "yellow",
    "awaiting_approval": "yellow",
    "awaiting_answer": "yellow",
    "interrupted": "yellow",
    "paused": "yellow",
    "warn": "yellow",
    "cancelled": "yellow",
    "expired": "yellow",
    "skipped": "dim",
    "pending": "dim",
}


@dataclass(frozen=True)
class Screen:
    """Where and how one command prints.

    Attributes:
        json: machine-readable output is wanted on stdout.
        color: colours are allowed at all.
        columns: forced width, 0 to ask the terminal.
        quiet: only results, warnings and errors are wanted; what cannot be seen is not asked about either.
        may_ask: a person may be asked at all.
    """

    json: bool = False
    color: bool = True
    columns: int = 0
    quiet: bool = False
    may_ask: bool = True

    @property
    def width(self) -> int:
        """Width of the text in characters; 100 where there is no terminal."""
        return self.columns or min(shutil.get_terminal_size((100, 24)).columns, 160)

    @property
    def room(self) -> int:
        """Width that data should fit in; 0 where nobody looks at it in a window, and nothing must be left out."""
        return self.width if sys.stdout.isatty() else 0

    @property
    def interactive(self) -> bool:
        """A person can be asked: on a terminal, no machine reads us, and nobody said not to."""
        return self.has_terminal and not self.json

    @property
    def has_terminal(self) -> bool:
        """Something can be typed: stdin and stderr are terminals, and nobody said not to ask."""
        return self.may_ask and not self.quiet and sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def redraws(self) -> bool:
        """Progress can be drawn over itself: a terminal that takes control codes, and somebody who wants to see it."""
        return self.color and not self.quiet and sys.stderr.isatty()

    def paint(self, text: str, style: str, stream: IO[str] | None = None) -> str:
        """Return ``text`` in a style when its stream (stderr by default) is a terminal."""
        target = sys.stderr if stream is None else stream
        if not style or not self.color or not target.isatty():
            return text
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def state(self, text: str, width: int = 0) -> str:
        """Return a state in its colour for stdout, padded to ``width``."""
        return self.paint(text.ljust(width), STATE_STYLE.get(text, ""), sys.stdout)

    def verb(self, word: str, text: str, style: str = "green") -> None:
        """Say on stderr what happened: a right-aligned verb and the rest, which may be anybody's words."""
        self.say(f"{self.paint(word.rjust(_VERB_WIDTH), f'bold {style}')}  {hanging(text, _VERB_WIDTH + 2)}")

    def warn(self, text: str) -> None:
        """Say on stderr what a person should notice."""
        self.tell(f"{self.paint('warning:', 'bold yellow')} {hanging(text, 9)}")

    def hint(self, text: str) -> None:
        """Say on stderr what to do next."""
        self.say(f"{self.paint('hint:'.rjust(6), 'cyan')} {hanging(text, 7)}")

    def say(self, text: str) -> None:
        """Print a line on stderr, unless only results are wanted."""
        if not self.quiet:
            self.tell(text)

    def tell(self, text: str) -> None:
        """Print a line on stderr that is never left out."""
        sys.stdout.flush()
        print(printable(text, sys.stderr), file=sys.stderr, flush=True)

    def data(self, text: str) -> None:
        """Print text on stdout."""
        print(printable(text, sys.stdout), flush=True)

    def emit(self, value: Any) -> None:
        """Print a value as JSON on stdout: indented for a person, always ASCII so that every byte survives."""
        print(json.dumps(value, indent=2, ensure_ascii=True), flush=True)

    def emit_line(self, value: Any) -> None:
        """Print a value as one line of JSON."""
        print(json.dumps(value, ensure_ascii=True, separators=(",", ":")), flush=True)


def hanging(text: str, indent: int) -> str:
    """Return anybody's words safe for a terminal; a further line of them, indented, is never taken for one of ours."""
    return shown(text, keep=_LINES).replace("\n", "\n" + " " * indent)


def printable(text: str, stream: TextIO) -> str:
    """Return text that the stream can encode; what it cannot is shown as an escape."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def table(
    rows: list[list[str]], *, header: list[str] | None = None, indent: str = "", pad: bool = False
) -> list[str]:
    """Return rows as aligned lines; the last column is padded only where it is asked for. Widths ignore colour codes."""
    everything = ([header] if header else []) + rows
    if not everything:
        return []
    widths = [max(visible(row[i]) for row in everything if i < len(row)) for i in range(len(everything[0]))]
    lines = [_line(row, widths) for row in everything]
    return [indent + (line if pad else line.rstrip()) for line in lines]


def _line(row: list[str], widths: list[int]) -> str:
    return "  ".join(cell + " " * (widths[i] - visible(cell)) for i, cell in enumerate(row))


def visible(text: str) -> int:
    """Return how many characters of a text are seen: colour codes are not."""
    length, inside = 0, False
    for character in text:
        if character == "\x1b":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            length += 1
    return length


def short_branch(promotion: dict[str, Any]) -> str:
    """Return the name of a promotion's branch as people say it."""
    return str(promotion["branch"]).removeprefix("refs/heads/")
