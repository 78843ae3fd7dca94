"""Approvals as values: bound to what was shown, decided once, by a person, in time, used as often as given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew import gate
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import DeniedByPolicy, Exit, StaleError, UsageError

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
        "now": LATER,
    }
    return gate.decide(record, **{**given, **fields})


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
    assert decided(record, now=AT).state == "approved"
    with pytest.raises(StaleError, match="expired at"):
        decided(record, now=LATER)
    expired = gate.expire(record, LATER)
    assert (expired.state, expired.decided_via, expired.uses) == ("expired", "timeout", 0)
    assert not gate.matches(expired, PUSH.digest)
    with pytest.raises(StaleError, match="expired already"):
        decided(expired)
    assert gate.expire(opened(), "9999") == opened()
    assert gate.expire(decided(record, now=AT), LATER).state == "approved"


def test_cancel_ends_only_what_is_pending():
    record = gate.cancel(opened(), LATER, by="engine")
    assert (record.state, record.decided_by) == ("cancelled", "engine")
    assert gate.cancel(opened(), LATER, by="engine", superseded=True).state == "superseded"
    yes = decided(opened())
    assert gate.cancel(yes, LATER, by="engine") == yes
