"""Answers to the questions of agents: recorded once, bound to the digest of what was asked, and told to the agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nightcrew.gate.inquiries import answer as answer_record
from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model.records import ApprovalRecord
from nightcrew.runtime.people.identity import need_scope
from nightcrew.runtime.people.terms import complete, refuse_agents, time_of_answer
from nightcrew.runtime.views import view_approval

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def answer_question(
    parts: Parts, name: str, *, text: str = "", choices: Sequence[int] = (), digest: str = ""
) -> dict[str, Any]:
    """Record the answer to a question of an agent and return its view; the task goes on by itself.

    Args:
        name: approval id.
        text: words of the person's own. choices: numbers of the choices taken, counted from 1; one of the two.
        digest: refuse unless the digest of what was shown begins like this.

    Raises:
        UsageError: it is no question, or this is no answer to it; nothing was recorded.
        StaleError: answered already (naming who and when), expired, or another digest.
        DeniedByPolicy: an agent answers, or somebody whom the policy does not name.
    """
    refuse_agents(parts)
    need_scope(parts, "decide:low", "decide:any")
    at = time_of_answer(parts)
    with parts.journal.write() as tx:
        record = complete(tx, tx.need(ApprovalRecord, name))
        decided = answer_record(
            record,
            text=text,
            choices=choices,
            by=parts.env.user,
            via="command line",
            digest=digest,
            now=at,
        )
        stored = tx.change(
            tx.need(ApprovalRecord, name),
            "approval.decided",
            actor=f"user:{parts.env.user}",
            data={
                "answer": decided.answer,
                "digest": decided.digest,
                "action": decided.shown,
                "choices": list(decided.question.get("chosen", ())),
            },
            state=decided.state,
            answer=decided.answer,
            question=decided.question,
            # In time it was by the clock of questions, which stands still while nobody hosts; this is when it was.
            decided_at=stamp(parts.clock.now()),
            decided_by=decided.decided_by,
            decided_via=decided.decided_via,
        )
    crash.point("runtime.question.answered")
    return view_approval(stored)
