"""The plan of a run that goes on is made anew for what has not begun: less takes effect by itself, more waits for a person.

What is done or under way stays exactly as it is, with its results. A new version whose tasks only narrow, reorder or drop what was
approved is in force at once and recorded with why. Any other is *offered*: it is a version with a digest of its own that waits for
a yes, while the approved rest goes on; it holds for the version it was made from, and for no task that has begun since.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nightcrew.engine.course.replans import GOING, OFFERED, Replan
from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model import canonical
from nightcrew.model.errors import DeniedByPolicy, StaleError, UsageError
from nightcrew.model.ids import find_origin, sort_key
from nightcrew.model.plans import Flag, Plan, Task
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.plan.prompt import Brief
from nightcrew.plan.revise import find_growth, revise
from nightcrew.runtime.goals.news import list_news
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.plans import versions
from nightcrew.runtime.plans.taking import (
    check_going,
    clear,
    find_changed,
    is_fixed,
    overtaken,
    put_in_force,
    refuse_begun,
)

if TYPE_CHECKING:
    from nightcrew.engine.books.reserving import Reservations
    from nightcrew.runtime.goals.consulting import Found, OnProgress
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why a run asks by itself, what ends the question without an answer, and what else is asked and paid at the same time."""

    why: str
    stop: threading.Event
    reservations: Reservations


def replan(
    parts: Parts, name: str, *, tell: OnProgress, planner: str = "", everything: bool = False, also: str = ""
) -> dict[str, Any]:
    """Ask the planner once more, of a plan that waits (see ``amending.replan``) or of a run that goes on."""
    from nightcrew.runtime.goals import amending

    need_person(parts, "plan")
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
    if run.state not in GOING:
        return amending.replan(parts, name, tell=tell, planner=planner, everything=everything, also=also)
    if everything:
        raise UsageError(
            f"--all belongs to a plan of which nothing has begun; {name} is {run.state}, nothing was changed",
            hint=f'nightcrew plan {name} replan -m "what should be different"',
        )
    return replan_going(parts, name, tell=tell, planner=planner, also=also)


def replan_going(
    parts: Parts,
    name: str,
    *,
    tell: OnProgress,
    planner: str = "",
    also: str = "",
    actor: str = "",
    occasion: Occasion | None = None,
) -> dict[str, Any]:
    """Ask the planner for what has not begun of a run that goes on.

    Args:
        also: what the person wants to be different. actor: who wants it; the person when empty.
        occasion: why the run asks by itself; None when a person does.

    Returns:
        As ``amending.replan``, with ``more``: in which ways the new version may do more; empty when it is in force.

    Raises:
        StaleError: the run is over, or has changed meanwhile. UsageError: all of it has begun.
        DeniedByPolicy: a rule forbids part of the answer. PlanningFailed: the plan stays as it is in all of these cases.
    """
    from nightcrew.runtime.goals.amending import find_plan, list_comments

    run, record = find_plan(parts, name)
    check_going(run)
    plan = Plan.from_plain(record.body)
    fixed = _find_fixed(parts, run)
    comments = [(each["task"], each["text"]) for each in list_comments(parts, run)]
    if all(task.id in fixed for task in plan.tasks) and not (also or occasion or comments):
        raise UsageError(
            f"every task of {name} has begun or is over; there is nothing left to plan",
            code="replan.nothing",
            hint=f'what should be added: nightcrew plan {name} replan -m "..."',
        )
    wish = _Wish(planner, [*comments, *([("", also)] if also else [])], occasion)
    asked, found, kept = _ask(parts, run, record, fixed, tell, wish)
    why = also or (occasion.why if occasion else "") or "asked to plan anew"
    while True:
        done = _settle(parts, run, record, found, kept, asked)
        try:
            return _take(parts, run, record, done, actor or f"user:{parts.env.user}", why)
        except StaleError:
            # What has begun while the planner thought stays as it is; what it says of the rest still holds.
            begun = _find_fixed(parts, run) - kept
            if not begun:
                raise
            kept |= begun


