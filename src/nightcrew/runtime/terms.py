"""Who may say yes to a question of some risk, and what else that takes (``approvals`` of the policy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightcrew.model.errors import DeniedByPolicy, UsageError
from nightcrew.model.records import PlanRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.policy.rules import Policy


def check_terms(policy: Policy, risk: str, *, user: str, reason: str, what: str) -> None:
    """Return when a user may say yes to a question of this risk, on the terms of the policy.

    Args:
        what: the question, for the message.

    Raises:
        DeniedByPolicy: the policy names others. UsageError: a reason is missing. Nothing was decided in either case.
    """
    placed = policy.settings.get(f"approvals.{risk}")
    if placed is None:
        return
    approvers = placed.value.approvers
    if approvers and user not in approvers:
        raise DeniedByPolicy(
            f"{user} may not say yes to {what}: its risk is {risk}, and the policy names {', '.join(approvers)}; nothing was decided",
            code="approval.approver",
            where=[f"approvals.{risk} ({placed.source})"],
            hint=f"ask {approvers[0]}; anybody may say no: nightcrew deny ID -m WHY",
        )
    if placed.value.reason and not reason.strip():
        raise UsageError(
            f"a yes to {what} needs a reason: its risk is {risk}; nothing was decided",
            code="approval.reason",
            hint="nightcrew approve ID -m WHY",
        )


def policy_of(tx: Reader, run: RunRecord) -> Policy:
    """Return the policy that a run was planned with."""
    from nightcrew.runtime.rules import rules_from_plain

    plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    return rules_from_plain(plan.policies).policy
