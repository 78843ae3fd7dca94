"""What can be done about money: budgets as they stand, what was spent when, a larger budget, the end of a night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]


class Money:
    """The part of the library API that is about budgets; ``Runtime.money`` makes one.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def show(self, run: str = "") -> View:
        """Return every budget that holds now: of day and month, and of open runs or one run (by its full id)."""
        from nightcrew.runtime.money.accounts import show_budgets

        return show_budgets(self._parts, run)

    def history(self, by: str = "day", *, days: int = 31, run: str = "") -> View:
        """Return what was spent, added up by ``day``, ``month``, ``agent``, ``run`` or ``model``, of the last ``days``."""
        from nightcrew.runtime.money.accounts import show_history

        return show_history(self._parts, by, days=days, run=run)

    def extend(self, name: str, budget: str, *, agent: str = "", role: str = "") -> View:
        """Give a run or a task (or an agent or role in a run; or ``day``, ``month``) another budget, and let go on what waited.

        A host is started when none lives.
        """
        from nightcrew.runtime.hosting import nudge
        from nightcrew.runtime.money.extending import extend, extend_period

        if name in ("day", "month"):
            done = extend_period(self._parts, name, budget)
        else:
            done = extend(self._parts, name, budget, agent=agent, role=role)
        for each in done["resumed"]:
            nudge(self._parts, each, start=True)
        return done

    def work_until(self, run: str, until: str) -> View:
        """Have a run stop at a time of day: ``07:30``, ``2026-11-22 07:30``, ``+8h``; ``never``."""
        from nightcrew.runtime.money.stopping import set_until

        return set_until(self._parts, run, until)

    def check_until(self, until: str) -> None:
        """Raise UsageError unless this is such a time."""
        from nightcrew.runtime.money.stopping import read_until

        read_until(self._parts, until)

    def reset_breaker(self, agent: str) -> bool:
        """Let an agent that is left alone for a while be used again; returns whether it was left alone."""
        from nightcrew.engine.course.breaker import reset
        from nightcrew.runtime.people.terms import need_person

        need_person(self._parts, "plan")
        with self._parts.journal.write() as tx:
            return reset(tx, agent, actor=f"user:{self._parts.env.user}")
