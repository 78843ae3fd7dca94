"""On what terms a question of some risk is answered (``approvals`` of the policy), and what time that has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nightcrew.gate.approvals import apply_terms
from nightcrew.host.clock import stamp
from nightcrew.model.errors import DeniedByPolicy
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord
from nightcrew.policy.rules import Terms
from nightcrew.runtime.people.identity import need_scope

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts

#: How the helper that builds sandboxes is named on its command line: every agent is below it.
_HELPER = b"from nightcrew.sandbox import zygote"


def find_terms(policy: Policy, risk: str) -> tuple[Terms, str]:
    """Return the terms of a risk and the place that says so; none and nothing where the policy is silent."""
    placed = policy.settings.get(f"approvals.{risk}")
    return (placed.value, placed.source) if placed is not None else (Terms(), "")


def policy_of(tx: Reader, run: RunRecord) -> Policy:
    """Return the policy that a run was planned with."""
    from nightcrew.runtime.rules import rules_from_plain

    plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    return rules_from_plain(plan.policies).policy


def complete(tx: Reader, record: ApprovalRecord) -> ApprovalRecord:
    """Return a question with what a yes to it needs; one that an older version asked does not carry it."""
    run = tx.need(RunRecord, record.run)
    if not record.owner:
        record = replace(record, owner=run.requester)
    if record.terms:
        return record
    terms, place = find_terms(policy_of(tx, run), record.risk)
    return apply_terms(record, terms, place) if place else record


def time_of_answer(parts: Parts) -> str:
    """Return the time that the clock of questions shows: it stands still while nobody hosts the engine."""
    from nightcrew.engine.course.deadlines import last_beat

    now = stamp(parts.clock.now())
    if parts.engine_holder:
        return now
    beat = last_beat(parts.env.state)
    return min(now, beat) if beat else now


def refuse_agents(parts: Parts) -> None:
    """Return when it is no agent that decides.

    An agent that is confined reaches neither the database nor this program's state. One that is not (``--unsandboxed``) is
    known by what it descends from.

    Raises:
        DeniedByPolicy: this process was started by an agent of ours.
    """
    from nightcrew.host.ancestry import find_ancestor

    found = find_ancestor(_HELPER)
    if not found:
        return
    raise DeniedByPolicy(
        "only a person decides: this command was started by an agent that nightcrew runs; nothing was decided",
        code="gate.actor",
        where=[f"below process {found}"],
    )


def need_person(parts: Parts, *scopes: str) -> None:
    """Return when whoever asks may decide this: a person, or a token that is for it, and no agent.

    Args:
        scopes: of which a token needs one.

    Raises:
        DeniedByPolicy: an agent, or a token for something else; nothing was done.
    """
    refuse_agents(parts)
    need_scope(parts, *scopes)


def check_name(parts: Parts, record: ApprovalRecord) -> None:
    """Return when the name of whoever asks may be believed, where an answer depends on who gives it.

    Raises:
        NotAuthenticated: somebody else than nightcrew has written who there is.
    """
    from nightcrew.runtime.people.factors import check_untouched

    named = parts.env.user != parts.env.account or parts.env.scopes is not None
    if named or record.approvers or record.not_requester or record.quorum > 1:
        check_untouched(parts)
