"""Going back to a checkpoint: all of it, some files, some hunks, or only what policy lets pass. Itself a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.plans import Plan
from nightcrew.model.records import CheckpointRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.trees.adopting import Adoption, adopt, need_settled, refuse_kept
from nightcrew.runtime.trees.sifting import Sifted, sift
from nightcrew.runtime.views import list_stale, view_checkpoint

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Wish:
    """How much of a checkpoint is meant; nothing given means all of it.

    Attributes:
        files: globs; only these paths.
        hunks: ids (or their beginnings) of hunks of the change from the present result to the checkpoint.
        keep_valid: of what this gives, only what policy lets pass; the rest is put back to what the task started on.
    """

    files: tuple[str, ...] = ()
    hunks: tuple[str, ...] = ()
    keep_valid: bool = False

    @property
    def partial(self) -> bool:
        """Tell whether the rest of the present result stays."""
        return bool(self.files or self.hunks)

    def to_words(self) -> list[str]:
        """Return the options that say this on the command line."""
        words = [f"--files {shlex.quote(glob)}" for glob in self.files] + [
            f"--hunk {name}" for name in self.hunks
        ]
        return [*words, *(["--keep-valid"] if self.keep_valid else [])]

    def describe(self) -> str:
        """Return it for a list of checkpoints; empty when all is meant."""
        said = [*self.files, *self.hunks, *(["what policy lets pass"] if self.keep_valid else [])]
        return f" ({', '.join(said)})" if said else ""


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a restore would do.

    Attributes:
        task: task whose result is set; it may be running, then it is paused first.
        source: checkpoint it is taken from.
        now: checkpoint that holds the result now, None when there is none.
        base_tree, built_on: what the task started on, and the trees of other tasks in it.
        sifted: the new tree, and what was put back because policy does not let it pass.
        paths: what differs between the result now and then, as plain JSON.
    """

    task: TaskRecord
    source: CheckpointRecord
    now: CheckpointRecord | None
    base_tree: str
    built_on: Mapping[str, str]
    sifted: Sifted
    paths: tuple[Mapping[str, Any], ...]

    def to_plain(self) -> dict[str, Any]:
        """Return it for a person and for JSON."""
        return {
            "task": self.task.id,
            "state": self.task.state,
            "checkpoint": self.source.id,
            "before": self.now.id if self.now else "",
            "tree": self.sifted.tree,
            "paths": [dict(path) for path in self.paths],
            **self.sifted.to_plain(),
        }


def plan_restore(parts: Parts, name: str, wish: Wish) -> Restoration:
    """Return what restoring a checkpoint, or some of it, would do; nothing is changed.

    Raises:
        NotFound: there is no such checkpoint, it was pruned, or with files or hunks no result to put them into.
        UsageError: nothing differs, or a hunk is not one of this change.
        StaleError: the task is promoted, or its run is over for good.
    """
    with parts.journal.read() as tx:
        source = tx.need(CheckpointRecord, name)
        task = tx.need(TaskRecord, source.task)
        run = tx.need(RunRecord, task.run)
        now = tx.need(CheckpointRecord, task.checkpoint) if task.checkpoint else None
    need_kept(source)
    if task.state != "running":
        need_settled(task)
    refuse_kept(run, task)
    store = parts.store(parts.repository_of(run))
    # A part of a checkpoint goes into the result as it is, on the ground it stands on; a whole one brings its own.
    ground = now if wish.partial and now else source
    tree = _choose(store, name, now, source, wish)
    sifted = sift(parts, run, task, ground.base_tree, tree) if wish.keep_valid else Sifted(tree)
    against = now.tree if now else source.base_tree
    paths = view_paths(store, against, sifted.tree)
    return Restoration(task, source, now, ground.base_tree, ground.built_on, sifted, paths)


