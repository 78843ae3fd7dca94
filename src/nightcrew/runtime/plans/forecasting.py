"""``forecast``: which questions the plan of a run will raise, and answers to them in advance, bound to the plan's digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate.answering import Answer
from nightcrew.gate.approvals import AHEAD, apply_terms, decide, open_approval
from nightcrew.gate.inquiries import ASKED
from nightcrew.host.clock import stamp
from nightcrew.model import canonical
from nightcrew.model.actions import Action, Change, Decision, Finding, PathChange, Verdict
from nightcrew.model.errors import DeniedByPolicy, StaleError, UsageError
from nightcrew.model.ids import APPROVAL, join_task
from nightcrew.model.inquiries import QUESTION
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord
from nightcrew.policy.anomalies import weigh_risk
from nightcrew.runtime.people.identity import account_of, need_scope
from nightcrew.runtime.people.saying import Said
from nightcrew.runtime.people.terms import check_name, find_terms, refuse_agents
from nightcrew.runtime.plans.judging import actions_of, judge_action
from nightcrew.runtime.rules import Rules, rules_from_plain

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]

_LIKELY: Final = 5
"""So many questions of an agent's earlier tasks are told for each of its tasks, the most frequent ones."""
_FILE_STEPS: Final = frozenset({"write", "append", "delete", "chmod", "symlink"})


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One question that will, or may, be asked.

    Attributes:
        task: name in the plan. sure: the plan itself raises it; otherwise earlier tasks of the same agent did.
        action: what it is about; None for one about the result as a whole, which is bound to that result alone.
        decision: what the policy says.
    """

    task: str
    sure: bool
    action: Action | None
    decision: Decision

    @property
    def digest(self) -> str:
        """What an answer is bound to; empty when there can be none in advance."""
        return self.action.digest if self.action else ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """All that is foreseen for a run.

    Attributes:
        run, plan: records. questions: in the order of the plan, the sure ones of a task first.
        forbidden: what a rule denies; answers: task and digest → an answer that is there.
    """

    run: RunRecord
    plan: PlanRecord
    questions: tuple[Foreseen, ...]
    forbidden: tuple[Foreseen, ...]
    rules: Rules
    answers: Mapping[tuple[str, str], ApprovalRecord] = field(default_factory=dict)

    def answer(self, question: Foreseen) -> ApprovalRecord | None:
        """Return the answer to a question, None when there is none yet."""
        return self.answers.get((join_task(self.run.id, question.task), question.digest))


def make_forecast(tx: Reader, name: str) -> Forecast:
    """Return what the plan of a run will ask, by the rules that it was planned with."""
    run = tx.need(RunRecord, name)
    record = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    rules = replace(rules_from_plain(record.policies), root=run.repo_path)
    tasks = [task for task in Plan.from_plain(record.body).tasks if not task.done]
    found = [each for task in tasks for each in _foresee(task, rules.under(task.role))]
    found += [each for task in tasks for each in _find_likely(tx, task, run, rules.under(task.role))]
    order = {task.id: number for number, task in enumerate(tasks)}
    found.sort(key=lambda each: (order[each.task], not each.sure))
    answers = {
        (each.task, each.digest): each
        for each in tx.find(ApprovalRecord, run=run.id)
        if each.state in ("approved", "denied")
    }
    unique = tuple(
        {(each.task, each.digest or each.decision.reason): each for each in reversed(found)}.values()
    )[::-1]
    asked = tuple(each for each in unique if each.decision.verdict is Verdict.ASK)
    denied = tuple(each for each in unique if each.decision.verdict is Verdict.DENY and each.sure)
    return Forecast(run, record, asked, denied, rules, answers)


def _foresee(task: Task, rules: Rules) -> Iterator[Foreseen]:
    for step in task.steps:
        if step.do == QUESTION:
            yield Foreseen(task.id, True, None, replace(ASKED, reason=f"it will ask you: {step.text}"))
    for action, _ in actions_of(task, rules):
        decision = judge_action(action, rules)
        if decision.verdict is not Verdict.ALLOW:
            yield Foreseen(task.id, True, action, decision)
    asked = _foresee_change(task, rules)
    if asked:
        reason = "; ".join(dict.fromkeys(finding.message for finding in asked))
        said = Decision(Verdict.ASK, asked[0].rule, asked[0].source, reason, weigh_risk(asked))
        yield Foreseen(task.id, True, None, said)


def _foresee_change(task: Task, rules: Rules) -> list[Finding]:
    """Return what the result of a recording will be asked for: its files are known, unless a command changes more."""
    from nightcrew.policy.inspect import inspect

    done = {step.path: step.do for step in task.steps if step.do in _FILE_STEPS}
    paths = tuple(_make_path(path, do, rules.root) for path, do in sorted(done.items()))
    found = inspect(rules.policy, Change("", "", paths), scope=task.scope) if paths else ()
    return [finding for finding in found if finding.verdict is Verdict.ASK]


def _make_path(path: str, do: str, root: str) -> PathChange:
    there = bool(root) and (Path(root) / path).exists()
    if do == "delete":
        return PathChange(path, "deleted", 0o100644, 0, "old")
    return PathChange(path, "modified" if there else "added", 0o100644 if there else 0, 0o100644, "", "new")


def _find_likely(tx: Reader, task: Task, run: RunRecord, rules: Rules) -> Iterator[Foreseen]:
    """Yield what earlier tasks of the same agent asked for in this repository; what an agent does is not in its plan."""
    if task.run or task.steps:
        return
    runs = {each.id for each in tx.find(RunRecord, repo_key=run.repo_key) if each.id != run.id}
    asked: Counter[str] = Counter()
    for record in tx.find(ApprovalRecord):
        if record.run in runs and record.requester == f"agent:{task.agent}" and record.kind == "action":
            asked[canonical.encode(record.action)] += 1
    import json

    for text, _ in asked.most_common(_LIKELY):
        plain = json.loads(text)
        action = Action(**{**plain, "paths": tuple(plain.get("paths", ()))})
        decision = judge_action(action, rules)
        if decision.verdict is Verdict.ASK:
            yield Foreseen(task.id, False, action, decision)


def view_forecast(parts: Parts, name: str) -> View:
    """Return the forecast of a run for a person: numbered questions with the answers that are there."""
    with parts.journal.read() as tx:
        made = make_forecast(tx, name)
    questions = [_view(number, each, made) for number, each in enumerate(made.questions, 1)]
    return {
        "run": name,
        "digest": made.plan.digest,
        "state": made.run.state,
        "questions": questions,
        "open": sum(question["answer"] == "" for question in questions),
        "forbidden": [_view(0, each, made) for each in made.forbidden],
    }


def _view(number: int, each: Foreseen, made: Forecast) -> View:
    answer = made.answer(each) if each.digest else None
    return {
        "number": number,
        "task": each.task,
        "kind": ("action" if each.action else "change") if each.sure else "likely",
        "action": each.action.describe() if each.action else "",
        "rule": each.decision.rule,
        "source": each.decision.source,
        "reason": each.decision.reason,
        "risk": each.decision.risk,
        "opaque": list(each.decision.opaque),
        "digest": each.digest,
        "answer": answer.state if answer else "",
        "approval": answer.id if answer else "",
    }


def answer_ahead(
    parts: Parts, name: str, answers: Mapping[int, str], *, digest: str, reason: str = ""
) -> View:
    """Record answers to numbered questions of a forecast; each holds once, for exactly that action of that task.

    Args:
        answers: number → ``approved`` or ``denied``; a no needs a reason.
        digest: how the digest of the plan begins, as it was shown.

    Raises:
        StaleError: another plan, or the run is over; nothing was recorded.
        UsageError: no such number, one that takes no answer in advance, or a no without a reason.
        DeniedByPolicy: the policy names others for a question of that risk.
    """
    refuse_agents(parts)
    need_scope(parts, "decide:any")
    with parts.journal.write() as tx:
        made = make_forecast(tx, name)
        _check(made, answers, digest, reason)
        at = stamp(parts.clock.now())
        for number, answer in sorted(answers.items()):
            # Of several answers at once the reason is that of the noes.
            said = reason if answer == "denied" or "denied" not in answers.values() else ""
            answer_foreseen(tx, parts, made, made.questions[number - 1], Said(answer, said, via=AHEAD), at)
    return view_forecast(parts, name)


def _check(made: Forecast, answers: Mapping[int, str], digest: str, reason: str) -> None:
    if len(digest) < 4 or not made.plan.digest.startswith(digest.lower()):
        raise StaleError(
            f"{digest!r} is not how the digest of the plan of {made.run.id} begins; nothing was recorded",
            code="digest.mismatch",
            where=[f"digest {made.plan.digest[:12]}"],
            hint=f"nightcrew forecast {made.run.id}",
        )
    if made.run.state in RUN_FINAL:
        raise StaleError(
            f"{made.run.id} is {made.run.state}: nothing will be asked any more", code="run.over"
        )
    if "denied" in answers.values() and not reason.strip():
        raise UsageError(
            "a no needs a reason: the agent is told it", code="reason.missing", hint="add -m WHY"
        )
    for number in answers:
        if not 1 <= number <= len(made.questions):
            raise UsageError(
                f"there is no question {number} in the forecast of {made.run.id}; nothing was recorded",
                code="forecast.number",
                hint=f"nightcrew forecast {made.run.id}",
            )
        question = made.questions[number - 1]
        if question.action is None:
            asked = question.decision.rule == ASKED.rule
            what = "what its agent wants to know" if asked else "the result as a whole"
            raise UsageError(
                f"question {number} is about {what}, which is not there yet; nothing was recorded",
                code="forecast.change",
                hint="answer it when it is asked: nightcrew inbox",
            )
        answer = made.answer(question)
        if answer is not None:
            raise StaleError(
                f"question {number} is answered already: {answer.id} {answer.state} by {answer.decided_by}; nothing was recorded",
                code="decision.twice",
            )


def answer_foreseen(
    tx: Writer, parts: Parts, made: Forecast, question: Foreseen, said: Said, at: str
) -> ApprovalRecord:
    """Write the answer to a question that was not asked yet.

    Raises:
        DeniedByPolicy: others must answer, or more than one person. UsageError: a reason is missing.
        NotAuthenticated: a factor is needed, which is given when it is asked.
    """
    if question.action is None:
        raise UsageError(
            "a question about a whole result cannot be answered in advance", code="forecast.change"
        )
    terms, place = find_terms(made.rules.policy, question.decision.risk)
    asked = open_approval(
        id=tx.next_id(APPROVAL),
        run=made.run.id,
        task=join_task(made.run.id, question.task),
        action=question.action,
        decision=question.decision,
        requester="plan",
        now=at,
        owner=made.run.requester,
    )
    asked = apply_terms(asked, terms, place)
    check_name(parts, asked)
    account = account_of(parts)
    given = Answer(
        said.answer, parts.env.user, said.via, asked.digest, at, said.reason, said.scope, account=account
    )
    record = decide(asked, given)
    if record.state == "pending":
        raise DeniedByPolicy(
            f"{question.action.describe()!r} needs a yes of {record.quorum} people: it is asked when its time comes",
            code="forecast.quorum",
            where=[f"approvals.{record.risk} ({place})"],
        )
    data = {
        "answer": said.answer,
        "via": said.via,
        "plan": made.plan.digest,
        "digest": record.digest,
        "action": record.shown,
        "reason": record.answer,
    }
    return tx.add(record, "approval.decided", actor=f"user:{parts.env.user}", data=data)


def answered(tx: Reader, run: str) -> frozenset[tuple[str, str]]:
    """Return task and digest of every question of a run that has an answer."""
    found: Sequence[ApprovalRecord] = tx.find(ApprovalRecord, run=run)
    return frozenset((each.task, each.digest) for each in found if each.state in ("approved", "denied"))
