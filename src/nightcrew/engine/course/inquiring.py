"""Agents' questions to the person: put, found answered, and told to the agent that goes on. Every function is one
transaction's worth.

An answer holds for its task until a person has it begun anew. It reaches the agent in two ways: a new attempt is told
in its prompt (``progress["answers"]``), and whoever asks exactly the same again is answered at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nightcrew.agents.adapter import Reply
from nightcrew.model.inquiries import QUESTION, Inquiry
from nightcrew.model.records import ApprovalRecord, AttemptRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer

#: Kind of the event that says that an answer reached its agent.
TOLD: Final = "question.delivered"
#: Questions of one task, after which its agent has to decide by itself: a person's night is not a chat.
QUESTIONS_LIMIT: Final = 20


def find_reply(tx: Writer, attempt: AttemptRecord, inquiry: Inquiry) -> Reply:
    """Return what is known of the answer to a question: given already, refused, or to be waited for."""
    if fault := inquiry.find_fault():
        return Reply("refused", f"{fault}; decide by yourself and go on")
    asked = _find_questions(tx, attempt.task, attempt.progress["generation"])
    for record in asked:
        if record.state == "answered" and record.digest == inquiry.action.digest:
            _note(tx, attempt, [record.id], "asked again")
            return Reply("answered", record.answer, tuple(record.question.get("chosen", ())))
    if len(asked) >= QUESTIONS_LIMIT:
        return Reply(
            "refused", f"{QUESTIONS_LIMIT} questions were asked in this task; decide by yourself and go on"
        )
    return Reply("wait", f"a person must answer: {inquiry.text}")


def add_answers(tx: Reader, task: TaskRecord, number: int, agent: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an agent's progress with every answer that was given in this task.

    Args:
        number: of the attempt that begins. agent: as its Start has it.
    """
    answered = [each for each in _find_questions(tx, task.id, task.generation) if each.state == "answered"]
    if not answered:
        return agent
    before = tx.get(AttemptRecord, f"{task.id}/{number - 1}")
    waited = before.progress.get("approvals", ()) if before is not None and before.state == "parked" else ()
    # Told to an attempt that was paused before it began: it still has to be told.
    untold = {each["id"] for each in agent.get("answers", ()) if each.get("fresh")}
    answers = [
        {
            "id": each.id,
            "question": str(each.question.get("text", "")),
            "answer": each.answer,
            "fresh": each.id in waited or each.id in untold,
        }
        for each in answered
    ]
    return {**agent, "answers": answers}


def note_told(tx: Writer, attempt: AttemptRecord, agent: Mapping[str, Any]) -> None:
    """Write down which answers an attempt begins with that no attempt before it had."""
    fresh = [each["id"] for each in agent.get("answers", ()) if each["fresh"]]
    if fresh:
        _note(tx, attempt, fresh, "in its prompt")


def _find_questions(tx: Reader, task: str, generation: int) -> list[ApprovalRecord]:
    found = tx.find(ApprovalRecord, task=task)
    return [each for each in found if each.kind == QUESTION and each.question.get("generation") == generation]


def _note(tx: Writer, attempt: AttemptRecord, names: Sequence[str], how: str) -> None:
    data = {"ids": list(names), "how": how}
    tx.append(TOLD, run=attempt.run, task=attempt.task, attempt=attempt.id, data=data)
