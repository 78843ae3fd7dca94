"""What can be read from a journal. Of one that does not exist yet: nothing, and without loading the database code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nightcrew.journal.binding import Compared
from nightcrew.journal.chain import Head, Verification, verify_chain
from nightcrew.journal.heads import SignedHead
from nightcrew.journal.resolve import not_found, resolve_id
from nightcrew.journal.rows import NAMES, R, check_columns, check_fields
from nightcrew.journal.wanted import Wanted
from nightcrew.model.events import Event


class Reader:
    """One consistent moment of a journal; this one is empty, ``transaction.StoredReader`` has a database."""

    def get(self, cls: type[R], record_id: str) -> R | None:
        """Return the record with exactly this id, or None."""
        return None

    def need(self, cls: type[R], record_id: str) -> R:
        """Return the record with exactly this id.

        Raises:
            NotFound: there is none.
        """
        record = self.get(cls, record_id)
        if record is None:
            raise not_found(NAMES[cls], record_id)
        return record

    def find(self, cls: type[R], *, limit: int = 0, newest: bool = False, **equals: Any) -> list[R]:
        """Return records in counting order of their ids.

        Args:
            cls: which records.
            limit: at most so many, 0 for all.
            newest: highest ids first.
            equals: field = wanted value; a tuple, list or set of values means one of them.

        Raises:
            TypeError: there is no such field.
        """
        check_fields(cls, equals)
        return []

    def count(self, cls: type[R], field: str, **equals: str) -> dict[str, int]:
        """Return how many records there are of each value of a searched field, without reading any of them.

        Args:
            cls: which records.
            field: what is counted by; this and those of ``equals`` are columns of their own (``rows.SEARCHED``).
            equals: field = wanted value.

        Raises:
            TypeError: there is no such column.
        """
        check_columns(cls, {field, *equals})
        return {}

    def events(
        self,
        after: int = 0,
        run: str = "",
        task: str = "",
        kinds: Sequence[str] = (),
        limit: int = 0,
        newest: bool = False,
    ) -> list[Event]:
        """Return events in the order they happened.

        Args:
            after: only events with a higher number.
            run, task: only events of this run, of this task (full id).
            kinds: only these kinds; ``task.*`` stands for all that start with ``task.``.
            limit: at most so many, 0 for all.
            newest: the latest first (with ``limit``: the last ones).
        """
        return []

    def last_seq(self) -> int:
        """Return the number of the last event, 0 when there is none."""
        return 0

    def resolve(self, text: str, kinds: str = "RTCAM", *, run: str = "") -> str:
        """Return the full id of what a person typed: see ``nightcrew.journal.resolve``.

        Raises:
            NotFound: nothing has that id.
            UsageError: several have, or it is not an id at all.
        """
        return resolve_id(text, kinds, run, self._ids)

    def verify(self, against: Sequence[SignedHead] = ()) -> Verification:
        """Check the chains as they are at this moment, and with heads that were kept elsewhere."""
        return verify_chain((), {}, 0, against=against)

    def compare_rows(self, found: Verification) -> Compared:
        """Compare every row of a record with the digest that its last event carries, and with its own columns.

        Args:
            found: what verifying the chains found, in this very transaction.
        """
        return Compared()

    def heads(self) -> dict[str, Head]:
        """Return the stored ends of all chains: run id (empty for the installation) → its end."""
        return {}

    def search(self, wanted: Wanted) -> Iterator[Event]:
        """Yield the events that are asked for, oldest first; read as they are asked for, inside of this transaction."""
        return iter(())

    def _ids(self, kind: str, field: str, text: str, *, prefix: bool) -> list[str]:
        return []
