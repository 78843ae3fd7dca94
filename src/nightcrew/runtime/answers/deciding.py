"""Answers of a human: to a plan, to an action, to a change. First answer wins, bound to the digest that was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate.answering import Answer, check_answer
from nightcrew.gate.approvals import decide as decide_record
from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model.errors import NightcrewError, StaleError, UsageError
from nightcrew.model.ids import join_task
from nightcrew.model.records import ApprovalRecord, RunRecord
from nightcrew.runtime.people.identity import account_of, need_scope
from nightcrew.runtime.people.saying import COMMAND_LINE, SIGNED, Said
from nightcrew.runtime.people.terms import check_name, complete, refuse_agents, time_of_answer
from nightcrew.runtime.plans.offers import find_offer
from nightcrew.runtime.plans.planning import cancel_tasks
from nightcrew.runtime.plans.taking import refuse_offer
from nightcrew.runtime.views import find_same, view_approval

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.runtime.parts import Parts

#: Codes of what is written down as a refused answer.
_REFUSALS: Final = ("gate.", "approval.", "auth.", "digest.", "reason.")
_SHORTEST_PREFIX = 4


def check_plan_open(run: RunRecord) -> None:
    """Return when the plan of ``run`` still waits for its answer.

    Raises:
        StaleError: it was decided already; who and when is named.
    """
    if run.state == "awaiting_approval" or find_offer(run):
        return
    if run.approved_at:
        said = f"was approved by {run.approved_by} at {run.approved_at}"
    else:
        said = f"is {run.state}: {run.reason}" if run.reason else f"is {run.state}"
    raise StaleError(
        f"the plan of {run.id} is not open any more: it {said}",
        code="decision.twice",
        hint=f"nightcrew show {run.id}",
    )


def deny_plan(parts: Parts, name: str, *, reason: str, digest: str = "") -> None:
    """Deny the plan of a run; it is over then.

    Raises:
        UsageError: no reason was given.
        StaleError: decided already, or another digest.
    """
    _need_reason(reason)
    refuse_agents(parts)
    need_scope(parts, "plan")
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        if offer := find_offer(run):
            if digest:
                check_digest(run.id, offer["digest"], digest)
            refuse_offer(tx, run, actor=f"user:{parts.env.user}", reason=reason)
            return
        check_plan_open(run)
        if digest:
            check_digest(run.id, run.plan_digest, digest)
        said = f"plan denied by {parts.env.user}: {reason}"
        data = {"digest": run.plan_digest, "reason": reason}
        cancel_tasks(tx, run.id, said, f"user:{parts.env.user}")
        tx.change(
            run,
            "plan.denied",
            actor=f"user:{parts.env.user}",
            data=data,
            state="cancelled",
            reason=said,
            ended_at=stamp(parts.clock.now()),
        )


def is_refusal(error: NightcrewError) -> bool:
    """Tell whether an error is an answer that was refused, which is written down."""
    return error.code.startswith(_REFUSALS)


def decide(parts: Parts, name: str, said: Said) -> dict[str, Any]:
    """Record an answer to an approval and return its view, with ``also``: the ids of those that it answers too.

    Args:
        name: approval id.
        said: the answer.

    Raises:
        StaleError: answered already (naming who and when), expired, or another digest.
        DeniedByPolicy: an agent answers, the policy names others, or it must be somebody else than who handed over the run.
        UsageError: a reason is missing. NotAuthenticated: a factor is missing or wrong. LimitReached: locked out.
    """
    try:
        return _decide(parts, name, said)
    except NightcrewError as error:
        if is_refusal(error):
            _note_refusal(parts, name, said, error)
        raise


def _decide(parts: Parts, name: str, said: Said) -> dict[str, Any]:
    by = said.by or parts.env.user
    if said.via == COMMAND_LINE:
        refuse_agents(parts)
    with parts.journal.read() as tx:
        record = complete(tx, tx.need(ApprovalRecord, name))
    need_scope(parts, *(("decide:low", "decide:any") if record.risk == "low" else ("decide:any",)))
    if said.digest:
        check_digest(record.id, record.digest, said.digest)
    if said.answer == "denied":
        _need_reason(said.reason)
    check_name(parts, record)
    given = Answer(
        said.answer,
        by,
        said.via,
        record.digest,
        stamp(parts.clock.now()),
        said.reason,
        said.scope or record.scope,
        as_of=time_of_answer(parts),
        account=account_of(parts) if by == parts.env.user and said.via not in SIGNED else "",
    )
    check_answer(record, given, proven=False)
    given = replace(given, factor=_prove(parts, record, by, said))
    crash.point("runtime.decision.proved")
    with parts.journal.write() as tx:
        decided, also = record_answer(tx, record.id, given, only=said.only)
    crash.point("runtime.decision.recorded")
    return {**view_approval(decided), "also": also}


def record_answer(
    tx: Writer, name: str, given: Answer, *, only: bool = False
) -> tuple[ApprovalRecord, list[str]]:
    """Write an answer, and the same one to whatever else of the run is about exactly the same; return it with their ids.

    Raises:
        as ``gate.approvals.decide``; nothing was written.
    """
    record = complete(tx, tx.need(ApprovalRecord, name))
    pending = tx.find(ApprovalRecord, run=record.run, state="pending")
    same = [] if only else find_same(record, pending)
    also = []
    for each in (each for each in pending if each.id in same):
        try:
            _store(tx, each, decide_record(complete(tx, each), given))
        except NightcrewError:
            # This one asks for more than the answer gives (another agent's, another scope): it goes on waiting.
            continue
        also.append(each.id)
    stored = tx.need(ApprovalRecord, name)
    return _store(tx, stored, decide_record(record, given), also=also), also


def _prove(parts: Parts, record: ApprovalRecord, by: str, said: Said) -> str:
    """Return the factor that was given and found right; empty where none is needed."""
    from nightcrew.runtime.people.factors import prove

    stranger = by != parts.env.user and said.via == COMMAND_LINE
    needed = record.factor if said.answer == "approved" else ""
    if not needed and not stranger and not said.proof:
        return ""
    if said.via != COMMAND_LINE:
        return ""  # a program has no factor; what needs one is refused by the gate
    place = f"approvals.{record.risk} ({record.terms})" if needed and record.terms else ""
    return prove(parts, by, said.proof, needed or "any", f"{said.answer} {record.id}", place=place)


def _note_refusal(parts: Parts, name: str, said: Said, error: NightcrewError) -> None:
    with parts.journal.write() as tx:
        record = tx.get(ApprovalRecord, name)
        if record is None:
            return
        data = {
            "id": name,
            "by": said.by or parts.env.user,
            "via": said.via,
            "answer": said.answer,
            "code": error.code,
            "said": error.message,
        }
        actor = f"user:{parts.env.user}"
        tx.append("approval.refused", run=record.run, task=record.task, actor=actor, data=data)


def _store(tx: Writer, old: ApprovalRecord, new: ApprovalRecord, also: Sequence[str] = ()) -> ApprovalRecord:
    changes = {
        each.name: getattr(new, each.name)
        for each in fields(ApprovalRecord)
        if getattr(new, each.name) != getattr(old, each.name)
    }
    vote = new.votes[-1] if len(new.votes) > len(old.votes) else {}
    by = str(vote.get("by", new.decided_by))
    data: dict[str, Any] = {
        "reason": str(vote.get("reason", new.answer)),
        "by": by,
        "via": str(vote.get("via", new.decided_via)),
        "factor": str(vote.get("factor", "")),
        "digest": new.digest,
        "action": new.shown,
    }
    if new.state == "pending":
        said = {"votes": len(new.votes), "quorum": new.quorum}
        return tx.change(old, "approval.voted", actor=f"user:{by}", data={**data, **said}, **changes)
    data |= {"answer": new.state, "scope": new.scope}
    data |= {"also": list(also)} if also else {}
    data |= {"votes": [dict(each) for each in new.votes]} if new.quorum > 1 else {}
    return tx.change(old, "approval.decided", actor=f"user:{by}", data=data, **changes)


def decide_beforehand(tx: Writer, parts: Parts, run: RunRecord, at: str) -> None:
    """Say yes, once each, to what the plan announces; not to what needs more than the yes of this one person."""
    from nightcrew.runtime.plans.forecasting import answer_foreseen, answered, make_forecast

    made = make_forecast(tx, run.id)
    # What a person has said to one question by itself holds, also when it was a no.
    known = answered(tx, run.id)
    announced = {(join_task(run.id, flag["task"]), flag["digest"]) for flag in made.plan.flags if _asks(flag)}
    for question in made.questions:
        key = (join_task(run.id, question.task), question.digest)
        if key in known or key not in announced or question.action is None:
            continue
        with suppress(NightcrewError):  # it will be asked when its time comes
            answer_foreseen(
                tx, parts, made, question, Said("approved", "approved with the plan", via="plan"), at
            )


def _asks(flag: Mapping[str, Any]) -> bool:
    return flag["kind"] in ("asks", "opaque") and bool(flag["digest"])


def check_digest(name: str, digest: str, given: str) -> None:
    """Raise StaleError unless the digest of something begins as somebody says it does."""
    if len(given) >= _SHORTEST_PREFIX and digest.startswith(given.lower()):
        return
    raise StaleError(
        f"{given!r} is not how the digest of {name} begins; nothing was decided",
        code="digest.mismatch",
        where=[f"digest {digest[:12]}"],
        hint=f"look at it again: nightcrew show {name}",
    )


def _need_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("a denial needs a reason", code="reason.missing", hint='nightcrew deny ID -m "why"')
