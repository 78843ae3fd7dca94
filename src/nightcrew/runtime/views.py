"""What is shown of a record: one plain value per thing, the same for ``--json`` and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.replans import GOING
from nightcrew.model import canonical
from nightcrew.model.actions import Action
from nightcrew.model.errors import NotFound
from nightcrew.model.events import Event
from nightcrew.model.ids import sort_key, split_task
from nightcrew.model.lifecycle import TASK_WAITING
from nightcrew.model.plans import Flag, Plan
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.runtime.isolating import text_of, view_isolation
from nightcrew.runtime.money.budgeting import view_run_spending, view_spending, view_task_spending
from nightcrew.runtime.money.stopping import view_stop
from nightcrew.runtime.plans.offers import find_offer, view_offer

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

OPEN_RUNS = ("draft", "awaiting_approval", "approved", "running", "paused", "in_review", "partially_promoted")


def show(parts: Parts, name: str) -> dict[str, Any]:
    """Return what is known of the thing called ``name`` (a full id)."""
    kind = "T" if "/" in name else name[0]
    if kind == "R":
        return _show_run(parts, name)
    with parts.journal.read() as tx:
        match kind:
            case "T":
                return _view_task_fully(tx, tx.need(TaskRecord, name))
            case "A":
                return _show_approval(tx, tx.need(ApprovalRecord, name))
            case "C":
                found = tx.need(CheckpointRecord, name)
                return view_checkpoint(found, current=tx.need(TaskRecord, found.task).checkpoint == name)
            case "M":
                return view_promotion(tx.need(PromotionRecord, name))
            case _:
                return view_event(need_event(tx, name))


def _show_run(parts: Parts, name: str) -> dict[str, Any]:
    from nightcrew.runtime.trees.drifting import look_again

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        view = view_run(parts, tx, run)
    drift = look_again(parts, run)
    return view if drift is None else {**view, "drift": drift}


def list_runs(parts: Parts, *, everything: bool) -> list[dict[str, Any]]:
    """Return short views of runs, newest first."""
    with parts.journal.read() as tx:
        runs = tx.find(RunRecord) if everything else tx.find(RunRecord, state=OPEN_RUNS)
        runs.sort(key=lambda run: sort_key(run.id), reverse=True)
        return [_view_run_shortly(parts, tx, run) for run in runs]


def view_run(parts: Parts, tx: Reader, run: RunRecord) -> dict[str, Any]:
    """Return a run with its plan and tasks; scripts rely on ``id, state, tasks[]``."""
    plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    waiting = tx.find(ApprovalRecord, run=run.id, state="pending")
    tasks = tasks_of(tx, run.id)
    stood_in = Counter(
        each.task for each in tx.find(AttemptRecord, run=run.id, state="parked") if each.stands_in
    )
    return {
        "id": run.id,
        "state": shown_state(parts, tx, run),
        "title": run.title,
        "reason": run.reason,
        "repository": run.repo_path,
        "base_commit": run.base_commit,
        "isolation": run.isolation,
        "confined": view_isolation(run),
        "max_parallel": run.max_parallel,
        "requester": run.requester,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "plan": view_plan_shortly(run, plan),
        "offered": dict(find_offer(run)),
        "usage": view_spending(parts, tx, run, tasks),
        **view_stop(tx, run),
        "tasks": [
            {**view_task(task, plan.body, stood_in[task.id]), "usage": view_task_spending(run, task)}
            for task in tasks
        ],
        "approvals": [each.id for each in sorted(waiting, key=lambda each: sort_key(each.id))],
        **_read_outlook(tx, run.id),
        "promotions": [each.id for each in tx.find(PromotionRecord, run=run.id)],
    }


def view_outlook(parts: Parts, run: str) -> dict[str, Any]:
    """Return what a run was last told of, with ``drift`` (empty when there is none) as it is now when it waits for review,
    and coming conflicts (``forecast``)."""
    from nightcrew.runtime.trees.drifting import look_again

    with parts.journal.read() as tx:
        record = tx.need(RunRecord, run)
        outlook = _read_outlook(tx, run)
    drift = look_again(parts, record)
    return outlook if drift is None else {**outlook, "drift": drift}


def _read_outlook(tx: Reader, run: str) -> dict[str, Any]:
    from nightcrew.engine.course.outlook import read_drift, read_forecasts

    told = read_forecasts(tx, run).items()
    return {
        "drift": read_drift(tx, run),
        "forecast": [{"tasks": list(pair), "paths": list(paths)} for pair, paths in told],
    }


def view_plan_shortly(run: RunRecord, plan: PlanRecord) -> dict[str, Any]:
    """Return what binds a run to its plan."""
    return {
        "id": plan.id,
        "version": plan.version,
        "digest": plan.digest,
        "policy_digest": run.policy_digest,
        "approved_at": run.approved_at,
        "approved_by": run.approved_by,
        "origin": {key: value for key, value in plan.origin.items() if key not in ("text", "changes")},
        "flags": [dict(flag) for flag in plan.flags],
    }


def view_task(task: TaskRecord, body: Mapping[str, Any], stood_in: int = 0) -> dict[str, Any]:
    """Return one task of a run.

    Args:
        stood_in: attempts of it in which nothing worked: a person put a result in their place.
    """
    spec: Mapping[str, Any] = next((each for each in body.get("tasks", ()) if each["id"] == task.name), {})
    return {
        "id": task.id,
        "name": task.name,
        "title": task.title,
        "state": task.state,
        "verified": task.verified,
        "verdict": task.verdict if task.verdict_tree == task.tree else "",
        "attempts": task.attempts - stood_in,
        "agent": task.agent,
        "planned_agent": task.planned or task.agent,
        "fallback": list(task.fallback),
        "role": task.role,
        "confidence": task.confidence,
        "opens_at": task.opens_at,
        "isolation": task.isolation,
        "depends": list(spec.get("depends", ())),
        "scope": list(spec.get("scope", ())),
        "waiting_for": task.waiting_for,
        "checkpoint": task.checkpoint,
        "tree": task.tree,
        "promoted": task.promoted,
        "reason": task.reason,
        "generation": task.generation,
        "started_at": task.started_at,
        "ended_at": task.ended_at,
        "evidence": [dict(each) for each in task.evidence],
        "findings": [dict(each) for each in task.findings],
    }


def view_approval(record: ApprovalRecord) -> dict[str, Any]:
    """Return one question to a human, open or answered."""
    return {
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "run": record.run,
        "task": record.task,
        "action": record.shown or Action(**_known(record.action)).describe(),
        "rule": record.rule,
        "source": record.source,
        "reason": record.reason,
        "risk": record.risk,
        "digest": record.digest,
        "requested_at": record.requested_at,
        "expires_at": record.expires_at,
        "decided_at": record.decided_at,
        "decided_by": record.decided_by,
        "decided_via": record.decided_via,
        "answer": record.answer,
        "scope": record.scope,
        "uses": record.uses,
        "checkpoint": record.checkpoint,
        "requester": record.requester,
        "owner": record.owner,
        "on_timeout": record.on_timeout,
        "reminded": record.reminded,
        "needs": {
            "quorum": record.quorum,
            "approvers": list(record.approvers),
            "not_requester": record.not_requester,
            "reason": record.need_reason,
            "factor": record.factor,
            "source": record.terms,
        },
        "votes": [dict(each) for each in record.votes],
        "question": dict(record.question),
    }


def view_pending_plan(run: RunRecord) -> dict[str, Any]:
    """Return a plan that waits for its approval in the shape of an inbox item."""
    return {
        "id": run.id,
        "kind": "plan",
        "state": "pending",
        "run": run.id,
        "task": "",
        "action": f"run the plan: {run.title}",
        "rule": "",
        "source": "",
        "reason": "nothing runs before the plan is approved",
        "risk": "medium",
        "digest": run.plan_digest,
        "requested_at": run.created_at,
        "expires_at": "",
    }


def view_pending_offer(run: RunRecord) -> dict[str, Any]:
    """Return a new plan of a run that goes on in the same shape."""
    offer = find_offer(run)
    return {
        **view_pending_plan(run),
        "action": f"go on with P{offer['version']} of the plan: {run.title}\n" + "\n".join(offer["more"]),
        "reason": "the approved rest goes on meanwhile",
        "offer": offer["version"],
        "digest": offer["digest"],
        "requested_at": offer["at"],
    }


def view_inbox(parts: Parts) -> list[dict[str, Any]]:
    """Return everything that waits for a human, oldest first."""
    # It needs what makes plans; a listing of runs does not.
    from nightcrew.runtime.plans.asking import view_terms

    with parts.journal.read() as tx:
        open_now = tx.find(RunRecord, state="awaiting_approval")
        plans = [{**view_pending_plan(run), **view_terms(tx, run)} for run in open_now]
        offered = [run for run in tx.find(RunRecord, state=GOING) if find_offer(run)]
        plans += [{**view_pending_offer(run), **view_terms(tx, run)} for run in offered]
        pending = tx.find(ApprovalRecord, state="pending")
    asked = [{**view_approval(each), "same": find_same(each, pending)} for each in pending]
    return sorted([*plans, *asked], key=lambda item: (item["requested_at"], sort_key(item["id"])))


def _show_approval(tx: Reader, record: ApprovalRecord) -> dict[str, Any]:
    open_now = tx.find(ApprovalRecord, run=record.run, state="pending") if record.state == "pending" else []
    return {**view_approval(record), "same": find_same(record, open_now)}


def find_same(record: ApprovalRecord, among: Sequence[ApprovalRecord]) -> list[str]:
    """Return the ids of the other open questions of a run that one answer to this one serves too: of exactly the same action,
    with the same risk."""

    def what(each: ApprovalRecord) -> tuple[str, str, str, str]:
        return each.run, each.digest, each.kind, each.risk

    if record.kind not in ("action", "net") or not record.task:
        return []
    return [each.id for each in among if each.id != record.id and what(each) == what(record)]


def view_checkpoint(record: CheckpointRecord, *, current: bool = False) -> dict[str, Any]:
    """Return one checkpoint; ``current`` marks the one that holds the task's result."""
    return {**canonical.to_plain(record), "current": current}


