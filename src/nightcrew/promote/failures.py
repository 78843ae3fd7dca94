"""What can go wrong while publishing, in words for a person."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from nightcrew.host.git import GitError
from nightcrew.model.errors import DriftError, LimitReached, NightcrewError
from nightcrew.model.text import count, shown
from nightcrew.promote.moves import PathMoved


def moved_meanwhile() -> DriftError:
    """Return the error for index or files that are not as they were when they were looked at."""
    return DriftError(
        "the working tree was changed while the promotion was being staged; nothing was changed by it",
        code="drift.meanwhile",
        hint="try again",
    )


def for_person(error: BaseException) -> BaseException:
    """Return what was raised as an error that a person understands, where it is known what that means."""
    if isinstance(error, PathMoved):
        return DriftError(
            f"{shown(error.path)} was changed at the same moment; nothing was changed by the promotion",
            code="drift.race",
            hint="try again",
        )
    if isinstance(error, GitError) and "No space left" in error.stderr:
        return explain_failure(OSError(errno.ENOSPC, ""))
    if isinstance(error, OSError):
        return explain_failure(error)
    return error


def name_left(error: NightcrewError, left: Sequence[str]) -> None:
    """Say in an error what could not be taken back, a line for each path: a person has edited it meanwhile."""
    error.where = (*error.where, *left)
    if "nothing was changed" in error.message:
        error.message += f", but {count(len(left), 'path')} could not be taken back"
        error.args = (error.message,)


def explain_failure(error: OSError, what: str = "nothing was changed") -> NightcrewError:
    """Return an error of the operating system as one for a person; ``what`` says how things stand."""
    where = [str(name) for name in (error.filename, error.filename2) if name]
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return LimitReached(
            f"the disk is full; {what}",
            code="promote.disk_full",
            where=where,
            hint="free some space, then try again",
        )
    hints = {
        errno.EXDEV: "a directory of the working tree is a mount of its own; promote there by hand",
        errno.EBUSY: "something is mounted on one of the paths",
        errno.EACCES: "make the directories of the promoted paths writable for you",
        errno.EROFS: "the file system is mounted read-only",
    }
    return NightcrewError(
        f"{os.strerror(error.errno or 0)}; {what}",
        code="promote.failed",
        where=where,
        hint=hints.get(error.errno or 0, ""),
    )
