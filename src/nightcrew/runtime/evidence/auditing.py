"""The journal as evidence: verify it, search it, take it along, sign it, empty what is old."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import stamp
from nightcrew.host.signing import is_signed, known_file, need_key
from nightcrew.journal.heads import PRUNED, STUB, SignedHead, ends_of, make_statement
from nightcrew.journal.wanted import Wanted
from nightcrew.model.errors import JournalDamaged, StaleError, UsageError
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import ApprovalRecord, PromotionRecord, RunRecord, TaskRecord
from nightcrew.runtime.evidence.exporting import FORMATS
from nightcrew.runtime.evidence.moments import read_moment
from nightcrew.runtime.evidence.sealing import (
    compare_kept,
    keep_head,
    key_file,
    known_keys,
    own_key,
    read_head,
    read_kept,
    seal,
    sign_in,
    view_head,
)
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.views import view_event

if TYPE_CHECKING:
    from nightcrew.journal.chain import Verification
    from nightcrew.journal.transaction import Reader
    from nightcrew.model.events import Event
    from nightcrew.runtime.parts import Parts

_EDITED: Final = "the events are intact, a record was edited, added or taken out beside them; keep a copy of the database and put back a backup"
_STATED: Final = (RunRecord, TaskRecord, ApprovalRecord, PromotionRecord)


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched for, as typed; see ``journal.wanted.Wanted``. ``since`` and ``until`` are moments in words."""

    kinds: Sequence[str] = ()
    who: Sequence[str] = ()
    run: str = ""
    task: str = ""
    since: str = ""
    until: str = ""
    text: str = ""
    limit: int = 0


class Audit:
    """Everything that can be done with the journal as evidence."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def verify(self, against: Sequence[Path] = ()) -> dict[str, Any]:
        """Verify every event, the ends of the chains, the signed heads, and that the records say what the events tell.

        Args:
            against: files with signed heads that were kept elsewhere.

        Raises:
            JournalDamaged: names the first bad record.
            InvalidInput: a file holds no signed head.
        """
        heads = [read_head(path) for path in against]
        for path, head in zip(against, heads, strict=True):
            _check_signature(path, head)
        kept = read_kept(self._parts)
        with self._parts.journal.read() as tx:
            found = tx.verify(heads)
            if not found.ok:
                raise self._damaged(found.problem, found.first_bad)
            self._check_keys(found, heads)
            if problem := compare_kept(self._parts, tx, kept):
                raise self._damaged(*problem)
            compared = _compare_records(tx, self._damaged)
            rows = tx.compare_rows(found)
            if rows.problem:
                raise self._damaged(rows.problem, rows.seq, _EDITED)
        return {
            "ok": True,
            "events": found.events,
            "chains": found.chains,
            "records": compared,
            "bound": rows.bound,
            "unbound": rows.older,
            "signed": found.signed,
            "emptied": found.emptied,
            "head": found.head,
            "keys": list(found.keys),
            "against": list(found.against),
        }

    def verify_bundle(self, file: Path, key: str = "") -> dict[str, Any]:
        """Verify an evidence bundle; see ``bundling.check_bundle``."""
        from nightcrew.runtime.evidence.bundling import check_bundle

        return check_bundle(self._parts, file, key)

    def head(self) -> dict[str, Any]:
        """Return the head over all chains as it is now, unsigned, and the key of this installation."""
        with self._parts.journal.read() as tx:
            ends, seq = ends_of(tx.heads()), tx.last_seq()
        said = make_statement(ends, at=stamp(self._parts.clock.now()), seq=seq)
        return {
            "at": said.at,
            "seq": said.seq,
            "chains": said.chains,
            "root": said.root,
            "key": own_key(self._parts),
        }

    def sign(self, file: Path | None = None, *, force: bool = False) -> dict[str, Any]:
        """Sign the journal as it is now, after verifying it; with ``file`` also write the signed head there.

        Raises:
            JournalDamaged: it does not verify; nothing was signed.
            StaleError: the file is there. NotAuthenticated: the key cannot be used.
        """
        if file is not None:
            _check_target(file, force=force)
        self.verify()
        head = seal(self._parts, actor=f"user:{self._parts.env.user}")
        if file is not None:
            _write_head(file, head)
        return {**view_head(head), "file": str(file) if file else ""}

    def query(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield the events that are asked for, oldest first."""
        return (view_event(event) for event in self._search(query))

    def export(self, form: str, query: Query) -> Iterator[str]:
        """Yield the events that are asked for as text: ``jsonl`` (as recorded), ``csv`` or ``otel`` (OTLP JSON).

        Raises:
            UsageError: there is no such form.
        """
        if form not in FORMATS:
            raise UsageError(f"there is no format {form!r}", hint=f"one of {', '.join(FORMATS)}")
        return FORMATS[form](self._search(query))

    def bundle(self, run: str, file: Path, *, force: bool = False) -> dict[str, Any]:
        """Write the evidence bundle of a run, after verifying the journal; see ``bundling.make_bundle``.

        Raises:
            JournalDamaged: the journal does not verify; no bundle was made.
        """
        from nightcrew.runtime.evidence.bundling import check_place, make_bundle

        check_place(file, force=force)
        self.verify()
        return make_bundle(self._parts, run, file)

    def prune(self, *, before: str, dry_run: bool = False) -> dict[str, Any]:
        """Empty the events of runs that were over before a moment: only numbers and hashes stay, under a signature.

        Runs, promotions and all other records stay, and so does every event of the installation.

        Args:
            before: a moment in words (``365d``, ``2025-01-01``).
            dry_run: only tell.

        Raises:
            JournalDamaged: it does not verify; nothing was emptied.
            UsageError: no moment, or one in the future.
        """
        parts = self._parts
        moment = read_moment(before, parts.clock.now(), "--before")
        if not moment or moment > stamp(parts.clock.now()):
            raise UsageError(
                "--before names no moment of the past", code="usage.moment", hint="--before 365d"
            )
        self.verify()
        with parts.journal.read() as tx:
            runs = _find_old(tx, moment)
            counted = {run: sum(1 for e in tx.events(run=run) if e.kind != STUB) for run in runs}
        runs = [run for run in runs if counted[run]]
        answer = {
            "dry_run": dry_run,
            "before": moment,
            "runs": runs,
            "events": sum(counted[run] for run in runs),
        }
        if runs and not dry_run:
            self._empty(runs, moment)
        return answer

    def _empty(self, runs: Sequence[str], moment: str) -> None:
        parts = self._parts
        need_person(parts, "admin")
        actor = f"user:{parts.env.user}"
        key = need_key(key_file(parts))
        with parts.journal.write(durable=True) as tx:
            told = {}
            for run in runs:
                number, digest = tx.empty(run)
                told[run] = {"events": number, "digest": digest}
            tx.append(PRUNED, actor=actor, data={"before": moment, "runs": told})
            head = sign_in(parts, tx, key, actor=actor)
        keep_head(parts, head)

    def _search(self, query: Query) -> Iterator[Event]:
        now = self._parts.clock.now()
        wanted = Wanted(
            kinds=tuple(query.kinds),
            who=tuple(query.who),
            run=query.run,
            task=query.task,
            since=read_moment(query.since, now, "--since"),
            until=read_moment(query.until, now, "--until"),
            text=query.text,
            limit=query.limit,
        )
        with self._parts.journal.read() as tx:
            yield from tx.search(wanted)

    def _check_keys(self, found: Verification, heads: Sequence[SignedHead]) -> None:
        """Refuse signatures by a key that is not of this installation; where it has none, there is nothing to compare with."""
        known = known_keys(self._parts)
        foreign = [key for key in (*found.keys, *(head.key for head in heads)) if key not in known]
        if known and foreign:
            raise JournalDamaged(
                f"signed by a key that is not of this installation: {foreign[0]}",
                code="journal.foreign_key",
                where=[f"keys of this installation: {known_file(key_file(self._parts))}"],
                hint="somebody else signed it; if you know that key to be yours, add it to that file, in a line of its own",
            )

    def _damaged(self, problem: str, first_bad: int, hint: str = "") -> JournalDamaged:
        first = f"E-{first_bad}" if first_bad else "the end of a chain"
        return JournalDamaged(
            f"the journal does not verify: {problem}",
            code="journal.damaged",
            where=[f"first bad record: {first}", f"database: {self._parts.env.database}"],
            hint=hint or "keep a copy of the database; what stands before that record is intact",
        )