def view_promotion(record: PromotionRecord) -> dict[str, Any]:
    """Return one promotion."""
    plain: dict[str, Any] = canonical.to_plain(record)
    return plain


def view_event(event: Event) -> dict[str, Any]:
    """Return one event as recorded, with its pasteable id."""
    return {"id": event.id, **canonical.to_plain(event)}


def shown_state(parts: Parts, tx: Reader, run: RunRecord) -> str:
    """Return the state a person sees: a running run that could go on, but has no living engine, is ``interrupted``."""
    from nightcrew.runtime.resting import find_rest

    if run.state != "running" or parts.engine_holder:
        return run.state
    return "running" if find_rest(tx, run) == "waiting" else "interrupted"


#: What counts as done in a list of runs; a failed or blocked task is over, but nobody should read it as done.
_DONE: Final = frozenset({"succeeded", "skipped"})


def list_stale(tx: Reader, run: str) -> dict[str, list[str]]:
    """Return the tasks whose result stands on another result of a task than that has now: id → names of these."""
    from nightcrew.review.staleness import find_stale

    return {name: list(others) for name, others in find_stale(tasks_of(tx, run)).items()}


def view_stale(parts: Parts, run: str) -> dict[str, list[str]]:
    """Return the same of a run by its id."""
    with parts.journal.read() as tx:
        return list_stale(tx, run)


