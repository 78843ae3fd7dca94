"""What is open of each run while it is hosted: its plan, its workspace. Read once, let go when the run is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nightcrew.engine.work.jobs import sweep_memories
from nightcrew.engine.work.place import sweep_shadows
from nightcrew.engine.workspace import Workspace
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

#: States of a run that a host takes up.
OPEN: Final = ("approved", "running")


class Opened:
    """Plans and workspaces of the hosted runs; safe to use from any thread."""

    def __init__(self, journal: Journal, open_workspace: Callable[[RunRecord], Workspace]) -> None:
        self._journal = journal
        self._open_workspace = open_workspace
        self._lock = threading.Lock()
        self._workspaces: dict[str, Workspace] = {}
        self._plans: dict[str, Plan] = {}

    def read_run(self, run_id: str) -> RunRecord:
        """Return the run as it is now."""
        with self._journal.read() as tx:
            return tx.need(RunRecord, run_id)

    def list_runs(self) -> list[str]:
        """Return every run that a host should go on with."""
        with self._journal.read() as tx:
            return [run.id for run in tx.find(RunRecord, state=OPEN)]

    def find_plan(self, run: RunRecord) -> Plan:
        """Return the plan the run executes."""
        name = f"{run.id}/P{run.plan_version}"
        with self._lock:
            if name not in self._plans:
                with self._journal.read() as tx:
                    self._plans[name] = Plan.from_plain(tx.need(PlanRecord, name).body)
            return self._plans[name]

    def find_workspace(self, run: RunRecord) -> Workspace:
        """Return what the run works with; on first use, what a dead host left of it is swept away.

        Raises:
            NightcrewError: it cannot be opened.
        """
        with self._lock:
            if run.id not in self._workspaces:
                workspace = self._open_workspace(run)
                sweep_shadows(self._journal, workspace)
                sweep_memories(self._journal, workspace, run.id)
                self._workspaces[run.id] = workspace
            return self._workspaces[run.id]

    def let_go(self, run_id: str) -> None:
        """Close what a run worked with; an attempt that is just leaving may still use it."""
        with self._lock:
            workspace = self._workspaces.pop(run_id, None)
            self._plans = {
                name: plan for name, plan in self._plans.items() if not name.startswith(f"{run_id}/")
            }
        if workspace is not None:
            sweep_memories(self._journal, workspace, run_id)
            workspace.store.close()

    def close(self) -> None:
        """Let go of every run."""
        for run_id in list(self._workspaces):
            self.let_go(run_id)
