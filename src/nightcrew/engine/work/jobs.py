"""A task as its adapter sees it, and the folder that an agent may remember its own conversation in.

That folder lives as long as the shadow the conversation is about. An agent that is parked or paused goes on in both; one
that was lost goes on from a checkpoint, which its conversation is ahead of, and so begins a new one.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.agents.adapter import Adapter, Job, Launch
from nightcrew.agents.adapters import find_adapter, find_setting
from nightcrew.engine.course.starts import Start, name_attempt
from nightcrew.engine.workspace import Workspace
from nightcrew.host.files import ensure_private_directory, remove_tree
from nightcrew.model.isolation import Bind, Level
from nightcrew.model.lifecycle import ATTEMPT_FINAL, TASK_FINAL
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.journal.transaction import Reader

LOG: Final = logging.getLogger("nightcrew.engine")
_MEMORY: Final = "memory"


def make_job(workspace: Workspace, task: Task, attempt: AttemptRecord, start: Start, level: Level) -> Job:
    """Return the task as its adapter sees it.

    Raises:
        UsageError: the task's agent is not known.
    """
    setting = find_setting(task.agent, workspace.settings.agents)
    adapter = find_adapter(setting)
    name = adapter.find_program(setting)
    return Job(
        task=task,
        setting=setting,
        cwd=workspace.root,
        python=workspace.python,
        private=Path(attempt.transcript).with_suffix(".d"),
        mounted=level.mounts,
        progress=start.agent,
        program=workspace.find_program(name) if name else None,
        memory=_find_memory(attempt) if _keeps_memory(adapter) else None,
        hooks=True,
        remembers=bool(start.shadow) and _find_memory(attempt).is_dir(),
    )


def show_in_place(job: Job, launch: Launch) -> Launch:
    """Return how to start an agent where nothing can be mounted: its files are seen where they lie."""
    if job.mounted:
        return launch
    private, memory = str(job.private), str(job.memory)
    binds = [Bind(private, private)] if launch.files else []
    binds += [Bind(memory, memory, writable=True)] if job.memory is not None else []
    return replace(launch, binds=(*launch.binds, *binds))


def prepare_memory(job: Job) -> None:
    """Make the folder ready for an agent: as it left it, or empty."""
    if job.memory is None:
        return
    if not job.remembers:
        _remove(job.memory)
    ensure_private_directory(job.memory)


def forget_memory(attempt: AttemptRecord) -> None:
    """Remove what an agent remembered, unless its task goes on in the same shadow: it is not redacted by anybody."""
    resume = attempt.progress.get("resume", {}) if attempt.state in ("parked", "paused") else {}
    if not resume.get("shadow"):
        _remove(_find_memory(attempt))


def sweep_memories(journal: Journal, workspace: Workspace, run: str) -> None:
    """Remove what agents remembered of the tasks of a run that do not go on: denied, cancelled or lost while they waited."""
    kept = list((workspace.transcripts / run).glob(f"*/{_MEMORY}"))
    if not kept:
        return
    with journal.read() as tx:
        goes_on = {task.name for task in tx.find(TaskRecord, run=run) if _goes_on(tx, task)}
    for folder in kept:
        if folder.parent.name in goes_on:
            continue
        try:
            _remove(folder)
        except OSError as problem:
            # No reason to keep a run from going on or ending; the next look at it tries again.
            LOG.warning("what an agent remembered is still in %s: %s", folder, problem)


def _goes_on(tx: Reader, task: TaskRecord) -> bool:
    if task.state in TASK_FINAL or not task.attempts:
        return False
    attempt = tx.get(AttemptRecord, name_attempt(task.id, task.attempts))
    if attempt is None or attempt.state not in ATTEMPT_FINAL:
        # It is at work, or about to be found lost.
        return True
    resume = attempt.progress.get("resume", {}) if attempt.state in ("parked", "paused") else {}
    return attempt.progress["generation"] == task.generation and bool(resume.get("shadow"))


def _keeps_memory(adapter: Adapter) -> bool:
    return adapter.capabilities.resume == "at_least_once"


def _find_memory(attempt: AttemptRecord) -> Path:
    return Path(attempt.transcript).parent / _MEMORY


def _remove(folder: Path) -> None:
    if folder.parent.is_dir():
        remove_tree(folder, inside=folder.parent)
