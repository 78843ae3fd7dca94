"""A plan is stored, shown and approved word by word, so no secret may stand in it: what would be redacted is refused."""

from __future__ import annotations

from collections.abc import Iterator

from nightcrew.model.errors import Place, Problem
from nightcrew.model.plans import Task
from nightcrew.policy.secrets import redact
from nightcrew.runtime.rules import Rules

_HINT = "keep it out of the file: let the command read it from a file or a program inside the sandbox"


def find_secrets(task: Task) -> Iterator[Problem]:
    """Yield a problem for each part of a task that looks like a secret.

    The journal redacts before it writes. A command line that was stored redacted would no longer be the one that was
    approved, nor the one that is run.
    """
    accepts = zip(task.accept, task.accept_places, strict=False)
    parts = [
        (task.title, task.place),
        (task.description, task.place),
        (task.prompt, task.place),
        (task.run, task.run_place or task.place),
        *((line, place) for line, place in accepts),
        *((text, task.script_place or task.place) for step in task.steps for text in (step.path, step.text)),
        *((text, task.script_place or task.place) for step in task.steps for text in step.choices),
        (task.persona.text if task.persona else "", task.agent_place or task.place),
    ]
    for text, place in parts:
        shown = _tell(text)
        if shown:
            yield Problem(place, f"task {task.number} holds what looks like a secret: {shown}", _HINT)


def find_secrets_in_rules(rules: Rules) -> Iterator[Problem]:
    """Yield a problem for each file of rules that looks as if it held a secret; they are stored with the plan too."""
    for text in rules.texts:
        for number, line in enumerate(text.text.splitlines(), 1):
            shown = _tell(line)
            if shown:
                yield Problem(Place(text.source, number), f"this looks like a secret: {shown}", _HINT)


def _tell(text: str) -> str:
    """Return the first line that redaction changes, as it would be shown; empty when there is none."""
    redacted = redact(text)
    if redacted == text:
        return ""
    pairs = zip(text.splitlines(), redacted.splitlines(), strict=False)
    return next((new.strip() for old, new in pairs if old != new), "")[:120] or "(several lines)"
