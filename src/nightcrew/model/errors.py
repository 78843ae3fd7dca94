"""Every error a person can meet, and the exit code its kind stands for.

NightcrewError                 something a person must read; carries code, exit, where, hint
├── UsageError            2    bad input: unknown option value, bad tasks file, bad settings
│   ├── InvalidInput      2    a file with problems, each at file:line:column
│   └── ShellSyntaxError  2    a command line that bash would not accept
├── NotFound              3    no such id, file or repository
├── NotAuthenticated      4    a factor is missing or wrong
├── WaitingForHuman       5    nothing was done; a person must decide first
├── DeniedByPolicy        6    a rule says no
├── StaleError            7    what was shown is not what is there any more
│   └── DriftError        7    the user's repository moved under a promotion or undo
├── LimitReached          8    a hard limit or a budget
├── EngineUnavailable     9    another process holds the engine, or the database is gone
├── TasksFailed          10    the run finished, some tasks did not succeed
├── SandboxUnavailable   11    the host cannot give the required isolation
└── JournalDamaged       12    the hash chain does not verify
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes; scripts may rely on them, an unknown code means failure."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    AUTHENTICATION = 4
    WAITING = 5
    DENIED = 6
    STALE = 7
    LIMIT = 8
    ENGINE = 9
    TASKS_FAILED = 10
    ISOLATION = 11
    JOURNAL = 12
    INTERNAL = 70
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a text a person can open: file, line and column, counted from 1 (0: unknown)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file]
        if self.line:
            parts.append(str(self.line))
            if self.column:
                parts.append(str(self.column))
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place, with what would mend it."""

    place: Place
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class NightcrewError(Exception):
    """Base of all errors written for a person.

    Args:
        message: what happened, in one sentence.
        code: stable dotted name that scripts can match.
        where: further lines: places, ids, what was left untouched.
        hint: what to do next, as a command where there is one.
    """

    exit: Exit = Exit.FAILED
    default_code: str = "failed"

    def __init__(self, message: str, *, code: str = "", where: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.where = tuple(where)
        self.hint = hint


class UsageError(NightcrewError):
    """The input cannot be used as it is; nothing was done."""

    exit = Exit.USAGE
    default_code = "usage"


class InvalidInput(UsageError):
    """A file has problems; all of them are listed, nothing was done.

    ``texts`` are the files by name, where they are at hand, so that each problem can be shown with its line.
    """

    default_code = "input.invalid"

    def __init__(
        self,
        message: str,
        problems: Sequence[Problem],
        *,
        hint: str = "",
        texts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, where=[str(p) for p in problems], hint=hint)
        self.problems = tuple(problems)
        self.texts = dict(texts or {})


class ShellSyntaxError(UsageError):
    """A command line that bash would not accept; ``line`` and ``column`` are counted from 1."""

    default_code = "shell.syntax"

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class NotFound(NightcrewError):
    """The id, file or repository does not exist."""

    exit = Exit.NOT_FOUND
    default_code = "not_found"


class NotAuthenticated(NightcrewError):
    """A second factor or token is missing or wrong."""

    exit = Exit.AUTHENTICATION
    default_code = "auth"


class WaitingForHuman(NightcrewError):
    """A person must decide before anything goes on."""

    exit = Exit.WAITING
    default_code = "waiting"


class DeniedByPolicy(NightcrewError):
    """A policy rule forbids it."""

    exit = Exit.DENIED
    default_code = "denied"


class StaleError(NightcrewError):
    """What was shown is not what is there any more; nothing was changed."""

    exit = Exit.STALE
    default_code = "stale"


class DriftError(StaleError):
    """The user's repository moved, or holds edits that overlap; nothing was changed."""

    default_code = "drift"


class LimitReached(NightcrewError):
    """A hard limit or a budget stopped it."""

    exit = Exit.LIMIT
    default_code = "limit"


class EngineUnavailable(NightcrewError):
    """Another process hosts the engine, or the database cannot be used."""

    exit = Exit.ENGINE
    default_code = "engine"


class TasksFailed(NightcrewError):
    """The run is finished and some of its tasks did not succeed."""

    exit = Exit.TASKS_FAILED
    default_code = "run.tasks_failed"


class SandboxUnavailable(NightcrewError):
    """The host cannot give the isolation that is required; nothing was started."""

    exit = Exit.ISOLATION
    default_code = "isolation"


class JournalDamaged(NightcrewError):
    """The journal does not verify; the first bad record is named."""

    exit = Exit.JOURNAL
    default_code = "journal"