def tasks_of(tx: Reader, run: str) -> list[TaskRecord]:
    """Return the tasks of a run in the order written."""
    return sorted(tx.find(TaskRecord, run=run), key=lambda task: task.position)


def _view_task_fully(tx: Reader, task: TaskRecord) -> dict[str, Any]:
    run = tx.need(RunRecord, task.run)
    plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    attempts = sorted(tx.find(AttemptRecord, task=task.id), key=lambda each: sort_key(each.id))
    return {
        **view_task(task, plan.body, sum(each.stands_in for each in attempts)),
        "run": task.run,
        "usage": view_task_spending(run, task),
        "base_tree": task.base_tree,
        "verdict_tree": task.verdict_tree,
        "tries": [canonical.to_plain(each) for each in attempts],
        "checkpoints": [each.id for each in tx.find(CheckpointRecord, task=task.id)],
    }


def _view_run_shortly(parts: Parts, tx: Reader, run: RunRecord) -> dict[str, Any]:
    from nightcrew.engine.course.outlook import read_drift

    states = tx.count(TaskRecord, "state", run=run.id)
    return {
        "id": run.id,
        "state": shown_state(parts, tx, run),
        "title": run.title,
        "repository": run.repo_path,
        "created_at": run.created_at,
        "total": sum(states.values()),
        "done": _add(states, _DONE),
        "failed": _add(states, ("failed", "blocked")),
        "running": _add(states, ("running",)),
        "waiting": 1
        if run.state == "awaiting_approval"
        else _add(states, TASK_WAITING) + bool(find_offer(run)),
        "paused": _add(states, ("paused",)),
        "unhealthy": _count_unhealthy(tx, run.id) if states.get("running") else 0,
        "usage": view_run_spending(run),
        "drift": read_drift(tx, run.id).get("severity", ""),
    }


