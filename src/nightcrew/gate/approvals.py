"""One question to a human, from asking to using the answer.

The record is the whole truth: these functions take it and return the next one, and the journal stores that only if
nobody was faster. The first decision wins. A decision names the digest of what was shown, so that it can never be an
answer to something else, and a grant works for that digest alone, as often as it was given for. Where several people
must say yes, each yes is a vote on the record, and one no is enough to end it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nightcrew.gate.answering import Answer, check_answer, is_overdue
from nightcrew.model import canonical
from nightcrew.model.actions import Action, Decision
from nightcrew.model.errors import StaleError
from nightcrew.model.records import ApprovalRecord
from nightcrew.policy.rules import Terms

__all__ = [
    "AHEAD",
    "Answer",
    "apply_terms",
    "cancel",
    "decide",
    "is_overdue",
    "matches",
    "open_approval",
    "use",
]

AHEAD: Final = "forecast"
"""How an answer was given that came before its question (``decided_via``)."""

_USES: Final = {"once": 1, "task": -1, "run": -1}
"""What a grant is good for: one use, or any number of uses by the same task, or by any task of the run."""
_NARROWEST: Final = ("once", "task", "run")


def open_approval(  # noqa: PLR0913  (the fields of the record, by name)
    *,
    id: str,  # noqa: A002  (the word of the record)
    run: str,
    task: str,
    action: Action,
    decision: Decision,
    requester: str,
    now: str,
    kind: str = "action",
    shown: str = "",
    expires_at: str = "",
    timeout_s: float = 0.0,
    on_timeout: str = "deny",
    scope: str = "once",
    checkpoint: str = "",
    owner: str = "",
) -> ApprovalRecord:
    """Return a new pending question; what a yes to it needs is put in by ``apply_terms``.

    Args:
        id: unused id ``A-19``.
        run, task: full ids of what has to wait.
        action: what is wanted; its digest is what the answer is bound to.
        decision: why policy asks.
        requester: ``agent:<name>`` or ``user:<name>``.
        now: current time, as ``host.clock.stamp`` writes it; so are all times here.
        kind: ``action`` or ``change``.
        shown: exact text to show; the action in one line when empty.
        expires_at: from then on nobody may answer; empty for never.
        timeout_s: how long that is after ``now``.
        on_timeout: what follows then: ``deny``, ``park`` or ``allow``, see ``gate.timing``.
        scope: how often a yes may be used, ``once``, ``task`` or ``run``.
        checkpoint: snapshot taken before asking.
        owner: who handed over the run.
    """
    return ApprovalRecord(
        id=id,
        kind=kind,
        state="pending",
        run=run,
        task=task,
        digest=action.digest,
        action=canonical.to_plain(action),
        shown=shown or action.describe(),
        rule=decision.rule,
        source=decision.source,
        reason=decision.reason,
        risk=decision.risk,
        requester=requester,
        requested_at=now,
        expires_at=expires_at,
        timeout_s=timeout_s,
        on_timeout=on_timeout,
        scope=scope,
        checkpoint=checkpoint,
        owner=owner,
    )


def apply_terms(record: ApprovalRecord, terms: Terms, place: str) -> ApprovalRecord:
    """Return the question with what a yes to it needs, as a policy says at ``place``; its time is left alone."""
    return replace(
        record,
        quorum=terms.quorum,
        approvers=terms.approvers,
        not_requester=terms.not_requester,
        need_reason=terms.reason,
        factor=terms.factor,
        terms=place,
    )


def decide(record: ApprovalRecord, given: Answer) -> ApprovalRecord:
    """Return the question with one more answer: decided, or still pending where more people must say yes.

    Raises:
        DeniedByPolicy: an agent, or nobody, decides; or somebody who may not.
        UsageError: a reason is missing, or an unknown answer or scope.
        NotAuthenticated: the second factor that a yes needs is missing.
        StaleError: decided, expired or replaced already, answered by this person already, or about something else than
            what was shown.
    """
    given = replace(given, scope=given.scope or record.scope)
    check_answer(record, given)
    if given.answer == "approved":
        record = replace(record, votes=(*record.votes, given.to_vote()))
        if len(record.votes) < record.quorum:
            return record
    by = [str(vote["by"]) for vote in record.votes] if given.answer == "approved" else [given.by]
    scopes = [str(vote["scope"]) for vote in record.votes] or [given.scope]
    scope = min(scopes, key=_NARROWEST.index) if given.answer == "approved" else given.scope
    return replace(
        record,
        state=given.answer,
        answer=given.reason.strip(),
        decided_at=given.at,
        decided_by=", ".join(by),
        decided_via=given.via,
        scope=scope,
        uses=_USES[scope] if given.answer == "approved" else 0,
    )


def cancel(record: ApprovalRecord, now: str, *, by: str, superseded: bool = False) -> ApprovalRecord:
    """Return a pending question as cancelled (``superseded``: a newer one took its place), any other as it is."""
    if record.state != "pending":
        return record
    state = "superseded" if superseded else "cancelled"
    return replace(record, state=state, decided_at=now, decided_by=by)


def matches(record: ApprovalRecord, action_digest: str, *, task: str = "") -> bool:
    """Tell whether the record is a yes to exactly this action that can still be used.

    Args:
        task: full id of the task that wants it; one that is not the record's own needs a yes for the run.
    """
    if task and task != record.task and record.scope != "run":
        return False
    if len(record.votes) < record.quorum and record.quorum > 1:
        # Decided by too few: not a yes, however its state came about.
        return False
    return record.state == "approved" and record.digest == action_digest and record.uses != 0


def use(record: ApprovalRecord) -> ApprovalRecord:
    """Return the grant with one use less.

    Raises:
        StaleError: nothing is left of it.
    """
    if record.state != "approved" or record.uses == 0:
        raise StaleError(f"{record.id} grants nothing (any more)", code="gate.used")
    return replace(record, uses=record.uses - 1) if record.uses > 0 else record
