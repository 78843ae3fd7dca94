"""``gc``: giving up what nothing needs any more, in our own state only; what the user has stays as it is.

Per repository: checkpoints, objects of the store, left-over shadows, exports of base commits, transcripts, names that keep
base commits in the user's repository; and what the durable engine recorded of runs that are long over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host import crash
from nightcrew.model.errors import NightcrewError
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.records import CheckpointRecord, PromotionRecord, RunRecord
from nightcrew.model.settings import Settings
from nightcrew.runtime.upkeep import holding

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.model.trees import Repository
    from nightcrew.promote.promoter import Promoter
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.upkeep.holding import Rows

#: A run that ends collects what has become old, but not more often than this; of a first run nothing can be old.
EVERY_S: Final = 3600.0
#: How long a running task that has no room waits before it looks for room again.
AGAIN_S: Final = 60.0
#: When there is no room, runs that are closed are given up, a part of them at a time, until there is.
PARTS: Final = 4
#: Exports of commits that runs of this time started from stay: the next one is made from them, at the price of the difference.
EXPORT_DAYS: Final = 7
_CHECKPOINTS: Final = "refs/nightcrew/checkpoints/"
_BASES: Final = "refs/nightcrew/bases/"
UNDO_DAYS: Final = 90
"""So long the commits of a promotion are kept from the user's garbage collection when nothing else refers to them."""
_SETTLED: Final = ("published", "undone")


@dataclass(slots=True)
class Tally:
    """What was given up in one repository, or would be; sizes in bytes on disk."""

    repository: str
    checkpoints: int = 0
    objects_bytes: int = 0
    shadows: int = 0
    shadows_bytes: int = 0
    exports_bytes: int = 0
    transcripts: int = 0
    transcripts_bytes: int = 0
    pins: int = 0
    undo_pins: int = 0
    displaced: int = 0
    displaced_bytes: int = 0
    store_bytes: int = 0
    limit_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def freed_bytes(self) -> int:
        """All of it."""
        ours = self.objects_bytes + self.shadows_bytes + self.exports_bytes
        return ours + self.transcripts_bytes + self.displaced_bytes


def collect(parts: Parts, *, dry_run: bool = False) -> dict[str, Any]:
    """Give up what nothing needs, in every repository that a run was recorded for.

    Args:
        dry_run: only tell.

    Raises:
        EngineUnavailable: another process is at it, or writes for too long; what was done until then is done.
    """
    with parts.journal.read() as tx:
        runs = {run.repo_key: run for run in tx.find(RunRecord)}
    tallies = [_collect_repository(parts, run, dry_run=dry_run) for run in runs.values()]
    workflows = _forget(parts, dry_run=dry_run)
    return {
        "dry_run": dry_run,
        "repositories": [{**asdict(tally), "freed_bytes": tally.freed_bytes} for tally in tallies],
        "workflows": workflows,
        "freed_bytes": sum(tally.freed_bytes for tally in tallies),
    }


def collect_when_due(parts: Parts, run_id: str) -> None:
    """Collect at the end of a run, when the last time is long enough ago or there is too much; never a reason to fail.

    Bounded: the store is thinned and its packs put together; everything else waits for ``gc``.
    """
    try:
        with parts.journal.read() as tx:
            run = tx.need(RunRecord, run_id)
        repository = parts.repository_of(run)
        store, limit = parts.store(repository), _settings(parts, repository).checkpoints.disk_bytes
        mark = parts.state_of(repository) / "collected"
        if _is_due(parts, mark, EVERY_S, at_first=False) or (limit and store.usage().bytes > limit):
            mark.touch()
            _thin(parts, repository, store, Tally(repository.root), dry_run=False)
            store.tidy()
    except (NightcrewError, OSError) as problem:
        # The run is over and recorded. What could not be collected is collected the next time, or by `gc`.
        parts.say(f"old checkpoints were not collected: {problem}; nightcrew gc")


def make_room(parts: Parts, repository: Repository) -> bool:
    """Give up checkpoints until the store takes less than it may; tell whether there is room.

    What could not be given up a moment ago is not tried again at once.
    """
    store, limit = parts.store(repository), _settings(parts, repository).checkpoints.disk_bytes
    mark = parts.state_of(repository) / "made-room"
    if limit and store.usage().bytes >= limit and _is_due(parts, mark, AGAIN_S, at_first=True):
        mark.touch()
        _thin(parts, repository, store, Tally(repository.root), dry_run=False)
    return not limit or store.usage().bytes < limit


