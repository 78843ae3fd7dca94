"""Proof of what lands: acceptance is run again on the combined tree, when no task was proven on exactly that tree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nightcrew.model.actions import Evidence
from nightcrew.model.errors import StaleError
from nightcrew.model.isolation import Level
from nightcrew.model.plans import Plan
from nightcrew.model.records import RunRecord, TaskRecord

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Proof:
    """What was run on the tree that lands.

    Attributes:
        tree: that tree.
        results: task id and evidence of each command, in the order run.
        before: task id and command of what had passed on exactly this tree already and was not run again.
    """

    tree: str
    results: tuple[tuple[str, Evidence], ...] = ()
    before: tuple[tuple[str, str], ...] = ()

    def to_plain(self) -> list[dict[str, Any]]:
        """Return the results for events and JSON."""
        return [
            {"task": task, "command": each.command, "passed": each.passed, "exit_code": each.exit_code}
            for task, each in self.results
        ]


def prove(
    parts: Parts,
    run: RunRecord,
    plan: Plan,
    tasks: Sequence[TaskRecord],
    *,
    tree: str,
    name: str,
    say: Callable[[str], None],
) -> Proof:
    """Run the acceptance commands of the tasks on the tree that would land, each confined in a fresh copy of it.

    A task is proven on its own tree. Combined with other tasks, or merged with what came to the branch since, the tree
    is another one, and what held before may not hold on it. Commands that passed on exactly this tree are not repeated.

    Args:
        tasks: those that are promoted.
        tree: what would land.
        name: promotion id; the copies are called after it.
        say: told of each command before it runs.

    Raises:
        StaleError: a command does not pass on it; nothing was changed.
    """
    due = [(task, line) for task in tasks for line in _due(task, plan.task(task.name).accept, tree)]
    before = tuple(
        (task.id, line) for task in tasks for line in plan.task(task.name).accept if (task, line) not in due
    )
    if not due:
        return Proof(tree, (), before)
    results = tuple(_run_all(parts, run, plan, due, tree=tree, name=name, say=say))
    failed = [(task, each) for task, each in results if not each.passed]
    if failed:
        raise StaleError(
            f"the accepted results of {run.id} do not hold together on the tree that would land; nothing was changed",
            code="promote.unproven",
            where=[f"{task}: acceptance `{each.command}`: {each.reason}" for task, each in failed],
            hint=_advise(run, plan, tasks),
        )
    return Proof(tree, results, before)


def _advise(run: RunRecord, plan: Plan, tasks: Sequence[TaskRecord]) -> str:
    if plan.head_commit:
        return (
            "the tasks worked on top of your uncommitted changes, which are not part of what would land: commit those "
            f"first (git commit -a), then: nightcrew promote {run.id}   or, knowingly: --unproven"
        )
    return (
        f"promote fewer tasks at once: nightcrew promote {run.id} {tasks[0].name}   or, knowingly: --unproven"
    )


def _due(task: TaskRecord, commands: Sequence[str], tree: str) -> list[str]:
    proven = {each["command"] for each in task.evidence if each["passed"] and each["tree"] == tree}
    return [line for line in commands if line not in proven]


def _run_all(
    parts: Parts,
    run: RunRecord,
    plan: Plan,
    due: Sequence[tuple[TaskRecord, str]],
    *,
    tree: str,
    name: str,
    say: Callable[[str], None],
) -> list[tuple[str, Evidence]]:
    from nightcrew.agents.transcript import Transcript
    from nightcrew.engine.work.acceptance import Acceptance
    from nightcrew.engine.work.installing import Installer
    from nightcrew.engine.work.network import Networks
    from nightcrew.runtime.opening import open_workspace

    launcher = parts.launcher
    workspace = open_workspace(parts, run)
    began_s = parts.clock.monotonic()
    transcript = Transcript(
        workspace.transcripts / run.id / f"{name}.jsonl",
        redact=workspace.redact,
        elapsed_s=lambda: parts.clock.monotonic() - began_s,
    )
    level = Level(run.isolation or Level.S3)
    networks = Networks(parts.journal)
    results = []
    try:
        for number, (task, line) in enumerate(due, 1):
            say(f"{task.id}: {line}")
            spec = plan.task(task.name)
            reach = partial(networks.open_alone, workspace, spec, "install", level, run.id)
            installer = Installer(launcher, workspace, transcript, level, spec.install, reach)
            acceptance = Acceptance(launcher, workspace, run, transcript, level, installer.install)
            done = acceptance.run(
                f"{name}-{number}", tree, [line], threading.Event(), {"NIGHTCREW_RUN": run.id}
            )
            results += [(task.id, each) for each in done]
    finally:
        networks.close()
        transcript.close()
    return results
