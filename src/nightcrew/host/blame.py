"""Who brought a line into a file: ``git blame`` on the user's repository, and nothing of its configuration that runs programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from nightcrew.host.git import Git, GitError
from nightcrew.model.errors import NotFound, UsageError

_TIMEOUT_S: Final = 60.0
_NOBODY: Final = "0" * 40
_MOVES: Final = ("-M15", "-C20")
"""Letters and digits that a moved piece must have to be known again; git's own 40 would lose a single line, and a short one stands in many places."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file.

    Attributes:
        number, text: as it stands in the working tree.
        commit: the one that brought it; empty when it is not committed.
        path, original: the file and line number it had there.
        author, at, summary: of the commit; ``at`` in seconds since 1970.
    """

    number: int
    text: str
    commit: str
    path: str
    original: int
    author: str
    at: int
    summary: str


def blame(git: Git, path: str, *, first: int = 0, last: int = 0) -> list[Line]:
    """Return the lines of a file, each with the commit that brought it, through moves inside of the file and out of others.

    Args:
        git: on the user's repository. path: relative to its root. first, last: only these lines; 0 for all.

    Raises:
        NotFound: git does not know the file.
        UsageError: it has no such lines.
    """
    span = [f"-L{first},{last or first}"] if first else []
    # Commits that somebody wants passed over are told all the same: who brought a line is no matter of taste.
    all_of_them = ("--ignore-revs-file=",)
    try:
        # No textconv: an attribute of the repository must not choose a program to start.
        done = git.run(
            *("blame", "--porcelain", "--no-textconv", *all_of_them, *_MOVES, *span, "--", path),
            timeout_s=_TIMEOUT_S,
        )
    except GitError as error:
        raise _explain(error, path) from error
    return list(_read(done.stdout))


def _explain(error: GitError, path: str) -> Exception:
    if "has only" in error.stderr or "invalid -L" in error.stderr:
        return UsageError(f"{path} has no such line: {error.stderr.splitlines()[0]}", code="blame.line")
    if "no such path" in error.stderr or "cannot stat" in error.stderr:
        return NotFound(
            f"git does not know {path}",
            code="blame.path",
            hint="a file that was never added to git has no history; that of a submodule is asked for inside of it",
        )
    return error


def _read(data: bytes) -> Iterator[Line]:
    known: dict[str, dict[str, str]] = {}
    commit, original, number = "", 0, 0
    for raw in data.split(b"\n"):
        text = os.fsdecode(raw)
        if text.startswith("\t"):
            about = known[commit]
            own = commit == _NOBODY
            yield Line(
                number=number,
                text=text[1:],
                commit="" if own else commit,
                path=_unquote(about["filename"]),
                original=original,
                author="" if own else about.get("author", ""),
                at=int(about.get("author-time", "0")),
                summary="" if own else about.get("summary", ""),
            )
            commit = ""
        elif not commit and text:
            words = text.split(" ")
            commit, original, number = words[0], int(words[1]), int(words[2])
            known.setdefault(commit, {})
        elif text:
            key, _, value = text.partition(" ")
            known[commit][key] = value


def _unquote(name: str) -> str:
    """Return a name that git may have quoted like a C string."""
    if not (name.startswith('"') and name.endswith('"')):
        return name
    plain = name[1:-1].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
    return os.fsdecode(plain)
