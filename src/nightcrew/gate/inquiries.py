"""An agent's question to a person, from being put to being answered. Pure; see ``approvals`` for what both have in common.

An answer tells the agent something and permits nothing: its state is ``answered``, never ``approved``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nightcrew.gate.answering import Answer, check_answer
from nightcrew.model import canonical
from nightcrew.model.actions import Decision, Verdict
from nightcrew.model.errors import StaleError, UsageError
from nightcrew.model.inquiries import ANSWER_LIMIT, QUESTION, Inquiry, join_choices
from nightcrew.model.records import ApprovalRecord

#: Why a person is asked, as it stands in the record.
ASKED: Final = Decision(Verdict.ASK, "agent.question", "built in", "its agent wants to know something", "low")
_SHORTEST_PREFIX: Final = 4


def put_question(record: ApprovalRecord, inquiry: Inquiry, generation: int) -> ApprovalRecord:
    """Return an open approval as the question of an agent.

    Args:
        record: opened for ``inquiry.action``.
        generation: of its task; an answer holds for as long as the task is not begun anew by a person.
    """
    plain = {**canonical.to_plain(inquiry), "generation": generation}
    return replace(record, kind=QUESTION, shown=inquiry.show(), question=plain)


def answer(
    record: ApprovalRecord,
    *,
    text: str,
    choices: Sequence[int],
    by: str,
    via: str,
    digest: str,
    now: str,
) -> ApprovalRecord:
    """Return the answered question.

    Args:
        record: the question as stored now.
        text: words of the person's own; empty for none.
        choices: numbers of the choices taken, counted from 1; with words of one's own, none.
        by: name of the person. via: how.
        digest: how the digest of what was shown begins; empty to take the one of the record.
        now: current time.

    Raises:
        UsageError: it is no question, or this is no answer to it; nothing was recorded.
        DeniedByPolicy: an agent, nobody, or somebody whom the policy does not name answers.
        StaleError: answered, expired or withdrawn already, or about something else than what was shown.
    """
    if record.kind != QUESTION:
        raise UsageError(
            f"{record.id} is not a question but a wish ({record.kind}); nothing was recorded",
            code="answer.kind",
            hint=f"nightcrew approve {record.id}   |   nightcrew deny {record.id} -m WHY",
        )
    # Whoever may not say yes to something of this risk is not who is asked either.
    given = Answer("approved", by, via, record.digest, now, text or "chosen", scope="once")
    check_answer(replace(record, kind="action"), given, proven=False)
    if digest and (len(digest) < _SHORTEST_PREFIX or not record.digest.startswith(digest.lower())):
        raise StaleError(
            f"{record.id} is not about what was shown; nothing was recorded",
            code="gate.digest",
            where=[f"shown    {digest}", f"asked    {record.digest[:12]}"],
            hint=f"look again: nightcrew show {record.id}",
        )
    chosen = _choose(record, Inquiry.read(record.question), text.strip(), choices)
    return replace(
        record,
        state="answered",
        answer=text.strip() or join_choices(chosen),
        question={**record.question, "chosen": list(chosen)},
        decided_at=now,
        decided_by=by,
        decided_via=via,
        uses=0,
    )


def _choose(record: ApprovalRecord, inquiry: Inquiry, text: str, choices: Sequence[int]) -> tuple[str, ...]:
    """Return the choices taken; none for an answer in words."""

    def refuse(said: str, hint: str = "") -> UsageError:
        return UsageError(
            f"{said}; nothing was recorded", code="answer.choice", hint=hint or f"nightcrew show {record.id}"
        )

    last = len(inquiry.choices)
    if text and choices:
        raise refuse(f"an answer to {record.id} is words or a choice, not both")
    if not text and not choices:
        hint = f"nightcrew answer {record.id} {'--choice N' if last else 'TEXT'}"
        raise refuse(f"there is no answer to {record.id} in this", hint)
    if len(text) > ANSWER_LIMIT:
        raise refuse(f"an answer has at most {ANSWER_LIMIT} characters")
    if text and not inquiry.free:
        raise refuse(
            f"{record.id} takes one of its {last} choices only", f"nightcrew answer {record.id} --choice N"
        )
    if wrong := [number for number in choices if not 1 <= number <= last]:
        offered = f"its choices are 1 to {last}" if last else "it offers no choices"
        raise refuse(f"{record.id} has no choice {wrong[0]}: {offered}")
    if len(set(choices)) > 1 and not inquiry.several:
        raise refuse(f"{record.id} takes one choice only")
    return tuple(inquiry.choices[number - 1] for number in dict.fromkeys(choices))
