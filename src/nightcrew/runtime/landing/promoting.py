"""Promotion and undo: what is selected, composed, prepared, shown, published, recorded. Writing is promote's alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.model.errors import NightcrewError, StaleError, UsageError
from nightcrew.model.ids import join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, PromotionRecord, RunRecord
from nightcrew.model.text import shown
from nightcrew.model.trees import Repository
from nightcrew.policy.scanning.texts import blot_out
from nightcrew.runtime.evidence.sealing import seal_when_new
from nightcrew.runtime.isolating import name_of
from nightcrew.runtime.landing.choosing import Selection, find_landed, select
from nightcrew.runtime.landing.filing import describe_taken, write_new
from nightcrew.runtime.landing.numbering import Number, take_number
from nightcrew.runtime.landing.proving import Proof, prove
from nightcrew.runtime.landing.shaping import Cut, Shape, shape
from nightcrew.runtime.people.factors import find_need, require_factor
from nightcrew.runtime.people.identity import need_scope
from nightcrew.runtime.people.terms import refuse_agents
from nightcrew.runtime.results.composing import check_landed, cut_piece
from nightcrew.runtime.settling import abort, describe, publication_lock, record_export, settle_published
from nightcrew.runtime.trees.drifting import describe_drift, find_drift, note_drift, refuse_drift
from nightcrew.runtime.trees.guarding import Guard, guard_tree
from nightcrew.runtime.views import tasks_of, view_promotion

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.journal.transaction import Reader
    from nightcrew.model import people
    from nightcrew.model.settings import Settings
    from nightcrew.promote.prepared import Prepared
    from nightcrew.promote.promoter import Promoter
    from nightcrew.promote.target import Target
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Order:
    """How a promotion is wanted.

    Attributes:
        tasks: names (``T01``) or full ids; empty for everything that is accepted.
        files, hunks: globs and ids of hunks; with either, nothing else goes.
        waive: tasks that may go although they were built on results that are different now, and hunks that may be
            missing from what lands.
        to, new_branch: name of the branch, where it is not the current one.
        patch, bundle: path of the file to write in place of a branch.
        per_task: one commit for each task.
        hooks: run the user's own hooks of a commit.
        join: how commits come onto a branch that has moved on.
    """

    tasks: Sequence[str] = ()
    files: Sequence[str] = ()
    hunks: Sequence[str] = ()
    waive: Sequence[str] = ()
    to: str = ""
    new_branch: str = ""
    patch: str = ""
    bundle: str = ""
    per_task: bool = False
    hooks: bool = False
    join: Literal["rebase", "merge"] = "rebase"

    @property
    def file(self) -> str:
        """The file to write."""
        return self.patch or self.bundle

    def check(self) -> None:
        """Raise UsageError when two of the wishes exclude each other."""
        if sum(map(bool, (self.to, self.new_branch, self.patch, self.bundle))) > 1:
            raise UsageError("only one of --to, --new-branch, --patch and --bundle", code="usage.target")
        if self.file and self.join == "merge":
            raise UsageError(
                "a patch or bundle is made on the current commit: leave --merge out", code="usage.merge"
            )

    def target(self) -> Target:
        """Return the branch, as promote wants it."""
        from nightcrew.promote.target import Target

        if self.file:
            return Target("file", hooks=self.hooks)
        if self.to or self.new_branch:
            kind: Literal["branch", "new"] = "branch" if self.to else "new"
            return Target(kind, self.to or self.new_branch, self.join, self.hooks)
        return Target(join=self.join, hooks=self.hooks)


@dataclass
class Publication:
    """A prepared promotion or undo: look at ``view`` and ``diff``, then ``publish`` once."""

    parts: Parts
    repository: Repository
    promoter: Promoter
    prepared: Prepared
    record: PromotionRecord
    view: dict[str, Any]
    number: Number
    undone: PromotionRecord | None = None
    done: dict[str, Any] = field(default_factory=dict)
    proof: Proof | None = None
    guard: Guard = field(default_factory=Guard)
    factor: str | None = None

    def needs_factor(self) -> str:
        """Return the second factor that publishing needs: empty for none, ``any``, ``pin`` or ``totp``."""
        what, root = self._need()
        return find_need(self.parts, what, root=root)[0]

    def prove_person(self, proof: people.Proof | None) -> None:
        """Prove who publishes, as the policy wants it (``factors``); ``publish`` refuses without.

        Raises:
            NotAuthenticated: the factor is missing or wrong. LimitReached: locked out. Nothing was changed.
            DeniedByPolicy: a token that is not for this, or an agent.
        """
        refuse_agents(self.parts)
        need_scope(self.parts, "promote")
        what, root = self._need()
        self.factor = require_factor(self.parts, what, proof, root=root)

    def _need(self) -> tuple[str, Path]:
        return "undo" if self.record.undo_of else "promote", Path(self.repository.root)

    def allow_handoff(self, names: Sequence[str]) -> None:
        """Say yes to paths that something on the host will execute, by class or path.

        Raises:
            UsageError: a name is neither.
        """
        self.guard = self.guard.agree(names)

    def publish(self) -> dict[str, Any]:
        """Put it into the repository (or its file) and record it; return the view of the promotion.

        Raises:
            DeniedByPolicy: there is a secret in what would land, or a path that may never land.
            WaitingForHuman: something on the host would execute a path, and nobody said yes to that.
            DriftError: the repository moved since it was prepared; nothing was changed.
        """
        self.guard.refuse()
        if self.factor is None:
            self.prove_person(None)
        self.record = replace(self.record, factor=self.factor or "")
        self.number.keep()
        with publication_lock(self.parts.state_of(self.repository)):
            if self.record.file:
                self._export()
            else:
                self._publish()
        seal_when_new(self.parts)
        return self.done

    def diff(self) -> str:
        """Return what would change on the branch, as a patch that is safe to print; secrets in it are blotted out."""
        patch, _ = blot_out(self.parts.store(self.repository).patch(*self.prepared.compared))
        return shown(patch.decode("utf-8", "surrogateescape"), keep="\n\t")

    def _export(self) -> None:
        file = Path(self.record.file)
        data = (self.promoter.make_patch if self.record.place == "patch" else self.promoter.make_bundle)(
            self.prepared
        )
        write_new(file, data)
        record = record_export(self.parts.journal, self.parts.clock, self.record, self._describe())
        self.done = view_promotion(record)

    def _publish(self) -> None:
        actor = f"user:{self.parts.env.user}"
        with self.parts.journal.write() as tx:
            tx.add(self.record, "promotion.prepared", actor=actor, data=self._describe())
        try:
            self.promoter.publish(self.prepared)
        except NightcrewError as error:
            with self.parts.journal.write() as tx:
                abort(tx, tx.need(PromotionRecord, self.record.id), error.message)
            raise
        crash.point("runtime.promotion.published")
        self.done = view_promotion(settle_published(self.parts.journal, self.parts.clock, self.record.id))

    def prove(self, say: Callable[[str], None]) -> Proof:
        """Run acceptance on the tree that would land, where no task was proven on exactly that tree.

        Of an undo it is that of the tasks of the run which stay: what they promised must hold without the others too. Of a redo it is
        also that of the tasks which come back. Either needs no proof where it returns to what was there before.

        Raises:
            StaleError: it does not pass; nothing was changed.
        """
        if self.exact:
            return Proof(self.prepared.tree)
        with self.parts.journal.read() as tx:
            run = tx.need(RunRecord, self.record.run)
            plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
            named = set(self.record.tasks)
            tasks = [task for task in tasks_of(tx, run.id) if task.id in named]
            if self.record.undo_of:
                coming = tasks if _brings_back(tx, self.record) else []
                tasks = [t for t in tasks_of(tx, run.id) if t.promoted and t.id not in named] + coming
        name, tree = self.record.id, self.prepared.tree
        # Its transcript has the name.
        self.number.keep()
        try:
            self.proof = prove(self.parts, run, plan, tasks, tree=tree, name=name, say=say)
        except StaleError as error:
            self.number.refuse(self.parts, run.id, error.message)
            raise
        return self.proof

    def refuse_drift(self, *, again: str) -> None:
        """Refuse a yes given beforehand where the settings want drift to be seen first; ``again`` is the command that goes on.

        Raises:
            WaitingForHuman: they do; nothing was changed.
        """
        with self.parts.journal.read() as tx:
            run = tx.need(RunRecord, self.record.run)
        refuse_drift(self.view["drift"], _settings(self.parts, run), again=again)

    @property
    def exact(self) -> bool:
        """The branch returns to where it was."""
        return self.prepared.kind == "restore"

    def _describe(self) -> dict[str, Any]:
        proof = self.proof.to_plain() if self.proof else "not run"
        waived = {"waived": list(self.record.waived)} if self.record.waived else {}
        drift = {"drift": self.view["drift"]} if self.view.get("drift") else {}
        factor = {"factor": self.factor} if self.factor else {}
        return {**describe(self.record), **waived, **drift, **factor, **self.guard.to_event(), "proof": proof}


@contextmanager
def open_promotion(parts: Parts, name: str, order: Order, *, dry_run: bool) -> Iterator[Publication]:
    """Prepare the promotion of the accepted tasks of a run, under a number that is given back when nothing comes of it.

    Args:
        name: run id.
        order: what of it, where to, in which shape.
        dry_run: take no number and record nothing.

    Raises:
        UsageError: wishes that exclude each other, or a branch that cannot be the target.
        StaleError: nothing is accepted, or what was named is not; an accepted hunk got lost and is not waived.
        DriftError: the repository holds something that overlaps; nothing was changed.
    """
    order.check()
    with take_number(parts, dry_run=dry_run) as number:
        yield _prepare(parts, name, order, number)


def _prepare(parts: Parts, name: str, order: Order, number: Number) -> Publication:
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
        tasks = tasks_of(tx, run.id)
        by = {t.id: _find_current(tx, tx.need(PromotionRecord, t.promoted)) for t in tasks if t.promoted}
    waived = tuple(each.rpartition("/")[2] for each in order.waive)
    wanted = [_full_name(run.id, task) for task in order.tasks]
    repository = parts.repository_of(run)
    promoter = parts.promoter(repository)
    order = choose_branch(parts, repository, run.id, order)
    target = order.target()
    landed = find_landed(parts.store(repository), promoter, target, tasks, by)
    selection = select(run, plan, tasks, wanted, waived, landed)
    formed = _shape(parts, repository, run, selection, order, waived)
    prepared = promoter.prepare(
        number.id,
        base_commit=run.base_commit,
        steps=formed.steps,
        allow_paths=formed.paths,
        target=replace(target, earlier=formed.start if selection.promoted else ""),
    )
    # The branch may have moved: what lands is a merge again, and what came by earlier promotions may be changed in it.
    mine = {task.name for task in formed.tasks}
    check_landed(parts.store(repository), run, formed.pieces, prepared.tree, only=mine, waived=waived)
    record = _record(parts, run, prepared, number.id, tuple(task.id for task in formed.tasks))
    record = replace(record, waived=(*waived, *formed.left), **_file(parts, order))
    record = replace(record, partial=_find_partial(parts.store(repository), formed, prepared.tree))
    view = {**_view(record, prepared), "held": [{"id": task, "why": why} for task, why in selection.held]}
    drift = find_drift(parts, repository, run, prepared)
    view |= {"drift": describe_drift(drift), "notes": [*note_drift(drift), *view["notes"]]}
    old, tree = prepared.compared[0], prepared.tree
    guard = guard_tree(parts, repository, run.id, old, tree, prepared.git_paths)
    view |= guard.to_plain()
    number.note(parts, guard)
    return Publication(parts, repository, promoter, prepared, record, view, number, guard=guard)


def choose_branch(parts: Parts, repository: Repository, run: str, order: Order) -> Order:
    """Return the order with a new branch as its target, where it names none and the policy wants one (``auto_branch``)."""
    from nightcrew.runtime.rules import read_rules

    if order.to or order.new_branch or order.file:
        return order
    settings = read_rules(parts.env, Path(repository.root)).policy.settings
    wanted = settings.get("safety.auto_branch")
    if wanted is None or not wanted.value or repository.private:
        return order
    prefix = settings.get("safety.branch_prefix")
    name = f"{prefix.value if prefix else 'night/'}{run}"
    git, number, branch = parts.git(repository), 1, name
    while git.run("show-ref", "--verify", "--quiet", f"refs/heads/{branch}", check=False).code == 0:
        number += 1
        branch = f"{name}-{number}"
    return replace(order, new_branch=branch)


def _find_partial(store: Store, formed: Shape, tree: str) -> tuple[str, ...]:
    """Return the tasks of which something is left out and not on the branch by an earlier promotion of another part either."""
    return tuple(
        share.task.id
        for share in formed.shares
        if share.left and store.missing([cut_piece(store, share.task)], tree)
    )


def _shape(
    parts: Parts,
    repository: Repository,
    run: RunRecord,
    selection: Selection,
    order: Order,
    waived: Sequence[str],
) -> Shape:
    if order.join == "merge" and selection.promoted:
        raise UsageError(
            f"part of {run.id} is on the branch already: there is nothing to merge from any more; nothing was changed",
            code="promote.no_base",
            hint="leave --merge out",
        )
    cut = Cut(order.files, order.hunks, waived, order.per_task, _author(parts, run))
    return shape(parts.store(repository), run, selection, cut)


def _file(parts: Parts, order: Order) -> Mapping[str, Any]:
    """Return place and name of the file to write, when one is wanted."""
    if not order.file:
        return {}
    file = parts.cwd / order.file
    if file.exists() or file.is_symlink():
        raise describe_taken(file)
    return {"place": "patch" if order.patch else "bundle", "file": str(file)}


@contextmanager
def open_undo(parts: Parts, name: str, *, dry_run: bool) -> Iterator[Publication]:
    """Prepare the undo of a promotion; see ``open_promotion``.

    Raises:
        StaleError: it is not published (any more).
        DriftError: later work in the repository overlaps with it; nothing was changed.
    """
    with take_number(parts, dry_run=dry_run) as number:
        yield _prepare_undo(parts, name, number)


def _prepare_undo(parts: Parts, name: str, number: Number) -> Publication:
    with parts.journal.read() as tx:
        old = _find_current(tx, tx.need(PromotionRecord, name))
        run = tx.need(RunRecord, old.run)
    if old.state != "published":
        raise _not_undoable(old)
    repository = parts.repository_of(run)
    message = f"Undo {name}: {run.title}\n\nNightcrew-Run: {run.id}\nNightcrew-Undo: {old.id}\n"
    promoter = parts.promoter(repository)
    prepared = promoter.undo(old, id=number.id, message=message)
    record = _record(parts, run, prepared, number.id, old.tasks, undo_of=old.id)
    with parts.journal.read() as tx:
        back = _brings_back(tx, record)
        if not prepared.paths and back:
            raise StaleError(
                f"{prepared.branch.removeprefix('refs/heads/')} has all of {old.undo_of} again already; nothing was changed",
                code="redo.empty",
                hint=f"nightcrew show {run.id} tells which promotion brought it",
            )
    record = replace(record, partial=old.partial)
    view = {**_view(record, prepared), "held": [], "exact": prepared.kind == "restore"}
    guard = Guard()
    if back or not view["exact"]:
        # What an exact undo leaves is what was there before; all else is a tree that would land like any other.
        old_commit, hooks = prepared.compared[0], prepared.git_paths
        guard = guard_tree(parts, repository, run.id, old_commit, prepared.tree, hooks)
        view |= guard.to_plain()
        number.note(parts, guard)
    return Publication(parts, repository, promoter, prepared, record, view, number, undone=old, guard=guard)


def _find_current(tx: Reader, record: PromotionRecord) -> PromotionRecord:
    """Return what brought the result of a promotion to where it is now: itself, or a redo that made new commits of it."""
    undos = [each for each in tx.find(PromotionRecord, run=record.run) if each.undo_of == record.id]
    for undo in undos:
        redo = tx.need(PromotionRecord, undo.undone_by) if undo.undone_by else undo
        if undo.state == "undone" and redo.state == "published" and redo.new_commit != record.new_commit:
            return _find_current(tx, redo)
    return record


def _not_undoable(record: PromotionRecord) -> StaleError:
    by = f" by {record.undone_by}" if record.undone_by else ""
    again = f"   again: nightcrew redo {record.id}" if record.undone_by else ""
    return StaleError(
        f"{record.id} cannot be undone: it is {record.state}{by}",
        code="undo.state",
        hint=f"nightcrew show {record.id}{again}",
    )


def _brings_back(tx: Reader, record: PromotionRecord) -> bool:
    """Tell whether an undo puts results into the repository again: it takes back an undo, and not one of an undo."""
    back = True
    while record.undo_of:
        record, back = tx.need(PromotionRecord, record.undo_of), not back
    return back


def find_redo(parts: Parts, name: str) -> str:
    """Return the undo that must be undone so that a promotion is there again.

    Raises:
        StaleError: it is not undone.
    """
    with parts.journal.read() as tx:
        record = tx.need(PromotionRecord, name)
    if record.state == "undone" and record.undone_by:
        return record.undone_by
    raise StaleError(
        f"{name} cannot be redone: it is {record.state}, not undone",
        code="redo.state",
        hint=f"nightcrew undo {name}" if record.undo_of else f"nightcrew show {name}",
    )


def _record(
    parts: Parts, run: RunRecord, prepared: Prepared, name: str, tasks: tuple[str, ...], *, undo_of: str = ""
) -> PromotionRecord:
    return PromotionRecord(
        id=name,
        run=run.id,
        state="prepared",
        tasks=tasks,
        branch=prepared.branch,
        old_commit=prepared.old_commit,
        new_commit=prepared.new_commit,
        tree=prepared.tree,
        paths=tuple(prepared.paths),
        actor=parts.env.user,
        created_at=stamp(parts.clock.now()),
        transaction=prepared.transaction,
        undo_of=undo_of,
        place=prepared.place,
        start=prepared.start,
        commits=prepared.commits,
        isolation=name_of(run),
    )


def _view(record: PromotionRecord, prepared: Prepared) -> dict[str, Any]:
    return {**view_promotion(record), "notes": list(prepared.notes)}


def _author(parts: Parts, run: RunRecord) -> str:
    return _settings(parts, run).commit_author


def _settings(parts: Parts, run: RunRecord) -> Settings:
    from nightcrew.runtime.rules import rules_from_plain

    with parts.journal.read() as tx:
        plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    return rules_from_plain(plan.policies).settings


def _full_name(run: str, task: str) -> str:
    return task if "/" in task else join_task(run, task)
