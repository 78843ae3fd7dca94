"""Looking for what the user does to the repository while a run goes on: when to look, and what follows from it.

A look asks the user's git for what differs from HEAD (uncommitted and untracked; ``git status``, nothing is written, no
lock is taken), adds what HEAD differs from the base commit, and drops what on disk is as the base has it. It costs a
``git status`` and is done in a thread of its own. What was found is an event, once: the same again is not told again.
What lies there uncommitted since before the run was planned is told of only where a task changes the same path, or
where much else depends on it: the kernel's time of its last change, which only setting the clock can make older, says so.
Promotion looks by itself, path by path; this here is so that nobody is surprised in the morning.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from nightcrew.checkpoint.snapshot import find_uncommitted
from nightcrew.engine.course import settle
from nightcrew.engine.course.outlook import DETECTED, GONE, read_drift
from nightcrew.engine.workspace import Workspace
from nightcrew.gate.approvals import open_approval
from nightcrew.host.clock import Clock, stamp
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.drift import Drift, weigh
from nightcrew.model.errors import NightcrewError
from nightcrew.model.ids import APPROVAL
from nightcrew.model.records import RunRecord

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.host.git import Git
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Writer

LOG: Final = logging.getLogger("nightcrew.engine")
_SHOWN: Final = 50


def find_drift(
    git: Git | None,
    store: Store,
    root: str,
    run: RunRecord,
    ours: Collection[str],
) -> Drift:
    """Compare the user's repository, as it is on disk, with the base of a run.

    Args:
        git: on the user's repository; None where nobody wants to know.
        store: of its checkpoints.
        root: its working tree.
        ours: paths that the run has changed so far.

    Raises:
        NightcrewError: git cannot look at the repository.
    """
    if git is None:
        return Drift()
    uncommitted = find_uncommitted(git, root)
    dirty = uncommitted.paths | set(uncommitted.unmerged)
    head = git.text("rev-parse", "--verify", "HEAD^{tree}")
    moved = (
        {path.path for path in store.compare(run.base_tree, head).paths} if head != run.base_tree else set()
    )
    changed = (moved - dirty) | {path for path in dirty if _differs(store, root, run.base_tree, path)}
    return weigh(changed, set(ours), stood_before(root, dirty, run))


def stood_before(root: str, paths: Collection[str], run: RunRecord) -> frozenset[str]:
    """Return which of these uncommitted paths were as they are now before a run was planned."""
    planned_s = datetime.fromisoformat(run.created_at).timestamp()
    moved: dict[str, bool] = {root: False}
    return frozenset(
        path
        for path in paths
        if _changed_s(f"{root}/{path}") < planned_s and not _came_with(f"{root}/{path}", planned_s, moved)
    )


def _changed_s(place: str) -> float:
    """Return when a file was last changed in any way; of one that is gone, the directory it would be in."""
    while True:
        try:
            return os.lstat(place).st_ctime
        except (FileNotFoundError, NotADirectoryError):
            place = place.rpartition("/")[0] or "/"
        except OSError:
            # It cannot be looked at: better told once too often.
            return float("inf")


def _came_with(place: str, planned_s: float, moved: dict[str, bool]) -> bool:
    """Tell whether a directory above was put there since: what lies in it keeps its times.

    What comes into a directory or goes changes both of its times, a new name for itself only one.
    """
    above = place.rpartition("/")[0]
    if above not in moved:
        try:
            found = os.lstat(above)
        except OSError:
            # Gone itself, or not to be looked at: ``_changed_s`` has said what there is to say.
            renamed = False
        else:
            renamed = found.st_ctime >= planned_s and found.st_ctime_ns != found.st_mtime_ns
        moved[above] = renamed or _came_with(above, planned_s, moved)
    return moved[above]


def _differs(store: Store, root: str, tree: str, path: str) -> bool:
    """Tell whether a file on disk is not what the base has; what filters would make equal counts as different."""
    before = store.read(tree, path)
    place = f"{root}/{path}"
    if before is None:
        return os.path.lexists(place)
    try:
        now = os.fsencode(os.readlink(place)) if os.path.islink(place) else _read(place)  # noqa: PTH114, PTH115
    except OSError:
        # Gone, a file that only somebody else may read, or a folder in its place: not what the base has.
        return True
    return before != now


def _read(place: str) -> bytes:
    with open(place, "rb") as file:  # noqa: PTH123
        return file.read()


@dataclass(slots=True)
class _Watched:
    due_s: float = 0.0
    finished: int = 0


class DriftWatch:
    """Looks at the repositories of the hosted runs when it is time to.

    Args:
        journal, clock: the usual.
        find_workspace: opens what a run works with.
        find_paths: gives the paths that a run has changed so far, by task.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        find_workspace: Callable[[RunRecord], Workspace],
        find_paths: Callable[[Workspace, RunRecord], Mapping[str, Collection[str]]],
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._find_workspace = find_workspace
        self._find_paths = find_paths
        self._runs: dict[str, _Watched] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note_finished(self, run_id: str) -> None:
        """A task of a run has come to its end."""
        with self._lock:
            self._runs.setdefault(run_id, _Watched()).finished += 1

    def look(self, runs: Collection[str]) -> None:
        """Look at those of these runs for which it is time, in the background; at a new one at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            self._runs = {run: self._runs.get(run, _Watched()) for run in runs}
        self._thread = threading.Thread(target=self._look_at_all, name="nightcrew-drift", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float) -> None:
        """Wait for a look that is under way."""
        if self._thread is not None:
            self._thread.join(wait_s)

    def _look_at_all(self) -> None:
        for run_id, watched in sorted(self._runs.items()):
            try:
                with self._journal.read() as tx:
                    run = tx.need(RunRecord, run_id)
                workspace = self._find_workspace(run)
                if run.state in ("approved", "running") and self._is_due(workspace, watched):
                    self._look_at(workspace, run)
            except (NightcrewError, OSError) as problem:
                # The repository may be moved away, or busy: that is found out again, and told, at promotion.
                LOG.warning("no look at the repository of %s: %s", run_id, problem)

    def _is_due(self, workspace: Workspace, watched: _Watched) -> bool:
        settings, now = workspace.settings.drift, self._clock.monotonic()
        enough = bool(settings.after_tasks) and watched.finished >= settings.after_tasks
        if not enough and now < watched.due_s:
            return False
        with self._lock:
            watched.finished = 0
            watched.due_s = now + settings.every_s if settings.every_s else float("inf")
        return True

    def _look_at(self, workspace: Workspace, run: RunRecord) -> None:
        by_task = self._find_paths(workspace, run)
        ours = {path for paths in by_task.values() for path in paths}
        drift = find_drift(workspace.git, workspace.store, workspace.root, run, ours)
        with self._journal.write() as tx:
            if not tell_drift(tx, run.id, describe_drift(drift, by_task)):
                return
            follow = getattr(workspace.settings.drift, f"on_{drift.severity}") if drift.severity else "go"
            run = tx.need(RunRecord, run.id)
            if follow != "go" and run.state == "running":
                self._hold(tx, run, drift, ask=follow == "ask")

    def _hold(self, tx: Writer, run: RunRecord, drift: Drift, *, ask: bool) -> None:
        """Pause the run; with ``ask`` there is a question, and a yes makes it go on."""
        reason = f"drift ({drift.severity}): {drift.describe()}"
        if ask:
            paths = drift.both or drift.critical or drift.other
            action = Action(kind="other", paths=paths, detail=f"go on: {drift.describe()}", purpose="drift")
            decision = Decision(
                Verdict.ASK, f"drift.on_{drift.severity}", "config.yaml", drift.describe(), drift.severity
            )
            record = open_approval(
                id=tx.next_id(APPROVAL),
                run=run.id,
                task="",
                action=action,
                decision=decision,
                requester="engine",
                now=stamp(self._clock.now()),
                kind=settle.DRIFT,
                shown=f"go on with {run.id}: {drift.describe()}",
            )
            tx.add(record, "approval.opened", data={"action": record.shown, "digest": record.digest})
            reason += f"; {record.id} asks what to do"
        tx.change(run, "run.paused", data={"reason": reason}, state="paused", reason=reason)


def tell_drift(tx: Writer, run_id: str, said: Mapping[str, Any]) -> bool:
    """Tell of drift when it is another than was told of last; return whether it was told."""
    if said == read_drift(tx, run_id):
        return False
    tx.append(DETECTED if said else GONE, run=run_id, data=said)
    return True


def describe_drift(drift: Drift, by_task: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return drift for events and JSON, with the tasks that it meets; empty when there is none."""
    if not drift.severity:
        return {}
    tasks = sorted(task for task, paths in by_task.items() if set(drift.both) & set(paths))
    return {
        "severity": drift.severity,
        "both": list(drift.both[:_SHOWN]),
        "critical": list(drift.critical[:_SHOWN]),
        "other": list(drift.other[:_SHOWN]),
        "count": drift.count,
        "tasks": tasks,
        "said": drift.describe(),
    }
