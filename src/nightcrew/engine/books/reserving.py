"""Questions that are asked and not answered yet, held against the budgets they are paid from.

Two agents at once must not both spend the last dollar. What an answer will cost at most is held before the question goes
out and let go when its real cost is recorded. A question that may not fit beside those under way waits for them; one that
nothing else is under way of goes out, however little is left, because nobody can know that it will not fit: so of all that
is asked, at most one answer goes beyond a budget. Waiting is a no for now, asked again by who wants to know: no thread waits.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from nightcrew.engine.books.budgets import Scope
from nightcrew.model.usage import Spent


@dataclass(frozen=True, slots=True)
class _Held:
    most: Spent
    keys: frozenset[str]


class Reservations:
    """What is under way in one host process, over all its runs; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}

    def hold(self, ticket: str, scopes: Sequence[Scope], most: Spent) -> bool:
        """Hold what an answer may take at most against the budgets it is paid from; False when it must wait for others.

        Args:
            ticket: a name for it that no other has.
            scopes: the budgets, with what is spent of them by now.
            most: what it may take.
        """
        with self._lock:
            for scope in scopes:
                others = [each.most for each in self._held.values() if scope.key in each.keys]
                if not others or not scope.budget:
                    continue
                total = scope.spent + most
                for each in others:
                    total += each
                if scope.budget.share(total) > 1:
                    return False
            self._held[ticket] = _Held(most, frozenset(scope.key for scope in scopes))
        return True

    def let_go(self, ticket: str) -> None:
        """Its cost is recorded, or it was not asked after all."""
        with self._lock:
            self._held.pop(ticket, None)

    def knows(self, ticket: str) -> bool:
        """Tell whether a question is under way in this process."""
        with self._lock:
            return ticket in self._held
