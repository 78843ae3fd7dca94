"""Answers of a human: to a plan, to an action, to a change. First answer wins, bound to the digest that was shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightcrew.host.clock import stamp
from nightcrew.model.errors import StaleError, UsageError
from nightcrew.model.ids import APPROVAL, join_task
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord
from nightcrew.runtime.planning import cancel_tasks
from nightcrew.runtime.terms import check_terms, policy_of
from nightcrew.runtime.views import view_approval

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.runtime.parts import Parts

_SHORTEST_PREFIX = 4


def check_plan_open(run: RunRecord) -> None:
    """Return when the plan of ``run`` still waits for its answer.

    Raises:
        StaleError: it was decided already; who and when is named.
    """
    if run.state == "awaiting_approval":
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


def approve_plan(parts: Parts, name: str, *, digest: str, via: str, with_asks: bool = False) -> None:
    """Approve the plan of a run when ``digest`` is how its digest begins.

    Args:
        name: run id.
        digest: at least four digits of the digest that was shown.
        via: how: ``terminal``, ``command line``, ``--yes``.
        with_asks: also approve, once each, the questions that the plan's flags announce.

    Raises:
        StaleError: decided already, or another digest; nothing was changed.
    """
    who = f"user:{parts.env.user}"
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        check_plan_open(run)
        _check_digest(run.id, run.plan_digest, digest)
        at = stamp(parts.clock.now())
        data = {"digest": run.plan_digest, "via": via, "with_asks": with_asks}
        tx.change(
            run,
            "plan.approved",
            actor=who,
            data=data,
            state="approved",
            approved_at=at,
            approved_by=parts.env.user,
        )
        if with_asks:
            _decide_beforehand(tx, parts, run, at)


def deny_plan(parts: Parts, name: str, *, reason: str, digest: str = "") -> None:
    """Deny the plan of a run; it is over then.

    Raises:
        UsageError: no reason was given.
        StaleError: decided already, or another digest.
    """
    _need_reason(reason)
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        check_plan_open(run)
        if digest:
            _check_digest(run.id, run.plan_digest, digest)
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


def decide(
    parts: Parts, name: str, *, answer: str, reason: str = "", scope: str = "once", digest: str = ""
) -> dict[str, Any]:
    """Record the answer to an approval and return its view.

    Args:
        name: approval id.
        answer: ``approved`` or ``denied``; a denial needs a reason.
        scope: ``once`` or ``task``: how often an approval may be used.
        digest: refuse unless the digest of what was shown begins like this.

    Raises:
        StaleError: answered already (naming who and when), expired, or another digest.
        DeniedByPolicy: the policy names others for a question of that risk.
    """
    from nightcrew.gate.approvals import decide as decide_record

    if answer == "denied":
        _need_reason(reason)
    with parts.journal.write() as tx:
        record = tx.need(ApprovalRecord, name)
        if digest:
            _check_digest(record.id, record.digest, digest)
        if answer == "approved" and record.state == "pending":
            policy = policy_of(tx, tx.need(RunRecord, record.run))
            check_terms(policy, record.risk, user=parts.env.user, reason=reason, what=record.id)
        decided = decide_record(
            record,
            answer=answer,
            by=parts.env.user,
            via="command line",
            reason=reason,
            digest=record.digest,
            now=stamp(parts.clock.now()),
            scope=scope,
        )
        _store(tx, record, decided, f"user:{parts.env.user}")
    return view_approval(decided)


def _store(tx: Writer, old: ApprovalRecord, new: ApprovalRecord, actor: str) -> None:
    fields = ("state", "decided_at", "decided_by", "decided_via", "answer", "scope", "uses")
    changes = {name: getattr(new, name) for name in fields}
    data = {
        "answer": new.state,
        "reason": new.answer,
        "scope": new.scope,
        "digest": new.digest,
        "action": new.shown,
    }
    tx.change(old, "approval.decided", actor=actor, data=data, **changes)


def _decide_beforehand(tx: Writer, parts: Parts, run: RunRecord, at: str) -> None:
    from nightcrew.runtime.forecasting import answered

    plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    # What a person has said to one question by itself holds, also when it was a no.
    known = answered(tx, run.id)
    for flag in plan.flags:
        if flag["kind"] not in ("asks", "opaque") or not flag["digest"]:
            continue
        if (join_task(run.id, flag["task"]), flag["digest"]) in known:
            continue
        record = ApprovalRecord(
            id=tx.next_id(APPROVAL),
            kind="action",
            state="approved",
            run=run.id,
            task=join_task(run.id, flag["task"]),
            digest=flag["digest"],
            action={"kind": "exec", "command": flag["action"]},
            shown=flag["action"],
            rule=flag["rule"],
            source=flag["source"],
            reason=flag["text"],
            risk="medium",
            requester="plan",
            requested_at=at,
            decided_at=at,
            decided_by=parts.env.user,
            decided_via="plan",
            answer="approved with the plan",
            uses=1,
        )
        tx.add(
            record,
            "approval.decided",
            actor=f"user:{parts.env.user}",
            data={"answer": "approved", "via": "plan", "digest": record.digest, "action": record.shown},
        )


def _check_digest(name: str, digest: str, given: str) -> None:
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
