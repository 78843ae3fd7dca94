"""The one place where errors become words and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from nightcrew.cli.screen import Screen, hanging
from nightcrew.model.errors import Exit, InvalidInput, NightcrewError, Problem


def describe_failure(error: BaseException, arguments: list[str], screen: Screen) -> int:
    """Print an error for a person or as JSON and return the exit code of the process."""
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return _interrupted(screen)
    if isinstance(error, click.exceptions.Exit):
        return int(error.exit_code)
    if isinstance(error, BrokenPipeError):
        return _broken_pipe()
    known = error if isinstance(error, NightcrewError) else _translate(error, arguments)
    show_error(known, screen)
    return int(known.exit)


def show_error(error: NightcrewError, screen: Screen) -> None:
    """Print ``error`` in the style of every command: what, where, what next, code; secrets in it are blotted out.

    What stands in an error was typed, read from a file or said by a program: anything.
    """
    from nightcrew.runtime.upkeep.reporting import hide_secrets

    if screen.json:
        screen.emit({"ok": False, "error": hide_secrets(as_json(error))})
        return

    # An agent's words may be in it: what a terminal would obey is shown by name, and no line of it looks like ours.
    screen.tell(f"{screen.paint('error:', 'bold red')} {hanging(hide_secrets(error.message), 7)}")
    for line in _places(error):
        screen.tell(f"{screen.paint('  -->', 'blue')} {hanging(hide_secrets(line), 0)}")
    if error.hint:
        screen.tell(f"{screen.paint('hint:'.rjust(6), 'cyan')} {hanging(hide_secrets(error.hint), 7)}")
    screen.tell(screen.paint(f" code: {error.code}   exit {int(error.exit)}", "dim"))


def _places(error: NightcrewError) -> Sequence[str]:
    """Return the further lines of an error; a problem of a file that is at hand with its line and a caret."""
    if not isinstance(error, InvalidInput) or not error.texts:
        # A further line of a place is never taken for a line of ours.
        return [each.replace("\n", "\n      ") for each in error.where]
    from nightcrew.model.yamltext import render_problem

    rendered = [render_problem(each, error.texts.get(each.place.file, "")) for each in error.problems]
    return [each.replace("\n", "\n    ") for each in rendered]


def as_json(error: NightcrewError) -> dict[str, object]:
    """Return the JSON form of an error."""
    found: dict[str, object] = {
        "code": error.code,
        "message": error.message,
        "where": list(error.where),
        "hint": error.hint,
        "exit": int(error.exit),
    }
    if isinstance(error, InvalidInput):
        found["problems"] = [_describe_problem(each) for each in error.problems]
    return found


def _describe_problem(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "message": problem.message,
        "hint": problem.hint,
    }


class InternalError(NightcrewError):
    """A defect of ours; a report was written."""

    exit = Exit.INTERNAL
    default_code = "internal"


class BadUsage(NightcrewError):
    """The command line itself is wrong."""

    exit = Exit.USAGE
    default_code = "usage"


def _translate(error: BaseException, arguments: list[str]) -> NightcrewError:
    if isinstance(error, click.UsageError):
        return _bad_usage(error)
    if isinstance(error, click.ClickException):
        return BadUsage(error.format_message())
    return _report(error, arguments)


def _bad_usage(error: click.UsageError) -> BadUsage:
    context = error.ctx
    hint = f"{context.command_path} --help" if context is not None else "nightcrew --help"
    return BadUsage(error.format_message(), hint=hint)


def _report(error: BaseException, arguments: list[str]) -> NightcrewError:
    from nightcrew.runtime.settings.environment import read_environment
    from nightcrew.runtime.upkeep.reporting import is_disk_full, write_report

    if is_disk_full(error):
        return NightcrewError(
            "the disk is full; nothing was half done, what was recorded is safe",
            code="disk.full",
            hint="free some space, then: nightcrew resume",
        )
    summary = f"internal error: {type(error).__name__}: {error}"
    try:
        path = write_report(error, arguments, read_environment())
    except (OSError, NightcrewError) as again:  # the state directory may be what is broken
        return InternalError(summary, where=[f"no report could be written: {again}"])
    return InternalError(summary, where=[f"report: {path}"], hint="please attach the report to a bug")


def _interrupted(screen: Screen) -> int:
    screen.tell("interrupted")
    return int(Exit.INTERRUPTED)


def _broken_pipe() -> int:
    # The reader of our output went away (`| head`): not an error worth words; stop the flush at exit from failing.
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(Exit.FAILED)
