"""Taking one task out of what a run would land: what goes with it, what stays, and the proof that the rest still holds.

The composed tree is what all results of a run make together, except those a person rejected. Without one task it is put
together anew from the others; nothing is ever subtracted from a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.tokens import nonce
from nightcrew.model.errors import StaleError, UsageError
from nightcrew.model.ids import find_origin, join_task
from nightcrew.model.plans import Plan
from nightcrew.model.records import CheckpointRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Hunk
from nightcrew.runtime.landing.proving import Proof, prove
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.results.composing import Piece, compose, cut_piece
from nightcrew.runtime.results.restoring import Wish, need_kept, restore, using, view_paths
from nightcrew.runtime.trees.adopting import Adoption, adopt, refuse_kept
from nightcrew.runtime.trees.sifting import Sifted, sift
from nightcrew.runtime.views import list_stale, tasks_of

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.runtime.parts import Parts

#: Hunks of two tasks that are this many lines apart or less are next to each other: git shows so many lines around one.
_NEAR: Final = 3
_DONE: Final = "task.rolled_back"
_UNDONE: Final = "task.rollback_undone"


@dataclass(frozen=True, slots=True)
class Reach:
    """How much of a task is taken out; nothing given means all of it.

    Attributes:
        to: checkpoint of the task whose content stays.
        files: globs of the paths that stay, everything else goes.
        keep_valid: what policy lets pass stays.
    """

    to: str = ""
    files: tuple[str, ...] = ()
    keep_valid: bool = False

    @property
    def partial(self) -> bool:
        """Tell whether anything of the task stays."""
        return bool(self.to or self.files or self.keep_valid)

    def describe(self) -> str:
        """Return what stays, for lists of checkpoints."""
        said = [*([f"to {self.to}"] if self.to else []), *(f"keeping {glob}" for glob in self.files)]
        return ", ".join([*said, *(["keeping what policy lets pass"] if self.keep_valid else [])])


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another task that the removal touches.

    Attributes:
        id: full id. why: ``plan`` (it depends on the task), ``hunks`` (it changes lines next to the task's), ``file``
            (it changes the same file elsewhere), ``same`` (it makes the same change, which therefore stays).
        paths: where, unless it is the plan.
        held: it cannot go without the task; it is kept as it is.
    """

    id: str
    why: str
    paths: tuple[str, ...] = ()
    held: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback would do.

    Attributes:
        run, plan, task: whose task it is, as read.
        reach: how much of it goes.
        before: composed tree now; empty when the results do not fit together with the task in it.
        tree: composed tree afterwards. left: tasks that are in it, in dependency order.
        sifted: what stays of the task; its tree is empty when nothing does.
        neighbours: other tasks that are touched. paths: what leaves the composed tree, as plain JSON.
    """

    run: RunRecord
    plan: Plan
    task: TaskRecord
    reach: Reach
    before: str
    tree: str
    left: tuple[TaskRecord, ...]
    sifted: Sifted
    neighbours: tuple[Neighbour, ...]
    paths: tuple[Mapping[str, Any], ...]

    def to_plain(self) -> dict[str, Any]:
        """Return it for a person and for JSON."""
        return {
            "task": self.task.id,
            "run": self.run.id,
            "mode": "part" if self.reach.partial else "full",
            "before_tree": self.before,
            "tree": self.tree,
            "tasks": [task.id for task in self.left],
            "neighbours": [
                {"id": each.id, "why": each.why, "paths": list(each.paths), "held": each.held}
                for each in self.neighbours
            ],
            "paths": [dict(path) for path in self.paths],
            **self.sifted.to_plain(),
        }


def plan_rollback(parts: Parts, name: str, reach: Reach) -> Rollback:
    """Return what taking a task out would do; nothing is changed.

    Raises:
        StaleError: it has no result, is rejected already, promoted, or the rest does not fit together without it.
        UsageError: the checkpoint is another task's, or nothing would go.
        NotFound: the checkpoint was pruned.
    """
    from nightcrew.plan.order import find_included

    with parts.journal.read() as tx:
        task = tx.need(TaskRecord, name)
        run = tx.need(RunRecord, task.run)
        plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
        tasks = tasks_of(tx, run.id)
        target = _find_target(tx, task, reach)
    refuse_kept(run, task)
    included = find_included(plan, tasks)
    if task.id not in {each.id for each in included}:
        raise StaleError(
            f"nothing of {name} is in the composed result of {run.id}; nothing was done",
            code="rollback.nothing",
            where=[f"it is {task.state}" + (f", {task.verdict}" if task.verdict else "")],
            hint=f"nightcrew review {run.id}",
        )
    store = parts.store(parts.repository_of(run))
    sifted = _keep_part(parts, store, run, task, reach, target)
    behind = _find_dependents(plan, included, task.name)
    left = tuple(each for each in included if each.name not in behind and (sifted.tree or each.id != name))
    pieces = [_cut(store, each, task, sifted) for each in left]
    tree = compose(store, run, pieces)
    before = store.compose(run.base_tree, [cut_piece(store, each) for each in included]).tree
    neighbours = _find_neighbours(store, run, task, sifted, included, behind)
    against = before or store.compose(run.base_tree, [cut_piece(store, task)]).tree
    return Rollback(
        run, plan, task, reach, before, tree, left, sifted, neighbours, view_paths(store, against, tree)
    )


class Removal:
    """A planned rollback: look at ``view``, ``prove`` what is left, then ``apply`` it once.

    Raises:
        StaleError, UsageError, NotFound: as ``plan_rollback``.
    """

    def __init__(self, parts: Parts, name: str, reach: Reach) -> None:
        self._parts = parts
        self._planned = plan_rollback(parts, name, reach)
        self._proof: Proof | None = None

    @property
    def view(self) -> dict[str, Any]:
        """What would happen, for a person and for JSON; with what was run on it."""
        proof = self._proof.to_plain() if self._proof else "not run"
        before = self._proof.before if self._proof else ()
        proven = [{"task": task, "command": command} for task, command in before]
        return {**self._planned.to_plain(), "proof": proof, "proven_before": proven}

    def prove(self, say: Callable[[str], None]) -> None:
        """Run the acceptance of everything that is left on the tree that is left.

        Raises:
            StaleError: it does not pass; nothing was changed.
        """
        planned = self._planned
        tasks = [task for task in planned.left if not task.promoted]
        run, plan, tree = planned.run, planned.plan, planned.tree
        try:
            self._proof = prove(self._parts, run, plan, tasks, tree=tree, name=nonce(), say=say)
        except StaleError as error:
            if error.code != "promote.unproven":
                raise
            raise StaleError(
                f"what is left of {run.id} does not hold without {planned.task.name}; nothing was changed",
                code="rollback.unproven",
                where=error.where,
                hint="take out what needs it first, or, knowingly: --unproven",
            ) from error

    def apply(self) -> dict[str, Any]:
        """Reject the task's result, or give it the part that stays as its new one; return what was done.

        Raises:
            StaleError: a task of the run changed since this was planned; nothing was changed.
        """
        with using(self._parts, self._planned.run.id):
            return self._apply()

    def _apply(self) -> dict[str, Any]:
        need_person(self._parts, "promote")
        planned = self._planned
        now = plan_rollback(self._parts, planned.task.id, planned.reach)
        if (now.before, now.tree, now.sifted.tree) != (planned.before, planned.tree, planned.sifted.tree):
            raise StaleError(
                f"{planned.run.id} has changed since it was looked at; nothing was done",
                code="record.changed",
                hint=f"nightcrew rollback {planned.task.id} --dry-run",
            )
        data = {
            "mode": "part" if planned.reach.partial else "full",
            "composed": {"before": planned.before, "after": planned.tree},
            "held": [each.id for each in planned.neighbours if each.held],
            "proof": self.view["proof"],
        }
        made = _adopt_part(self._parts, planned, data) if planned.reach.partial else None
        with self._parts.journal.write() as tx:
            if made is None:
                _reject(tx, planned.task, f"user:{self._parts.env.user}", data)
            # What was taken out as a whole is of no interest any more.
            stale = list_stale(tx, planned.run.id)
            if made is None:
                stale.pop(planned.task.id, None)
        again = len(planned.plan.task(planned.task.name).accept) if made else 0
        return {**self.view, "checkpoint": made.id if made else "", "acceptance": again, "stale": stale}


def undo_rollback(parts: Parts, name: str) -> dict[str, Any]:
    """Put back what the last rollback took out of a task: ``{task, verdict, checkpoint}``.

    Raises:
        StaleError: it was not rolled back, or went on since; nothing was changed.
    """
    need_person(parts, "promote")
    with parts.journal.write() as tx:
        task = tx.need(TaskRecord, name)
        last = tx.events(task=name, kinds=(_DONE, _UNDONE), newest=True, limit=1)
        data = last[0].data if last and last[0].kind == _DONE else None
        if data is None or not _is_as_left(task, data):
            raise StaleError(
                f"there is no rollback of {name} to undo" + ("; it has gone on since" if data else ""),
                code="rollback.none",
                hint=f"nightcrew checkpoint list {name}",
            )
        actor = f"user:{parts.env.user}"
        if data["mode"] == "full":
            verdict, tree = data["verdict"], data["verdict_tree"]
            tx.change(
                task, _UNDONE, actor=actor, data={"verdict": verdict}, verdict=verdict, verdict_tree=tree
            )
            return {"task": name, "verdict": verdict, "checkpoint": task.checkpoint, "acceptance": 0}
    done = restore(parts, data["before"], Wish())
    with parts.journal.write() as tx:
        tx.append(_UNDONE, run=task.run, task=name, actor=actor, data={"checkpoint": done["checkpoint"]})
    return {"task": name, "verdict": "", "checkpoint": done["checkpoint"], "acceptance": done["acceptance"]}


# -- what stays of the task ---------------------------------------------------------------------------------------


def _find_target(tx: Reader, task: TaskRecord, reach: Reach) -> CheckpointRecord | None:
    if not reach.to:
        return None
    target = tx.need(CheckpointRecord, reach.to)
    if target.task != task.id:
        raise UsageError(
            f"{target.id} is a checkpoint of {target.task}, not of {task.id}; nothing was done",
            code="rollback.other_task",
            hint=f"nightcrew checkpoint list {task.id}",
        )
    need_kept(target)
    return target


def _keep_part(
    parts: Parts,
    store: Store,
    run: RunRecord,
    task: TaskRecord,
    reach: Reach,
    target: CheckpointRecord | None,
) -> Sifted:
    """Return what stays of the task; an empty tree when all of it goes."""
    if not reach.partial:
        return Sifted("")
    tree = target.tree if target else task.tree
    if target and target.base_tree != task.base_tree:
        raise UsageError(
            f"{target.id} stands on another base than the result of {task.id}; nothing was done",
            code="rollback.other_base",
            hint=f"nightcrew checkpoint restore {target.id}",
        )
    if reach.files:
        tree = store.overlay_paths(task.base_tree, tree, list(reach.files))
    sifted = sift(parts, run, task, task.base_tree, tree) if reach.keep_valid else Sifted(tree)
    if store.promotable(task.base_tree, sifted.tree) == task.tree:
        raise UsageError(
            f"all of {task.id} would stay; nothing was done",
            code="rollback.unchanged",
            hint=f"nightcrew diff {task.id} --stat",
        )
    return sifted


def _cut(store: Store, each: TaskRecord, task: TaskRecord, sifted: Sifted) -> Piece:
    return cut_piece(store, replace(each, tree=sifted.tree) if each.id == task.id else each)


def _adopt_part(parts: Parts, planned: Rollback, data: Mapping[str, Any]) -> CheckpointRecord:
    task = planned.task
    return adopt(
        parts,
        Adoption(
            task=task,
            tree=planned.sifted.tree,
            base_tree=task.base_tree,
            built_on=task.built_on,
            before=task.checkpoint,
            source=planned.reach.to or task.checkpoint,
            kind="rolled_back",
            why=f"rolled back {planned.reach.describe()}",
            data=data,
        ),
    )


def _reject(tx: Writer, planned: TaskRecord, actor: str, data: Mapping[str, Any]) -> None:
    task = tx.need(TaskRecord, planned.id)
    if (task.tree, task.state, task.promoted) != (planned.tree, planned.state, ""):
        raise StaleError(
            f"{task.id} has changed since it was looked at; nothing was done",
            code="record.changed",
            hint=f"nightcrew show {task.id}",
        )
    before = {"verdict": task.verdict, "verdict_tree": task.verdict_tree, "tree": task.tree}
    tx.change(task, _DONE, actor=actor, data={**data, **before}, verdict="rejected", verdict_tree=task.tree)


def _is_as_left(task: TaskRecord, data: Mapping[str, Any]) -> bool:
    """Tell whether a task still is what its last rollback made of it."""
    if task.promoted:
        return False
    if data["mode"] == "full":
        return task.verdict == "rejected" and task.tree == data["tree"] == task.verdict_tree
    return bool(data["before"]) and task.checkpoint == data["checkpoint"]


# -- who else is touched ------------------------------------------------------------------------------------------


def _find_dependents(plan: Plan, included: Sequence[TaskRecord], name: str) -> set[str]:
    """Return the names of everything that builds on a task, directly or not: by the plan, or because it waited for it."""
    grounds = {each.id: set(each.depends) for each in plan.tasks}
    for task in included:
        grounds[task.name] |= set(task.built_on)
    reached = {name, find_origin(name)}
    grown = True
    while grown:
        more = {each for each, ground in grounds.items() if reached & ground} - reached
        reached |= more
        grown = bool(more)
    return reached - {name, find_origin(name)}


def _find_neighbours(
    store: Store,
    run: RunRecord,
    task: TaskRecord,
    sifted: Sifted,
    included: Sequence[TaskRecord],
    behind: set[str],
) -> tuple[Neighbour, ...]:
    _, start, end = cut_piece(store, task)
    stay = {hunk.id for hunk in store.hunks(start, sifted.tree)} if sifted.tree else set()
    gone = [hunk for hunk in store.hunks(start, end) if hunk.id not in stay]
    found = []
    for each in included:
        if each.name in behind:
            found.append(Neighbour(join_task(run.id, each.name), "plan", held=True))
        elif each.id != task.id:
            _, base, tree = cut_piece(store, each)
            found += _meet(each.id, gone, store.hunks(base, tree))
    return tuple(found)


def _meet(name: str, gone: Sequence[Hunk], others: Sequence[Hunk]) -> list[Neighbour]:
    """Return how another task's hunks meet those that go; nothing when they share no file."""
    paths = {hunk.path for hunk in gone}
    shared = [other for other in others if other.path in paths]
    if not shared:
        return []
    ids = {hunk.id for hunk in gone}
    same = tuple(sorted({other.path for other in shared if other.id in ids}))
    near = {o.path for o in shared for hunk in gone if o.id not in ids and _are_near(hunk, o)}
    rest = {other.path for other in shared} - near - set(same)
    found = [("same", same), ("hunks", tuple(sorted(near))), ("file", tuple(sorted(rest)))]
    return [Neighbour(name, why, where) for why, where in found if where]


def _are_near(one: Hunk, other: Hunk) -> bool:
    """Tell whether two hunks of a file overlap or are next to each other; of different old contents nobody can say."""
    if one.path != other.path:
        return False
    if "lines" not in (one.kind, other.kind) or one.old_id != other.old_id:
        return True
    ends = [hunk.old_start + hunk.removed.count(b"\n") for hunk in (one, other)]
    return max(one.old_start, other.old_start) - min(ends) <= _NEAR
