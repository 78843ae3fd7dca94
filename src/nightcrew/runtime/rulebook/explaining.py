"""``why``: the state of anything, what led to it, what to do next. ``policy explain``: what a command line would meet."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.journal.wanted import Wanted
from nightcrew.model import canonical
from nightcrew.model.actions import Action
from nightcrew.model.events import Event
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.model.text import count
from nightcrew.runtime.roles import tell_role
from nightcrew.runtime.rulebook.history import DECIDED, read_past
from nightcrew.runtime.rulebook.loosening import tell_ways, view_values
from nightcrew.runtime.rulebook.reasons import list_kinds, tell
from nightcrew.runtime.views import list_stale, shown_state, tasks_of, view_event

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

_PLAN = re.compile(r"R-[0-9]+/P[0-9]+")
_ATTEMPT = re.compile(r"R-[0-9]+/T[0-9.]+[A-Z]?/[0-9]+")
_HISTORY = 30
_DENIALS = 10


def explain_command(rules: Rules, words: Sequence[str]) -> dict[str, Any]:
    """Return what the policy says about a command line. One word is a whole line, several are its arguments."""
    from nightcrew.runtime.plans.judging import judge_action

    line = words[0] if len(words) == 1 else shlex.join(words)
    decision = judge_action(Action(kind="exec", command=line, purpose="step"), rules)
    plain: dict[str, Any] = canonical.to_plain(decision)
    return {
        "command": line,
        "decision": plain["verdict"],
        **{key: value for key, value in plain.items() if key != "verdict"},
        "to_change": tell_ways(rules.policy, decision, line),
        "policy_digest": rules.policy.digest,
    }


def show_rules(rules: Rules) -> dict[str, Any]:
    """Return the rules in force, strictest decision first."""
    order = {"deny": 0, "ask": 1, "allow": 2}
    found = [
        {
            "id": rule.id,
            "subject": rule.subject,
            "decision": str(rule.decision),
            "risk": rule.risk,
            "reason": rule.reason,
            "source": rule.source,
        }
        for rule in rules.policy.rules
    ]
    found.sort(key=lambda rule: order[rule["decision"]])
    return {
        "digest": rules.policy.digest,
        "sources": list(rules.policy.sources),
        "rules": found,
        "protected": list(rules.policy.protected),
        "limits": dict(rules.policy.limits),
        "values": view_values(rules.policy),
        "gates": [{"id": g.value.id, "run": g.value.run, "source": g.source} for g in rules.policy.gates],
    }


def why(parts: Parts, name: str) -> dict[str, Any]:
    """Explain a thing by its full id: ``{id, state, what, because[], history[], next[]}``."""
    with parts.journal.read() as tx:
        return _MAKERS[_kind_of(name)](parts, tx, name)


def find_subject(text: str) -> str:
    """Return the id of an attempt (``R-7/T04/2``) or of a version of a plan (``R-7/P1``); empty when the text is neither."""
    typed = text.strip().upper()
    return typed if _kind_of(typed) in ("T/", "P") else ""


def _kind_of(name: str) -> str:
    if "/" not in name:
        return name[:1]
    if _PLAN.fullmatch(name):
        return "P"
    return "T/" if _ATTEMPT.fullmatch(name) else "T"


def _why_run(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    run = tx.need(RunRecord, name)
    state = shown_state(parts, tx, run)
    because = [run.reason] if run.reason else []
    because += [
        f"{task.id} is {task.state}" + (f": {task.reason}" if task.reason else "")
        for task in tasks_of(tx, name)
        if task.state not in ("succeeded", "skipped", "pending")
    ]
    told = tell((each for each in tx.events(run=name, kinds=list_kinds()) if not each.task), name)
    following = [*_next_for_run(run, state), *told.next]
    events = tx.events(run=name, kinds=("run.*", "plan.*"))
    return _answer(name, state, run.title, [*because, *told.because], events, following)


def _next_for_run(run: RunRecord, state: str) -> list[str]:
    return {
        "awaiting_approval": [f"nightcrew plan {run.id}", f"nightcrew approve {run.id}"],
        "approved": [f"nightcrew resume {run.id}"],
        "interrupted": [f"nightcrew resume {run.id}"],
        "running": [f"nightcrew resume {run.id}   (follows it)", "nightcrew inbox"],
        "paused": [f"nightcrew resume {run.id}", f"nightcrew cancel {run.id}"],
        "in_review": [
            f"nightcrew review {run.id}",
            f"nightcrew accept {run.id}",
            f"nightcrew promote {run.id}",
        ],
        "partially_promoted": [f"nightcrew review {run.id}", f"nightcrew promote {run.id}"],
        "failed": ["change the tasks file or the policy, then run it again"],
    }.get(state, [])


def _why_task(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    from nightcrew.agents.transcript import read_last_lines

    task = tx.need(TaskRecord, name)
    because = [task.reason] if task.reason else []
    because += tell_role(tx.need(RunRecord, task.run), task)
    because += [_tell_finding(each) for each in task.findings]
    because += [_tell_evidence(each) for each in task.evidence]
    attempts = tx.find(AttemptRecord, task=name)
    for attempt in attempts:
        failed = f" ({attempt.failure}: {attempt.reason})" if attempt.failure else ""
        because.append(f"attempt {attempt.number} {attempt.state}{failed}")
    events = tx.events(task=name)
    because += _tell_denials(events)
    following: list[str] = []
    if task.state == "failed" and attempts and attempts[-1].failure == "agent":
        transcript = attempts[-1].transcript
        because += [f"it printed last: {line}" for line in read_last_lines(Path(transcript))]
        following = (
            [f"less {shlex.quote(transcript)}   (all that it printed)"] if Path(transcript).exists() else []
        )
    told = tell([*_about_agent(tx, task.agent), *events], name)
    because += [line for line in told.because if line.rpartition(" (E-")[0] not in because]
    others = list_stale(tx, task.run).get(name, [])
    if others:
        because.append(f"built on another {', '.join(others)} than there is now: it is stale")
    again = [f"nightcrew retry {name}"] if others else []
    following = list(dict.fromkeys([*again, *_next_for_task(task), *told.next, *following]))
    return _answer(name, task.state, task.title, because, events, following)


def _about_agent(tx: Reader, agent: str) -> list[Event]:
    """Return what belongs to no run and tells of an agent: it may be why its tasks wait or went wrong."""
    wanted = Wanted(kinds=list_kinds(of_agents=True), chain="")
    return [event for event in tx.search(wanted) if event.data.get("agent") == agent]


def _tell_flag(flag: Mapping[str, Any]) -> str:
    where = f" (rule {flag['rule']}, {flag['source']})" if flag["rule"] else ""
    return f"{flag['task']}: {flag['kind'].replace('_', ' ')}: {flag['text']}{where}"


def _why_attempt(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    attempt = tx.need(AttemptRecord, name)
    failed = f"{attempt.failure}: {attempt.reason}" if attempt.failure else attempt.reason
    because = [f"{attempt.agent} began at {attempt.started_at}"]
    because += [failed] if failed else []
    because += (
        [f"it ended by itself with exit code {attempt.exit_code}"] if attempt.exit_code is not None else []
    )
    events = [event for event in tx.events(task=attempt.task) if event.attempt == name]
    because += _tell_denials(events)
    because += tell(events, name).because
    following = [f"nightcrew why {attempt.task}", f"nightcrew log {attempt.task}"]
    what = f"attempt {attempt.number} of {attempt.task}"
    return _answer(name, attempt.state, what, because, events, following)


def _why_plan(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    plan = tx.need(PlanRecord, name)
    run = tx.need(RunRecord, plan.run)
    current = plan.version == run.plan_version
    state = "in force" if current else f"replaced by {run.id}/P{run.plan_version}"
    because = [f"digest {plan.digest}"]
    if current and run.approved_at:
        because.append(f"approved by {run.approved_by} at {run.approved_at}")
    because += [_tell_flag(flag) for flag in plan.flags]
    events = tx.events(run=run.id, kinds=("plan.*",))
    following = [f"nightcrew plan {run.id}", f"nightcrew why {run.id}"]
    return _answer(name, state, f"plan of {run.id}: {run.title}", because, events, following)


def _tell_denials(events: Sequence[Event]) -> list[str]:
    """Return what policy denied to a task, each thing once, as it may be why it went wrong."""
    found = dict.fromkeys(
        f"denied: {event.data['action']}: {event.data['reason']} (rule {event.data['rule']}, {event.data['source']})"
        for event in events
        if event.kind == DECIDED and event.data.get("verdict") == "deny"
    )
    return list(found)[:_DENIALS]


def _tell_finding(finding: Any) -> str:
    where = f"{finding['path']}: " if finding["path"] else ""
    return f"{finding['check']} {finding['verdict']}: {where}{finding['message']} (rule {finding['rule']}, {finding['source']})"


def _tell_evidence(evidence: Any) -> str:
    ended = evidence["reason"] or f"exit code {evidence['exit_code']}"
    result = "passed" if evidence["passed"] else f"failed ({ended})"
    last = evidence["tail"].strip().splitlines()[-1:] if not evidence["passed"] else []
    return f"acceptance `{evidence['command']}` {result}" + (f": {last[0]}" if last else "")


def _next_for_task(task: TaskRecord) -> list[str]:
    if task.waiting_for:
        return [f"nightcrew approve {task.waiting_for}", f"nightcrew deny {task.waiting_for} -m WHY"]
    if task.promoted:
        return [f"nightcrew undo {task.promoted}"]
    return {
        "succeeded": [f"nightcrew diff {task.id}", f"nightcrew accept {task.id}"],
        "failed": [f"nightcrew log {task.id}", f"nightcrew diff {task.id}", f"nightcrew retry {task.id}"],
        "cancelled": [f"nightcrew retry {task.id}"],
        "paused": [f"nightcrew resume {task.id}", f"nightcrew checkpoint list {task.id}"],
        "blocked": [
            f"nightcrew show {task.run}   (which task it waits for)",
            f"nightcrew retry {task.run}/T..",
        ],
    }.get(task.state, [])


def _why_approval(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    record = tx.need(ApprovalRecord, name)
    because = [
        f"{record.requester} asked for: {record.line}",
        f"rule {record.rule} ({record.source}): {record.reason}",
    ]
    if record.decided_at:
        said = f": {record.answer}" if record.answer else ""
        because.append(
            f"{record.state} by {record.decided_by} via {record.decided_via} at {record.decided_at}{said}"
        )
    if record.kind == "action":
        ways = _tell_ways_then(tx, record.run, record.action, record.task)
        because += [f"to change: {way}" for way in ways]
    events = [
        event
        for event in tx.events(run=record.run, task=record.task)
        if name in (event.data.get("id"), event.data.get("approval"))
        or event.data.get("digest") == record.digest
    ]
    because += tell(events, name).because
    following = (
        [f"nightcrew approve {name}", f"nightcrew deny {name} -m WHY"]
        if record.state == "pending"
        else [f"nightcrew why {record.task or record.run}"]
    )
    return _answer(
        name, record.state, f"{record.kind} of {record.task or record.run}", because, events, following
    )


def _tell_ways_then(tx: Reader, run: str, action: Mapping[str, Any] | Action, task: str) -> list[str]:
    """Return what would change a decision, by the policy of the run that it was made in."""
    from nightcrew.runtime.plans.judging import judge_action
    from nightcrew.runtime.rules import rules_from_plain

    record = tx.get(RunRecord, run)
    plan = tx.get(PlanRecord, f"{run}/P{record.plan_version}") if record else None
    if plan is None or record is None:
        return []
    if not isinstance(action, Action):
        if "kind" not in action:
            return []
        action = Action(**{**action, "paths": tuple(action.get("paths", ()))})
    whose = tx.get(TaskRecord, task) if task else None
    rules = rules_from_plain(plan.policies).under(whose.role if whose else "")
    rules = replace(rules, root=record.repo_path)
    return tell_ways(rules.policy, judge_action(action, rules), action.command)


def _why_checkpoint(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    record = tx.need(CheckpointRecord, name)
    because = [
        f"taken because {record.why}",
        f"{count(record.paths, 'path')} changed from the base, tree {record.tree}",
    ]
    because += [f"could not be captured: {each}" for each in record.refused]
    events = [event for event in tx.events(run=record.run, task=record.task) if event.data.get("id") == name]
    following = [f"nightcrew checkpoint diff {name}", f"nightcrew checkpoint restore {name}"]
    return _answer(name, "kept", f"checkpoint of {record.task}", because, events, following)


def _why_promotion(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    record = tx.need(PromotionRecord, name)
    tasks = ", ".join(record.tasks)
    what = f"undo of {record.undo_of}" if record.undo_of else f"promotion of {tasks}"
    because = [
        f"{record.actor} put {count(len(record.paths), 'path')} on {record.branch}: {record.old_commit[:12]} -> {record.new_commit[:12]}"
    ]
    because += [record.reason] if record.reason else []
    because += [f"undone by {record.undone_by}"] if record.undone_by else []
    events = [
        event
        for event in tx.events(run=record.run, kinds=("promotion.*",))
        if name in (event.data.get("id"), event.data.get("promotion"), event.data.get("by"))
    ]
    return _answer(
        name,
        record.state,
        what,
        because,
        events,
        [f"nightcrew undo {name}"] if record.state == "published" else [],
    )


def _why_event(parts: Parts, tx: Reader, name: str) -> dict[str, Any]:
    from nightcrew.runtime.views import need_event

    event = need_event(tx, name)
    plain = view_event(event)
    because = [
        f"{key}: {_tell_value(value)}"
        for key, value in plain["data"].items()
        if value not in ("", [], {}, None)
    ]
    if event.kind == DECIDED and (past := read_past(event)) is not None:
        ways = _tell_ways_then(tx, event.run, past.action, event.task)
        because += [f"to change: {way}" for way in ways]
    subject = event.task or event.run
    told = tell([event], subject or name)
    because = [*(line.rpartition(" (E-")[0] for line in told.because), *because]
    chain = tx.search(Wanted(task=event.task, chain=event.run))
    before = list(takewhile(lambda each: each.seq < event.seq, chain))
    return _answer(
        name,
        event.kind,
        f"by {event.actor} on {subject or 'this installation'}",
        because,
        before[-5:],
        [*told.next, f"nightcrew why {subject}"] if subject else list(told.next),
    )


_MAKERS: Final[Mapping[str, Callable[[Any, Any, str], dict[str, Any]]]] = {
    "R": _why_run,
    "P": _why_plan,
    "T": _why_task,
    "T/": _why_attempt,
    "A": _why_approval,
    "C": _why_checkpoint,
    "M": _why_promotion,
    "E": _why_event,
}
"""What explains a thing, by the kind of its id."""


def _tell_value(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _answer(
    name: str,
    state: str,
    what: str,
    because: Sequence[str],
    events: Sequence[Event],
    following: Sequence[str],
) -> dict[str, Any]:
    history = [view_event(event) for event in events[-_HISTORY:]]
    return {
        "id": name,
        "state": state,
        "what": what,
        "because": list(because),
        "history": history,
        "next": list(following),
    }
