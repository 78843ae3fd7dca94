"""The part of the library API that is about making and changing plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from nightcrew.runtime.goals.asking import Goal
    from nightcrew.runtime.goals.consulting import OnProgress
    from nightcrew.runtime.parts import Parts


class _Resolving(Protocol):
    _parts: Parts

    def resolve(self, text: str, *, kinds: str = ...) -> str:
        """Return the full id of what a person typed."""


class Planners:
    """Mixed into ``Runtime``."""

    _parts: Parts

    def plan_goal(self, goal: Goal, *, tell: OnProgress) -> dict[str, Any]:
        """Have an agent make a plan of a goal, recorded as a run that waits for approval; see ``goals.plan_goal``."""
        from nightcrew.runtime.goals.asking import plan_goal

        return plan_goal(self._parts, goal, tell)

    def view_goal(self: _Resolving, run: str) -> dict[str, Any]:
        """Return a plan as goals; see docs/formats/goals.md."""
        from nightcrew.runtime.goals.amending import view_goal

        return view_goal(self._parts, self.resolve(run, kinds="R"))

    def export_plan(self: _Resolving, run: str, version: int | None = None) -> str:
        """Return the plan of a run as a tasks file."""
        from nightcrew.runtime.goals.amending import export

        return export(self._parts, self.resolve(run, kinds="R"), version)

    def edit_plan(self: _Resolving, run: str, text: str, *, before: int) -> dict[str, Any]:
        """Make a new version of a plan of a tasks file that a person has changed; see ``amending.edit``."""
        from nightcrew.runtime.goals.amending import edit

        return edit(self._parts, self.resolve(run, kinds="R"), text, before=before)

    def comment_plan(self: _Resolving, run: str, text: str, *, task: str = "") -> dict[str, Any]:
        """Say something of a plan, or of one task of it; see ``amending.comment``."""
        from nightcrew.runtime.goals.amending import comment

        return comment(self._parts, self.resolve(run, kinds="R"), task, text)

    def replan(
        self: _Resolving,
        run: str,
        *,
        tell: OnProgress,
        planner: str = "",
        everything: bool = False,
        also: str = "",
    ) -> dict[str, Any]:
        """Ask the planner once more; see ``replanning.replan``."""
        from nightcrew.runtime.goals.replanning import replan

        name = self.resolve(run, kinds="R")
        return replan(self._parts, name, tell=tell, planner=planner, everything=everything, also=also)

    def compare_plans(
        self: _Resolving, run: str, old: int | None = None, new: int | None = None
    ) -> dict[str, Any]:
        """Return what differs between two versions of a plan."""
        from nightcrew.runtime.goals.amending import compare

        return compare(self._parts, self.resolve(run, kinds="R"), old, new)

    def unapprove_plan(self: _Resolving, run: str) -> dict[str, Any]:
        """Take back the yes to a plan of which nothing has begun."""
        from nightcrew.runtime.plans.versions import unapprove

        return unapprove(self._parts, self.resolve(run, kinds="R"))
