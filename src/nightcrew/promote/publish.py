"""Carries out a prepared promotion. The twelve steps and the reason for their order: docs/formats/promotion.md."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from nightcrew.host import clock, crash
from nightcrew.host.apart import Emptied
from nightcrew.host.cachetree import TreeIds
from nightcrew.host.files import sync_directory, write_atomic
from nightcrew.host.git import GitError
from nightcrew.model.errors import DeniedByPolicy, DriftError, NightcrewError, NotFound
from nightcrew.model.text import shown
from nightcrew.promote.content import find_converted, touches_attributes
from nightcrew.promote.failures import explain_failure, for_person, moved_meanwhile, name_left
from nightcrew.promote.hooks import AFTER, BEFORE, run_hook
from nightcrew.promote.index import IndexLock, Reading
from nightcrew.promote.indexswap import IndexSwap
from nightcrew.promote.looking import look_around, undone_plan
from nightcrew.promote.moves import Move, Mover
from nightcrew.promote.objects import find_trees
from nightcrew.promote.parcel import Parcel
from nightcrew.promote.prepared import Prepared, differences_of
from nightcrew.promote.recovery import beside, discard, settle
from nightcrew.promote.site import (
    Configured,
    Site,
    refuse_second_checkout,
    refuse_unless_ready,
    refuse_unless_writable,
    short,
)
from nightcrew.promote.source import Source
from nightcrew.promote.staging import Staging
from nightcrew.promote.standing import EMPTY_DIRECTORY, SYNC_ALL_FROM, Signature, Standing, identify
from nightcrew.promote.survey import Survey
from nightcrew.promote.transaction import EMPTIED, PINS, Plan, Transaction, remove_beside


@dataclass(frozen=True, slots=True)
class Known:
    """What ``prepare`` saw, so that publishing need not look a second time at what has not changed since."""

    prepared: Prepared
    found: Survey
    seen: Mapping[str, Signature]
    configured: Configured
    objects: frozenset[str] = frozenset()
    trees: Mapping[bytes, TreeIds] = field(default_factory=dict)
    parcel: Parcel | None = field(default=None, repr=False)
    undone: Plan | None = None


class _Outdated(Exception):
    """Something is not as ``prepare`` saw it; nothing was moved yet."""


_NOTHING: Final = Survey((), (), (), (), 0, Reading(b"", ()))
_AT_ONCE: Final = 7
"""At work at the same time: configuration, pack, objects, next index, attributes, contents, flush. Each waits most of the time."""


def publish(site: Site, prepared: Prepared, known: Known | None = None) -> None:
    """Make a prepared promotion real, or leave everything exactly as it was. The lock of the home must be held.

    Raises:
        DriftError: branch, index or a promoted path is not as it was when it was prepared; nothing was changed.
        LimitReached: the disk is full; nothing was changed.
        NightcrewError: the file system cannot do it, or git failed; nothing was changed.
    """
    here = prepared.place == "here"
    (refuse_unless_ready if here else refuse_unless_writable)(site)
    publication = _Publication(site, prepared, known) if here else _RefPublication(site, prepared, None)
    publication.make_directory()
    try:
        publication.run()
    except _Outdated as error:
        _give_up(publication, error)
    except BaseException as error:
        told = for_person(error)
        if _give_up(publication, told):
            return
        raise told from error
    else:
        return
    # Everything is looked at anew, which says what is in the way, or that nothing is.
    publish(site, prepared)


def _give_up(publication: _Publication, error: BaseException) -> bool:
    try:
        return publication.give_up(error)
    except OSError as problem:
        raise explain_failure(
            problem, "what was begun could not be taken back yet, and is with the next nightcrew command"
        ) from error


class _Publication:
    """One attempt to publish; ``run`` reads top to bottom like the table of steps.

    What only adds things that nobody refers to yet (objects, contents read ahead, the next index) is made aside, at the
    same time.
    """

    def __init__(self, site: Site, prepared: Prepared, known: Known | None) -> None:
        self.site = site
        self.prepared = prepared
        self.known = known
        self.objects = known.objects if known else frozenset()
        self.trees = known.trees if known else {}
        self.parcel = known.parcel if known else None
        self.transaction = Transaction(site.home, prepared.transaction)
        self.lock = IndexLock(site.repository.git_dir, self.transaction)
        self.slots = choose_slots(site) if prepared.place == "here" else site.home
        self._asked: Future[Configured] | None = None
        self.differences = differences_of(prepared.changes)

    @property
    def configured(self) -> Configured:
        """What the user's configuration says, or said when this was prepared (``_check_again``)."""
        if self.known:
            return self.known.configured
        return self._asked.result() if self._asked else self.site.configured()

    @cached_property
    def undone(self) -> Plan | None:
        """The plan of the promotion that this takes back."""
        return self.known.undone if self.known else undone_plan(self.site, self.prepared)

    def run(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as aside:
            plan = self._run(aside)
        self._move_branch(plan)
        crash.point("promote.ref")
        self._finish(plan)
        crash.point("promote.done")
        if self.prepared.hooks:
            self._tell_hook()

    def _run(self, aside: Executor) -> Plan:
        self._asked = aside.submit(self.site.configured)
        self._check_branch()
        parcel = self._wrap_up()
        objects = aside.submit(self._hand_over_objects, parcel)
        with self.site.standing(self.prepared.old_commit) as tree, self._open_slots(tree) as slots:
            source = self._open_source(aside, parcel, objects)
            found = self._survey(tree)
            seen = dict(tree.seen)
            index = IndexSwap(self.site, self.transaction, self.configured)
            trees = self._renewed(found)
            next_index = aside.submit(index.prepare, found.index, found.reading, trees)
            staging = self._open_staging(tree, slots, source)
            try:
                moves = staging.fill(found.wants)
            finally:
                source.close()
            crash.point("promote.staged")
            flushed = aside.submit(staging.flush, moves)
            self.lock.take()
            self._check_again(tree, found, seen)
            self._check_branch()
            plan = self._write_plan(moves, found)
            if not next_index.result().is_still(self.site.repository.git_dir):
                # Only times were recorded in it meanwhile (`git status` does that): what matters was compared just now.
                index.prepare(found.index, found.reading, trees)
            crash.point("promote.planned")
            objects.result()
            self.site.write_git("update-ref", plan.pin, plan.pin_commit)
            flushed.result()
            self.transaction.commit()
            crash.point("promote.committed")
            with Mover(tree, slots) as mover:
                came = self._move(mover, plan)
                flushed = aside.submit(_sync, tree, slots, plan)
                self._replace_index(aside, mover, plan, index, found, find_unmoved(came, staging.born))
            flushed.result()
            self._ask_hook(tree, plan)
        return plan

    def give_up(self, error: BaseException) -> bool:
        """Return everything to what it was; tell whether it turned out to be published after all."""
        if self.transaction.marker != "committed":
            discard(self.site, self.transaction)
            return False
        settled = settle(self.site, self.transaction)
        if settled.left and isinstance(error, NightcrewError):
            name_left(error, settled.left)
        return settled.published and isinstance(error, Exception)

    def make_directory(self) -> None:
        """Create the transaction; from here on there is something to give up.

        Raises:
            DriftError: it exists: this was published before.
            NightcrewError: the git directory cannot be written to.
        """
        try:
            self.transaction.create(self.slots, Emptied(self.site.scratch / EMPTIED))
            if self.slots != self.site.home:
                write_atomic(self.slots / ".gitignore", b"*\n")
                sync_directory(self.slots.parent)
        except FileExistsError as error:
            raise DriftError(
                f"{self.prepared.id} was published or given up already", code="promote.repeated"
            ) from error
        except OSError as error:
            discard(self.site, self.transaction)
            raise explain_failure(error) from error

    def _check_branch(self) -> None:
        prepared = self.prepared
        if prepared.place == "here":
            found = self.site.head()
        else:
            refuse_second_checkout(self.site, prepared.branch)
            if self.site.is_checked_out(prepared.branch):
                raise _checked_out(prepared.branch)
            found = (prepared.branch, self.site.commit_of(prepared.branch))
        if found != (self.prepared.branch, self.prepared.old_commit):
            raise DriftError(
                f"{_say(found)}, not {_say((prepared.branch, prepared.old_commit))} as when this was prepared; "
                "nothing was changed",
                code="drift.branch",
                hint="try again: it will be prepared on the new state",
            )

    def _wrap_up(self) -> Parcel | None:
        """Return the objects to hand over; none where the user's repository has them all."""
        if self.prepared.kind != "commit":
            return None
        wanted = [each.new[7:] for each in self.differences if each.new]
        commits = self.prepared.commits
        return self.parcel or Parcel(self.site, commits, self.objects, wanted)

    def _hand_over_objects(self, parcel: Parcel | None) -> None:
        prepared = self.prepared
        ends = [commit for commit in (prepared.new_commit, prepared.old_commit) if commit]
        if parcel is not None:
            parcel.hand_over(shared=self.configured.shared)
        elif not find_trees(self.site.git, *ends):
            raise NotFound(
                f"the commit {ends[0][:12]} is not in the repository any more; nothing was changed",
                code="promote.collected",
            )

    def _renewed(self, found: Survey) -> Mapping[bytes, TreeIds]:
        """Return the trees of directories, where the entries of the index become those of the commit."""
        coming = {each.path: each.new for each in self.differences}
        return self.trees if all(coming[each.path] == each.after for each in found.index) else {}

    def _open_slots(self, tree: Standing) -> Standing:
        return tree.beside(str(self.slots))

    def _survey(self, tree: Standing) -> Survey:
        if self.known:
            # What has changed since is found out under the lock, before anything is moved.
            tree.seen.update(self.known.seen)
            return self.known.found
        return look_around(self.site, tree, self.prepared, self.configured, self.undone)

    def _still(self, tree: Standing, found: Survey, seen: Mapping[str, Signature]) -> bool:
        """Tell whether index and working tree are as they were when they were looked at."""
        return found.reading.is_still(self.site.repository.git_dir) and tree.is_unchanged(seen)

    def _check_again(self, tree: Standing, found: Survey, seen: Mapping[str, Signature]) -> None:
        same = self._asked is None or self._asked.result() == self.configured
        if same and self._still(tree, found, seen):
            return
        if self.known:
            raise _Outdated
        if look_around(self.site, tree, self.prepared, self.configured, self.undone) != found:
            raise moved_meanwhile()

    def _open_source(self, aside: Executor, parcel: Parcel | None, objects: Future[None]) -> Source:
        coming = [each for each in self.differences if each.new]
        raw = touches_attributes([each.path for each in self.differences])
        reading = self.known.found.reading if self.known else None
        return Source(
            self.site,
            aside,
            objects,
            coming,
            self.configured,
            converts=None if raw else partial(find_converted, index=reading),
            parcel=parcel,
        )

    def _open_staging(self, tree: Standing, slots: Standing, source: Source) -> Staging:
        plan = self.undone
        reusable = plan.moves if plan is not None and plan.slots == str(self.slots) else ()
        return Staging(
            tree,
            slots,
            self.transaction.name,
            source.read,
            configured=self.configured,
            reuse={move.path: move for move in reusable},
        )

    def _write_plan(self, moves: tuple[Move, ...], found: Survey) -> Plan:
        prepared = self.prepared
        plan = Plan(
            id=prepared.id,
            transaction=self.transaction.name,
            kind=prepared.kind,
            branch=prepared.branch,
            old_commit=prepared.old_commit,
            new_commit=prepared.new_commit,
            pin=PINS + self.transaction.name,
            pin_commit=self._find_later_commit(),
            slots=str(self.slots),
            at=clock.stamp(self.site.clock.now()),
            undo_of=prepared.undo_of,
            moves=moves,
            index=found.index,
            kept=found.kept,
            edited=found.edited,
            place=prepared.place,
        )
        self.transaction.write_plan(plan)
        return plan

    def _find_later_commit(self) -> str:
        """Return the later one of the two commits, which keeps both."""
        old, new = self.prepared.old_commit, self.prepared.new_commit
        if self.prepared.kind == "commit":
            return new
        if not old or not new:
            return old or new
        undone = self.undone
        if undone and undone.kind == "commit" and (undone.old_commit, undone.new_commit) == (new, old):
            return old
        return new if self.site.is_ancestor(old, new) else old

    def _move(self, mover: Mover, plan: Plan) -> dict[str, os.stat_result]:
        """Carry out all moves; return the status of what has come."""
        came = {}
        for move in plan.moves:
            status = mover.forward(move)
            crash.point("promote.path")
            if status is not None:
                came[move.path] = status
        return came

    def _replace_index(
        self,
        aside: Executor,
        mover: Mover,
        plan: Plan,
        index: IndexSwap,
        found: Survey,
        unmoved: Mapping[str, os.stat_result],
    ) -> None:
        """Put the next index in place, once what was displaced turned out to be what was expected."""
        written, edited = self._refreshed(found), frozenset(found.edited)
        certain = {path: each for path, each in unmoved.items() if path in written and path not in edited}
        sealed = aside.submit(index.seal, certain, written, found.entries)
        mover.check(plan.moves)
        sealed.result()
        crash.point("promote.checked")
        index.publish()
        crash.point("promote.index")

    def _ask_hook(self, tree: Standing, plan: Plan) -> None:
        """Run the user's hook, where that is asked for, on index and working tree as they will be.

        Raises:
            DeniedByPolicy: it says no, or it changed promoted files, which are not what was reviewed then.
        """
        if not self.prepared.hooks:
            return
        try:
            run_hook(self.site, self.configured, BEFORE)
        finally:
            edited = self._note_edits(tree, plan)
        if edited:
            raise DeniedByPolicy(
                f"your {BEFORE} hook changed {len(edited)} of the promoted files; nothing was changed",
                code="hook.edited",
                where=[shown(path) for path in edited],
                hint="let the tasks do that (Accept: ...), or promote without --hooks",
            )
        crash.point("promote.hooks")

    def _note_edits(self, tree: Standing, plan: Plan) -> list[str]:
        """Note in the plan what the hook made of promoted files: so it is no edit of a person's, and can be taken back."""
        standing = {
            move.path: tree.fingerprint(move.path)
            for move in plan.moves
            if EMPTY_DIRECTORY not in (move.old, move.new)
        }
        edited = [move.path for move in plan.moves if standing.get(move.path, move.new) != move.new]
        if edited:
            moves = tuple(replace(move, new=standing.get(move.path, move.new)) for move in plan.moves)
            self.transaction.write_plan(replace(plan, moves=moves))
        return edited

    def _tell_hook(self) -> None:
        try:
            run_hook(self.site, self.configured, AFTER)
        except NightcrewError:
            # It is told of a commit that is made; git does not listen to what it says either.
            return

    def _refreshed(self, found: Survey) -> Collection[str]:
        """Return the paths whose times go into the index; none when new attributes could choose a filter for them."""
        if touches_attributes([each.path for each in self.differences]):
            return ()
        written = {want.path for want in found.wants if want.entry.startswith("1")}
        return written | {each.path for each in self.differences if each.new and each.path in found.kept}

    def _move_branch(self, plan: Plan) -> None:
        branch, pin = os.fsencode(plan.branch), os.fsencode(plan.pin)
        none = "0" * len(plan.pin_commit)
        request = b"verify %s\0%s\0update %s\0%s\0%s\0" % (
            pin,
            plan.pin_commit.encode(),
            branch,
            (plan.new_commit or none).encode(),
            (plan.old_commit or none).encode(),
        )
        try:
            self.site.write_git("update-ref", "-m", plan.note, "-z", "--stdin", input=request)
        except GitError as error:
            if self.site.commit_of(plan.branch) == plan.old_commit:
                raise
            raise DriftError(
                f"{short(plan.branch)} was moved by somebody else at the same time; nothing was changed",
                code="drift.branch",
                where=error.stderr.splitlines()[:3],
                hint="try again: it will be prepared on the new state",
            ) from error

    def _finish(self, plan: Plan) -> None:
        self.lock.release()
        self.transaction.end("done")
        if self.slots != self.site.home:
            remove_beside(self.slots, self.transaction.name)


class _RefPublication(_Publication):
    """A publication that moves, makes or removes a ref, and touches neither index nor working tree."""

    def _run(self, aside: Executor) -> Plan:
        self._check_branch()
        self._hand_over_objects(self._wrap_up())
        crash.point("promote.staged")
        plan = self._write_plan((), _NOTHING)
        crash.point("promote.planned")
        self.site.write_git("update-ref", plan.pin, plan.pin_commit)
        self.transaction.commit()
        crash.point("promote.committed")
        self._check_branch()
        return plan


def _say(found: tuple[str, str]) -> str:
    branch, commit = found
    return f"{short(branch)} is at {commit[:12]}" if commit else f"{short(branch)} does not exist"


def _checked_out(branch: str) -> DriftError:
    return DriftError(
        f"{short(branch)} was checked out since this was prepared; nothing was changed",
        code="drift.branch",
        hint="try again: it will be prepared on the new state",
    )


def choose_slots(site: Site) -> Path:
    """Return where slots must lie so that a rename from there into the working tree stays in one file system."""
    same = Path(site.repository.root).stat().st_dev == Path(site.repository.git_dir).stat().st_dev
    return site.home if same else beside(site)


def find_unmoved(
    came: Mapping[str, os.stat_result], born: Mapping[str, Signature]
) -> dict[str, os.stat_result]:
    """Return the status of files that are as they were made for their entries: a rename leaves that alone, writing does not."""
    return {path: status for path, status in came.items() if born.get(path) == identify(status)}


def _sync(tree: Standing, slots: Standing, plan: Plan) -> None:
    directories = {move.path.rpartition("/")[0] for move in plan.moves}
    if len(directories) >= SYNC_ALL_FROM:
        tree.sync_all()
        return
    for directory in directories:
        tree.sync(directory)
    slots.sync(f"{plan.transaction}/s")
