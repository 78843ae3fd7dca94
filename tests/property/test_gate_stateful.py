"""A question against a model as simple as possible: whatever people, agents and time do to it, in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nightcrew import gate
from nightcrew.host.clock import stamp
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import NightcrewError
from nightcrew.policy.rules import Terms

PUSH = Action("exec", command="git push")
OTHER = Action("exec", command="git push -f")
PEOPLE = ("ada", "Ada", "grace", "linus", "olga", "", "agent:x")
FACTORS = ("", "pin", "totp", "backup")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ENOUGH = {"": FACTORS, "any": FACTORS[1:], "pin": ("pin",), "totp": ("totp", "backup")}


class Question(RuleBasedStateMachine):
    """``yes`` are the people who said yes, ``ended`` what it came to; all else is looked up in the terms."""

    @initialize(
        terms=st.builds(
            Terms,
            approvers=st.sampled_from([(), ("ada",), ("ada", "grace", "linus")]),
            reason=st.booleans(),
            quorum=st.integers(1, 3),
            not_requester=st.booleans(),
            factor=st.sampled_from(["", "any", "pin", "totp"]),
        ),
        on_timeout=st.sampled_from(["deny", "park", "allow"]),
        risk=st.sampled_from(["low", "high"]),
        minutes=st.sampled_from([0, 30]),
    )
    def ask(self, terms: Terms, on_timeout: str, risk: str, minutes: int) -> None:
        self.terms, self.on_timeout, self.risk = terms, on_timeout, risk
        self.now = BEGIN
        self.end = BEGIN + timedelta(minutes=minutes) if minutes else None
        record = gate.open_approval(
            id="A-1", run="R-1", task="R-1/T01", action=PUSH, requester="agent:x", now=stamp(BEGIN), owner="olga",
            decision=Decision(Verdict.ASK, "r", "p:1", "why", risk=risk),
            expires_at=stamp(self.end) if self.end else "", timeout_s=minutes * 60.0, on_timeout=on_timeout,
        )  # fmt: skip
        self.record = gate.apply_terms(record, terms, "p:9")
        self.yes: list[str] = []
        self.scopes: list[str] = []
        self.ended = ""
        self.left = 0

    def may(self, by: str, reason: str, factor: str) -> bool:
        named = {name.casefold() for name in self.terms.approvers}
        return (
            (not named or by.casefold() in named)
            and not (self.terms.not_requester and by.casefold() == "olga")
            and (not self.terms.reason or bool(reason.strip()))
            and by.casefold() not in {name.casefold() for name in self.yes}
            and factor in ENOUGH[self.terms.factor]
        )

    @rule(
        answer=st.sampled_from(["approved", "denied", "maybe"]),
        by=st.sampled_from(PEOPLE),
        reason=st.sampled_from(["", " ", "because"]),
        factor=st.sampled_from(FACTORS),
        scope=st.sampled_from(["", "once", "task", "run", "ever"]),
        right=st.booleans(),
    )
    def say(self, answer: str, by: str, reason: str, factor: str, scope: str, right: bool) -> None:
        digest = (PUSH if right else OTHER).digest
        given = gate.Answer(answer, by, "test", digest, stamp(self.now), reason, scope, factor)
        open_now = not self.ended and not (self.end and self.now >= self.end)
        counts = open_now and right and bool(by) and not by.startswith("agent:") and scope != "ever"
        counts = counts and answer != "maybe" and (answer == "approved" or bool(reason.strip()))
        if answer == "approved" and counts:
            counts = self.may(by, reason, factor)
        before, code = self.record, ""
        try:
            self.record = gate.decide(before, given)
        except NightcrewError as error:
            code = error.code
        assert (code == "") == counts
        if code:
            assert code.startswith(("gate.", "approval."))
            assert self.record == before
            return
        if answer == "denied":
            self.ended = "denied"
            return
        self.yes.append(by)
        self.scopes.append(scope or "once")
        if len(self.yes) == self.terms.quorum:
            self.ended = "approved"
            self.left = 1 if "once" in self.scopes else -1

    @rule(minutes=st.integers(1, 40))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        self.record = gate.expire(gate.remind(self.record, stamp(self.now)), stamp(self.now))
        if self.ended or self.end is None or self.now < self.end:
            return
        plain = Terms() == replace(self.terms)
        if self.on_timeout == "park":
            self.end = None
        elif self.on_timeout == "allow" and self.risk == "low" and plain:
            self.ended, self.left = "approved", 1
        else:
            self.ended = "expired"

    @rule(minutes=st.integers(1, 40))
    def nobody_hosts(self, minutes: int) -> None:
        since, self.now = self.now, self.now + timedelta(minutes=minutes)
        if self.end is not None and since >= self.end:
            return  # it was over before anybody went away: the next look ends it
        self.record = gate.move_end(self.record, stamp(since), stamp(self.now))
        if not self.ended and self.end is not None:
            self.end += timedelta(minutes=minutes)

    @rule(superseded=st.booleans())
    def withdraw(self, superseded: bool) -> None:
        self.record = gate.cancel(self.record, stamp(self.now), by="engine", superseded=superseded)
        self.ended = self.ended or ("superseded" if superseded else "cancelled")

    @rule(own=st.booleans(), right=st.booleans())
    def act(self, own: bool, right: bool) -> None:
        task, action = ("R-1/T01" if own else "R-1/T02"), (PUSH if right else OTHER)
        for_run = bool(self.scopes) and set(self.scopes) == {"run"}
        holds = self.ended == "approved" and self.left != 0 and right and (own or for_run)
        assert gate.matches(self.record, action.digest, task=task) == holds
        if holds:
            self.record = gate.use(self.record)
            self.left -= self.left > 0

    @invariant()
    def it_is_what_the_model_says(self) -> None:
        if not hasattr(self, "record"):
            return
        assert self.record.state == (self.ended or "pending")
        assert [vote["by"] for vote in self.record.votes] == self.yes
        assert len({name.casefold() for name in self.yes}) == len(self.yes)
        if self.ended == "approved":
            assert self.record.uses == self.left
        assert self.record.expires_at == (stamp(self.end) if self.end else "") or self.ended


TestQuestion = Question.TestCase
TestQuestion.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
