"""From a goal in a sentence to a plan that a person can approve: an agent is asked, and nothing it says is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.plan.prompt import Brief
from nightcrew.runtime.goals.anew import Anew, arrange
from nightcrew.runtime.goals.choosing import check_key, choose_planner
from nightcrew.runtime.goals.consulting import Asking, Found, OnProgress
from nightcrew.runtime.plans import versions
from nightcrew.runtime.plans.bounding import describe_offered, find_bounds, list_paths
from nightcrew.runtime.plans.planning import Wish
from nightcrew.runtime.rules import Rules, read_rules
from nightcrew.runtime.trees.starting import find_start, keep_base

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

#: Longest goal, and longest file that a person points to.
MAX_GOAL: Final = 20_000
_CONTEXT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Goal:
    """What a person wants planned.

    Attributes:
        text: in their words. planner: agent that is asked; as configured when empty. model: of it.
        context: files that it is pointed to. within, never: globs that the plan must stay in, and must not touch.
        replan: when it is planned anew by itself; as configured when None.
        title, budget, role, agents: as for a tasks file. include_dirty, unsandboxed, max_parallel: as for a run.
    """

    text: str
    planner: str = ""
    model: str = ""
    context: Sequence[str] = ()
    within: Sequence[str] = ()
    never: Sequence[str] = ()
    title: str = ""
    budget: str = ""
    role: str = ""
    agents: Mapping[str, int] = field(default_factory=dict)
    include_dirty: bool = False
    unsandboxed: bool = False
    max_parallel: int | None = None
    replan: Anew | None = None


def plan_goal(parts: Parts, goal: Goal, tell: OnProgress) -> dict[str, Any]:
    """Ask for a plan and record it as a run that waits for approval: ``{id, digest, notes, forbidden, spent, took_s}``.

    Raises:
        UsageError: no goal, or nobody can be asked. NotAuthenticated: there is no key for the planner's model.
        SandboxUnavailable: this machine cannot confine as required. Nothing was recorded in these cases.
        PlanningFailed: no answer could be taken; the run is recorded as failed, with what it cost.
    """
    from nightcrew.runtime.isolating import choose

    _check_goal(goal)
    start = find_start(parts, include_dirty=goal.include_dirty)
    rules = read_rules(parts.env, Path(start.repository.root))
    planner = choose_planner(parts, rules, goal.planner)
    context = _read_context(parts, goal.context)
    check_key(parts, rules, planner)
    bounds = find_bounds(parts, rules, start, tuple(goal.within), tuple(goal.never))
    _choose_budget(rules, goal)
    choice = choose(parts, rules, unsandboxed=goal.unsandboxed)
    replan, told = arrange(parts, rules, goal.replan or Anew(), planner=planner)
    settings: dict[str, Any] = {"unsandboxed": goal.unsandboxed, "budget": _limit(rules, goal), **replan}
    origin = _describe(goal, planner)
    run = versions.begin(parts, start, rules, choice, settings, origin)
    if goal.max_parallel:
        with parts.journal.write() as tx:
            run = tx.change(run, "", max_parallel=goal.max_parallel)
    notes = [*start.notes, *told]
    if problem := keep_base(parts, run.id, start):
        notes.append(problem)
    wish = Wish(goal.title or _name(goal.text), goal.budget, goal.role, goal.agents)
    brief = Brief(
        goal=goal.text,
        crew=describe_offered(parts, rules),
        paths=list_paths(parts, start),
        context=context,
        rejections=find_rejections(parts, start.repository.key, rules.settings.planning.examples),
    )
    asking = Asking(parts, run, rules, start, planner, goal.model or rules.settings.planning.model, tell)
    found = asking.ask(brief, bounds, wish)
    record = _propose(parts, run, found, goal, planner)
    return {
        "id": run.id,
        "digest": record.digest,
        "notes": [*notes, *found.notes],
        "forbidden": [],
        "planner": planner,
        "spent": found.spent,
        "took_s": found.took_s,
    }


def _propose(parts: Parts, run: RunRecord, found: Found, goal: Goal, planner: str) -> PlanRecord:
    origin = {**_describe(goal, planner), **found.describe()}
    return versions.propose(parts, run.id, found.draft, origin, before=run.plan_version)


def _describe(goal: Goal, planner: str) -> dict[str, Any]:
    """Return what is known of a plan before it is there, for ``PlanRecord.origin``."""
    return {
        "by": "planner",
        "title": goal.title or _name(goal.text),
        "goal": goal.text,
        "agent": planner,
        "model": goal.model,
        "role": goal.role,
        "agents": dict(goal.agents),
        "budget": goal.budget,
        "context": list(goal.context),
        "within": list(goal.within),
        "never": list(goal.never),
    }


def find_rejections(parts: Parts, repo_key: str, limit: int) -> list[str]:
    """Return what was rejected last in this repository, and why: results of tasks, and plans."""
    if not limit:
        return []
    with parts.journal.read() as tx:
        runs = {run.id: run for run in tx.find(RunRecord, repo_key=repo_key)}
        kinds = ("review.rejected", "plan.denied")
        events = [each for run in runs for each in tx.events(run=run, kinds=kinds)]
        events.sort(key=lambda each: each.seq)
        found = []
        for event in events[-limit:]:
            task = tx.get(TaskRecord, event.task) if event.task else None
            what = f"task `{task.title}`" if task else f"the plan of `{runs[event.run].title}`"
            found.append(f"{what}: {str(event.data.get('reason', ''))[:500]}")
    return found


def _check_goal(goal: Goal) -> None:
    if not goal.text.strip():
        raise UsageError("the goal is empty", hint='nightcrew run "what you want done"')
    if len(goal.text) > MAX_GOAL:
        raise UsageError(
            f"a goal of {len(goal.text)} characters; at most {MAX_GOAL} are taken",
            hint="put the details into a file of the repository, and name it: --context FILE",
        )


def _choose_budget(rules: Rules, goal: Goal) -> str:
    from nightcrew.runtime.money.budgeting import choose_run_budget

    return choose_run_budget(rules, goal.budget)


def _limit(rules: Rules, goal: Goal) -> Mapping[str, Any]:
    """Return the budgets that hold while the plan is made."""
    from nightcrew.model.plans import Plan
    from nightcrew.runtime.money.budgeting import limits_of

    return limits_of(Plan("", "", "", "", (), budget=_choose_budget(rules, goal)), rules)


def _read_context(parts: Parts, files: Sequence[str]) -> dict[str, str]:
    from nightcrew.policy.secrets import redact

    found = {}
    for name in files:
        path = parts.cwd / name
        try:
            with path.open("rb") as file:
                data = file.read(_CONTEXT_BYTES + 1)
        except FileNotFoundError:
            raise NotFound(f"there is no file {name}; nothing was recorded", code="file.missing") from None
        except OSError as error:
            raise UsageError(f"cannot read {name}: {error.strerror}; nothing was recorded") from error
        if len(data) > _CONTEXT_BYTES or b"\0" in data:
            raise UsageError(f"{name} is no text of at most 1 MiB; nothing was recorded")
        found[name] = redact(data.decode("utf-8", "replace"))
    return found


def _name(goal: str) -> str:
    from nightcrew.plan.write import one_line

    line = one_line(goal)
    return line if len(line) <= 100 else line[:99].rstrip() + "…"
