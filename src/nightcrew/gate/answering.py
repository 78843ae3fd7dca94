"""An answer, and everything that can be wrong with one: each has a message and a code of its own.

The order is that of what it is safe to tell: first whether anybody may answer at all, then whether this person may, and the
proof of who they are last, because trying it costs them something.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model.errors import DeniedByPolicy, NotAuthenticated, StaleError, UsageError
from nightcrew.model.inquiries import QUESTION
from nightcrew.model.records import ApprovalRecord
from nightcrew.policy.terms import PLAN, satisfies

SCOPES: Final = ("once", "task", "run")


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says to a question.

    Attributes:
        answer: ``approved`` or ``denied``. by: name of the person. via: how: the command line, a callback, a signed answer.
        digest: of the action that was shown to them. at: time; ``as_of`` the time that the question's own clock shows then, which
            stands still while nobody hosts the engine; the same when empty. reason: in words; a no needs one, the agent is told it.
        scope: ``once``, ``task`` or ``run``; empty for what the question offers.
        factor: second factor that they gave and that was found right: ``pin``, ``totp``, ``backup``; empty for none.
        account: account of the machine by which they are who they are; empty where they have proved to be somebody else.
    """

    answer: str
    by: str
    via: str
    digest: str
    at: str
    reason: str = ""
    scope: str = ""
    factor: str = ""
    as_of: str = ""
    account: str = ""

    def to_vote(self) -> dict[str, Any]:
        """Return what is kept of a yes."""
        return {
            "by": self.by,
            "at": self.at,
            "via": self.via,
            "factor": self.factor,
            "reason": self.reason.strip(),
            "scope": self.scope,
            **({"account": self.account} if self.account else {}),
        }


def is_overdue(record: ApprovalRecord, now: str) -> bool:
    """Tell whether a pending question is past its time."""
    # The order of stamps as text is their order in time.
    return bool(record.expires_at) and record.state == "pending" and now >= record.expires_at


def check_answer(record: ApprovalRecord, given: Answer, *, proven: bool = True) -> None:
    """Return when an answer counts.

    Args:
        proven: look at the second factor too; without it, only at everything else.

    Raises:
        DeniedByPolicy, UsageError, StaleError, NotAuthenticated: see ``approvals.decide``; nothing was decided.
    """
    _check_words(record, given)
    _check_open(record, given)
    if given.answer == "denied":
        return
    if record.kind == QUESTION:
        raise UsageError(
            f"{record.id} is a question of an agent: there is nothing to approve",
            code="gate.question",
            hint=f"nightcrew answer {record.id} TEXT",
        )
    _check_person(record, given)
    if proven:
        _check_factor(record, given)


def _check_words(record: ApprovalRecord, given: Answer) -> None:
    if not given.by.strip() or given.by.startswith("agent:"):
        who = given.by.strip() or "nobody"
        raise DeniedByPolicy(f"{record.id} can only be decided by a person, not by {who}", code="gate.actor")
    if given.answer not in ("approved", "denied"):
        raise UsageError(f"an approval is approved or denied, not {given.answer!r}", code="gate.answer")
    if given.scope not in SCOPES:
        raise UsageError(
            f"an approval is given once, for the task or for the run, not for {given.scope!r}",
            code="gate.scope",
        )
    if given.answer == "denied" and not given.reason.strip():
        raise UsageError(
            f"a no to {record.id} needs a reason: the agent is told it",
            code="gate.reason",
            hint=f"nightcrew deny {record.id} -m 'why'",
        )


def _check_open(record: ApprovalRecord, given: Answer) -> None:
    if record.state != "pending":
        who = f" by {record.decided_by}" if record.decided_by else ""
        raise StaleError(
            f"{record.id} is {record.state} already{who}",
            code="gate.decided",
            where=[f"at {record.decided_at}"] if record.decided_at else [],
            hint="nothing was changed; see what waits: nightcrew inbox",
        )
    if is_overdue(record, given.as_of or given.at):
        raise StaleError(
            f"{record.id} expired at {record.expires_at}",
            code="gate.expired",
            hint=f"have it planned again: nightcrew plan {record.run} edit"
            if record.kind == PLAN
            else f"run the task again to be asked again: nightcrew retry {record.task or record.run}",
        )
    if given.digest != record.digest:
        raise StaleError(
            f"{record.id} is not about what was shown",
            code="gate.digest",
            where=[f"shown    {given.digest}", f"asked    {record.digest}"],
            hint=f"look again: nightcrew inbox, then nightcrew approve {record.id}",
        )


def _why(record: ApprovalRecord) -> str:
    return "it is a plan" if record.kind == PLAN else f"its risk is {record.risk}"


def _check_person(record: ApprovalRecord, given: Answer) -> None:
    place = [f"approvals.{record.risk} ({record.terms})"] if record.terms else []
    who = given.by.casefold()
    if record.approvers and who not in {name.casefold() for name in record.approvers}:
        raise DeniedByPolicy(
            f"{given.by} may not say yes to {record.id}: {_why(record)}, and the policy names "
            f"{', '.join(record.approvers)}; nothing was decided",
            code="approval.approver",
            where=place,
            hint=f"ask {record.approvers[0]}; anybody may say no: nightcrew deny {record.id} -m WHY",
        )
    # A name that an account goes by can be changed without proof: the account is the same person under every name.
    selves = {who, *([given.account.casefold()] if given.account else [])}
    if record.not_requester and (not record.owner or record.owner.casefold() in selves):
        raise DeniedByPolicy(
            f"{given.by} handed over {record.run} and may not say yes to {record.id}: somebody else must; nothing was decided",
            code="approval.requester",
            where=place,
            hint=f"ask another person: nightcrew approve {record.id} --as NAME; you may say no",
        )
    if record.need_reason and not given.reason.strip():
        raise UsageError(
            f"a yes to {record.id} needs a reason: {_why(record)}; nothing was decided",
            code="approval.reason",
            where=place,
            hint=f"nightcrew approve {record.id} -m WHY",
        )
    earlier = next((vote for vote in record.votes if _is_of(vote, given)), None)
    if earlier is not None:
        same = str(earlier["by"]).casefold() == who
        under = "" if same else f", as {earlier['by']}: both names are of the account {given.account}"
        raise StaleError(
            f"{given.by} has said yes to {record.id} already{under}; it needs {record.quorum} different people",
            code="approval.voted",
            where=[f"at {earlier['at']}"],
            hint=f"ask another person: nightcrew approve {record.id} --as NAME",
        )


def _is_of(vote: Mapping[str, Any], given: Answer) -> bool:
    """Tell whether a yes is of the person who answers now: by name, or by the account that both were given from."""
    if str(vote["by"]).casefold() == given.by.casefold():
        return True
    return bool(given.account) and str(vote.get("account", "")) == given.account


def _check_factor(record: ApprovalRecord, given: Answer) -> None:
    if satisfies(given.factor, record.factor):
        return
    wanted = {"any": "a second factor", "pin": "a PIN", "totp": "a code of an authenticator"}[record.factor]
    raise NotAuthenticated(
        f"a yes to {record.id} needs {wanted}: {_why(record)}; nothing was decided",
        code="approval.factor",
        where=[f"approvals.{record.risk} ({record.terms})"] if record.terms else [],
        hint=f"nightcrew approve {record.id} {'--pin' if record.factor == 'pin' else '--otp CODE'}",
    )
