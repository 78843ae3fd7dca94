"""Following the journal, the only message there is: a thread that sees what other processes wrote, and audits at times."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import Clock
from nightcrew.model.errors import NightcrewError
from nightcrew.model.events import Event

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

LOG: Final = logging.getLogger("nightcrew.engine")
#: How often the journal is looked at: about 0.1 ms a look.
LOOK_S: Final = 0.1
#: How often it is checked that what is recorded as going on really does.
AUDIT_S: Final = 5.0
#: After so many audits in a row something is taken for stray: far longer than any take-over needs.
STRAY_LOOKS: Final = 6
_JOIN_S: Final = 20.0


class Follower:
    """The thread.

    Args:
        journal, clock: the usual.
        hear: called with new events, oldest first.
        audit: called every AUDIT_S seconds.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        hear: Callable[[Sequence[Event]], None],
        audit: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._hear = hear
        self._audit = audit
        self._seen = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nightcrew-follow", daemon=True)

    def start(self, after_seq: int) -> None:
        """Begin with the events after this one."""
        self._seen = after_seq
        self._thread.start()

    def stop(self) -> None:
        """End, once what is being heard is done with; nothing happens when it was never started."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        audit_at = self._clock.monotonic() + AUDIT_S
        while not self._stop.wait(LOOK_S):
            try:
                self._look()
                if self._clock.monotonic() >= audit_at:
                    self._audit()
                    audit_at = self._clock.monotonic() + AUDIT_S
            except NightcrewError as error:
                # The database may be gone for a minute; what is in it will still be there to be read.
                LOG.warning("cannot follow the journal: %s", error.message)
            except Exception:
                # A follower that ends would leave every later decision unheard: worse than anything it could do.
                LOG.exception("defect while following the journal")

    def _look(self) -> None:
        with self._journal.read() as tx:
            if tx.last_seq() == self._seen:
                return
            events = tx.events(after=self._seen)
        self._hear(events)
        self._seen = max([self._seen, *(event.seq for event in events)])


class Strays:
    """Tells what nobody took care of, several looks in a row."""

    def __init__(self) -> None:
        self._looks: Counter[str] = Counter()

    def look(self, unattended: Iterable[str]) -> list[str]:
        """Take in one look, and return what has been unattended for STRAY_LOOKS of them."""
        self._looks = Counter({name: self._looks[name] + 1 for name in unattended})
        found = [name for name, looks in self._looks.items() if looks >= STRAY_LOOKS]
        for name in found:
            del self._looks[name]
        return found
