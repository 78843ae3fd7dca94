"""A task as its adapter sees it, and the folder that an agent may remember its own conversation in.

That folder lives as long as the shadow the conversation is about. An agent that is parked or paused goes on in both; one
that was lost goes on from a checkpoint, which its conversation is ahead of, and so begins a new one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from nightcrew.agents.adapter import Adapter, Job, Launch
from nightcrew.agents.adapters import find_adapter, find_setting
from nightcrew.engine.attempts import Start
from nightcrew.engine.workspace import Workspace
from nightcrew.host.files import ensure_private_directory, remove_tree
from nightcrew.model.isolation import Bind, Level
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord

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


def _keeps_memory(adapter: Adapter) -> bool:
    return adapter.capabilities.resume == "at_least_once"


def _find_memory(attempt: AttemptRecord) -> Path:
    return Path(attempt.transcript).parent / _MEMORY


def _remove(folder: Path) -> None:
    if folder.parent.is_dir():
        remove_tree(folder, inside=folder.parent)