# -- one repository -------------------------------------------------------------------------------------------------


def _collect_repository(parts: Parts, run: RunRecord, *, dry_run: bool) -> Tally:
    try:
        repository = parts.repository_of(run)
    except NightcrewError as gone:
        place = parts.env.state / run.repo_key
        note = f"{gone.message}; if it is gone for good, remove {place}"
        return Tally(run.repo_path, notes=(note,))
    tally = Tally(repository.root)
    try:
        settings = _settings(parts, repository)
    except NightcrewError as unread:
        # How long things are kept is said there; another repository must not wait for it.
        what = "; ".join(unread.where) or unread.message
        tally.notes = (f"{repository.root}: nothing was given up here, its rules cannot be read: {what}",)
        return tally
    if not (parts.state_of(repository) / "objects" / "HEAD").exists():
        return tally
    store = parts.store(repository)
    tally.limit_bytes = settings.checkpoints.disk_bytes
    before = store.usage().bytes
    rows = _thin(parts, repository, store, tally, dry_run=dry_run)
    _clear_shadows(parts, repository, tally, dry_run=dry_run)
    _clear_exports(parts, repository, rows, tally, dry_run=dry_run)
    _clear_transcripts(parts, repository, rows, settings, tally, dry_run=dry_run)
    if not dry_run:
        store.tidy()
        tally.objects_bytes = max(0, before - store.usage().bytes)
    tally.store_bytes = store.usage().bytes
    if tally.limit_bytes and tally.store_bytes > tally.limit_bytes and not dry_run:
        tally.notes += (
            "all that is left is needed, or too young to go; accept, reject or promote what waits, or raise checkpoints.disk",
        )
    return tally


def _thin(parts: Parts, repository: Repository, store: Store, tally: Tally, *, dry_run: bool) -> Rows:
    """Give up old checkpoints, more and more of them while there is too much; return the rows as they were."""
    settings = _settings(parts, repository)
    limit = settings.checkpoints.disk_bytes
    with parts.journal.read() as tx:
        rows = holding.read_rows(tx, repository.key)
    expired = _list_expired(rows, parts.clock.now() - timedelta(days=settings.transcript_days))
    first, *further = _list_choices(rows, expired)
    pruned, freed = _prune(parts, repository, store, first, dry_run=dry_run)
    _let_go(parts, repository, store, expired, pruned, tally, dry_run=dry_run)
    for choice in further:
        left = store.usage().bytes - (freed if dry_run else 0)
        if not limit or left <= limit:
            break
        more, freed = _prune(parts, repository, store, choice, dry_run=dry_run)
        pruned |= more
    tally.checkpoints += len(pruned)
    # What each step would free holds what those before it would.
    tally.objects_bytes += freed
    return rows


@dataclass(frozen=True, slots=True)
class _Choice:
    """How much to give up: all checkpoints of the released runs; of others the old ones, or (squeezed) all not needed."""

    released: frozenset[str] = frozenset()
    squeezed: bool = False

    def choose(self, rows: Rows, now: datetime) -> frozenset[str]:
        """Return the checkpoints that go."""
        from nightcrew.checkpoint.thinning import squeeze, thin

        snapshots = holding.list_snapshots(rows, now)
        chosen = squeeze(snapshots) if self.squeezed else thin(snapshots)
        found = frozenset(chosen) | frozenset(holding.list_of_runs(rows, self.released))
        # Nothing becomes free by giving up what is young: its objects stay for now in any case.
        return found - holding.list_young(rows, now) if self.squeezed else found


