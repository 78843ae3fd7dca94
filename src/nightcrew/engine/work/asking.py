"""Putting a question to a person: on which terms, with how much time, and which earlier yes holds for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nightcrew.gate.approvals import apply_terms, matches, open_approval
from nightcrew.gate.inquiries import put_question
from nightcrew.host.clock import stamp
from nightcrew.model.actions import Action, Decision
from nightcrew.model.ids import APPROVAL
from nightcrew.model.inquiries import QUESTION, Inquiry
from nightcrew.model.records import ApprovalRecord, AttemptRecord
from nightcrew.policy.rules import RISKS, Policy, Terms

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """An action that a human must decide before the attempt can go on."""

    kind: str
    action: Action
    decision: Decision
    inquiry: Inquiry | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """How the questions of a run are asked.

    Attributes:
        terms: risk → on what terms it is answered, and the place that says so.
        owner: who handed over the run. timeout_s: time to answer where the terms name none; 0 for none.
    """

    terms: Mapping[str, tuple[Terms, str]] = field(default_factory=dict)
    owner: str = ""
    timeout_s: float = 0.0

    def open(
        self, tx: Writer, attempt: AttemptRecord, question: OpenQuestion, checkpoint: str, now: datetime
    ) -> ApprovalRecord:
        """Ask; a question of the task that is open already for the same digest is joined."""
        for approval in tx.find(ApprovalRecord, task=attempt.task, state="pending"):
            if approval.digest == question.action.digest:
                return approval
        terms, place = self.terms.get(question.decision.risk, (Terms(), ""))
        within_s = terms.timeout_s or self.timeout_s
        record = open_approval(
            id=tx.next_id(APPROVAL),
            kind=question.kind,
            run=attempt.run,
            task=attempt.task,
            action=question.action,
            decision=question.decision,
            requester=f"agent:{attempt.agent}",
            now=stamp(now),
            expires_at=stamp(now + timedelta(seconds=within_s)) if within_s else "",
            timeout_s=within_s,
            on_timeout=terms.on_timeout if terms.timeout_s else "deny",
            checkpoint=checkpoint,
            owner=self.owner,
        )
        if question.inquiry is not None:
            record = put_question(record, question.inquiry, attempt.progress["generation"])
        if question.kind != QUESTION:
            record = apply_terms(record, terms, place)
        elif record.on_timeout == "allow":
            record = replace(record, on_timeout="deny")
        return tx.add(record, "approval.opened", data=_describe(record))


def _describe(record: ApprovalRecord) -> dict[str, Any]:
    needs = {
        "quorum": record.quorum if record.quorum > 1 else 0,
        "approvers": list(record.approvers),
        "factor": record.factor,
        "expires_at": record.expires_at,
    }
    return {
        "action": record.shown,
        "digest": record.digest,
        "rule": record.rule,
        "source": record.source,
        "risk": record.risk,
        **{name: value for name, value in needs.items() if value},
    }


def read_terms(policy: Policy) -> dict[str, tuple[Terms, str]]:
    """Return on what terms questions are answered, by risk, where the policy says so."""
    placed = {risk: policy.settings.get(f"approvals.{risk}") for risk in RISKS}
    return {risk: (each.value, each.source) for risk, each in placed.items() if each is not None}


def find_grant(tx: Reader, attempt: AttemptRecord, question: OpenQuestion) -> ApprovalRecord | None:
    """Return a yes that holds for exactly this, of the task itself or given for the whole run; None when there is none.

    A yes holds for no higher risk than the one that it was given for.
    """
    own = tx.find(ApprovalRecord, task=attempt.task, state="approved")
    others = (
        each
        for each in tx.find(ApprovalRecord, run=attempt.run, state="approved")
        if each.task != attempt.task
    )
    for approval in (*own, *others):
        higher = RISKS.index(question.decision.risk) > RISKS.index(approval.risk)
        if matches(approval, question.action.digest, task=attempt.task) and not higher:
            return approval
    return None
