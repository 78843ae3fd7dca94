"""nightcrew as a library for other orchestrators: its policy, its gate and its journal, without its engine.

``Runtime`` (``runtime.api``) is the whole product. These three are its parts that make sense by themselves: a policy that says of
an action what it thinks of it, a journal that proves what happened, and a gate that puts a question to a person and keeps the
answer bound to exactly what was asked. All four names can be imported from ``nightcrew``; guide: docs/guides/python.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

from nightcrew.gate.answering import Answer
from nightcrew.gate.approvals import decide, matches, open_approval, use
from nightcrew.gate.timing import expire
from nightcrew.host.clock import Clock, SystemClock, stamp
from nightcrew.host.repository import discover
from nightcrew.journal import Journal as _Journal
from nightcrew.model.actions import Action, Decision
from nightcrew.model.errors import DeniedByPolicy, NotFound, UsageError
from nightcrew.model.records import ApprovalRecord
from nightcrew.policy.secrets import redact
from nightcrew.runtime.api import Runtime
from nightcrew.runtime.plans.judging import judge_action
from nightcrew.runtime.rules import Rules, check_file, read_rules
from nightcrew.runtime.settings.environment import read_environment

__all__ = ["Action", "Decision", "Gate", "Journal", "Policy", "Runtime"]

_POLL_S: Final = 0.05


class Journal(_Journal):
    """A hash-chained journal of your own: ``Journal.at(path)``; secrets in texts are blotted out before the first write."""

    @classmethod
    def at(cls, path: str | Path, *, clock: Clock | None = None) -> Self:
        """Return the journal in a SQLite file; it is made, for you alone (0600), by the first write.

        Args:
            path: the file; use one of your own, and not nightcrew's.
            clock: gives the times of events; the system's by default.
        """
        return cls(f"sqlite:///{Path(path).absolute()}", clock=clock or SystemClock(), redact=redact)


class Policy:
    """The rules in force, and what they say. Make one with ``of`` or ``read``."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules

    @classmethod
    def of(cls, directory: str | Path = ".") -> Self:
        """Return the rules that hold in a directory: shipped, of the system, of the user, of the repository around it.

        Raises:
            InvalidInput: a file of rules has problems; all of them are listed with line and column.
        """
        env = read_environment()
        try:
            root: Path | None = Path(discover(Path(directory), env=env.variables, need_commit=False).root)
        except NotFound:
            root = None
        return cls(read_rules(env, root))

    @classmethod
    def read(cls, file: str | Path) -> Self:
        """Return the rules as they are with one file in the place of a repository's own.

        Raises:
            NotFound: there is no such file. InvalidInput: it has problems.
        """
        return cls(check_file(read_environment(), Path(file)))

    @property
    def digest(self) -> str:
        """One value for all rules in force; a decision can name it."""
        return self._rules.policy.digest

    def judge(self, action: Action | str) -> Decision:
        """Return what the rules say of an action; a text is a command line. Nothing is run, and nothing recorded.

        Commands are judged by what they really run: pipes, ``sudo``, ``bash -c``, substitutions are looked into; what cannot be
        known before it runs is asked about or denied. No rule at all is never an allow.
        """
        return judge_action(_as_action(action), self._rules)


