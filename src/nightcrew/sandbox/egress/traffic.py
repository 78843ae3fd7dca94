"""What the programs of one sandbox take of the network: counted, bounded, and told in sums."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from nightcrew.model.network import NetLimits, NetRequest, Tally

#: A request over its rate waits at most this long before it is refused.
_LONGEST_WAIT_S: Final = 5.0
_MOST_HOSTS: Final = 1000
#: Told apart in one sandbox; each is at least one event.
_MOST_PLACES: Final = 200
_MORE: Final = NetRequest("MORE", "(more)", 0)


class TooMuch(Exception):
    """A limit is reached; says which in words."""

    def __init__(self, words: str, *, retry_s: int = 0) -> None:
        super().__init__(words)
        self.words, self.retry_s = words, retry_s


class Traffic:
    """Rates, bytes and sums of one sandbox; used in the loop's thread only."""

    def __init__(self, limits: NetLimits) -> None:
        self.limits = limits
        self._next_at: dict[str, float] = {}
        self._bytes = 0
        self._tallies: dict[tuple[NetRequest, str], Tally] = {}
        self._told: set[tuple[NetRequest, str]] = set()

    async def take_turn(self, host: str) -> None:
        """Wait until another request to a host is within its rate: a minute's worth at once, then spread out.

        Raises:
            TooMuch: it would have to wait too long.
        """
        rate = self.limits.rate_per_minute
        if not rate:
            return
        now = asyncio.get_running_loop().time()
        # The generic cell rate algorithm: each request moves the earliest time of the one after a minute's worth.
        step = 60.0 / rate
        next_at = max(self._next_at.get(host, 0.0), now - 60.0 + step)
        wait_s = next_at - now
        if wait_s > _LONGEST_WAIT_S:
            raise TooMuch(f"more than {rate} requests a minute to {host}", retry_s=round(wait_s) + 1)
        if len(self._next_at) > _MOST_HOSTS:
            self._next_at = {name: at for name, at in self._next_at.items() if at > now - 60.0}
        self._next_at[host] = next_at + step
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    def check_room(self) -> None:
        """Refuse when all bytes are used up.

        Raises:
            TooMuch: they are.
        """
        limit = self.limits.total_bytes
        if limit and self._bytes >= limit:
            raise TooMuch(f"this task has used up the {limit} bytes it may send and receive")

    def count(self, request: NetRequest, *, sent: int = 0, received: int = 0) -> None:
        """Add bytes that went.

        Raises:
            TooMuch: that was too many; the connection must be closed.
        """
        self._bytes += sent + received
        tally = self._tally(request, "allow")
        self._put(
            replace(tally, sent_bytes=tally.sent_bytes + sent, received_bytes=tally.received_bytes + received)
        )
        self.check_room()

    def note(self, request: NetRequest, verdict: str, reason: str = "") -> None:
        """Add a request and what became of it."""
        tally = self._tally(request, verdict)
        self._put(replace(tally, requests=tally.requests + 1, reason=reason or tally.reason))

    def _tally(self, request: NetRequest, verdict: str) -> Tally:
        if (request, verdict) not in self._told:
            if len(self._told) >= _MOST_PLACES:
                # A program that tries places without end: the rest of them are told as one.
                request = _MORE
            self._told.add((request, verdict))
        return self._tallies.get((request, verdict)) or Tally(request, verdict)

    def _put(self, tally: Tally) -> None:
        self._tallies[tally.request, tally.verdict] = tally

    def take_tallies(self) -> tuple[Tally, ...]:
        """Return what has come together since the last time, and begin anew."""
        taken = tuple(self._tallies.values())
        self._tallies.clear()
        return taken
