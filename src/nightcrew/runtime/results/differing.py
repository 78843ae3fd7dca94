"""What changed: of a task, of a whole run, of a checkpoint, between two checkpoints. Tree against tree, always."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import NotFound, StaleError, UsageError
from nightcrew.model.records import CheckpointRecord, RunRecord, TaskRecord
from nightcrew.model.text import shown
from nightcrew.model.trees import Hunk
from nightcrew.policy.scanning.texts import blot_out, hide_in_name
from nightcrew.runtime.results.restoring import need_kept
from nightcrew.runtime.results.reviewing import plan_of, trees_of
from nightcrew.runtime.views import tasks_of

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Form:
    """How a difference is shown.

    Attributes:
        stat: only paths and counts. hunks: every piece with its id.
        paths: only these and what is below them, taken literally.
        exact: secrets are not blotted out.
    """

    stat: bool = False
    hunks: bool = False
    paths: tuple[str, ...] = ()
    exact: bool = False

    def means(self, path: str) -> bool:
        """Tell whether a path is to be shown."""
        below = (each.strip("/") for each in self.paths)
        return not self.paths or any(path == each or path.startswith(f"{each}/") for each in below)


def diff_task(parts: Parts, name: str, form: Form) -> dict[str, Any]:
    """Return what a task changed, from what it started on to its result (or its last checkpoint when it has none).

    Raises:
        NotFound: it has produced nothing yet, or that was pruned.
    """
    with parts.journal.read() as tx:
        task = tx.need(TaskRecord, name)
        run = tx.need(RunRecord, task.run)
        old, new = trees_of(tx, task)
        last = tx.get(CheckpointRecord, task.checkpoint) if task.checkpoint else None
    if not new:
        if last is not None:
            need_kept(last)
        raise NotFound(
            f"{name} has no result yet; it is {task.state}",
            code="task.no_result",
            hint=f"nightcrew why {name}",
        )
    return _patch(parts, run, old, new, form)


def diff_run(parts: Parts, name: str, form: Form) -> dict[str, Any]:
    """Return what the results of a run change together, those left out that a person rejected or that miss their ground.

    Raises:
        NotFound: there is none.
        StaleError: their results do not fit together.
    """
    from nightcrew.plan.order import find_included

    with parts.journal.read() as tx:
        run = tx.need(RunRecord, name)
        included = find_included(plan_of(tx, run), tasks_of(tx, name))
    pieces = [(task.name, task.base_tree, task.tree) for task in included]
    if not pieces:
        raise NotFound(
            f"no task of {name} has a result yet", code="run.no_result", hint=f"nightcrew show {name}"
        )
    composed = parts.store(parts.repository_of(run)).compose(run.base_tree, pieces)
    if composed.conflicts:
        raise StaleError(
            f"the results of {name} do not fit together",
            code="diff.conflict",
            where=[describe_conflict(each) for each in composed.conflicts],
            hint=f"one at a time: nightcrew diff {name}/{pieces[0][0]}",
        )
    return _patch(parts, run, run.base_tree, composed.tree, form)


def diff_checkpoints(parts: Parts, old: str, new: str, form: Form) -> dict[str, Any]:
    """Return what a checkpoint changed against its base, or what differs between two checkpoints of a repository.

    Raises:
        UsageError: they belong to different repositories.
        NotFound: the content of one was pruned.
    """
    with parts.journal.read() as tx:
        first = tx.need(CheckpointRecord, old)
        run = tx.need(RunRecord, first.run)
        second = tx.need(CheckpointRecord, new) if new else None
        if second and tx.need(RunRecord, second.run).repo_key != run.repo_key:
            raise UsageError(f"{old} and {new} belong to different repositories")
    for each in (first, second):
        if each is not None:
            need_kept(each)
    if second is None:
        return _patch(parts, run, first.base_tree, first.tree, form)
    return _patch(parts, run, first.tree, second.tree, form)


def describe_conflict(conflict: Any) -> str:
    """Return one line that names a task, what it collides with, and where."""
    others = ", ".join(conflict.others) or "the base"
    return f"{conflict.part} collides with {others} in {', '.join(shown(path) for path in conflict.paths)}"


def _patch(parts: Parts, run: RunRecord, old: str, new: str, form: Form) -> dict[str, Any]:
    store = parts.store(parts.repository_of(run))
    change = store.compare(old, new)
    paths = tuple(path for path in change.paths if form.means(path.path))
    plain = canonical.to_plain(replace(change, paths=paths))
    if form.hunks:
        hunks = [hunk for hunk in store.hunks(old, new) if form.means(hunk.path)]
        raw = b"".join(_write_hunk(hunk) for hunk in hunks)
        plain["hunks"] = [_view_hunk(hunk, exact=form.exact) for hunk in hunks]
    else:
        raw = store.patch(old, new, paths=form.paths, stat=form.stat)
    raw, hidden = (raw, 0) if form.exact else blot_out(raw)
    if not form.exact:
        for each in (*plain["paths"], *plain.get("hunks", ())):
            each["path"] = hide_in_name(each["path"])
    text = raw.decode("utf-8", "surrogateescape")
    listed = form.stat or form.hunks
    return {
        "raw": raw,
        "shown": shown(text, keep="\n\t"),
        "hidden": hidden,
        "json": {**plain, "patch": "" if listed else text, "secrets_hidden": hidden},
    }


def _view_hunk(hunk: Hunk, *, exact: bool) -> dict[str, Any]:
    sides = (text if exact else blot_out(text)[0] for text in (hunk.removed, hunk.added))
    removed, added = (text.decode("utf-8", "surrogateescape") for text in sides)
    return {
        "id": hunk.id,
        "path": hunk.path,
        "kind": hunk.kind,
        "old_start": hunk.old_start,
        "new_start": hunk.new_start,
        "old_mode": hunk.old_mode,
        "new_mode": hunk.new_mode,
        "removed": removed,
        "added": added,
    }


def _write_hunk(hunk: Hunk) -> bytes:
    """Return a hunk as text for a person: its id and place, then its lines."""
    from nightcrew.checkpoint.hunks import split_lines

    what = {
        "lines": f"@ line {hunk.old_start + 1}",
        "mode": f"mode {hunk.old_mode:o} -> {hunk.new_mode:o}",
        "whole": f"{'added' if not hunk.old_id else 'deleted' if not hunk.new_id else 'replaced'} as a whole",
    }[hunk.kind]
    head = f"{hunk.id}  {shown(hunk.path)}  {what}\n".encode()
    return head + b"".join(
        sign + line + (b"" if line.endswith(b"\n") else b"\n\\ No newline at end of file\n")
        for sign, side in ((b"-", hunk.removed), (b"+", hunk.added))
        for line in split_lines(side)
    )
