"""A plan as a question: on what terms it is approved (``approvals.plan`` and ``factors.plan`` of its policy), and who has said yes.

The question is not stored as one: it follows from the run and its plan. What is stored are the yeses (settings of the run), with
the version and the digest that they are about, so that a changed plan has none.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nightcrew.gate.approvals import apply_terms
from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord
from nightcrew.policy.rules import Terms
from nightcrew.policy.terms import PLAN, stronger
from nightcrew.runtime.people.terms import find_terms
from nightcrew.runtime.plans.offers import find_offer
from nightcrew.runtime.plans.versions import VOTES

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.policy.rules import Policy


def ask_plan(tx: Reader, run: RunRecord) -> ApprovalRecord:
    """Return the question whether the plan of a run (or what is offered in its place) shall be, as it stands now."""
    offer = find_offer(run)
    version = int(offer["version"]) if offer else run.plan_version
    plan = tx.need(PlanRecord, f"{run.id}/P{version}")
    digest = str(offer["digest"]) if offer else run.plan_digest
    terms, place = _find_terms(_read_policy(plan))
    known = run.settings.get(VOTES, {})
    same = known.get("digest") == digest and known.get("version") == version
    asked_at = str(offer["at"]) if offer else _asked_at(tx, run)
    ends = terms.timeout_s and terms.on_timeout == "deny"
    question = ApprovalRecord(
        id=run.id,
        kind=PLAN,
        state="pending",
        run=run.id,
        task="",
        digest=digest,
        action={},
        shown=f"run the plan: {run.title}",
        rule="",
        source="",
        reason="nothing runs before the plan is approved",
        risk=PLAN,
        requester=f"user:{run.requester}",
        requested_at=asked_at,
        expires_at=stamp(parse_stamp(asked_at) + timedelta(seconds=terms.timeout_s)) if ends else "",
        timeout_s=terms.timeout_s,
        owner=run.requester,
        votes=tuple(known.get("votes", ())) if same else (),
    )
    return apply_terms(question, terms, place)


def keep_votes(run: RunRecord, question: ApprovalRecord) -> dict[str, Any]:
    """Return the settings of a run with the yeses to its plan so far."""
    offer = find_offer(run)
    votes = {
        "version": int(offer["version"]) if offer else run.plan_version,
        "digest": question.digest,
        "votes": [dict(each) for each in question.votes],
    }
    return {**run.settings, VOTES: votes}


def view_terms(tx: Reader, run: RunRecord) -> dict[str, Any]:
    """Return what a yes to the plan of a run needs, and who has given theirs, in the shape of an inbox item."""
    question = ask_plan(tx, run)
    return {
        "owner": question.owner,
        "expires_at": question.expires_at,
        "needs": {
            "quorum": question.quorum,
            "approvers": list(question.approvers),
            "not_requester": question.not_requester,
            "reason": question.need_reason,
            "factor": question.factor,
            "source": question.terms,
        },
        "votes": [dict(each) for each in question.votes],
    }


def asks_more(question: ApprovalRecord) -> list[str]:
    """Return what a yes needs beside one word of the person who hands over the run, in words."""
    said = [f"{question.quorum} people"] if question.quorum > 1 else []
    said += [f"one of {', '.join(question.approvers)}"] if question.approvers else []
    said += ["somebody else than who hands it over"] if question.not_requester else []
    said += ["a reason"] if question.need_reason else []
    return [*said, "a second factor"] if question.factor else said


def _read_policy(plan: PlanRecord) -> Policy:
    from nightcrew.runtime.rules import rules_from_plain

    return rules_from_plain(plan.policies).policy


def _find_terms(policy: Policy) -> tuple[Terms, str]:
    terms, place = find_terms(policy, PLAN)
    need = policy.settings.get(f"factors.{PLAN}")
    if need is None or stronger(terms.factor, need.value.factor) == terms.factor:
        return terms, place
    return replace(terms, factor=need.value.factor), place or need.source


def _asked_at(tx: Reader, run: RunRecord) -> str:
    events = tx.events(run=run.id, kinds=("plan.proposed", "plan.unapproved"), newest=True, limit=1)
    return events[0].at if events else run.created_at
