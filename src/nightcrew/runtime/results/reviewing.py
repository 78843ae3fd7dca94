"""Review: what a person sees of each task, and what they say of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.actions import Change
from nightcrew.model.answers import choose_answers, is_accepted, is_rejected
from nightcrew.model.errors import StaleError, UsageError
from nightcrew.model.ids import find_origin
from nightcrew.model.plans import Plan
from nightcrew.model.records import AttemptRecord, CheckpointRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.model.text import shown
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.plans.offers import find_offer
from nightcrew.runtime.upkeep.reporting import hide_secrets
from nightcrew.runtime.views import tasks_of, view_outlook

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.review.dossier import Dossier
    from nightcrew.runtime.parts import Parts


def build_dossiers(parts: Parts, run: RunRecord) -> list[Dossier]:
    """Return the dossier of every task of a run, in the order written."""
    from nightcrew.review.dossier import Others, build_dossier
    from nightcrew.review.staleness import find_held, find_stale

    repository = parts.repository_of(run)
    store, promoter = parts.store(repository), parts.promoter(repository)
    with parts.journal.read() as tx:
        plan = plan_of(tx, run)
        tasks = tasks_of(tx, run.id)
        attempts = {task.id: tx.find(AttemptRecord, task=task.id) for task in tasks}
        trees = {task.id: trees_of(tx, task) for task in tasks}
    stale, rivals, held = find_stale(tasks), _find_rivals(tasks), find_held(tasks, plan)
    dossiers = []
    for task in tasks:
        old, new = trees[task.id]
        compared = store.compare(old, new) if new else None
        run_by_git = promoter.run_by_git([path.path for path in compared.promotable]) if compared else ()
        change = _hide_names(compared) if compared else None
        dossiers.append(
            build_dossier(
                task,
                plan.task(task.name),
                change,
                task.evidence,
                task.findings,
                attempts[task.id],
                Others(stale.get(task.id, ()), held.get(task.id, ()), rivals.get(task.id, ())),
                run_by_git,
            )
        )
    return dossiers


def _hide_names(change: Change) -> Change:
    from nightcrew.policy.scanning.texts import hide_in_name

    paths = tuple(
        path if (name := hide_in_name(path.path)) == path.path else replace(path, path=name)
        for path in change.paths
    )
    return replace(change, paths=paths)


def _find_rivals(tasks: Sequence[TaskRecord]) -> dict[str, list[str]]:
    """Return for each task id the other answers to the same task, as long as none of them is accepted or promoted."""
    groups: dict[str, list[TaskRecord]] = defaultdict(list)
    for task in tasks:
        groups[find_origin(task.name)].append(task)
    return {
        task.id: [each.name for each in group if each is not task]
        for group in groups.values()
        if len(group) > 1 and not any(each.promoted or is_accepted(each) for each in group)
        for task in group
    }


def view_review(parts: Parts, name: str) -> dict[str, Any]:
    """Return the review of a run as plain values."""
    from nightcrew.review.dossier import order_dossiers

    run = need_run(parts, name)
    dossiers = build_dossiers(parts, run)
    return {
        "id": run.id,
        "state": run.state,
        "title": run.title,
        "tasks": [canonical.to_plain(d) for d in order_dossiers(dossiers)],
        **view_outlook(parts, run.id),
        "offered": dict(find_offer(run)),
    }


def review_text(parts: Parts, name: str, *, width: int) -> str:
    """Return the review of a run as text for a person."""
    from nightcrew.review.render import render_review

    run = need_run(parts, name)
    text = render_review(run, build_dossiers(parts, run), width=width)
    outlook = view_outlook(parts, run.id)
    told = [
        f"{' and '.join(each['tasks'])} collide in {', '.join(each['paths'])}" for each in outlook["forecast"]
    ]
    if outlook["drift"].get("severity") in ("high", "medium"):
        told.append(f"drift {outlook['drift']['severity']}: {outlook['drift']['said']}")
    offered = find_offer(run)
    if offered:
        told.append(f"P{offered['version']} of its plan waits for you: nightcrew plan {run.id}")
    return "\n".join([text.rstrip("\n"), *(f" {shown(line)}" for line in told)]) + "\n" if told else text


def accept(parts: Parts, names: Sequence[str]) -> dict[str, Any]:
    """Accept tasks by name, or the green ones of whole runs.

    Raises:
        StaleError: a task named itself has no result that may be accepted.
    """
    need_person(parts, "promote")
    accepted: list[TaskRecord] = []
    left_out: list[dict[str, str]] = []
    for name in names:
        if "/" in name:
            accepted.append(_accept_task(parts, name))
        else:
            _accept_green(parts, name, accepted, left_out)
    runs = list(dict.fromkeys(task.run for task in accepted))
    return {"accepted": [_shortly(task) for task in accepted], "left_out": left_out, "runs": runs}


def reject(parts: Parts, name: str, *, reason: str) -> dict[str, Any]:
    """Reject the result of a task.

    Raises:
        StaleError: it has no result, or it is promoted already.
        UsageError: no reason was given.
    """
    need_person(parts, "promote")
    if not reason.strip():
        raise UsageError(
            "a rejection needs a reason", code="reason.missing", hint=f'nightcrew reject {name} -m "why"'
        )
    with parts.journal.write() as tx:
        task = tx.need(TaskRecord, name)
        if not task.tree:
            raise StaleError(
                f"{name} has no result to reject; it is {task.state}", hint=f"nightcrew why {name}"
            )
        _refuse_promoted(task, "rejected")
        changed = _judge(tx, parts, task, "rejected", reason)
        plan = plan_of(tx, tx.need(RunRecord, task.run))
    held = [f"{task.run}/{each.id}" for each in plan.tasks if task.name in each.depends]
    return {**_shortly(changed), "reason": hide_secrets(reason), "held": held}


def _accept_task(parts: Parts, name: str) -> TaskRecord:
    with parts.journal.write() as tx:
        task = tx.need(TaskRecord, name)
        if problem := _why_not_acceptable(task):
            raise StaleError(
                f"{name} cannot be accepted: {problem}", code="accept.refused", hint=f"nightcrew why {name}"
            )
        _refuse_promoted(task, "accepted")
        _refuse_second(tx, task)
        return _judge(tx, parts, task, "accepted", "")


def _refuse_second(tx: Reader, task: TaskRecord) -> None:
    """Refuse to accept two answers to the same task: only one of them can go."""
    answer = choose_answers(tasks_of(tx, task.run))[find_origin(task.name)]
    if answer.id != task.id and (answer.promoted or is_accepted(answer)):
        raise StaleError(
            f"{answer.id}, another answer to the same task, is {'promoted' if answer.promoted else 'accepted'}; "
            "only one of them can go",
            code="accept.second",
            hint=f'first: nightcrew reject {answer.id} -m "why"',
        )


def _accept_green(
    parts: Parts, name: str, accepted: list[TaskRecord], left_out: list[dict[str, str]]
) -> None:
    run = need_run(parts, name)
    dossiers = {dossier.id: dossier for dossier in build_dossiers(parts, run)}
    with parts.journal.write() as tx:
        tasks = tasks_of(tx, run.id)
        several = Counter(find_origin(task.name) for task in tasks)
        for task in tasks:
            if task.state == "skipped" or task.promoted:
                continue
            why = _why_left_out(task, dossiers[task.id])
            if several[find_origin(task.name)] > 1:
                why = why or "there are several answers to this task; accept one of them by name"
            if why:
                left_out.append({"id": task.id, "why": why})
            else:
                accepted.append(_judge(tx, parts, task, "accepted", ""))


def _why_left_out(task: TaskRecord, dossier: Dossier) -> str:
    if problem := _why_not_acceptable(task):
        return problem
    if is_rejected(task):
        return "you rejected it"
    if dossier.green:
        return ""
    if task.verified != "verified":
        return f"it is {task.verified or 'not verified'}; accept it by name if you want it"
    why = next((shown(each.text) for each in dossier.concerns if each.look), "")
    return f"it needs a look ({why}); accept it by name when you had one"


def _why_not_acceptable(task: TaskRecord) -> str:
    if task.state != "succeeded":
        return f"it is {task.state}" + (f": {task.reason}" if task.reason else "")
    if task.verified == "failed":
        return "its acceptance failed"
    return "" if task.tree else "it has no result"


def _refuse_promoted(task: TaskRecord, word: str) -> None:
    if task.promoted:
        raise StaleError(
            f"{task.id} is promoted already by {task.promoted}; it cannot be {word} any more",
            code="task.promoted",
            hint=f"take it back first: nightcrew undo {task.promoted}",
        )


def _judge(tx: Writer, parts: Parts, task: TaskRecord, verdict: str, reason: str) -> TaskRecord:
    data = {"verdict": verdict, "tree": task.tree, "reason": reason, "verified": task.verified}
    actor = f"user:{parts.env.user}"
    return tx.change(
        task, f"review.{verdict}", actor=actor, data=data, verdict=verdict, verdict_tree=task.tree
    )


def _shortly(task: TaskRecord) -> dict[str, Any]:
    return {
        "id": task.id,
        "title": task.title,
        "tree": task.tree,
        "verified": task.verified,
        "verdict": task.verdict,
    }


def need_run(parts: Parts, name: str) -> RunRecord:
    """Return the record of a run.

    Raises:
        NotFound: there is none.
    """
    with parts.journal.read() as tx:
        return tx.need(RunRecord, name)


def plan_of(tx: Reader, run: RunRecord) -> Plan:
    """Return the plan a run executes."""
    return Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)


def trees_of(tx: Reader, task: TaskRecord) -> tuple[str, str]:
    """Return what a task started from and what it led to: its result, or else its last checkpoint; empty when none."""
    if task.tree:
        return task.base_tree, task.tree
    last = tx.get(CheckpointRecord, task.checkpoint) if task.checkpoint else None
    return (last.base_tree, last.tree) if last and not last.pruned else ("", "")
