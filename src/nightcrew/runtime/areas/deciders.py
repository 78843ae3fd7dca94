"""The part of the library API that is about deciding: questions, answers, who gives them, and programs that may."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nightcrew.runtime.parts import Parts

if TYPE_CHECKING:
    from nightcrew.model.people import Proof
    from nightcrew.runtime.areas.people import People
    from nightcrew.runtime.replies import Callback

View = dict[str, Any]


class Deciders:
    """What ``Runtime`` can do about questions that wait for a person; its base class."""

    _parts: Parts

    def resolve(self, text: str, *, kinds: str = "RTCAME") -> str:
        """Return the full id of what a person typed; see ``Runtime.resolve``."""
        raise NotImplementedError

    @property
    def people(self) -> People:
        """Return everything that can be asked about people, their second factors and their tokens."""
        from nightcrew.runtime.areas.people import People

        return People(self._parts)

    def inbox(self) -> list[View]:
        """Return everything that waits for a human."""
        from nightcrew.runtime.views import view_inbox

        return view_inbox(self._parts)

    def check_plan_open(self, run: str) -> None:
        """Raise StaleError unless the plan of a run still waits for its answer."""
        from nightcrew.runtime.answers.deciding import check_plan_open
        from nightcrew.runtime.results.reviewing import need_run

        check_plan_open(need_run(self._parts, run))

    def approve_plan(
        self,
        run: str,
        *,
        digest: str,
        via: str,
        with_asks: bool = False,
        reason: str = "",
        by: str = "",
        proof: Proof | None = None,
    ) -> View:
        """Say yes to the plan of a run; see ``answers.plans.approve_plan`` and its ``Yes``."""
        from nightcrew.runtime.answers.plans import Yes, approve_plan

        return approve_plan(self._parts, run, Yes(digest, via, with_asks, reason, by, proof))

    def deny_plan(self, run: str, *, reason: str, digest: str = "") -> None:
        """Deny the plan of a run."""
        from nightcrew.runtime.answers.deciding import deny_plan

        deny_plan(self._parts, run, reason=reason, digest=digest)

    def decide(
        self,
        approval: str,
        *,
        answer: Literal["approved", "denied"],
        reason: str = "",
        scope: Literal["once", "task", "run"] = "once",
        digest: str = "",
        proof: Proof | None = None,
        only: bool = False,
        by: str = "",
    ) -> View:
        """Answer an approval, and every other open one of its run that is about exactly the same; see ``deciding.decide``.

        Args:
            approval: its id.
            answer: ``approved`` or ``denied``; a denial needs a reason, and so may a yes.
            scope: what a yes is good for: ``once``, for the ``task``, or for any task of the ``run``.
            digest: refuse unless the digest of what was shown begins like this.
            proof: the second factor, where the policy wants one.
            only: leave the others alone.
            by: somebody else than who asks; they must prove it.
        """
        from nightcrew.runtime.answers.deciding import decide
        from nightcrew.runtime.people.saying import Said

        said = Said(answer, reason, scope, digest, by=by, proof=proof, only=only)
        return decide(self._parts, approval, said)

    def on_approval(self, callback: Callback, *, timeout_s: float = 60.0) -> Callable[[], None]:
        """Have a function of yours asked every question; see ``replies.Callback``. Returns what ends that.

        It is called while this object drives a run (``drive``, ``host_in_background``), in a thread of its own, once for each
        question. What it does not answer (None, an exception, too late) goes on waiting for a person, and is recorded.

        Args:
            callback: takes a ``Question``, returns a ``Reply`` or None; may be a coroutine function.
            timeout_s: longest it may take for one question.
        """
        from nightcrew.runtime.answers.callbacks import register

        return register(self._parts, callback, timeout_s=timeout_s)

    def answer(self, approval: str, *, text: str = "", choices: Sequence[int] = (), digest: str = "") -> View:
        """Answer a question of an agent, in words or with choices counted from 1; see ``inquiring.answer_question``."""
        from nightcrew.runtime.answers.inquiring import answer_question

        return answer_question(self._parts, approval, text=text, choices=choices, digest=digest)

    def nudge(self, name: str, *, start: bool) -> str:
        """Make work go on after a decision: ``woken``, ``started`` or ``recorded``."""
        from nightcrew.runtime.hosting import nudge

        return nudge(self._parts, name, start=start)
