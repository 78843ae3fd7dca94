"""Deciding on actions: policy first, then what a human has granted, and the journal before either takes effect."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nightcrew.agents.adapter import Answer, Reply
from nightcrew.engine.course import attempts
from nightcrew.engine.course.inquiring import find_reply
from nightcrew.engine.work.asking import Asking, OpenQuestion, find_grant
from nightcrew.gate.approvals import AHEAD, use
from nightcrew.gate.inquiries import ASKED
from nightcrew.host.clock import Clock
from nightcrew.model import canonical
from nightcrew.model.actions import Action, Decision, Finding, Verdict
from nightcrew.model.inquiries import QUESTION, Inquiry
from nightcrew.model.records import ApprovalRecord, AttemptRecord
from nightcrew.policy.anomalies import weigh_risk

if TYPE_CHECKING:
    from nightcrew.engine.work.halting import Halt
    from nightcrew.engine.work.recording import Recorder
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

#: Given an action, what policy says.
Judge = Callable[[Action], Decision]


class Questions:
    """What is asked during one attempt; it is the Desk of its agent.

    Attributes:
        attempt: the attempt's record as last written.
        waiting: what a human must decide; once it is not empty, the attempt must be parked.
        denied: the last denial, in words.
        stopped: the agent was stopped in the middle of something, because what it did there must wait.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        attempt: AttemptRecord,
        judge: Judge,
        note: Callable[[str, str], None],
        *,
        asking: Asking | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._judge = judge
        self._note = note
        self._asking = asking or Asking()
        self.attempt = attempt
        self.waiting: list[OpenQuestion] = []
        self.denied = ""
        self.stopped = False
        self.noticed: Callable[[Action], None] = _notice_nothing
        # What an agent does on the network is decided in other threads than what it asks for.
        self._settling = threading.RLock()
        self._under_way: Action | None = None
        self._recorder: Recorder | None = None
        self._halt: Halt | None = None

    def attend(self, recorder: Recorder | None, halt: Halt) -> None:
        """The agent works: from now on its actions are followed by checkpoints, and it ends between two when it must."""
        with self._settling:
            self._recorder, self._halt = recorder, halt
            stopped = self.stopped
        if stopped:
            # It used the network before it was known here how to end it.
            halt.stop("it must wait for an answer")

    def ask(self, action: Action) -> Answer:
        """Return the answer to one action; the decision is journaled by then."""
        if self._under_way is not None:
            # An agent that never says when it is done: what it was allowed before is, by now.
            self.finished(self._under_way)
        self.noticed(action)
        if not self.rest():
            return Answer("wait", "the task is paused")
        answer = self._settle(OpenQuestion("action", action, self._judge(action)))
        # Reading leaves nothing behind that a checkpoint would have to follow.
        self._under_way = action if answer.verdict == "allow" and action.kind != "read" else None
        return answer

    def inquire(self, inquiry: Inquiry) -> Reply:
        """Put a question of the agent to the person, unless it is answered already."""
        if self._under_way is not None:
            self.finished(self._under_way)
        if not self.rest():
            return Reply("wait", "the task is paused")
        with self._settling:
            with self._journal.write() as tx:
                reply = find_reply(tx, self.attempt, inquiry)
            asked = OpenQuestion(QUESTION, inquiry.action, ASKED, inquiry)
            if reply.verdict == "wait" and asked not in self.waiting:
                self.waiting.append(asked)
        return reply

    def ask_aside(self, action: Action, decision: Decision | None = None, *, event: str = "") -> Answer:
        """Return the answer to what an agent does without asking, such as using the network; from any thread.

        When it must wait, the whole tree is stopped where it is, and the attempt will be parked.

        Args:
            action: what it does.
            decision: what is known about it already; by default what policy says.
            event: kind of one more event, about the same action.
        """
        with self._settling:
            answer = self._settle(
                OpenQuestion(action.kind, action, decision or self._judge(action)), event=event
            )
            if answer.verdict == "wait":
                self.stopped = True
            halt = self._halt
        if answer.verdict == "wait" and halt is not None:
            halt.stop(f"it must wait: {action.describe()}")
        return answer

    def note_network(self) -> None:
        """Write down that the attempt may have done something outside of its shadow; from any thread."""
        with self._settling:
            if not self.attempt.progress.get("network"):
                with self._journal.write() as tx:
                    self.attempt = attempts.update(tx, self.attempt, network=True)

    def freeze(self, action: Action, reason: str) -> Answer:
        """Have a human look at what an agent did without an answer, before anything goes on."""
        decision = Decision(Verdict.ASK, "agent.unasked", "built in", reason, "critical")
        return self.ask_aside(action, decision, event="agent.unasked")

    def rest(self) -> bool:
        """Wait until what was done so far is in a checkpoint; tell whether the agent may go on after that."""
        if self._recorder is not None:
            self._recorder.settle()
        return self._halt is None or not self._halt.at_rest()

    def finished(self, action: Action) -> None:
        """Take note that an action has been carried out."""
        self._under_way = None
        ended = self._halt is not None and self._halt.at_rest()
        if self._recorder is not None and not ended:
            self._recorder.note_action(action.describe())

    def note(self, kind: str, text: str) -> None:
        """Write to the transcript."""
        self._note(kind, text)

    def ask_change(self, tree: str, findings: Sequence[Finding], odd: Sequence[Finding] = ()) -> Answer:
        """Ask for a whole change: one question, bound to the tree, that names everything found.

        ``odd`` is what is not asked about, and raises the risk all the same.
        """
        decision = weigh_findings(findings, odd)
        return self._settle(OpenQuestion("change", describe_change(tree, findings), decision))

    def ask_all(self, actions: Sequence[Action]) -> Answer:
        """Ask for several at once, so that a human is asked once and not in a row; the strictest answer comes back."""
        answers = [self.ask(action) for action in actions]
        for verdict in ("deny", "wait"):
            for answer in answers:
                if answer.verdict == verdict:
                    return answer
        return Answer("allow")

    def open(self, tx: Writer, checkpoint: str) -> list[ApprovalRecord]:
        """Open an approval for everything that waits; one that is open already for the same digest is joined."""
        now = self._clock.now()
        return [self._asking.open(tx, self.attempt, each, checkpoint, now) for each in self.waiting]

    def _settle(self, question: OpenQuestion, *, event: str = "") -> Answer:
        with self._settling:
            return self._settle_alone(question, event)

    def _settle_alone(self, question: OpenQuestion, event: str) -> Answer:
        decision = question.decision
        with self._journal.write() as tx:
            asks = decision.verdict is Verdict.ASK
            refusal = self._find_refusal(tx, question) if asks else None
            grant = self._use_grant(tx, question) if asks and refusal is None else None
            answer = grant or refusal
            said = _describe_decision(question, answer.id if answer else "")
            for kind, data in (("policy.decided", said), (event, _describe_event(question, grant))):
                if kind:
                    tx.append(
                        kind,
                        run=self.attempt.run,
                        task=self.attempt.task,
                        attempt=self.attempt.id,
                        actor="policy",
                        data=data,
                    )
        if decision.verdict is Verdict.ALLOW or grant is not None:
            return Answer("allow")
        why = f"{decision.reason} (rule {decision.rule}, {decision.source})"
        if refusal is not None:
            said_no = f"denied by {refusal.decided_by} beforehand ({refusal.id}): {refusal.answer}"
            self.denied = f"{said_no}: {question.action.describe()}"
            return Answer("deny", said_no)
        if decision.verdict is Verdict.DENY:
            if question.kind in ("action", "change"):
                self.denied = f"denied by policy: {question.action.describe()}: {why}"
            hint = f"; {decision.hint}" if decision.hint else ""
            return Answer("deny", f"denied by policy: {why}{hint}")
        if all(each.action.digest != question.action.digest for each in self.waiting):
            self.waiting.append(question)
        return Answer("wait", f"a human must decide: {why}")

    def _find_refusal(self, tx: Writer, question: OpenQuestion) -> ApprovalRecord | None:
        """Return the no that a person gave to exactly this before the run began; it holds as long as its plan."""
        for approval in tx.find(ApprovalRecord, task=self.attempt.task, state="denied"):
            if approval.decided_via == AHEAD and approval.digest == question.action.digest:
                return approval
        return None

    def _use_grant(self, tx: Writer, question: OpenQuestion) -> ApprovalRecord | None:
        approval = find_grant(tx, self.attempt, question)
        if approval is not None:
            data = {"attempt": self.attempt.id, "digest": question.action.digest}
            data |= {"used_by": self.attempt.task} if approval.task != self.attempt.task else {}
            tx.change(approval, "approval.used", data=data, uses=use(approval).uses)
            grants = [*self.attempt.progress.get("grants", ()), approval.id]
            self.attempt = attempts.update(tx, self.attempt, grants=grants)
        return approval