class Gate:
    """Questions to a person: durable before they are asked, bound to what was shown, answered once, used once.

    Args:
        journal: where questions, answers and their use are recorded; of your own.
        policy: decides what needs no question.
        clock: for times and waiting.
    """

    def __init__(self, journal: Journal, policy: Policy, *, clock: Clock | None = None) -> None:
        self._journal = journal
        self._policy = policy
        self._clock = clock or SystemClock()

    def ask(
        self, action: Action | str, *, requester: str, timeout_s: float = 0.0, job: str = ""
    ) -> ApprovalRecord | None:
        """Put an action before policy, and before a person where policy asks. The decision is recorded either way.

        Args:
            action: what is wanted; a text is a command line.
            requester: who wants it: ``agent:mine``.
            timeout_s: after so long it counts as denied; 0 for never.
            job: name of what it belongs to; events of one job are one chain.

        Returns:
            None when policy allows it by itself, else the pending question.

        Raises:
            DeniedByPolicy: a rule forbids it; the reason is for the agent.
        """
        wanted = _as_action(action)
        decision = self._policy.judge(wanted)
        verdict = str(decision.verdict)
        data = {
            "action": wanted.describe(),
            "digest": wanted.digest,
            "verdict": verdict,
            "rule": decision.rule,
            "source": decision.source,
            "reason": decision.reason,
            "policy": self._policy.digest,
        }
        with self._journal.write() as tx:
            tx.append("policy.decided", run=job, actor="policy", data={**data, "requester": requester})
            if verdict == "ask":
                return tx.add(
                    self._question(tx.next_id("A"), wanted, decision, requester, job, timeout_s),
                    "approval.opened",
                    data=data,
                )
        if verdict == "deny":
            raise DeniedByPolicy(
                f"denied: {decision.reason}",
                code=f"rule.{decision.rule}",
                where=[f"{decision.source}: rule {decision.rule}"],
                hint=decision.hint,
            )
        return None

    def _question(
        self, name: str, action: Action, decision: Decision, requester: str, job: str, timeout_s: float
    ) -> ApprovalRecord:
        from datetime import timedelta

        now = self._clock.now()
        return open_approval(
            id=name,
            run=job,
            task="",
            action=action,
            decision=decision,
            requester=requester,
            now=stamp(now),
            expires_at=stamp(now + timedelta(seconds=timeout_s)) if timeout_s else "",
            timeout_s=timeout_s,
        )

    def pending(self) -> list[ApprovalRecord]:
        """Return the questions that nobody has answered, oldest first."""
        with self._journal.read() as tx:
            return tx.find(ApprovalRecord, state="pending")

    def answer(
        self, question: str, answer: str, *, by: str, digest: str, reason: str = "", scope: str = "once"
    ) -> ApprovalRecord:
        """Record the answer of a person.

        Args:
            question: its id. answer: ``approved`` or ``denied``. by: who says so.
            digest: of what was shown to them; another one is refused.
            reason: in words; a denial needs one.
            scope: ``once``, ``task`` or ``run``: how often a yes may be used.

        Raises:
            StaleError: answered, expired, or about something else. UsageError: no reason, or no such answer.
            DeniedByPolicy: an agent answers.
        """
        now = stamp(self._clock.now())
        given = Answer(answer, by=by, via="python", digest=digest, at=now, reason=reason, scope=scope)
        with self._journal.write() as tx:
            record = tx.need(ApprovalRecord, question)
            decided = decide(record, given)
            data = {"answer": decided.state, "reason": reason, "digest": record.digest, "scope": scope}
            return self._store(tx, record, decided, "approval.decided", f"user:{by}", data)

    def use(self, question: str, action: Action | str) -> ApprovalRecord:
        """Use a yes, right before the action is done: it must be a yes to exactly this, with a use left.

        Raises:
            DeniedByPolicy: it is not; or the rules deny the action by now. Nothing was used.
        """
        wanted = _as_action(action)
        with self._journal.write() as tx:
            record = tx.need(ApprovalRecord, question)
            if not matches(record, wanted.digest):
                raise DeniedByPolicy(f"{question} is no yes to this (any more)", code="gate.no_grant")
            if str(self._policy.judge(wanted).verdict) == "deny":
                raise DeniedByPolicy("the rules deny it by now", code="gate.denied_since")
            data = {"id": record.id, "digest": record.digest}
            return self._store(tx, record, use(record), "approval.used", "engine", data)

    def wait(self, question: str, timeout_s: float) -> ApprovalRecord:
        """Return a question when it is answered, has expired, or after so long as it is then."""
        end = self._clock.monotonic() + timeout_s
        while True:
            record = self._expired(question)
            if record.state != "pending" or self._clock.monotonic() >= end:
                return record
            self._clock.sleep(min(_POLL_S, max(0.0, end - self._clock.monotonic())))

    def _expired(self, question: str) -> ApprovalRecord:
        with self._journal.read() as tx:
            record = tx.need(ApprovalRecord, question)
        now = stamp(self._clock.now())
        if record.state != "pending" or expire(record, now) == record:
            return record
        with self._journal.write() as tx:
            record = tx.need(ApprovalRecord, question)
            return self._store(
                tx, record, expire(record, now), "approval.expired", "engine", {"id": record.id}
            )

    @staticmethod
    def _store(
        tx: Any, old: ApprovalRecord, new: ApprovalRecord, kind: str, actor: str, data: dict[str, Any]
    ) -> ApprovalRecord:
        names = [
            each for each in ApprovalRecord.__dataclass_fields__ if getattr(old, each) != getattr(new, each)
        ]
        changed: ApprovalRecord = tx.change(
            old, kind, actor=actor, data=data, **{each: getattr(new, each) for each in names}
        )
        return changed


def _as_action(action: Action | str) -> Action:
    if isinstance(action, Action):
        return action
    if not action.strip():
        raise UsageError("an empty command line is no action")
    return Action("exec", command=action)
