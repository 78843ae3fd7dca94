"""Versions of a plan: each is a record of its own, and a person's yes is to one of them by its digest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.replans import GOING
from nightcrew.gate.approvals import AHEAD
from nightcrew.host.clock import stamp
from nightcrew.model import canonical
from nightcrew.model.errors import DeniedByPolicy, NotFound, StaleError
from nightcrew.model.ids import RUN, find_origin
from nightcrew.model.lifecycle import TASK_FINAL
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.runtime.people.identity import need_scope
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.plans.planning import Draft, add_tasks, describe_limits

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.runtime.isolating import Choice
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules
    from nightcrew.runtime.trees.starting import Start

#: States in which the plan of a run can be another one without anybody having begun on it.
OPEN: Final = ("draft", "awaiting_approval")

VOTES: Final = "plan_votes"
"""Where the settings of a run hold the yeses to its plan: ``{version, digest, votes}``."""


def drop_votes(run: RunRecord) -> dict[str, Any]:
    """Return the settings of a run without the yeses to its plan so far."""
    return {key: value for key, value in run.settings.items() if key != VOTES}


def begin(
    parts: Parts,
    start: Start,
    rules: Rules,
    choice: Choice,
    settings: Mapping[str, Any],
    origin: Mapping[str, Any],
) -> RunRecord:
    """Record a run whose plan is still to be made; it has an empty plan of version 0 under the rules of now.

    Args:
        settings: of its record, beside what confines it.
        origin: see PlanRecord; with ``title``.
    """
    need_scope(parts, "plan")
    title = str(origin["title"])
    actor = f"user:{parts.env.user}"
    empty = Plan(title, "", start.commit, rules.policy.digest, (), start.head, start.included)
    with parts.journal.write() as tx:
        run = RunRecord(
            id=tx.next_id(RUN),
            state="draft",
            title=title,
            repo_path=start.repository.root,
            repo_key=start.repository.key,
            base_commit=start.commit,
            base_tree=start.tree,
            plan_version=0,
            plan_digest=empty.digest,
            policy_digest=rules.policy.digest,
            requester=parts.env.user,
            created_at=stamp(parts.clock.now()),
            max_parallel=rules.settings.max_parallel,
            isolation=choice.level,
            settings={**settings, **choice.to_settings()},
        )
        run = tx.add(run, "run.created", actor=actor, data={"title": title, "source": "goal"})
        plan = PlanRecord(
            f"{run.id}/P0", run.id, 0, empty.digest, canonical.to_plain(empty), (), rules.to_plain(), origin
        )
        tx.add(plan, "plan.begun", actor=actor, data={"goal": title})
    return run


def propose(
    parts: Parts, name: str, draft: Draft, origin: Mapping[str, Any], *, before: int, actor: str = ""
) -> PlanRecord:
    """Give a run a new version of its plan, which waits for approval; tasks that have begun are not touched.

    Args:
        name: run id. draft: all of the new plan. origin: see PlanRecord.
        before: version that it was made from.

    Raises:
        StaleError: the plan has changed meanwhile, or was approved; nothing was changed.
        DeniedByPolicy: a rule forbids part of it; nothing was changed.
    """
    if draft.forbidden:
        raise DeniedByPolicy(
            f"a rule forbids part of the new plan of {name}; nothing was changed",
            code="plan.forbidden",
            where=draft.forbidden,
            hint=f"nightcrew plan {name}",
        )
    actor = actor or f"user:{parts.env.user}"
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        check_open(run, before)
        version = last_version(tx, name) + 1
        record = _make_record(run, draft, origin, version)
        data = {"digest": record.digest, "tasks": len(draft.plan.tasks), "version": version, **_tell(origin)}
        record = tx.add(record, "plan.recorded", actor=actor, data=data)
        withdraw_answers(tx, run, actor)
        for task in tx.find(TaskRecord, run=run.id):
            tx.remove(task, "task.withdrawn", actor=actor, data={"version": version})
        add_tasks(tx, run.id, draft.plan.tasks, actor)
        settings = {key: value for key, value in run.settings.items() if key not in ("planning", "agents")}
        tx.change(
            run,
            "plan.proposed",
            actor=actor,
            data={"digest": record.digest, "version": version},
            title=draft.plan.title,
            plan_version=version,
            plan_digest=record.digest,
            policy_digest=draft.plan.policy_digest,
            settings={**settings, **describe_limits(draft)},
            state="awaiting_approval",
        )
    return record


def _make_record(run: RunRecord, draft: Draft, origin: Mapping[str, Any], version: int) -> PlanRecord:
    return PlanRecord(
        id=f"{run.id}/P{version}",
        run=run.id,
        version=version,
        digest=draft.plan.digest,
        body=canonical.to_plain(draft.plan),
        flags=tuple(canonical.to_plain(flag) for flag in draft.flags),
        policies=draft.rules.to_plain(),
        origin=origin,
    )


def _tell(origin: Mapping[str, Any]) -> dict[str, Any]:
    return {key: origin[key] for key in ("by", "agent", "rounds", "complexity") if origin.get(key)}


def _when(state: str) -> str:
    """Return when a plan can be changed, for a person who wanted that now."""
    if state in GOING:
        return "of its plan only what has not begun can be planned anew"
    if state == "approved":
        return "its plan can be changed before it is approved, and again once it runs"
    return "what is over is not planned anew; that is for a plan that waits, and for a run that goes on or waits for review"


def check_open(run: RunRecord, version: int) -> None:
    """Refuse to change a plan that is decided, or another one by now.

    Raises:
        StaleError: says which.
    """
    if run.state not in OPEN:
        hint = (
            f"first: nightcrew plan {run.id} unapprove"
            if run.state == "approved"
            else f"nightcrew show {run.id}"
            if run.state in GOING
            else f"what is still to be done is a run of its own: nightcrew run --help   what it did: nightcrew show {run.id}"
        )
        raise StaleError(
            f"{run.id} is {run.state}: {_when(run.state)}; nothing was changed",
            code="plan.decided",
            hint=hint,
        )
    if run.plan_version != version:
        raise StaleError(
            f"the plan of {run.id} is P{run.plan_version} by now, not P{version}; nothing was changed",
            code="plan.changed",
            hint=f"nightcrew plan {run.id}",
        )


def withdraw_answers(tx: Writer, run: RunRecord, actor: str) -> None:
    """Take back the answers that were given ahead: they were bound to the plan before."""
    for each in tx.find(ApprovalRecord, run=run.id):
        if each.state == "approved" and each.decided_via == AHEAD and each.uses:
            tx.change(
                each, "approval.withdrawn", actor=actor, data={"reason": "the plan has changed"}, uses=0
            )


def unapprove(parts: Parts, name: str) -> dict[str, Any]:
    """Take back the yes to a plan of which nothing has begun.

    Raises:
        StaleError: it is not approved, or has begun.
    """
    need_person(parts, "plan")
    actor = f"user:{parts.env.user}"
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        if run.state != "approved":
            hint = (
                f"nightcrew pause {name}, or nightcrew cancel {name}"
                if run.state == "running"
                else f"nightcrew show {name}"
            )
            said = (
                "has begun: its approval cannot be taken back"
                if run.state == "running"
                else f"is {run.state}; there is no approval to take back"
            )
            raise StaleError(f"{name} {said}", code="plan.begun", hint=hint)
        withdraw_answers(tx, run, actor)
        data = {"digest": run.plan_digest, "approved_by": run.approved_by}
        tx.change(
            run,
            "plan.unapproved",
            actor=actor,
            data=data,
            state="awaiting_approval",
            approved_at="",
            approved_by="",
            settings=drop_votes(run),
        )
    return {"id": name, "digest": run.plan_digest, "state": "awaiting_approval"}


def last_version(tx: Reader, run: str) -> int:
    """Return the highest version of a run's plan, approved or not."""
    return max((each.version for each in tx.find(PlanRecord, run=run)), default=0)