def accept_action(line: str) -> Action:
    """Return the action an ``Accept:`` line stands for."""
    return Action(kind="exec", command=line, purpose="accept")


def describe_change(tree: str, findings: Sequence[Finding]) -> Action:
    """Return the action that stands for taking a whole change; bound to the tree and to what was found in it."""
    paths = tuple(sorted({finding.path for finding in findings if finding.path}))
    return Action(kind="change", paths=paths, purpose="change", detail=f"tree {tree}")


def weigh_findings(findings: Sequence[Finding], odd: Sequence[Finding] = ()) -> Decision:
    """Return the decision that several findings amount to: named after the first, telling all of them."""
    first = findings[0]
    return Decision(
        verdict=Verdict.ASK,
        rule=first.rule,
        source=first.source,
        reason="; ".join(dict.fromkeys(finding.message for finding in findings)),
        risk="critical"
        if any(finding.check == "canary" for finding in findings)
        else weigh_risk((*findings, *odd)),
        also_matched=tuple(dict.fromkeys(f.rule for f in findings if f.rule != first.rule)),
    )


def _notice_nothing(action: Action) -> None:
    """Nobody wants to know what the agent wants."""


def _describe_event(question: OpenQuestion, grant: ApprovalRecord | None) -> Mapping[str, Any]:
    """Return what an event of its own tells about an action that was decided on."""
    allowed = question.decision.verdict is Verdict.ALLOW or grant is not None
    return {
        "action": question.action.describe(),
        "risk": question.decision.risk,
        "sent": allowed,
        **({"approval": grant.id} if grant else {}),
    }


def _describe_decision(question: OpenQuestion, grant: str) -> Mapping[str, Any]:
    decision = canonical.to_plain(replace(question.decision, hint=""))
    action = question.action
    return {
        **{name: value for name, value in decision.items() if value},
        "action": action.describe(),
        "kind": action.kind,
        "purpose": action.purpose,
        "digest": action.digest,
        # A command is its own description; of anything else the parts are kept, so that it can be judged again.
        **({} if action.kind == "exec" else {"paths": list(action.paths), "detail": action.detail}),
        **({"approval": grant} if grant else {}),
    }
