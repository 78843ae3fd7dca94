"""Approvals as values: bound to what was shown, decided once, by a person, in time, used as often as given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew import gate
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import DeniedByPolicy, Exit, NotAuthenticated, StaleError, UsageError
from nightcrew.policy.rules import Terms

AT = "2025-01-01T00:00:00.000000Z"
LATER = "2025-01-01T00:10:00.000000Z"
PUSH = Action("exec", command="git push origin main")
ASK = Decision(Verdict.ASK, "git.push", "policy.yaml:12", "leaves the sandbox", risk="medium")


def opened(**fields):
    given = {
        "id": "A-1",
        "run": "R-1",
        "task": "R-1/T01",
        "action": PUSH,
        "decision": ASK,
        "requester": "agent:a",
        "now": AT,
    }
    return gate.open_approval(**{**given, **fields})


def decided(record, **fields):
    given = {
        "answer": "approved",
        "by": "ana",
        "via": "command line",
        "reason": "",
        "digest": PUSH.digest,
        "at": LATER,
    }
    return gate.decide(record, gate.Answer(**{**given, **fields}))


def test_a_question_says_what_is_wanted_and_why():
    record = opened()
    assert record.state == "pending"
    assert record.shown == "git push origin main"
    assert record.digest == PUSH.digest
    assert record.action["command"] == "git push origin main"
    assert (record.rule, record.source, record.reason, record.risk) == (
        "git.push",
        "policy.yaml:12",
        "leaves the sandbox",
        "medium",
    )
    assert not gate.matches(record, PUSH.digest)


def test_a_yes_is_good_for_one_use_of_exactly_this():
    record = decided(opened())
    assert (record.state, record.uses, record.decided_by, record.decided_at) == ("approved", 1, "ana", LATER)
    assert gate.matches(record, PUSH.digest)
    assert not gate.matches(record, replace(PUSH, command="git push -f origin main").digest)
    used = gate.use(record)
    assert used.uses == 0
    assert not gate.matches(used, PUSH.digest)
    with pytest.raises(StaleError):
        gate.use(used)


def test_a_yes_for_the_task_stays_good():
    record = decided(opened(scope="task"))
    assert gate.use(gate.use(record)) == record
    assert decided(opened(), scope="task").uses == -1
    assert decided(opened(scope="task"), scope="once").uses == 1


def test_a_no_grants_nothing_and_has_a_reason():
    record = decided(opened(), answer="denied", reason=" not now ")
    assert (record.state, record.answer, record.uses) == ("denied", "not now", 0)
    assert not gate.matches(record, PUSH.digest)
    with pytest.raises(UsageError, match="needs a reason") as caught:
        decided(opened(), answer="denied", reason="  ")
    assert "nightcrew deny A-1 -m" in caught.value.hint


@pytest.mark.parametrize("by", ["", " ", "agent:claude"])
def test_only_a_person_decides(by):
    with pytest.raises(DeniedByPolicy):
        decided(opened(), by=by)


def test_unknown_words_are_refused():
    for wrong in ({"answer": "maybe"}, {"answer": "pending"}, {"scope": "forever"}):
        with pytest.raises(UsageError):
            decided(opened(), **wrong)


def test_the_first_decision_wins():
    first = decided(opened())
    with pytest.raises(StaleError, match="approved already by ana") as caught:
        decided(first, answer="denied", reason="no", by="ben")
    assert caught.value.exit == Exit.STALE


def test_an_answer_to_something_else_is_refused():
    with pytest.raises(StaleError, match="not about what was shown"):
        decided(opened(), digest=Action("exec", command="ls").digest)


def test_expiry():
    record = opened(expires_at=LATER)
    assert gate.expire(record, AT) == record
    assert decided(record, at=AT).state == "approved"
    with pytest.raises(StaleError, match="expired at"):
        decided(record, at=LATER)
    expired = gate.expire(record, LATER)
    assert (expired.state, expired.decided_via, expired.uses) == ("expired", "timeout", 0)
    assert not gate.matches(expired, PUSH.digest)
    with pytest.raises(StaleError, match="expired already"):
        decided(expired)
    assert gate.expire(opened(), "9999") == opened()
    assert gate.expire(decided(record, at=AT), LATER).state == "approved"


def test_cancel_ends_only_what_is_pending():
    record = gate.cancel(opened(), LATER, by="engine")
    assert (record.state, record.decided_by) == ("cancelled", "engine")
    assert gate.cancel(opened(), LATER, by="engine", superseded=True).state == "superseded"
    yes = decided(opened())
    assert gate.cancel(yes, LATER, by="engine") == yes


# -- who, how many, with which proof -------------------------------------------------------------------------------


def asked(**terms):
    return gate.apply_terms(opened(owner="olga"), Terms(**terms), "policy.yaml:9")


def test_only_those_named_say_yes_and_anybody_says_no():
    record = asked(approvers=("ada", "Grace"))
    with pytest.raises(DeniedByPolicy, match="ben may not say yes to A-1: its risk is medium") as caught:
        decided(record, by="ben")
    assert caught.value.code == "approval.approver"
    assert caught.value.where == ("approvals.medium (policy.yaml:9)",)
    assert decided(record, by="grace").state == "approved"
    assert decided(record, by="ben", answer="denied", reason="no").state == "denied"


def test_who_handed_it_over_may_be_ruled_out_however_they_spell_themselves():
    record = asked(not_requester=True)
    for name in ("olga", "Olga", "OLGA"):
        with pytest.raises(DeniedByPolicy, match="somebody else must") as caught:
            decided(record, by=name)
        assert caught.value.code == "approval.requester"
    assert decided(record, by="ada").state == "approved"
    unknown = replace(record, owner="")
    with pytest.raises(DeniedByPolicy):
        decided(unknown, by="ada")


def test_a_yes_may_need_a_reason():
    record = asked(reason=True)
    with pytest.raises(UsageError) as caught:
        decided(record, reason="  ")
    assert (caught.value.code, caught.value.exit) == ("approval.reason", Exit.USAGE)
    assert decided(record, reason="fine").answer == "fine"


@pytest.mark.parametrize(
    ("needed", "enough", "too_little"),
    [
        ("any", ("pin", "totp", "backup"), ("",)),
        ("pin", ("pin",), ("", "totp", "backup")),
        ("totp", ("totp", "backup"), ("", "pin")),
    ],
)
def test_a_yes_may_need_a_factor(needed, enough, too_little):
    record = asked(factor=needed)
    for factor in too_little:
        with pytest.raises(NotAuthenticated) as caught:
            decided(record, factor=factor)
        assert (caught.value.code, caught.value.exit) == ("approval.factor", Exit.AUTHENTICATION)
    for factor in enough:
        assert decided(record, factor=factor).votes[0]["factor"] == factor
    assert decided(record, answer="denied", reason="no").state == "denied"


def test_several_people_must_say_yes_and_one_no_is_enough():
    record = asked(quorum=3)
    first = decided(record, by="ada", scope="run", reason="fine")
    assert (first.state, len(first.votes), first.uses) == ("pending", 1, 0)
    with pytest.raises(StaleError, match="has said yes to A-1 already") as caught:
        decided(first, by="ADA")
    assert caught.value.code == "approval.voted"
    second = decided(first, by="grace", scope="task")
    third = decided(second, by="linus", scope="run", reason="go")
    assert (third.state, third.decided_by, third.scope, third.uses) == (
        "approved",
        "ada, grace, linus",
        "task",
        -1,
    )
    assert decided(second, by="linus", answer="denied", reason="no").state == "denied"


def test_a_row_that_says_approved_with_too_few_votes_is_no_yes():
    record = replace(asked(quorum=2), state="approved", uses=-1)
    assert not gate.matches(record, PUSH.digest)


def test_a_yes_for_the_run_is_good_for_its_other_tasks():
    once, run = decided(opened()), decided(opened(), scope="run")
    assert gate.matches(once, PUSH.digest, task="R-1/T01")
    assert not gate.matches(once, PUSH.digest, task="R-1/T02")
    assert gate.matches(run, PUSH.digest, task="R-1/T02")
    assert gate.use(run) == run
    assert not gate.matches(decided(opened(), scope="task"), PUSH.digest, task="R-1/T02")


def test_a_question_of_an_agent_is_answered_not_approved():
    record = replace(opened(), kind="question")
    with pytest.raises(UsageError, match="nothing to approve") as caught:
        decided(record)
    assert caught.value.hint == "nightcrew answer A-1 TEXT"
    assert decided(record, answer="denied", reason="no").state == "denied"


# -- time ----------------------------------------------------------------------------------------------------------

END = "2025-01-01T01:40:00.000000Z"  # 100 minutes after AT


def timed(**fields):
    return opened(expires_at=END, timeout_s=6000.0, **fields)


def at(minutes):
    return f"2025-01-01T{minutes // 60:02d}:{minutes % 60:02d}:00.000000Z"


def test_reminders_come_at_half_and_at_nine_tenths_once_each():
    record = timed()
    assert gate.next_due(record) == at(50)
    assert gate.remind(record, at(49)) == record
    half = gate.remind(record, at(50))
    assert half.reminded == 50
    assert gate.next_due(half) == at(90)
    assert gate.remind(half, at(89)) == half
    late = gate.remind(half, at(95))
    assert late.reminded == 90
    assert gate.next_due(late) == END
    assert gate.remind(record, at(95)).reminded == 90, "who comes late is told once, of the last one"
    assert gate.remind(record, at(100)) == record
    assert gate.next_due(opened()) == ""


def test_what_follows_when_nobody_answers():
    assert gate.expire(timed(), at(100)).state == "expired"
    waits = gate.expire(timed(on_timeout="park"), at(100))
    assert (waits.state, waits.expires_at) == ("pending", "")
    assert decided(waits, at="2026-01-01T00:00:00.000000Z").state == "approved"
    low = replace(timed(on_timeout="allow"), risk="low")
    passed = gate.expire(low, at(100))
    assert (passed.state, passed.decided_by, passed.decided_via, passed.uses) == (
        "approved",
        "policy",
        "timeout",
        1,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"risk": "medium"},
        {"quorum": 2},
        {"approvers": ("ada",)},
        {"need_reason": True},
        {"factor": "any"},
        {"not_requester": True},
        {"kind": "change"},
        {"kind": "question"},
    ],
)
def test_silence_is_never_a_yes_to_anything_that_matters(wrong):
    record = replace(timed(on_timeout="allow"), **{"risk": "low", **wrong})
    assert gate.expire(record, at(100)).state == "expired"


def test_the_end_moves_by_the_time_that_was_lost():
    moved = gate.move_end(timed(), at(10), at(25))
    assert moved.expires_at == at(115)
    assert gate.next_due(moved) == at(65)
    asked_meanwhile = replace(timed(), requested_at=at(20))
    assert gate.move_end(asked_meanwhile, at(10), at(25)).expires_at == at(105)
    assert gate.move_end(timed(), at(25), at(10)) == timed()
    assert gate.move_end(timed(), "", at(25)).expires_at == at(125), "never seen before: all of it was lost"
    assert gate.move_end(decided(timed()), at(10), at(25)) == decided(timed())


def test_an_answer_is_in_time_by_the_clock_of_the_question():
    assert decided(timed(), at=at(300), as_of=at(99)).decided_at == at(300)
    with pytest.raises(StaleError, match="expired at"):
        decided(timed(), at=at(300), as_of=at(100))
