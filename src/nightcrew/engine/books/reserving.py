"""Questions that are asked and not answered yet, held against the budgets they are paid from.

Two agents at once must not both spend the last dollar. What an answer will cost at most is held before the question goes
out and let go when its real cost is recorded. A question that may not fit beside those under way waits for them; one that
nothing else is under way of goes out, however little is left, because nobody can know that it will not fit: so of all that
is asked, at most one answer goes beyond a budget. Waiting is a no for now, asked again by who wants to know: no thread waits.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nightcrew.engine.books.budgets import Scope
from nightcrew.model.usage import Provider, Spent, Tokens

if TYPE_CHECKING:
    from nightcrew.policy.prices import Prices
    from nightcrew.sandbox.gateway.wires import Ask

#: What an answer may have at most where nobody says: as much as the larger models make in one.
_MOST_OUTPUT: Final = 32_000
_BYTES_PER_TOKEN: Final = 4
#: Of an answer that a dead host had asked for and nobody saw: what is counted for what it made.
LOST_OUTPUT: Final = 4000


def find_most(prices: Prices, provider: Provider, asked: Ask) -> Spent:
    """Return what the answer to a question may take at most."""
    price = prices.find(provider.wire, asked.model)
    tokens = Tokens(input=asked.size // _BYTES_PER_TOKEN, output=asked.most_output or _MOST_OUTPUT)
    usd = 0.0 if price is None else price.cost(tokens)
    return Spent(tokens, requests=1, usd=usd, unpriced=int(price is None))


def find_likely(most: Spent) -> Spent:
    """Return what is counted for an answer that a dead host had asked for and nobody saw."""
    tokens = replace(most.tokens, output=min(most.tokens.output, LOST_OUTPUT))
    part = most.tokens.total and tokens.total / most.tokens.total
    return replace(most, tokens=tokens, usd=round(most.usd * part, 9), estimated=1)


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
                if scope.budget and scope.share >= 1:
                    # Spent since it was admitted: who asks again is told so.
                    return False
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
