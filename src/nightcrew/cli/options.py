"""What every command shares: its options, its help page, and the Runtime it calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from nightcrew.cli.completing import complete_ids
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError

if TYPE_CHECKING:
    from nightcrew.runtime.api import Runtime

EXITS: Final = {
    0: "ok",
    1: "failed",
    2: "usage or invalid input",
    3: "not found",
    4: "authentication",
    5: "waiting for a human",
    6: "denied by policy",
    7: "stale, drift or conflict",
    8: "limit reached",
    9: "engine locked or unavailable",
    10: "finished with failed tasks",
    11: "required isolation unavailable",
    12: "journal damaged",
    70: "internal error, report written",
    130: "interrupted",
}


def command(
    name: str, *, example: str, exits: Sequence[int] = (), **settings: Any
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a click command of a function that takes ``(runtime, screen, **parameters)``.

    Args:
        name: as typed.
        example: one or more example lines.
        exits: exit codes of its own beside 0, 2 and 70.
        settings: passed on to click.
    """

    def wrap(function: Callable[..., Any]) -> click.Command:
        @click.pass_context
        def invoke(ctx: click.Context, /, **given: Any) -> Any:
            screen, runtime = begin(ctx, given)
            ctx.call_on_close(runtime.close)
            return function(runtime, screen, **given)

        parameters: list[click.Parameter] = [*getattr(function, "__click_params__", [])[::-1]]
        complete_ids(parameters)
        return click.Command(
            name,
            callback=invoke,
            params=[*parameters, *shared_options()],
            help=inspect.cleandoc(function.__doc__ or ""),
            epilog=_epilog(example, exits),
            **settings,
        )

    return wrap


def begin(ctx: click.Context, given: dict[str, Any]) -> tuple[Screen, Runtime]:
    """Take the shared options out of ``given`` and return what they stand for."""
    from nightcrew.runtime.api import Runtime
    from nightcrew.runtime.settings.environment import read_environment

    outer: dict[str, Any] = ctx.find_root().obj or {}
    directory = given.pop("directory") or outer.get("directory") or "."
    no_color = given.pop("no_color") or outer.get("no_color", False)
    as_json = given.pop("as_json") or outer.get("as_json", False)
    env = read_environment()
    cwd = Path(directory)
    if not cwd.is_dir():
        raise UsageError(f"there is no directory {directory}", code="usage.directory")
    screen = Screen(
        json=as_json,
        color=env.color and not no_color,
        columns=env.columns,
        quiet=given.pop("quiet") or outer.get("quiet", False),
        may_ask=not (given.pop("no_input") or outer.get("no_input", False)),
    )
    return screen, Runtime(env, cwd=cwd.resolve(), say=screen.warn)


def group(name: str, *, purpose: str, commands: Sequence[click.Command]) -> click.Group:
    """Return a group of commands (``checkpoint list``)."""
    made = click.Group(name, help=purpose)
    for each in commands:
        made.add_command(each)
    return made


def shared_options() -> list[click.Parameter]:
    """Return the options that every command takes, before or after its name."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help="Machine-readable output on stdout."),
        click.Option(["-C", "directory"], metavar="DIR", default=None, help="Work as if started in DIR."),
        click.Option(
            ["-q", "--quiet"], is_flag=True, help="Only results, warnings and errors; asks nothing."
        ),
        click.Option(["--no-input"], is_flag=True, help="Ask nothing, also on a terminal."),
        click.Option(["--no-color"], is_flag=True, help="No colours (also: NO_COLOR)."),
    ]


def _epilog(example: str, exits: Sequence[int]) -> str:
    lines = "\n".join(f"  {line}" for line in example.strip().splitlines())
    codes = ", ".join(f"{code} {EXITS[code]}" for code in sorted({0, 2, 70, *exits}))
    return f"\b\nExample:\n{lines}\n\nExit codes: {codes}."