def _check_signature(path: Path, head: SignedHead) -> None:
    if not is_signed(head.key, head.signature, head.statement.message):
        raise JournalDamaged(
            f"{path} is not what was signed: its signature is wrong",
            code="journal.forged_head",
            hint="take another copy of the head; the journal itself was not compared",
        )
    root = make_statement(head.ends, at=head.statement.at, seq=head.statement.seq)
    if head.ends and root != head.statement:
        raise JournalDamaged(
            f"{path} is not what was signed: its list of ends was changed",
            code="journal.forged_head",
            hint="take another copy of the head; the journal itself was not compared",
        )


def _compare_records(tx: Reader, damaged: Callable[[str, int], JournalDamaged]) -> int:
    """Compare the states of records with what the events tell last; return how many were compared."""
    states: dict[str, tuple[str, int]] = {}
    emptied = set()
    for event in tx.search(Wanted()):
        if event.kind == STUB:
            emptied.add(event.run)
        state = event.data.get("to") or event.data.get("state")
        if state and "id" in event.data:
            states[str(event.data["id"])] = (str(state), event.seq)
    compared = 0
    for cls in _STATED:
        for record in tx.find(cls):
            run = getattr(record, "run", record.id)
            told = states.get(record.id)
            if run in emptied and told is None:
                continue
            compared += 1
            if told is None:
                raise damaged(f"no event tells of {record.id}", 0)
            state = getattr(record, "state", "")
            if state != told[0]:
                raise damaged(
                    f"{record.id} is {state!r}, but E-{told[1]} tells that it became {told[0]!r}",
                    told[1],
                )
    return compared


def _find_old(tx: Reader, moment: str) -> list[str]:
    """Return the runs that were over before a moment and that nobody has touched since."""
    over = [run for run in tx.find(RunRecord) if run.state in RUN_FINAL and run.state != "in_review"]
    old = [run.id for run in over if run.ended_at and run.ended_at < moment]
    return [run for run in old if all(e.at < moment for e in tx.events(run=run, limit=1, newest=True))]


def _check_target(file: Path, *, force: bool) -> None:
    if file.exists() and not force:
        raise StaleError(
            f"{file} is there already; nothing was signed", code="audit.exists", hint="--force replaces it"
        )
    if not file.parent.is_dir():
        raise UsageError(f"there is no directory {file.parent}; nothing was signed", code="audit.place")


def _write_head(file: Path, head: SignedHead) -> None:
    from nightcrew.host.files import write_atomic
    from nightcrew.model import canonical

    try:
        write_atomic(file, canonical.encode_plain(head.to_plain()).encode("ascii") + b"\n", 0o644)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", code="audit.place") from error
