"""``blame``: from a line to the commit, task, run, agent, approvals and the person who promoted it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import stamp
from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)
from nightcrew.runtime.rulebook.history import DECIDED

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.host.blame import Line
    from nightcrew.host.git import Git
    from nightcrew.journal.transaction import Reader
    from nightcrew.model.trees import Repository
    from nightcrew.runtime.parts import Parts

_PLACE: Final = re.compile(r"(?P<file>.+?):(?P<first>[0-9]{1,9})(?:[-,](?P<last>[0-9]{1,9}))?\Z")
_TRAILER: Final = re.compile(r"^Nightcrew-(Promotion|Undo): *(M-[0-9]+) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Spot:
    """What is asked for: a file relative to the root of its repository, and lines of it (0: all)."""

    path: str
    first: int = 0
    last: int = 0


def blame_place(parts: Parts, place: str) -> dict[str, Any]:
    """Explain where the lines of ``FILE``, ``FILE:LINE`` or ``FILE:FIRST-LAST`` come from.

    Returns:
        ``{file, lines: [{line, text, commit, by, origin}], origins: {id: …}}``; ``by`` is ``nightcrew``, ``person`` or
        ``uncommitted``, and ``origin`` the key of what is known of it, shared by the lines that came together.

    Raises:
        NotFound: there is no such file, or git does not know it.
        UsageError: no such line, or no repository.
    """
    from nightcrew.host.blame import blame

    repository = parts.repository
    spot = read_place(parts.cwd, Path(repository.root), place)
    git = parts.git(repository)
    lines = blame(git, spot.path, first=spot.first, last=spot.last)
    with parts.journal.read() as tx:
        search = _Search(parts, tx, repository, git)
        shown = [search.tell(line) for line in lines]
    return {"file": spot.path, "lines": shown, "origins": search.origins}


def read_place(cwd: Path, root: Path, place: str) -> Spot:
    """Return what a person means; a file that really is called ``a:3`` goes before line 3 of ``a``.

    Raises:
        NotFound: there is no such file. UsageError: it is outside of the repository, or the lines make no sense.
    """
    found = None if (cwd / place).is_file() else _PLACE.match(place)
    name = found["file"] if found else place
    first = int(found["first"]) if found else 0
    last = int(found["last"] or first) if found else 0
    full = Path(os.path.normpath(cwd / name))
    if not full.is_file():
        raise NotFound(f"there is no file {name}", code="blame.file", hint="nightcrew blame FILE:LINE")
    folder = full.parent.resolve()
    if folder != root.resolve() and root.resolve() not in folder.parents:
        raise UsageError(f"{name} is outside of the repository {root}", code="blame.outside")
    if found and (first < 1 or last < first):
        raise UsageError(f"{place}: lines are counted from 1, and the last is not before the first")
    return Spot(str((folder / full.name).relative_to(root.resolve())), first, last)


class _Search:
    def __init__(self, parts: Parts, tx: Reader, repository: Repository, git: Git) -> None:
        self._parts = parts
        self._tx = tx
        self._git = git
        self._repository = repository
        self._key = repository.key
        self._promotions = [each for each in tx.find(PromotionRecord) if self._is_here(each)]
        self._messages: dict[str, str] = {}
        self.origins: dict[str, dict[str, Any]] = {}

    def _is_here(self, record: PromotionRecord) -> bool:
        run = self._tx.get(RunRecord, record.run)
        return run is not None and run.repo_key == self._key

    def tell(self, line: Line) -> dict[str, Any]:
        """Return what is known of one line."""
        plain: dict[str, Any] = {
            "line": line.number,
            "text": line.text,
            "commit": line.commit,
            "path": line.path,
            "author": line.author,
            "at": stamp(datetime.fromtimestamp(line.at, UTC)) if line.commit else "",
            "summary": line.summary,
            "by": "person",
            "origin": "",
        }
        if not line.commit:
            return {**plain, "by": "uncommitted"}
        record, exact = self._find_promotion(line.commit)
        if record is None:
            return plain
        tasks, sure = self._find_tasks(record, line)
        key = f"{record.id} {' '.join(task.id for task in tasks)}"
        if key not in self.origins:
            self.origins[key] = self._describe(record, tasks, sure=sure)
        return {**plain, "by": "nightcrew", "origin": key, "exact": exact}

    def _find_promotion(self, commit: str) -> tuple[PromotionRecord | None, bool]:
        """Return the promotion that made a commit, and whether it made this very one.

        A trailer can be written by anybody, so it counts only when it names a promotion of this repository: then the commit is
        one of ours that was rebased, amended or picked.
        """
        for record in self._promotions:
            # An exact undo or redo brings the branch to a commit that was there before: it made none.
            own = record.commits or (() if record.undo_of else (record.new_commit,))
            if commit in own:
                return record, True
        named = [name for _, name in _TRAILER.findall(self._message(commit))]
        for record in self._promotions:
            if record.id in named:
                return record, False
        return None, False

    def _message(self, commit: str) -> str:
        if commit not in self._messages:
            self._messages[commit] = self._git.text("show", "-s", "--format=%B", commit)
        return self._messages[commit]

    def _find_tasks(self, record: PromotionRecord, line: Line) -> tuple[list[TaskRecord], bool]:
        """Return the tasks of a promotion that can have brought a line, and whether that is certain."""
        tasks = [task for name in record.tasks if (task := self._tx.get(TaskRecord, name)) is not None]
        named = set(re.findall(r"^Nightcrew-Task: *(\S+) *$", self._message(line.commit), re.MULTILINE))
        tasks = [task for task in tasks if task.id in named] or tasks
        if len(tasks) < 2 or record.undo_of:
            return tasks, True
        store = self._parts.store(self._repository)
        added = [task for task in tasks if line.text in _added_lines(store, task, line.path)]
        return (added, True) if len(added) == 1 else (added or tasks, False)

    def _describe(
        self, record: PromotionRecord, tasks: Sequence[TaskRecord], *, sure: bool
    ) -> dict[str, Any]:
        run = self._tx.need(RunRecord, record.run)
        published = self._tx.events(run=run.id, kinds=("promotion.published", "promotion.undone"))
        told = [each for each in published if each.data.get("promotion", each.data.get("id")) == record.id]
        return {
            "promotion": record.id,
            "undo_of": record.undo_of,
            "undone_by": record.undone_by,
            "promoted_by": record.actor,
            "promoted_at": record.published_at,
            "factor": record.factor or next((str(each.data.get("factor", "")) for each in told), ""),
            "run": run.id,
            "plan": f"{run.id}/P{run.plan_version}",
            "plan_approved_by": run.approved_by,
            "plan_approved_at": run.approved_at,
            "plan_approved_via": self._plan_via(run.id),
            "certain": sure,
            "tasks": [self._describe_task(task) for task in tasks],
        }

    def _plan_via(self, run: str) -> str:
        found = self._tx.events(run=run, kinds=("plan.approved",), newest=True, limit=1)
        return (
            ", ".join(str(found[0].data[k]) for k in ("via", "factor") if found[0].data.get(k))
            if found
            else ""
        )

    def _describe_task(self, task: TaskRecord) -> dict[str, Any]:
        attempts = self._tx.find(AttemptRecord, task=task.id)
        worked = next((each for each in reversed(attempts) if not each.stands_in), None)
        approvals = self._tx.find(ApprovalRecord, task=task.id)
        decided = self._tx.events(run=task.run, task=task.id, kinds=(DECIDED,))
        return {
            "id": task.id,
            "title": task.title,
            "agent": worked.agent if worked else task.agent,
            "models": sorted(_models(task.usage)),
            "attempt": worked.id if worked else "",
            "checkpoint": task.checkpoint,
            "verified": task.verified,
            "verdict": task.verdict,
            "approved": [_view_answer(each) for each in approvals if each.state == "approved"],
            "refused": [_view_answer(each) for each in approvals if each.state == "denied"],
            "denied_by_policy": sum(event.data.get("verdict") == "deny" for event in decided),
        }


def _models(usage: Mapping[str, Any]) -> list[str]:
    models = usage.get("models", {})
    return [str(name) for name in models] if isinstance(models, Mapping) else []


def _view_answer(record: ApprovalRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "action": record.shown,
        "by": record.decided_by,
        "via": record.decided_via,
        "at": record.decided_at,
        "factors": [str(vote["factor"]) for vote in record.votes if vote.get("factor")],
        "reason": record.answer,
    }


def _added_lines(store: Store, task: TaskRecord, path: str) -> set[str]:
    """Return the lines that a task added to a file; nothing when its content was given up meanwhile."""
    import difflib

    try:
        old, new = _content(store, task.base_tree, path), _content(store, task.tree, path)
    except (KeyError, NotFound):
        return set()
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    changed = [op for op in matcher.get_opcodes() if op[0] in ("insert", "replace")]
    return {line for _, _, _, start, end in changed for line in new[start:end]}


def _content(store: Store, tree: str, path: str) -> list[str]:
    data = store.read(tree, path)
    return os.fsdecode(data).split("\n") if data is not None else []