def need_version(tx: Reader, run: RunRecord, version: int) -> PlanRecord:
    """Return a version of a plan.

    Raises:
        NotFound: there is none.
    """
    found = tx.get(PlanRecord, f"{run.id}/P{version}")
    if found is None:
        raise NotFound(f"there is no plan P{version} of {run.id}", hint=f"nightcrew plan {run.id}")
    return found


def text_of(record: PlanRecord) -> str:
    """Return a version of a plan as a tasks file."""
    from nightcrew.plan.write import write_tasks

    plan = Plan.from_plain(record.body)
    known = record.origin.get("text")
    return (
        str(known) if known else write_tasks(plan.title, [t for t in plan.tasks if find_origin(t.id) == t.id])
    )


def folder_of(parts: Parts, record: PlanRecord) -> Path:
    """Return what the scripts of a plan were looked up from."""
    source = str(record.body.get("source", ""))
    return (parts.cwd / source).parent if source else parts.cwd


def is_begun(task: TaskRecord) -> bool:
    """Tell whether a task can no longer be another one."""
    return task.attempts > 0 or task.state in TASK_FINAL or task.state == "running"


def describe_changes(old: Sequence[Task], new: Sequence[Task]) -> list[dict[str, Any]]:
    """Return what differs between two versions: ``{task, change, fields}`` in the order of the new one, gone ones last."""
    before = {task.id: task for task in old}
    found: list[dict[str, Any]] = []
    for task in new:
        was = before.pop(task.id, None)
        if was is None:
            found.append({"task": task.id, "change": "added", "fields": {"title": ["", task.title]}})
        elif fields := _compare(was, task):
            found.append({"task": task.id, "change": "changed", "fields": fields})
    gone = [
        {"task": task.id, "change": "dropped", "fields": {"title": [task.title, ""]}}
        for task in before.values()
    ]
    return [*found, *gone]


_COMPARED: Final = (
    *(
        "title",
        "agent",
        "run",
        "script",
        "prompt",
        "description",
        "depends",
        "scope",
        "accept",
        "install",
        "network",
    ),
    *("files", "timeout_s", "budget", "role", "model", "fallback", "done", "steps"),
)


def _compare(old: Task, new: Task) -> dict[str, Any]:
    plain_old, plain_new = canonical.to_plain(old), canonical.to_plain(new)
    return {
        name: [plain_old.get(name), plain_new.get(name)]
        for name in _COMPARED
        if plain_old.get(name) != plain_new.get(name)
    }


def is_larger(old: Sequence[Task], new: Sequence[Task]) -> list[str]:
    """Return in which ways a new version may do more than the old one, in words; empty when in none."""
    before = {task.id: task for task in old}
    found: list[str] = []
    for task in new:
        was = before.get(task.id)
        found += [f"{task.id} is new"] if was is None else _find_growth(was, task)
    return found


def _find_growth(old: Task, new: Task) -> list[str]:
    found = [
        f"{new.id}: {name} {' '.join(more)}"
        for name in ("network", "install", "accept")
        if (more := [each for each in getattr(new, name) if each not in getattr(old, name)])
    ]
    if tuple(new.scope) != tuple(old.scope):
        found.append(f"{new.id}: another scope")
    others = (
        "run",
        "script",
        "prompt",
        "agent",
        "steps",
        "title",
        "description",
        "role",
        "model",
        "budget",
        "fallback",
    )
    return found + [
        f"{new.id}: another {name}" for name in others if getattr(new, name) != getattr(old, name)
    ]
