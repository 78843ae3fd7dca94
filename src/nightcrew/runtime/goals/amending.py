"""Changing a plan that waits for approval: by hand, by what a person says of it, by asking the planner once more."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.replans import GOING
from nightcrew.model.errors import InvalidInput, NotFound, UsageError
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import PlanRecord, RunRecord
from nightcrew.model.text import shown
from nightcrew.plan.prompt import Brief
from nightcrew.runtime.goals.asking import find_rejections
from nightcrew.runtime.goals.choosing import check_key, choose_planner
from nightcrew.runtime.goals.consulting import Asking, OnProgress
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.plans import versions
from nightcrew.runtime.plans.bounding import describe_offered, find_bounds, list_paths
from nightcrew.runtime.plans.planning import Draft, Wish, Written, make_draft
from nightcrew.runtime.plans.taking import check_unbegun
from nightcrew.runtime.rules import Rules, read_rules
from nightcrew.runtime.trees.starting import Start

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

COMMENTED: Final = "plan.commented"
_MAX_COMMENT: Final = 4000


def find_plan(parts: Parts, name: str, version: int | None = None) -> tuple[RunRecord, PlanRecord]:
    """Return a run with a version of its plan, the one in force by default."""
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        return run, versions.need_version(tx, run, run.plan_version if version is None else version)


def edit(parts: Parts, name: str, text: str, *, before: int) -> dict[str, Any]:
    """Make a new version of a plan of a tasks file that a person has changed.

    Args:
        before: version that they have changed.

    Raises:
        InvalidInput: with all problems; what was typed is kept in a file that is named. StaleError: the plan is decided, or
            another one by now. DeniedByPolicy: a rule forbids part of it.
    """
    need_person(parts, "plan")
    run, record = find_plan(parts, name, before)
    versions.check_open(run, before)
    if text.strip() == versions.text_of(record).strip():
        return {"id": name, "version": before, "digest": record.digest, "changes": [], "notes": []}
    try:
        draft = draft_text(parts, run, record, text)
    except InvalidInput as error:
        kept = _keep(parts, run, text)
        raise InvalidInput(
            f"{error.message}; P{before} stays as it is",
            error.problems,
            hint=f"what you wrote is in {kept}: nightcrew plan edit {name} --file {kept}",
            texts=error.texts,
        ) from error
    origin = {**record.origin, "by": "edit", "text": text}
    return _finish(parts, run, record, draft, origin)


def draft_text(parts: Parts, run: RunRecord, record: PlanRecord, text: str) -> Draft:
    """Return the draft that a tasks file makes in the place of a version of a plan."""
    start, rules = start_of(parts, run, record), rules_of(parts, run)
    plan = Plan.from_plain(record.body)
    steps = {task.script: task.steps for task in plan.tasks if task.script}
    with parts.journal.read() as tx:
        source = f"{run.id}/P{versions.last_version(tx, run.id) + 1}.md"
    written = Written(text, source, versions.folder_of(parts, record), steps)
    draft = make_draft(parts, written, start, rules, wish_of(run, record))
    return add_overlaps(parts, draft)


def add_overlaps(parts: Parts, draft: Draft) -> Draft:
    """Return a draft with flags for tasks that may collide."""
    from nightcrew.plan.overlaps import find_overlaps

    found = tuple(find_overlaps(draft.plan.tasks, list_paths(parts, draft.start)))
    return replace(draft, flags=(*draft.flags, *found))


def start_of(parts: Parts, run: RunRecord, record: PlanRecord) -> Start:
    """Return what a run starts from."""
    body = record.body
    head, included = str(body.get("head_commit", "")), tuple(body.get("included", ()))
    return Start(parts.repository_of(run), run.base_commit, run.base_tree, head, included)


def rules_of(parts: Parts, run: RunRecord) -> Rules:
    """Return the rules of now: a new version of a plan is judged by them."""
    return read_rules(parts.env, Path(run.repo_path))


def wish_of(run: RunRecord, record: PlanRecord, *, title: str = "") -> Wish:
    """Return what a person wanted of a run."""
    agents = run.settings.get("agents") if record.origin.get("agents") else {}
    return Wish(
        title, str(record.body.get("budget", "")), str(record.origin.get("role", "")), dict(agents or {})
    )


def _keep(parts: Parts, run: RunRecord, text: str) -> str:
    from nightcrew.host.files import ensure_private_directory, write_atomic

    folder = parts.env.state / run.repo_key / "runs" / run.id / "plan"
    ensure_private_directory(folder)
    write_atomic(folder / "edited.md", text.encode("utf-8", "surrogateescape"))
    return str(folder / "edited.md")


def _finish(
    parts: Parts, run: RunRecord, record: PlanRecord, draft: Draft, origin: Mapping[str, Any]
) -> dict[str, Any]:
    from nightcrew.plan.overlaps import weigh

    if origin.get("complexity"):
        origin = {**origin, "complexity": weigh(draft.plan.tasks, draft.flags)}
    made = versions.propose(parts, run.id, draft, origin, before=record.version)
    changes = versions.describe_changes(Plan.from_plain(record.body).tasks, draft.plan.tasks)
    return {
        "id": run.id,
        "version": made.version,
        "digest": made.digest,
        "changes": changes,
        "notes": list(draft.notes),
    }


# -- comments ---------------------------------------------------------------------------------------------------------


def comment(parts: Parts, name: str, task: str, text: str) -> dict[str, Any]:
    """Write down what a person says of a plan, or of one task of it; the planner hears it when it is asked again.

    Returns:
        ``{id, comments, going}``: ``going`` when the run has begun, and can be planned anew for what has not.

    Raises:
        StaleError: the plan is decided, or the task has begun. NotFound: it has no such task. UsageError: nothing was said.
    """
    need_person(parts, "plan")
    if not text.strip() or len(text) > _MAX_COMMENT:
        raise UsageError(
            f"a comment of 1 to {_MAX_COMMENT} characters, please; nothing was recorded",
            hint=f'nightcrew plan comment {name} T03 "use what is there"',
        )
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        going = run.state in GOING
        if not going:
            versions.check_open(run, run.plan_version)
        plan = Plan.from_plain(versions.need_version(tx, run, run.plan_version).body)
        if task and task not in {each.id for each in plan.tasks}:
            known = " ".join(each.id for each in plan.tasks)
            raise NotFound(
                f"the plan of {name} has no task {shown(task)}; it has {known}", hint=f"nightcrew plan {name}"
            )
        if going:
            check_unbegun(tx, run, plan, task)
        data = {"about": task, "text": text.strip(), "version": run.plan_version}
        tx.append(COMMENTED, run=name, actor=f"user:{parts.env.user}", data=data)
    return {"id": name, "comments": list_comments(parts, run), "going": going}


def list_comments(parts: Parts, run: RunRecord) -> list[dict[str, Any]]:
    """Return what was said of the version of a plan that is in force: ``{task, text, by, at}``."""
    with parts.journal.read() as tx:
        events = tx.events(run=run.id, kinds=(COMMENTED,))
    return [
        {"task": e.data["about"], "text": e.data["text"], "by": e.actor.removeprefix("user:"), "at": e.at}
        for e in events
        if e.data.get("version") == run.plan_version
    ]


def replan(
    parts: Parts, name: str, *, tell: OnProgress, planner: str = "", everything: bool = False, also: str = ""
) -> dict[str, Any]:
    """Ask the planner once more; what nobody has said anything of stays exactly as it is.

    Args:
        everything: nothing stays. also: one more comment, on the whole plan.

    Raises:
        StaleError: the plan is decided. UsageError: nothing was said of it. PlanningFailed: the plan stays as it is.
    """
    need_person(parts, "plan")
    run, record = find_plan(parts, name)
    versions.check_open(run, run.plan_version)
    if also:
        comment(parts, name, "", also)
    comments = list_comments(parts, run)
    if not comments and not everything:
        raise UsageError(
            f"nothing was said of P{run.plan_version} of {name}; it stays as it is",
            code="replan.nothing",
            hint=f'nightcrew plan comment {name} T03 "what should be different", or: nightcrew plan replan {name} --all',
        )
    start, rules = start_of(parts, run, record), rules_of(parts, run)
    asked = choose_planner(parts, rules, planner or str(record.origin.get("agent", "")))
    check_key(parts, rules, asked)
    tasks = Plan.from_plain(record.body).tasks
    about = {each["task"] for each in comments}
    keep = () if everything or "" in about else tuple(task for task in tasks if task.id not in about)
    within, never = (tuple(record.origin.get(key, ())) for key in ("within", "never"))
    bounds = find_bounds(parts, rules, start, within, never)
    brief = Brief(
        goal=str(record.origin.get("goal") or run.title),
        crew=describe_offered(parts, rules),
        paths=list_paths(parts, start),
        rejections=find_rejections(parts, run.repo_key, rules.settings.planning.examples),
        current=versions.text_of(record),
        comments=[(each["task"], each["text"]) for each in comments],
        fixed=[task.number for task in keep],
    )
    asking = Asking(parts, run, rules, start, asked, rules.settings.planning.model, tell)
    asking.steps = {task.script: task.steps for task in tasks if task.script}
    found = asking.ask(brief, bounds, wish_of(run, record, title=run.title), keep=keep)
    origin = {**record.origin, "by": "planner", "agent": asked, **found.describe()}
    done = _finish(parts, run, record, found.draft, origin)
    done |= {"planner": asked, "spent": found.spent}
    return {
        **done,
        "notes": [*done["notes"], *found.notes],
        "kept": [task.id for task in keep],
        "took_s": found.took_s,
    }


# -- looking ----------------------------------------------------------------------------------------------------------


def compare(parts: Parts, name: str, old: int | None = None, new: int | None = None) -> dict[str, Any]:
    """Return what differs between two versions of a plan: by default the last one and the one before it.

    Raises:
        NotFound: there is no such version.
    """
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        last = versions.last_version(tx, name) if new is None else new
        first = max(last - 1, 0) if old is None else old
        before, after = (versions.need_version(tx, run, each) for each in (first, last))
    lines = difflib.unified_diff(
        versions.text_of(before).splitlines(),
        versions.text_of(after).splitlines(),
        f"{name}/P{first}",
        f"{name}/P{last}",
        lineterm="",
    )
    tasks_before, tasks_after = (Plan.from_plain(each.body).tasks for each in (before, after))
    return {
        "id": name,
        "old": first,
        "new": last,
        "digests": [before.digest, after.digest],
        "changes": versions.describe_changes(tasks_before, tasks_after),
        "more": versions.is_larger(tasks_before, tasks_after),
        "text": "\n".join(shown(line, keep="\t") for line in lines),
    }


def export(parts: Parts, name: str, version: int | None = None) -> str:
    """Return a version of a plan as a tasks file."""
    return versions.text_of(find_plan(parts, name, version)[1])


def view_goal(parts: Parts, name: str) -> dict[str, Any]:
    """Return a plan as goals, for programs: format docs/formats/goals.md."""
    run, record = find_plan(parts, name)
    origin, tasks = record.origin, Plan.from_plain(record.body).tasks
    return {
        "version": 1,
        "id": run.id,
        "title": run.title,
        "goal": origin.get("goal", ""),
        "created_at": run.created_at,
        "status": "ready_for_approval" if run.state == "awaiting_approval" else run.state,
        "plan": record.version,
        "digest": record.digest,
        "planner": origin.get("agent", ""),
        "complexity": origin.get("complexity", ""),
        "summary": origin.get("summary", ""),
        "context": list(origin.get("context", ())),
        "gaps": list(origin.get("gaps", ())),
        "subgoals": [_view_task(task, origin) for task in tasks],
        "flags": [dict(each) for each in record.flags],
        "usage": dict(run.usage),
    }


def _view_task(task: Task, origin: Mapping[str, Any]) -> dict[str, Any]:
    files = origin.get("changes", {}).get(task.id, {})
    quality = task.route.quality if task.route is not None else ""
    return {
        "id": task.id,
        "title": task.title,
        "description": task.prompt or task.description,
        "agent": task.agent,
        "ideal_agent": task.route.gap if task.route is not None and task.route.gap else task.agent,
        "match_quality": quality or "acceptable",
        "dependencies": list(task.depends),
        "scope": list(task.scope),
        "acceptance": list(task.accept),
        "install": list(task.install),
        "network": list(task.network),
        "files": {kind: list(files.get(kind, ())) for kind in ("create", "modify", "delete")},
        "minutes": origin.get("minutes", {}).get(task.id),
    }
