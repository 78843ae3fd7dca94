"""What the command lines of several agents have in common: their program, their model, the folder they remember in."""

from __future__ import annotations

from typing import Final

from nightcrew.agents.adapter import INSIDE, Job, ModelAccess
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind

#: Where the task's memory folder appears inside. Not below /tmp: one agent refuses to work from there.
MEMORY: Final = f"{INSIDE}/memory"


def find_argv(job: Job, name: str) -> tuple[str, ...]:
    """Return the program, with the words that the setting adds to it.

    Raises:
        UsageError: it is not installed.
    """
    words = job.setting.argv or (name,)
    if job.program is not None:
        return (job.program.path, *words[1:])
    if words[0].startswith("/"):
        # Named by its place: it may exist inside only.
        return words
    raise UsageError(
        f"{words[0]} is not installed: task {job.task.number} cannot be done by the agent {job.task.agent}",
        code="agent.missing",
        where=[str(job.task.place)],
        hint="nightcrew agent detect",
    )


def need_model(job: Job, provider: str, variable: str) -> ModelAccess | None:
    """Return the way to a model; None when the setting's own environment names one by ``variable``.

    Raises:
        UsageError: there is none.
    """
    if variable in job.setting.env:
        return None
    if job.model is not None and provider in job.model.base_urls:
        return job.model
    raise UsageError(
        f"the agent {job.task.agent} has no way to a model: no provider called {provider} is configured",
        code="agent.no_model",
        where=[str(job.task.place)],
        hint="name where its key is in your own config.yaml, under providers (docs/formats/config.md)",
    )


def find_model(job: Job, provider: str) -> str:
    """Return the model to use: the task's, else the one of the user's settings; empty for the agent's own choice."""
    return job.task.model or (job.model.models.get(provider, "") if job.model else "")


def show_memory(job: Job) -> tuple[str, tuple[Bind, ...]]:
    """Return where the agent finds its memory folder, empty when it has none, and the bind that shows it."""
    if job.memory is None:
        return "", ()
    outside = str(job.memory)
    if not job.mounted:
        return outside, ()
    return MEMORY, (Bind(outside, MEMORY, writable=True),)