def _find_fixed(parts: Parts, run: RunRecord) -> set[str]:
    with parts.journal.read() as tx:
        return {task.name for task in tx.find(TaskRecord, run=run.id) if is_fixed(task)}


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is wanted of a planner: who is asked (as before when empty), what a person says, and why a run asks by itself."""

    planner: str
    comments: Sequence[tuple[str, str]]
    occasion: Occasion | None


@dataclass(frozen=True, slots=True)
class _Made:
    new: Plan
    record: PlanRecord
    more: list[str]
    done: dict[str, Any]


def _settle(
    parts: Parts, run: RunRecord, record: PlanRecord, found: Found, fixed: set[str], asked: str
) -> _Made:
    """Return the version that an answer makes when some tasks stay as they are."""
    plan = Plan.from_plain(record.body)
    with parts.journal.read() as tx:
        version = versions.last_version(tx, run.id) + 1
    tasks = _merge(plan, found, fixed)
    new = replace(plan, tasks=tasks)
    changes, more = versions.describe_changes(plan.tasks, tasks), find_more(plan.tasks, tasks)
    done = {
        "id": run.id, "version": record.version, "digest": record.digest, "changes": changes, "more": more, "planner": asked,
        "spent": found.spent, "took_s": found.took_s, "kept": sorted(fixed), "notes": list(found.notes),
    }  # fmt: skip
    made = replace(
        record,
        id=f"{run.id}/P{version}",
        version=version,
        digest=new.digest,
        body=canonical.to_plain(new),
        flags=_flag(record, plan, new, found),
        origin=_describe(record, new, found, asked),
    )
    return _Made(new, made, more, done)


def _take(
    parts: Parts, run: RunRecord, record: PlanRecord, made: _Made, actor: str, why: str
) -> dict[str, Any]:
    """Record a new version, and return what became of it."""
    if not made.done["changes"]:
        with parts.journal.write() as tx:
            tx.append("plan.kept", run=run.id, actor=actor, data={"version": record.version, "why": why})
        return made.done
    _store(parts, run, made.record, record.version, made.more, actor, why)
    return {**made.done, "version": made.record.version, "digest": made.record.digest}


def ask_anew(parts: Parts, run: str, why: str, stop: threading.Event, reservations: Reservations) -> None:
    """Ask the planner of a run for what has not begun; see ``engine.engine.AskHeld``.

    Raises:
        NightcrewError: there is no new plan; the run goes on with the one that it has.
    """
    with parts.journal.read() as tx:
        agent = Replan.of(tx.need(RunRecord, run).settings).agent
    replan_going(
        parts,
        run,
        tell=lambda word, seconds, spent: None,
        planner=agent,
        actor="engine",
        occasion=Occasion(why, stop, reservations),
    )


def find_more(old: Sequence[Task], new: Sequence[Task]) -> list[str]:
    """Return in which ways a new version may do more than was approved, in words; empty when in none."""
    before = {task.id: task for task in old}
    found: list[str] = []
    for task in new:
        was = before.get(task.id)
        found += [f"{task.id} is new: {task.title}"] if was is None else find_growth(was, task)
    return found


# -- making ---------------------------------------------------------------------------------------------------------------


def _ask(
    parts: Parts,
    run: RunRecord,
    record: PlanRecord,
    fixed: set[str],
    tell: OnProgress,
    wish: _Wish,
) -> tuple[str, Found, set[str]]:
    """Return who was asked, the answer, and the tasks that stay as they are."""
    from nightcrew.plan.write import write_tasks
    from nightcrew.runtime.goals.amending import start_of, wish_of
    from nightcrew.runtime.goals.asking import find_rejections
    from nightcrew.runtime.goals.choosing import check_key, choose_planner
    from nightcrew.runtime.goals.consulting import Asking
    from nightcrew.runtime.plans.bounding import describe_offered, find_bounds, list_paths
    from nightcrew.runtime.rules import rules_from_plain

    # Under the rules that the run was approved under: they are what its tasks go on with.
    start, rules = start_of(parts, run, record), rules_from_plain(record.policies)
    asked = choose_planner(parts, rules, wish.planner or str(record.origin.get("agent", "")))
    check_key(parts, rules, asked)
    tasks = [task for task in Plan.from_plain(record.body).tasks if find_origin(task.id) == task.id]
    about = {name for name, _ in wish.comments}
    if about and "" not in about and wish.occasion is None:
        # A person spoke of single tasks: what they did not speak of stays.
        fixed = fixed | {task.id for task in tasks if task.id not in about}
    keep = tuple(task for task in tasks if task.id in fixed)
    within, never = (tuple(record.origin.get(key, ())) for key in ("within", "never"))
    brief = Brief(
        goal=str(record.origin.get("goal") or run.title),
        crew=describe_offered(parts, rules),
        paths=list_paths(parts, start),
        rejections=find_rejections(parts, run.repo_key, rules.settings.planning.examples),
        current=write_tasks(run.title, tasks),
        comments=wish.comments,
        occasion=wish.occasion.why if wish.occasion else "",
        fixed=[task.number for task in keep],
        news=list_news(parts, run, tasks),
    )
    asking = Asking(parts, run, rules, start, asked, rules.settings.planning.model, tell)
    if wish.occasion is not None:
        asking.stop, asking.reservations = wish.occasion.stop, wish.occasion.reservations
    asking.steps = {task.script: task.steps for task in tasks if task.script}
    bounds = find_bounds(parts, rules, start, within, never)
    return asked, asking.ask(brief, bounds, wish_of(run, record, title=run.title), keep=keep), fixed


def _merge(plan: Plan, found: Found, fixed: set[str]) -> tuple[Task, ...]:
    """Return the tasks of the new version: those that have begun as they are, those that were approved as far as they still hold."""
    old = {task.id: task for task in plan.tasks}
    named = {task.id for task in found.goals.tasks if task.agent != "any"}
    said = {task.id: task for task in found.draft.plan.tasks}
    # One that began while the planner thought stays, also when it is not in the answer.
    stays = {name for name in fixed if name in old and find_origin(name) == name} - said.keys()
    tasks: list[Task] = []
    for name in sorted({*said, *stays}, key=sort_key) if stays else said:
        was = old.get(name)
        if was is None:
            tasks.append(said[name])
        else:
            tasks.append(was if name in fixed else revise(was, said[name], agent_named=name in named))
        tasks += [task for task in plan.tasks if task.id != name and find_origin(task.id) == name]
    return tuple(tasks)


def _flag(record: PlanRecord, plan: Plan, new: Plan, found: Found) -> tuple[Mapping[str, Any], ...]:
    """Return what a person should see of the new version; what has not changed was seen before.

    Raises:
        DeniedByPolicy: a rule forbids part of it.
    """
    from nightcrew.plan.flags import flag_tasks
    from nightcrew.runtime.plans.judging import judge_task
    from nightcrew.runtime.rules import rules_from_plain

    rules: Rules = rules_from_plain(record.policies)
    changed = find_changed(plan, new)
    same = {task.id for task in new.tasks} - {task.id for task in changed}
    names = {task.id for task in changed}
    flags: list[Flag] = [flag for task in changed for flag in judge_task(task, rules)]
    flags += [*flag_tasks(tuple(changed)), *(flag for flag in found.draft.flags if flag.task in names)]
    if forbidden := [flag for flag in flags if flag.kind == "forbidden"]:
        raise DeniedByPolicy(
            f"a rule forbids part of the new plan of {record.run}; P{record.version} stays as it is",
            code="plan.forbidden",
            where=[f"{flag.task}: {flag.action}: {flag.text} (rule {flag.rule})" for flag in forbidden],
            hint=f"nightcrew plan {record.run}",
        )
    kept = [flag for flag in record.flags if flag.get("task") in same]
    return (*kept, *(canonical.to_plain(flag) for flag in dict.fromkeys(flags)))


def _describe(record: PlanRecord, new: Plan, found: Found, asked: str) -> dict[str, Any]:
    from nightcrew.plan.write import write_tasks

    said = found.describe()
    for key in ("minutes", "changes"):
        said[key] = {**record.origin.get(key, {}), **said[key]}
    own = [task for task in new.tasks if find_origin(task.id) == task.id]
    return {**record.origin, **said, "by": "planner", "agent": asked, "text": write_tasks(new.title, own)}


# -- recording -------------------------------------------------------------------------------------------------------------


def _store(
    parts: Parts, run: RunRecord, made: PlanRecord, before: int, more: Sequence[str], actor: str, why: str
) -> None:
    crash.point("runtime.replan.made")
    with parts.journal.write() as tx:
        now = tx.need(RunRecord, run.id)
        check_going(now)
        if now.plan_version != before or versions.last_version(tx, run.id) + 1 != made.version:
            raise overtaken(run.id, "another version of the plan was made meanwhile")
        refuse_begun(tx, now, made)
        data = {"digest": made.digest, "version": made.version, "why": why, "more": list(more)}
        tx.add(made, "plan.replanned", actor=actor, data=data)
        if not more:
            put_in_force(tx, now, made, actor, "it only narrows, reorders or drops what was approved")
        else:
            data = {"digest": made.digest, "version": made.version, "more": list(more)}
            offer = {**data, "before": before, "at": stamp(parts.clock.now())}
            tx.change(now, "plan.offered", actor=actor, data=data, settings={**clear(now), OFFERED: offer})
    crash.point("runtime.replan.stored")
