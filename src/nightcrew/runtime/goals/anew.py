"""Planning anew by itself: when a run asks, who is asked, and the question itself, which its engine has put."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nightcrew.engine.course.replans import KEY, Replan
from nightcrew.model.errors import NightcrewError, UsageError
from nightcrew.model.records import RunRecord

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules


@dataclass(frozen=True, slots=True)
class Anew:
    """What a person wants of planning anew by itself; as configured where nothing is said.

    Attributes:
        after_tasks: after so many finished tasks. on_failure: after a task that failed for good. off: never.
        planner: who is asked; as for a goal when empty.
    """

    after_tasks: int = 0
    on_failure: bool = False
    off: bool = False
    planner: str = ""

    @property
    def named(self) -> bool:
        """Whether the person has asked for it here."""
        return bool(self.after_tasks or self.on_failure)


def arrange(
    parts: Parts, rules: Rules, wanted: Anew, *, planner: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Return what the record of a run says of it (nothing when it is off), and what a person should know.

    Args:
        planner: who has made the plan; whoever would be asked for one when empty.

    Raises:
        UsageError, NotAuthenticated: the person asked for it here, and nobody can be asked; nothing was recorded.
    """
    from nightcrew.runtime.goals.choosing import check_key, choose_planner

    if wanted.off and wanted.named:
        raise UsageError(
            "--no-replan and --replan-after or --replan-on-failure contradict each other; nothing was recorded",
            hint="nightcrew run --help",
        )
    own = rules.settings.planning.replan
    made = Replan(
        after_tasks=wanted.after_tasks or own.after_tasks,
        on_failure=wanted.on_failure or own.on_failure,
        rounds=own.rounds,
    )
    if wanted.named and not own.rounds:
        raise UsageError(
            "planning anew is not allowed here: `planner: {replan: {rounds: 0}}`; nothing was recorded",
            hint="allow so many rounds in your config.yaml (docs/formats/config.md)",
        )
    if wanted.off or not made.wanted:
        return {}, []
    try:
        agent = planner or choose_planner(parts, rules, wanted.planner)
        check_key(parts, rules, agent)
    except NightcrewError as error:
        if wanted.named or wanted.planner:
            raise
        return {}, [f"it will not be planned anew by itself: {error.message}"]
    return {KEY: replace(made, agent=agent).to_plain()}, []


def describe(run: RunRecord) -> str:
    """Return what a person should know of it before approving a plan; empty when it is off."""
    made = Replan.of(run.settings)
    if not made.wanted:
        return ""
    times = f"at most {made.rounds} times" if made.rounds > 1 else "once at most"
    return (
        f"re-planning is on: {made.describe()}, {made.agent} is asked by itself for what has not begun, {times}; what only "
        "narrows is in force at once, anything else waits for your yes"
    )


def view(run: RunRecord) -> dict[str, Any]:
    """Return it for JSON; empty when it is off."""
    made = Replan.of(run.settings)
    if not made.wanted:
        return {}
    kept = {
        "agent": made.agent,
        "after_tasks": made.after_tasks,
        "on_failure": made.on_failure,
        "rounds": made.rounds,
    }
    return {**kept, "asked": made.asked, "asking": made.asking}
