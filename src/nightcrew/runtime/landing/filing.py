"""Writing a promotion into a file: a new one, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from nightcrew.model.errors import NightcrewError, UsageError


def write_new(file: Path, data: bytes) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: it is. NightcrewError: it cannot be written; nothing is left of it.
    """
    try:
        opened = file.open("xb")
    except FileExistsError as error:
        raise describe_taken(file) from error
    except OSError as error:
        raise _unwritable(file, error) from error
    try:
        with opened:
            opened.write(data)
    except OSError as error:
        file.unlink(missing_ok=True)
        raise _unwritable(file, error) from error


def describe_taken(file: Path) -> UsageError:
    """Return the error for a file that is there already."""
    return UsageError(
        f"{file} exists already; nothing was done",
        code="promote.file_exists",
        hint="name another file, or remove it",
    )


def _unwritable(file: Path, error: OSError) -> NightcrewError:
    return NightcrewError(
        f"{file} cannot be written: {error.strerror}; your repository is as it was", code="promote.file"
    )