def _list_choices(rows: Rows, expired: frozenset[str]) -> Iterator[_Choice]:
    """Yield what to give up, each time more: the later ones only while there is too much."""
    yield _Choice(released=expired)
    yield _Choice(released=expired, squeezed=True)
    closed = [run.id for run in holding.list_closed(rows)]
    step = max(1, len(closed) // PARTS)
    for end in range(step, len(closed) + step, step):
        yield _Choice(released=expired.union(closed[:end]), squeezed=True)


def _prune(
    parts: Parts, repository: Repository, store: Store, choice: _Choice, *, dry_run: bool
) -> tuple[frozenset[str], int]:
    """Give up what a choice gives up, rows and objects; return which checkpoints, and how many bytes became free."""
    now = parts.clock.now()
    named = {ref.removeprefix(_CHECKPOINTS) for ref in store.refs() if ref.startswith(_CHECKPOINTS)}
    # What the rows say first, then what is removed: a kill in between leaves objects that the next collection finds.
    rows, chosen = _record(parts, repository, choice, now, dry_run=dry_run)
    crash.point("collect.recorded")
    gone = chosen | {each.id for each in rows.checkpoints if each.pruned}
    # A kill came between the name of a checkpoint and its row; one that is just being recorded gets its name back next time.
    gone |= named - {each.id for each in rows.checkpoints}
    if not dry_run:
        store.name_checkpoints({each.id: each.commit for each in rows.checkpoints if each.id not in gone})

    def find_roots() -> Collection[str]:
        with parts.journal.read() as tx:
            latest = holding.read_rows(tx, repository.key)
        refs = {name: commit for name, commit in store.refs().items() if not name.startswith(_CHECKPOINTS)}
        return holding.find_roots(latest, refs, chosen)

    done = store.collect(
        find_roots,
        unused_since=holding.find_unused_since(rows, now),
        pruned=gone,
        cut=holding.find_cut(rows, chosen),
        dry_run=dry_run,
    )
    return chosen, done.bytes


def _record(
    parts: Parts, repository: Repository, choice: _Choice, now: datetime, *, dry_run: bool
) -> tuple[Rows, frozenset[str]]:
    """Choose, and mark what was chosen as given up, all at one moment of the journal."""
    if dry_run:
        with parts.journal.read() as tx:
            rows = holding.read_rows(tx, repository.key)
        return rows, choice.choose(rows, now)
    with parts.journal.write() as tx:
        rows = holding.read_rows(tx, repository.key)
        chosen = choice.choose(rows, now)
        for name in sorted(chosen):
            tx.change(tx.need(CheckpointRecord, name), "", pruned=True)
        for task in holding.list_emptied(rows, chosen):
            tx.change(task, "", tree="")
        if chosen:
            data = {"checkpoints": sorted(chosen), "repository": repository.root}
            tx.append("checkpoints.pruned", data=data)
    return rows, chosen


def _list_expired(rows: Rows, before: datetime) -> frozenset[str]:
    """Return the closed runs that ended before a moment: nobody has looked into them since."""
    from nightcrew.host.clock import stamp

    return frozenset(
        run.id for run in holding.list_closed(rows) if run.ended_at and run.ended_at < stamp(before)
    )


def _let_go(
    parts: Parts,
    repository: Repository,
    store: Store,
    expired: frozenset[str],
    pruned: Collection[str],
    tally: Tally,
    *,
    dry_run: bool,
) -> None:
    """Let go of the base commits of expired runs: in the user's repository, and where no checkpoint is left in our store."""
    promoter = parts.promoter(repository)
    # The names first: a run is recorded before it has one.
    named = promoter.pins()
    with parts.journal.read() as tx:
        rows = holding.read_rows(tx, repository.key)
    over = expired & {run.id for run in holding.list_closed(rows)}
    known = {run.id for run in rows.runs}
    pins = [name for name in named if name in over or name not in known]
    tally.pins += len(pins)
    if not dry_run:
        for name in pins:
            promoter.unpin(name)
        # A checkpoint that stays has the snapshot it began from as its parent.
        store.remove_refs([f"{_BASES}{name}" for name in holding.list_ended(rows, over, pruned)])
    _let_go_of_undo(parts, promoter, rows, tally, dry_run=dry_run)
    try:
        displaced = promoter.prune(dry_run=dry_run)
    except NightcrewError as problem:
        # Their git directory may be one that is only read here; what is ours is collected all the same.
        tally.notes += (f"what promotions have displaced stays: {problem.message}",)
        return
    tally.displaced += displaced.files
    tally.displaced_bytes += displaced.size_bytes


def _let_go_of_undo(parts: Parts, promoter: Promoter, rows: Rows, tally: Tally, *, dry_run: bool) -> None:
    """Let go of what old promotions and undos displaced; what is on a branch can be undone as before.

    A pin of another state directory has no row here, and stays.
    """
    from nightcrew.host.clock import stamp

    before = stamp(parts.clock.now() - timedelta(days=UNDO_DAYS))
    kept = promoter.undo_pins()
    with parts.journal.read() as tx:
        found = [each for run in rows.runs for each in tx.find(PromotionRecord, run=run.id)]
    old = [each for each in found if each.state in _SETTLED and each.published_at < before]
    names = sorted({each.transaction for each in old} & kept)
    tally.undo_pins += len(names)
    for name in names if not dry_run else ():
        promoter.let_go(name)


# -- beside the store -----------------------------------------------------------------------------------------------


def _clear_shadows(parts: Parts, repository: Repository, tally: Tally, *, dry_run: bool) -> None:
    """Remove working copies that nothing will go on in; only while no engine is at work."""
    from nightcrew.engine.work.place import find_shadows_in_use
    from nightcrew.shadow.collecting import measure_tree

    lock = parts.engine_lock
    if not lock.acquire():
        tally.notes += (
            f"{lock.holder() or 'another process'} is at work: its working copies were not looked at",
        )
        return
    try:
        shadows = parts.shadows(repository, overlay=True, environment=())
        with parts.journal.read() as tx:
            used = find_shadows_in_use(tx)
        for name in shadows.names():
            if name.partition("-")[0] in used:
                continue
            size = measure_tree(parts.state_of(repository) / "shadows" / name)
            if dry_run or shadows.remove(name):
                tally.shadows += 1
                tally.shadows_bytes += size
        # What a process that was killed had taken out of sight takes room, too.
        tally.shadows_bytes += shadows.sweep(dry_run=dry_run)
    finally:
        lock.release()


def _clear_exports(parts: Parts, repository: Repository, rows: Rows, tally: Tally, *, dry_run: bool) -> None:
    from nightcrew.host.clock import stamp

    since = stamp(parts.clock.now() - timedelta(days=EXPORT_DAYS))
    newest = rows.runs[-1:]
    kept = {run.base_commit for run in rows.runs if run.state not in RUN_FINAL or run.created_at > since}
    kept |= {run.base_commit for run in newest}
    shadows = parts.shadows(repository, overlay=True, environment=())
    tally.exports_bytes += shadows.collect(kept, dry_run=dry_run)


def _clear_transcripts(
    parts: Parts, repository: Repository, rows: Rows, settings: Settings, tally: Tally, *, dry_run: bool
) -> None:
    """Remove the raw output of attempts of runs that ended long ago."""
    for path in _list_transcripts(parts, repository, rows, settings):
        tally.transcripts += 1
        tally.transcripts_bytes += path.stat().st_blocks * 512
        if not dry_run:
            path.unlink(missing_ok=True)


def _list_transcripts(parts: Parts, repository: Repository, rows: Rows, settings: Settings) -> Iterator[Path]:
    from nightcrew.host.clock import stamp

    before = stamp(parts.clock.now() - timedelta(days=settings.transcript_days))
    for run in rows.runs:
        if run.state in RUN_FINAL and run.ended_at and run.ended_at < before:
            place = parts.state_of(repository) / "runs" / run.id
            yield from sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


def _forget(parts: Parts, *, dry_run: bool) -> int:
    """Remove what the durable engine recorded of runs that ended long ago."""
    from nightcrew.engine.forgetting import forget_workflows
    from nightcrew.host.clock import stamp
    from nightcrew.runtime.rules import read_rules

    days = read_rules(parts.env, None).settings.transcript_days
    before = parts.clock.now() - timedelta(days=days)
    with parts.journal.read() as tx:
        runs = {
            run.id
            for run in tx.find(RunRecord, state=tuple(RUN_FINAL))
            if run.ended_at and run.ended_at < stamp(before)
        }
    return forget_workflows(parts.journal, runs, before=before, dry_run=dry_run)


def _settings(parts: Parts, repository: Repository) -> Settings:
    """Return the settings that hold in a repository now, whatever held when its runs began."""
    from nightcrew.runtime.rules import read_rules

    try:
        return read_rules(parts.env, Path(repository.root)).settings
    except NightcrewError as error:
        # Another repository than the one that the person stands in may be the one with the mistake.
        error.message = f"{repository.root}: {error.message}"
        raise


def _is_due(parts: Parts, mark: Path, every_s: float, *, at_first: bool) -> bool:
    try:
        since_s = parts.clock.now().timestamp() - mark.stat().st_mtime
    except FileNotFoundError:
        mark.touch()
        return at_first
    # A mark from the future: the clock was wrong then, and nobody knows how long ago that was.
    return not 0 <= since_s <= every_s