def restore(parts: Parts, name: str, wish: Wish) -> dict[str, Any]:
    """Make the result of a task what a checkpoint holds, as a new checkpoint; its acceptance must run again.

    A task that runs is paused for it: its agent is frozen, what it has done is kept as a checkpoint, and it ends.

    Raises:
        NotFound, StaleError, UsageError: as ``plan_restore``; the result was not changed.
        EngineUnavailable: the task runs and its host did not pause it in time.
    """
    need_person(parts, "promote")
    planned = plan_restore(parts, name, wish)
    if planned.task.state == "running":
        pause_task(parts, planned.task.id, f"{name} is restored")
    with using(parts, planned.task.run):
        planned = plan_restore(parts, name, wish)
        made = _adopt(parts, name, wish, planned)
    with parts.journal.read() as tx:
        run = tx.need(RunRecord, made.run)
        plan = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{run.plan_version}").body)
        stale = list_stale(tx, run.id)
    return {
        **planned.to_plain(),
        **view_checkpoint(made, current=True),
        "checkpoint": made.id,
        "changed": [dict(path) for path in planned.paths],
        "before": made.parent,
        "acceptance": len(plan.task(planned.task.name).accept),
        "stale": stale,
    }


def _adopt(parts: Parts, name: str, wish: Wish, planned: Restoration) -> CheckpointRecord:
    return adopt(
        parts,
        Adoption(
            task=planned.task,
            tree=planned.sifted.tree,
            base_tree=planned.base_tree,
            built_on=planned.built_on,
            before=planned.now.id if planned.now else "",
            source=name,
            kind="restored",
            why=f"restored from {name}{wish.describe()}",
            data={"files": list(wish.files), "hunks": list(wish.hunks), "keep_valid": wish.keep_valid},
        ),
    )


@contextmanager
def using(parts: Parts, run: str) -> Iterator[None]:
    """Keep the collector from removing what is being made the result of a task again."""
    with parts.journal.read() as tx:
        record = tx.need(RunRecord, run)
    with parts.store(parts.repository_of(record)).using():
        yield


def pause_task(parts: Parts, name: str, reason: str) -> None:
    """Have a running task paused, so that its result can be set; one that came to its end meanwhile is left as it is."""
    from nightcrew.engine import client

    client.pause(
        parts.journal,
        name,
        actor=f"user:{parts.env.user}",
        reason=reason,
        state_dir=parts.env.state,
        clock=parts.clock,
    )


def need_kept(checkpoint: CheckpointRecord) -> None:
    """Raise NotFound when the content of a checkpoint was given up to save space."""
    if checkpoint.pruned:
        raise NotFound(
            f"the content of {checkpoint.id} was pruned; only what is known about it is left",
            code="checkpoint.pruned",
            hint=f"nightcrew checkpoint list {checkpoint.task}",
        )


def view_paths(store: Store, old_tree: str, new_tree: str) -> tuple[Mapping[str, Any], ...]:
    """Return which paths differ, short: ``{path, kind, lines_added, lines_deleted}``."""
    from nightcrew.policy.scanning.texts import hide_in_name

    return tuple(
        {
            "path": hide_in_name(path.path),
            "kind": path.kind,
            "lines_added": path.lines_added,
            "lines_deleted": path.lines_deleted,
        }
        for path in store.compare(old_tree, new_tree).paths
    )


def _choose(
    store: Store, name: str, now: CheckpointRecord | None, source: CheckpointRecord, wish: Wish
) -> str:
    """Return the tree that is meant, before policy is asked."""
    if not wish.partial:
        return source.tree
    if now is None:
        raise NotFound(
            f"{source.task} has no result to put files into",
            code="restore.no_result",
            hint=f"without --files and --hunk: nightcrew checkpoint restore {name}",
        )
    tree = store.overlay_paths(now.tree, source.tree, list(wish.files)) if wish.files else now.tree
    if wish.hunks:
        from nightcrew.checkpoint.hunks import choose

        listing = f"nightcrew checkpoint diff {now.id} {name} --hunks"
        tree = store.take_hunks(tree, choose(store.hunks(tree, source.tree), wish.hunks, listing=listing))
    if tree == now.tree:
        raise UsageError(
            f"no path that matches {' '.join(wish.files)} differs between {now.id}, the result now, and {name}",
            code="restore.nothing",
            hint=f"nightcrew checkpoint diff {now.id} {name} --stat",
        )
    return tree


def list_checkpoints(parts: Parts, name: str) -> list[dict[str, Any]]:
    """Return the checkpoints of a run or task, oldest first."""
    with parts.journal.read() as tx:
        found = tx.find(CheckpointRecord, task=name) if "/" in name else tx.find(CheckpointRecord, run=name)
        current = {task.checkpoint for task in tx.find(TaskRecord, run=name.partition("/")[0])}
    return [view_checkpoint(each, current=each.id in current) for each in found]
