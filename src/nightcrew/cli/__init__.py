"""The command line: one file per command."""

from __future__ import annotations

from collections.abc import Sequence


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code of the process."""
    from nightcrew.cli.app import run

    return run(list(arguments))
