"""What ``run`` and ``plan`` share: the options of a goal, and what a person sees while a plan is made of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click

from nightcrew.cli.screen import Screen
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime

if TYPE_CHECKING:
    from nightcrew.runtime.goals.anew import Anew

F = TypeVar("F", bound=Callable[..., Any])
#: Without a terminal something is said so often, in seconds.
_SAY_S: Final = 30.0
_FORMATS: Final = ("table", "json", "md")


def goal_options(function: F) -> F:
    """Add the options that go with a goal."""
    options = (
        click.option("--planner", default="", metavar="AGENT", help="Who makes the plan of a goal, and plans anew; as configured otherwise."),
        click.option("--planner-model", default="", metavar="MODEL", help="With a goal: the model it uses for that."),
        click.option(
            "--context", multiple=True, metavar="FILE", type=click.Path(), help="With a goal: a file that the planner is pointed to; may be given again."
        ),
        click.option("--within", multiple=True, metavar="GLOB", help="With a goal: tasks may change only what lies in here."),
        click.option("--never", multiple=True, metavar="GLOB", help="With a goal: no task may change this."),
        click.option("--plan-only", is_flag=True, help="Make the plan, show it, and do not go on; it waits for approval."),
        click.option(
            "--format", "shape", type=click.Choice(_FORMATS), default=None,
            help="With --plan-only: as text, as JSON (goals), or as a tasks file.",
        ),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


#: Options that mean nothing without a goal.
ONLY_GOALS: Final = ("planner", "planner_model", "context", "within", "never")


def name_unused(options: Mapping[str, Any]) -> str:
    """Return the first option that is given and goes with a goal only; empty when there is none."""
    asks = bool(options.get("replan_after") or options.get("replan_on_failure"))
    names = [name for name in ONLY_GOALS if not (asks and name == "planner")]
    return next((f"--{name.replace('_', '-')}" for name in names if options[name]), "")


def replan_options(function: F) -> F:
    """Add the options of a run that is planned anew by itself."""
    options = (
        click.option(
            "--replan-after", type=click.IntRange(1, 1000), default=None, metavar="N",
            help="After every N finished tasks, have what has not begun planned anew by itself.",
        ),
        click.option(
            "--replan-on-failure", is_flag=True,
            help="After a task that failed for good, have what has not begun planned anew by itself.",
        ),
        click.option("--no-replan", is_flag=True, help="Never by itself, whatever is configured."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def read_replan(options: Mapping[str, Any]) -> Anew:
    """Return what was said of planning anew by itself."""
    from nightcrew.runtime.goals.anew import Anew

    return Anew(
        options.get("replan_after") or 0,
        bool(options.get("replan_on_failure")),
        bool(options.get("no_replan")),
        options["planner"],
    )


def make_plan(runtime: Runtime, screen: Screen, goal: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Have a plan made of a goal and tell what that took."""
    from nightcrew.runtime.crew.assigning import read_slots
    from nightcrew.runtime.goals.asking import Goal

    wanted = Goal(
        text=goal,
        planner=options["planner"],
        model=options["planner_model"],
        context=options["context"],
        within=options["within"],
        never=options["never"],
        title=options.get("title", ""),
        budget=options.get("budget", ""),
        role=options.get("role", ""),
        agents=read_slots(options.get("agents", "")),
        include_dirty=options.get("include_dirty", False),
        unsandboxed=options.get("allow_unsandboxed", False),
        max_parallel=options.get("max_parallel"),
        replan=read_replan(options),
    )
    with Waiting(screen) as waiting:
        made = runtime.plan_goal(wanted, tell=waiting.tell)
    say_planned(screen, made)
    return made


def say_planned(screen: Screen, made: Mapping[str, Any]) -> None:
    """Tell who made a plan, how long it took and what it cost."""
    spent = made["spent"] or "no cost known"
    screen.verb("Planning", f"with {made['planner']}: {made['took_s']:g}s, {spent}")


def show_shape(runtime: Runtime, screen: Screen, run: str, shape: str) -> None:
    """Print a plan in one of the formats."""
    if screen.json or shape == "json":
        screen.emit(runtime.view_goal(run))
    elif shape == "md":
        show_file(screen, runtime.export_plan(run))
    else:
        screen.data(runtime.plan_text(run, width=screen.width))
    if runtime.show(run)["state"] == "awaiting_approval":
        screen.hint(f"nothing runs until the plan is approved: nightcrew approve {run}")


def show_file(screen: Screen, text: str) -> None:
    """Print a tasks file: as it is into a file, and on a terminal with what it would obey shown by name."""
    lines = text.rstrip("\n").split("\n")
    screen.data(
        "\n".join(shown(line, keep="\t") for line in lines) if sys.stdout.isatty() else "\n".join(lines)
    )


class Waiting:
    """Says how long a planner has been at it, and what it costs so far: in place on a terminal, now and then elsewhere."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._live = screen.redraws
        self._told_s = 0.0
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def tell(self, word: str, seconds: float, spent: str) -> None:
        """See ``consulting.OnProgress``."""
        line = f"{word}, {seconds:.0f}s" + (f", {spent}" if spent else "")
        if self._live:
            sys.stderr.write(f"\r\x1b[K{'Planning'.rjust(12)}  {line}")
            sys.stderr.flush()
            self._drawn = True
        elif seconds - self._told_s >= _SAY_S:
            self._told_s = seconds
            self._screen.verb("Planning", line, "cyan")
