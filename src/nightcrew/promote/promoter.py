"""The door of this package: prepare, publish, undo, recover."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from nightcrew.host.clock import Clock
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.host.tokens import nonce
from nightcrew.model.errors import EngineUnavailable
from nightcrew.model.records import PromotionRecord
from nightcrew.model.trees import Repository
from nightcrew.promote.ahead import Ahead
from nightcrew.promote.commits import Step, make_commits
from nightcrew.promote.failures import explain_failure
from nightcrew.promote.files import make_bundle, make_patch
from nightcrew.promote.guard import refuse_bad_paths
from nightcrew.promote.hooks import find_promoted, find_run_by_git, refuse_promoted, run_message_hooks
from nightcrew.promote.looking import look_around, undone_plan
from nightcrew.promote.notes import write_notes
from nightcrew.promote.objects import Differences, add_trailer, make_commit
from nightcrew.promote.parcel import Parcel
from nightcrew.promote.pins import list_pins, list_undo_pins, remove_pin, remove_undo_pin, set_pin
from nightcrew.promote.prepared import Prepared, describe_changes
from nightcrew.promote.pruning import Pruned, prune
from nightcrew.promote.publish import Known, publish
from nightcrew.promote.recovery import is_unsettled, recover_all, was_published
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.target import HERE, Target, find_place
from nightcrew.promote.transaction import PINS, Transaction
from nightcrew.promote.undo import plan_undo

_LOCK_WAIT_S: Final = 30.0
"""Another promotion into the same working tree takes well under a second; longer than this it is stuck."""
_ASK_AGAIN_S: Final = 0.1
_LAST_CHILD: Final = 100
"""A git that a killed process was about to start holds the lock until it has started: so often it is asked for."""


class Promoter:
    """The only thing that writes to the user's working tree, index and refs.

    Args:
        repository: where to.
        store_git_dir: our own object store, which can read the user's objects.
        state_dir: our directory for this repository (the transactions themselves lie in its git directory).
        env: environment for git.
        clock: for commit dates and waiting.

    Safe across processes: a lock in the git directory admits one at a time. Use one per thread.
    """

    def __init__(
        self,
        repository: Repository,
        *,
        store_git_dir: str,
        state_dir: Path,
        env: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.repository = repository
        self.state_dir = state_dir
        self._site = Site(
            repository=repository,
            git=Git(repository.git_dir, env=env, work_tree=repository.root, trusted=True),
            store=Git(store_git_dir, env=env, trusted=False),
            env=env,
            clock=clock,
            scratch=state_dir,
        )
        self._lock = FileLock(self._site.home / "lock")
        self._known: Known | None = None
        self._configured: Configured | None = None

    def run_by_git(self, paths: Sequence[str]) -> dict[str, str]:
        """Return those of some paths that the user's git runs or obeys, by the user's own settings and hooks."""
        if not paths:
            return {}
        self._configured = self._configured or self._site.configured()
        return find_run_by_git(self._site, self._configured, paths)

    def prepare(
        self,
        id: str,  # noqa: A002  (what a PromotionRecord calls it)
        *,
        base_commit: str,
        tree: str = "",
        message: str = "",
        author: str = "",
        allow_paths: Collection[str] | None = None,
        steps: Sequence[Step] = (),
        target: Target = HERE,
    ) -> Prepared:
        """Find out what promoting a result would do; change nothing.

        When the branch has moved on from ``base_commit``, the result is a three-way merge (``merged``).

        Args:
            id: of the promotion.
            base_commit: what the work started from.
            tree: result of the accepted tasks on ``base_commit``, in our store, promotable paths only.
            message: of the commit; a trailer with the id is added.
            author: ``Name <mail>``, empty for the user's own.
            allow_paths: the paths that were reviewed; any other one is refused.
            steps: the commits to make, in order, in place of ``tree``, ``message`` and ``author``, which stand for one.
            target: the branch, and how the commits come onto it when it has moved on.

        Raises:
            UsageError: detached HEAD, read-only repository, a branch that cannot be the target.
            DeniedByPolicy: a path that is never promoted.
            StaleError: the branch has all of it already.
            DriftError: work of the user's is in the way: uncommitted edits, untracked files, conflicting commits, an
                operation in progress. Every path is named.
        """
        self._settle()
        steps = tuple(steps) or (Step(tree, message, author),)
        with Ahead(self._site) as ahead:
            return self._prepare(id, base_commit, steps, target, allow_paths, ahead)

    def _prepare(
        self,
        id: str,  # noqa: A002
        base_commit: str,
        steps: Sequence[Step],
        target: Target,
        allow_paths: Collection[str] | None,
        ahead: Ahead,
    ) -> Prepared:
        ahead.begin_names()
        place = find_place(self._site, target)
        if place.kind == "here":
            ahead.begin_comparison(place.head)
        if place.head == base_commit:
            ahead.begin_changes(place.head, steps[-1].tree)
        if target.hooks:
            steps = self._reword(steps)
        made = make_commits(self._site, id, place, base_commit, steps, target, ahead)
        draft = Prepared(
            id=id,
            kind="commit",
            branch=place.branch,
            base_commit=base_commit,
            old_commit="" if place.kind == "new" else place.head,
            new_commit=made.commits[-1],
            tree=made.tree,
            paths=(),
            changes=(),
            merged=place.head != base_commit,
            notes=(),
            transaction=self._choose_name(id),
            place=place.kind,
            start=place.head,
            commits=made.commits,
            untracked=tuple(made.untracked.items()),
            base_tree=made.base,
            hooks=target.hooks,
        )
        return self._complete(draft, allow_paths, ahead, nobody=made.nobody)

    def find_start(self, target: Target, commits: Collection[str]) -> tuple[str, frozenset[str]]:
        """Return the commit that ``prepare`` would go on top of, and which of ``commits`` are in its history.

        Raises:
            UsageError, DriftError: as ``prepare``.
        """
        self._settle()
        head = find_place(self._site, target).head
        return head, frozenset(each for each in commits if self._site.is_ancestor(each, head))

    def undo(self, record: PromotionRecord, *, id: str, message: str, author: str = "") -> Prepared:  # noqa: A002
        """Find out what taking back a published promotion would do; change nothing. ``publish`` it like any other.

        While the branch is at the promotion's commit this is exact (``kind`` is ``restore``): the branch returns to where
        it was, files return as the same inodes. After later commits it is the inverse as a new commit.

        Args:
            record: the promotion (or undo) to take back, as stored.
            id: of the undo, which is a promotion itself.
            message: of the inverse commit, where there is one.
            author: as for ``prepare``.

        Raises:
            DriftError, UsageError: as ``prepare``; also paths edited since, and conflicts with later commits.
        """
        self._settle()
        with Ahead(self._site) as ahead:
            return self._undo(record, id, message, author, ahead)

    def _undo(
        self,
        record: PromotionRecord,
        id: str,  # noqa: A002
        message: str,
        author: str,
        ahead: Ahead,
    ) -> Prepared:
        site = self._site
        back = plan_undo(site, record)
        if back.place.kind == "here":
            ahead.begin_comparison(back.place.head, back.old_tree)
        if back.exact:
            ahead.begin_changes(*((back.start, back.tree) if back.commit else (back.old_commit, back.start)))
        commits: tuple[str, ...] = ()
        new_commit, nobody = back.commit, False
        if not back.exact:
            names = ahead.names()
            text = add_trailer(message, "Nightcrew-Promotion", id)
            new_commit = make_commit(site, back.tree, [back.place.head], text, names.sign(author))
            commits, nobody = (new_commit,), names.made_up
        draft = Prepared(
            id=id,
            kind="restore" if back.exact else "commit",
            branch=back.place.branch,
            base_commit=record.new_commit or record.old_commit,
            old_commit=back.old_commit,
            new_commit=new_commit,
            tree=back.tree,
            paths=(),
            changes=(),
            merged=not back.exact,
            notes=(),
            transaction=self._choose_name(id),
            undo_of=record.id,
            undone=record.transaction,
            place=back.place.kind,
            start=back.start,
            commits=commits,
        )
        return self._complete(draft, record.paths, ahead, nobody=nobody)

    def publish(self, prepared: Prepared) -> None:
        """Make it real. Killed at any moment, ``recover`` finds exactly the old or exactly the new state.

        Raises:
            DriftError: something moved since ``prepare``; nothing was changed.
            LimitReached: the disk is full; nothing was changed.
            NightcrewError: the host cannot do it; nothing was changed.
        """
        with self._locked():
            recover_all(self._site)
            known = self._known if self._known and self._known.prepared is prepared else None
            publish(self._site, prepared, known)

    def make_patch(self, prepared: Prepared) -> bytes:
        """Return a prepared promotion as a mailbox of patches that ``git am`` and ``git apply`` understand."""
        return make_patch(self._site, prepared)

    def make_bundle(self, prepared: Prepared) -> bytes:
        """Return a prepared promotion as a git bundle with the branch ``nightcrew/<promotion id>``."""
        return make_bundle(self._site, prepared)

    def recover(self) -> tuple[str, ...]:
        """Finish or take back what was interrupted; return a sentence for each, beginning with the promotion's id.

        Does nothing while another process is publishing: what is unfinished then is that process's own.

        Raises:
            DriftError: a git of the user's own holds a lock that is needed; try again later.
        """
        if not is_unsettled(self._site):
            return ()
        try:
            if not self._take_from_the_dead():
                return ()
            try:
                return tuple(recover_all(self._site))
            finally:
                self._lock.release()
        except OSError as error:
            raise explain_failure(error, f"{self._site.home} cannot be put right yet") from error

    def outcome(self, transaction: str) -> Literal["published", "aborted"]:
        """Tell how a prepared promotion ended, for a journal that did not live to record it; call ``recover`` first."""
        found = Transaction(self._site.home, transaction)
        plan = found.plan()
        if plan is None or found.marker == "aborted":
            return "aborted"
        return "published" if found.marker == "done" or was_published(self._site, plan) else "aborted"

    def pin(self, name: str, commit: str) -> bool:
        """Keep a commit from the user's garbage collection under ``refs/nightcrew/base/<owner>/<name>``.

        Args:
            name: of letters, digits, ``-`` and ``_``: a run id.
            commit: full id; it must be in the user's repository.

        Returns:
            whether it is kept; False where the repository cannot be written to, and so nothing is collected by us either.

        Raises:
            NotFound: the user's repository does not have the commit.
            DriftError: another git holds the lock of the ref.
        """
        return set_pin(self._site, name, commit)

    def unpin(self, name: str) -> None:
        """Let go of what ``pin`` kept; nothing there is fine.

        Raises:
            DriftError: another git holds the lock of the ref.
        """
        remove_pin(self._site, name)

    def pins(self) -> Mapping[str, str]:
        """Return name → commit of everything that ``pin`` keeps."""
        return list_pins(self._site)

    def undo_pins(self) -> frozenset[str]:
        """Return the transactions whose commits are kept from the user's garbage collection."""
        return list_undo_pins(self._site)

    def let_go(self, transaction: str) -> None:
        """Let go of the commits of a settled transaction; those that are on a branch stay, and can be undone as before.

        Raises:
            DriftError: another git holds the lock of the ref.
        """
        remove_undo_pin(self._site, transaction)

    def prune(self, *, dry_run: bool = False) -> Pruned:
        """Remove what old promotions have displaced; undo of those takes it from git's objects. Nothing while another one is at work.

        Raises:
            NightcrewError: it cannot be removed.
        """
        if not self._site.home.is_dir():
            return Pruned()
        try:
            if not self._lock.acquire():
                return Pruned()
            try:
                return prune(self._site, dry_run=dry_run)
            finally:
                self._lock.release()
        except OSError as error:
            raise explain_failure(error, f"{self._site.home} cannot be cleaned up") from error

    def _settle(self) -> None:
        if is_unsettled(self._site):
            with self._locked():
                recover_all(self._site)

    def _take_from_the_dead(self) -> bool:
        """Take the lock, unless a process that lives has it: waiting only for the last child of one that was killed."""
        for _ in range(_LAST_CHILD):
            if self._lock.acquire(wait_s=_ASK_AGAIN_S):
                return True
            if self._lock.holder():
                return False
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            ours = self._lock.acquire(wait_s=_LOCK_WAIT_S)
        except OSError as error:
            raise explain_failure(error) from error
        except EngineUnavailable as error:
            if isinstance(error.__cause__, OSError):
                raise explain_failure(error.__cause__) from error
            raise
        if not ours:
            raise EngineUnavailable(
                f"{self._lock.holder() or 'another process'} is promoting in {self.repository.root}",
                code="promote.busy",
                hint="try again when it is done",
            )
        try:
            yield
        finally:
            self._lock.release()

    def _reword(self, steps: Sequence[Step]) -> tuple[Step, ...]:
        configured = self._site.configured()
        return tuple(
            replace(step, message=run_message_hooks(self._site, configured, step.message)) for step in steps
        )

    def _complete(
        self, draft: Prepared, allow_paths: Collection[str] | None, ahead: Ahead, *, nobody: bool
    ) -> Prepared:
        differences = ahead.changes(*draft.compared)
        # Of one commit on what was compared; several are compared each with the one before it.
        single = draft.commits == (draft.new_commit,) and draft.start == draft.old_commit
        objects = differences.objects | {draft.tree} if single else frozenset()
        if draft.place != "here" or draft.kind != "commit":
            return self._look(draft, differences, objects, None, allow_paths, ahead, nobody=nobody)
        wanted = [each.new[7:] for each in differences.files if each.new]
        parcel = Parcel(self._site, draft.commits, objects, wanted)
        try:
            return self._look(draft, differences, objects, parcel, allow_paths, ahead, nobody=nobody)
        except BaseException:
            parcel.settle()
            raise

    def _look(
        self,
        draft: Prepared,
        differences: Differences,
        objects: frozenset[str],
        parcel: Parcel | None,
        allow_paths: Collection[str] | None,
        ahead: Ahead,
        *,
        nobody: bool,
    ) -> Prepared:
        """Look at the user's index and working tree, at the paths of a change."""
        site = self._site
        refuse_bad_paths(((each.path, each.old, each.new) for each in differences.files), allow_paths)
        prepared = replace(
            draft,
            paths=tuple(sorted(each.path for each in differences.files)),
            changes=describe_changes(differences.files),
        )
        configured = ahead.configured()
        prepared = replace(
            prepared,
            hook_paths=find_promoted(site, configured, prepared.paths),
            git_paths=find_run_by_git(site, configured, prepared.paths),
        )
        if prepared.hooks:
            refuse_promoted(prepared.hook_paths)
        if prepared.place != "here":
            return replace(prepared, notes=write_notes(site, prepared, None, configured, nobody=nobody))
        undone = undone_plan(site, prepared)
        with site.standing(prepared.old_commit) as tree:
            found = look_around(site, tree, prepared, configured, undone, ahead.compared())
            seen = dict(tree.seen)
        prepared = replace(prepared, notes=write_notes(site, prepared, found, configured, nobody=nobody))
        trees = differences.trees(ahead.tree_of(prepared.old_commit), prepared.tree)
        kept = parcel.keep() if parcel else None
        self._known = Known(prepared, found, seen, configured, objects, trees, kept, undone)
        return prepared

    def _choose_name(self, id: str) -> str:  # noqa: A002
        """Return a name for the transaction that neither a directory nor a pin has; a lost state directory counts anew."""
        name, pinned = id, bool(self._site.commit_of(PINS + id))
        while pinned or Transaction(self._site.home, name).path.exists():
            name = f"{id}.{nonce()}"
            pinned = bool(self._site.commit_of(PINS + name))
        return name
