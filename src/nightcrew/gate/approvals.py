"""One question to a human, from asking to using the answer.

The record is the whole truth: these functions take it and return the next one, and the journal stores that only if
nobody was faster. The first decision wins. A decision names the digest of what was shown, so that it can never be an
answer to something else, and a grant works for that digest alone, as often as it was given for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nightcrew.model import canonical
from nightcrew.model.actions import Action, Decision
from nightcrew.model.errors import DeniedByPolicy, StaleError, UsageError
from nightcrew.model.records import ApprovalRecord

AHEAD: Final = "forecast"
"""How an answer was given that came before its question (``decided_via``)."""

_USES: Final = {"once": 1, "task": -1}
"""What a grant is good for: one use, or any number of uses by the same task."""


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
    on_timeout: str = "deny",
    scope: str = "once",
    checkpoint: str = "",
) -> ApprovalRecord:
    """Return a new pending question.

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
        on_timeout: what expiry means for the task: ``deny``, or ``pause`` (it goes on waiting to be asked anew).
        scope: how often a yes may be used, ``once`` or ``task``.
        checkpoint: snapshot taken before asking.
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
        on_timeout=on_timeout,
        scope=scope,
        checkpoint=checkpoint,
    )


def decide(
    record: ApprovalRecord,
    *,
    answer: str,
    by: str,
    via: str,
    reason: str,
    digest: str,
    now: str,
    scope: str = "",
) -> ApprovalRecord:
    """Return the decided question.

    Args:
        record: the question as stored now.
        answer: ``approved`` or ``denied``.
        by: name of the person who decides.
        via: how: the command line, a page.
        reason: in words, kept in ``answer``; needed for a no.
        digest: digest of the action that was shown to whoever decides.
        now: current time.
        scope: ``once`` or ``task``, when the person gives it another scope than was asked for.

    Raises:
        DeniedByPolicy: an agent, or nobody, decides.
        UsageError: a no without a reason, or an unknown answer or scope.
        StaleError: decided, expired or replaced already, or about something else than what was shown.
    """
    scope = scope or record.scope
    _check_answer(record, answer, by, reason, scope)
    _check_open(record, digest, now)
    return replace(
        record,
        state=answer,
        answer=reason.strip(),
        decided_at=now,
        decided_by=by,
        decided_via=via,
        scope=scope,
        uses=_USES[scope] if answer == "approved" else 0,
    )


def _check_answer(record: ApprovalRecord, answer: str, by: str, reason: str, scope: str) -> None:
    if not by.strip() or by.startswith("agent:"):
        who = by.strip() or "nobody"
        raise DeniedByPolicy(f"{record.id} can only be decided by a person, not by {who}", code="gate.actor")
    if answer not in ("approved", "denied"):
        raise UsageError(f"an approval is approved or denied, not {answer!r}", code="gate.answer")
    if scope not in _USES:
        raise UsageError(f"an approval is given once or for the task, not for {scope!r}", code="gate.scope")
    if answer == "denied" and not reason.strip():
        raise UsageError(
            f"a no to {record.id} needs a reason: the agent is told it",
            code="gate.reason",
            hint=f"nightcrew deny {record.id} -m 'why'",
        )


def _check_open(record: ApprovalRecord, digest: str, now: str) -> None:
    if record.state != "pending":
        who = f" by {record.decided_by}" if record.decided_by else ""
        raise StaleError(
            f"{record.id} is {record.state} already{who}",
            code="gate.decided",
            where=[f"at {record.decided_at}"] if record.decided_at else [],
            hint="nothing was changed; see what waits: nightcrew inbox",
        )
    if is_overdue(record, now):
        raise StaleError(
            f"{record.id} expired at {record.expires_at}",
            code="gate.expired",
            hint=f"run the task again to be asked again: nightcrew retry {record.task or record.run}",
        )
    if digest != record.digest:
        raise StaleError(
            f"{record.id} is not about what was shown",
            code="gate.digest",
            where=[f"shown    {digest}", f"asked    {record.digest}"],
            hint=f"look again: nightcrew inbox, then nightcrew approve {record.id}",
        )


def is_overdue(record: ApprovalRecord, now: str) -> bool:
    """Tell whether a pending question is past its time."""
    # The order of stamps as text is their order in time.
    return bool(record.expires_at) and record.state == "pending" and now >= record.expires_at


def expire(record: ApprovalRecord, now: str) -> ApprovalRecord:
    """Return the question as expired if it is pending and past its time, else as it is."""
    if not is_overdue(record, now):
        return record
    return replace(record, state="expired", decided_at=now, decided_by="policy", decided_via="timeout")


def cancel(record: ApprovalRecord, now: str, *, by: str, superseded: bool = False) -> ApprovalRecord:
    """Return a pending question as cancelled (``superseded``: a newer one took its place), any other as it is."""
    if record.state != "pending":
        return record
    state = "superseded" if superseded else "cancelled"
    return replace(record, state=state, decided_at=now, decided_by=by)


def matches(record: ApprovalRecord, action_digest: str) -> bool:
    """Tell whether the record is a yes to exactly this action that can still be used."""
    return record.state == "approved" and record.digest == action_digest and record.uses != 0


def use(record: ApprovalRecord) -> ApprovalRecord:
    """Return the grant with one use less.

    Raises:
        StaleError: nothing is left of it.
    """
    if record.state != "approved" or record.uses == 0:
        raise StaleError(f"{record.id} grants nothing (any more)", code="gate.used")
    return replace(record, uses=record.uses - 1) if record.uses > 0 else record