def _count_unhealthy(tx: Reader, run: str) -> int:
    """Return how many tasks of a run have an agent that has said nothing for long (see ``engine.silence``)."""
    from nightcrew.engine.work.silence import UNHEALTHY

    return sum(task.reason.startswith(UNHEALTHY) for task in tx.find(TaskRecord, run=run, state="running"))


def _add(states: Mapping[str, int], wanted: Sequence[str] | frozenset[str]) -> int:
    return sum(states.get(state, 0) for state in wanted)


def need_event(tx: Reader, name: str) -> Event:
    """Return the event called ``E-<seq>``.

    Raises:
        NotFound: there is none.
    """
    seq = int(name.partition("-")[2])
    found = tx.events(after=seq - 1, limit=1)
    if not found or found[0].seq != seq:
        raise NotFound(f"there is no event {name}", hint="nightcrew events")
    return found[0]


def _known(action: Mapping[str, Any]) -> dict[str, Any]:
    names = ("kind", "command", "paths", "content_sha256", "purpose", "detail")
    given = {name: action[name] for name in names if name in action}
    return {**given, "paths": tuple(given.get("paths", ()))} if given.get("kind") else {"kind": "other"}


def run_of(name: str) -> str:
    """Return the run id of a run or task id."""
    return split_task(name)[0] if "/" in name else name


def view_plan(parts: Parts, name: str) -> dict[str, Any]:
    """Return the plan of a run: digest, flags, and all tasks as approved."""
    from nightcrew.runtime.plans.asking import view_terms

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
        offered = view_offer(tx, run)
        asked = view_terms(tx, run) if run.state == "awaiting_approval" or offered else {}
    from nightcrew.runtime.goals.anew import view as view_anew

    whole = {
        "run": run.id,
        "state": run.state,
        "plan": dict(plan.body),
        "offered": offered,
        "replan": view_anew(run),
        "asked": asked,
    }
    return {**view_plan_shortly(run, plan), **whole}


def plan_text(parts: Parts, name: str, *, width: int) -> str:
    """Return the plan of a run as text for a person."""
    from nightcrew.plan.render import render_plan

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        record = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
        offered = view_offer(tx, run)
    from nightcrew.runtime.goals.anew import describe as describe_anew
    from nightcrew.runtime.plans.origins import describe_choices, describe_offered, describe_origin

    flags = tuple(Flag(**flag) for flag in record.flags)
    remarks = describe_origin(record)
    text = render_plan(
        Plan.from_plain(record.body),
        flags,
        run_id=run.id,
        isolation=text_of(run),
        width=width,
        remarks=[*remarks, *filter(None, [describe_anew(run)])],
        choices=describe_choices(run, flags) if remarks and run.state == "awaiting_approval" else (),
        named="" if run.state == "awaiting_approval" else None,
    )
    if not offered:
        return text
    new = render_plan(
        Plan.from_plain(offered["plan"]),
        tuple(Flag(**flag) for flag in offered["flags"]),
        run_id=run.id,
        isolation=text_of(run),
        width=width,
        remarks=describe_offered(run, offered),
        named=offered["digest"],
    )
    return f"{text}\n\n{new}"
