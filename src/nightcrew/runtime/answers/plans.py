"""A person's yes to a plan: theirs alone, or one of those that its policy wants, with a factor where it wants one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate.answering import Answer, check_answer
from nightcrew.gate.approvals import decide
from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model.errors import NightcrewError, NotAuthenticated, UsageError, WaitingForHuman
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord
from nightcrew.runtime.answers.deciding import check_digest, check_plan_open, decide_beforehand, is_refusal
from nightcrew.runtime.people.identity import account_of, need_scope
from nightcrew.runtime.people.saying import COMMAND_LINE
from nightcrew.runtime.people.terms import check_name, refuse_agents
from nightcrew.runtime.plans.asking import ask_plan, asks_more, keep_votes
from nightcrew.runtime.plans.offers import find_offer
from nightcrew.runtime.plans.taking import accept_offer
from nightcrew.runtime.plans.versions import drop_votes

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.model.people import Proof
    from nightcrew.runtime.parts import Parts

UNSEEN = "--yes"
"""How a plan is approved by whoever hands it over, in the same breath."""
_NEED_EYES: Final = ("network", "hidden", "carried")
"""Flags of a plan that no person wrote, which nobody has then seen: they need more than ``--yes``."""


@dataclass(frozen=True, slots=True)
class Yes:
    """A yes to a plan as somebody gives it.

    Attributes:
        digest: at least four digits of the digest that was shown. via: how: ``terminal``, ``command line``, ``--yes``.
        with_asks: also a yes, once each, to the questions that the plan's flags announce.
        reason: in words. by: who says it; whoever asks when empty. proof: their second factor.
    """

    digest: str
    via: str = COMMAND_LINE
    with_asks: bool = False
    reason: str = ""
    by: str = ""
    proof: Proof | None = None


def approve_plan(parts: Parts, name: str, yes: Yes) -> dict[str, Any]:
    """Take a yes to the plan of a run, or to a new plan of one that goes on; return ``{state, votes, quorum}``.

    ``state`` is ``approved``, or ``pending`` where more people must say yes.

    Raises:
        StaleError: decided already, another digest, its time is over, or this person has said yes already.
        DeniedByPolicy: an agent, or somebody who may not. UsageError: a reason is missing.
        NotAuthenticated: a factor is missing or wrong. LimitReached: locked out.
        WaitingForHuman: ``--yes``, where it takes more than that, or where an agent made what nobody has looked at.
    """
    try:
        return _approve(parts, name, yes)
    except NightcrewError as error:
        if yes.via == UNSEEN or is_refusal(error):
            _note_refusal(parts, name, yes, error)
        raise


def _approve(parts: Parts, name: str, yes: Yes) -> dict[str, Any]:
    refuse_agents(parts)
    need_scope(parts, "plan")
    if yes.with_asks:
        need_scope(parts, "decide:any")
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        question = _ask(run, tx, yes)
        plan = tx.need(PlanRecord, f"{name}/P{run.plan_version}")
    if yes.via == UNSEEN:
        _refuse_flagged(plan)
        _refuse_unseen(question)
    check_name(parts, question)
    by = yes.by or parts.env.user
    now = stamp(parts.clock.now())
    account = account_of(parts) if by == parts.env.user else ""
    given = Answer(
        "approved", by, yes.via, question.digest, now, yes.reason, "once", as_of=now, account=account
    )
    check_answer(question, given, proven=False)
    given = replace(given, factor=_prove(parts, question, by, yes))
    crash.point("runtime.plan.proved")
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        decided = decide(_ask(run, tx, yes), given)
        _store(parts, tx, run, decided, yes)
    return {"state": decided.state, "votes": [dict(v) for v in decided.votes], "quorum": decided.quorum}


def _ask(run: RunRecord, tx: Any, yes: Yes) -> ApprovalRecord:
    """Return the question, as far as it is still open and about what was shown."""
    check_plan_open(run)
    question = ask_plan(tx, run)
    check_digest(run.id, question.digest, yes.digest)
    if yes.with_asks and find_offer(run):
        raise UsageError(f"--with-asks belongs to the first plan of {run.id}; nothing was changed")
    return question


def _refuse_flagged(plan: PlanRecord) -> None:
    """Refuse to approve unseen what an agent wants beyond the walls, or what cannot be known."""
    flags = [flag for flag in plan.flags if flag["kind"] in _NEED_EYES] if plan.origin.get("goal") else []
    if flags:
        raise WaitingForHuman(
            f"--yes does not approve the plan of {plan.run}: an agent made it, and it holds what needs your eyes; nothing runs",
            code="plan.flagged",
            where=[f"{flag['task']} {flag['kind']}: {flag['text']}" for flag in flags],
            hint=f"nightcrew plan {plan.run}, then: nightcrew approve {plan.run}",
        )


def _refuse_unseen(question: ApprovalRecord) -> None:
    """Refuse to take one person's word in passing where the policy wants more than that."""
    if not (more := asks_more(question)):
        return
    said = f"--yes does not approve the plan of {question.run}: its policy wants {', '.join(more)}; the plan waits"
    where = [f"approvals.plan ({question.terms})", f"digest {question.digest[:12]}"]
    hint = f"nightcrew approve {question.run}"
    if more == ["a second factor"]:
        option = "--otp CODE" if question.factor == "totp" else "--pin"
        raise NotAuthenticated(said, code="approval.factor", where=where, hint=f"{hint} {option}")
    raise WaitingForHuman(said, code="plan.waiting", where=where, hint=hint)


def _prove(parts: Parts, question: ApprovalRecord, by: str, yes: Yes) -> str:
    from nightcrew.runtime.people.factors import prove

    if not question.factor and by == parts.env.user and not yes.proof:
        return ""
    place = f"approvals.plan ({question.terms})" if question.factor else ""
    what = f"approved the plan of {question.run}"
    return prove(parts, by, yes.proof, question.factor or "any", what, place=place)


def _store(parts: Parts, tx: Writer, run: RunRecord, decided: ApprovalRecord, yes: Yes) -> None:
    vote = decided.votes[-1]
    actor = f"user:{vote['by']}"
    data: dict[str, Any] = {"digest": decided.digest, "via": yes.via, "with_asks": yes.with_asks}
    data |= {key: vote[key] for key in ("factor", "reason") if vote[key]}
    if decided.state == "pending":
        data |= {"by": vote["by"], "votes": len(decided.votes), "quorum": decided.quorum}
        tx.change(run, "plan.voted", actor=actor, data=data, settings=keep_votes(run, decided))
        return
    data |= {"votes": [dict(each) for each in decided.votes]} if decided.quorum > 1 else {}
    if find_offer(run):
        bare = tx.change(run, "", settings=drop_votes(run))
        accept_offer(tx, bare, actor=actor, via=yes.via, more=data)
        return
    tx.change(
        run,
        "plan.approved",
        actor=actor,
        data=data,
        state="approved",
        approved_at=decided.decided_at,
        approved_by=decided.decided_by,
        settings=drop_votes(run),
    )
    if yes.with_asks:
        decide_beforehand(tx, parts, run, decided.decided_at)


def _note_refusal(parts: Parts, name: str, yes: Yes, error: NightcrewError) -> None:
    with parts.journal.write() as tx:
        if tx.get(RunRecord, name) is None:
            return
        said = {"id": name, "by": yes.by or parts.env.user, "via": yes.via, "answer": "approved"}
        data = {**said, "code": error.code, "said": error.message}
        tx.append("approval.refused", run=name, actor=f"user:{parts.env.user}", data=data)
