"""Proving a result: each ``Accept:`` command run by us, confined, in a fresh copy of exactly the tree that would land."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from nightcrew.agents.adapter import Launch
from nightcrew.agents.transcript import Transcript
from nightcrew.engine.work.confined import Watched, limit_acceptance, make_spec
from nightcrew.engine.workspace import Workspace
from nightcrew.model.actions import Evidence
from nightcrew.model.isolation import Level, Outcome
from nightcrew.model.records import RunRecord

if TYPE_CHECKING:
    from nightcrew.sandbox.launcher import Launcher
    from nightcrew.shadow.shadows import Shadow


#: Prepares a copy for a command, as the task's ``Install:`` says; returns what went wrong in words, or nothing.
Install = Callable[["Shadow", threading.Event, Mapping[str, str]], str]


class Acceptance:
    """Runs the acceptance commands of one attempt."""

    def __init__(
        self,
        launcher: Launcher,
        workspace: Workspace,
        run: RunRecord,
        transcript: Transcript,
        level: Level,
        install: Install | None = None,
    ) -> None:
        self._install = install
        self._launcher = launcher
        self._workspace = workspace
        self._run = run
        self._transcript = transcript
        self._level = level

    def run(
        self, name: str, tree: str, commands: Sequence[str], stop: threading.Event, env: Mapping[str, str]
    ) -> tuple[Evidence, ...]:
        """Run every command, each in a copy of its own, so that none can prepare the ground for the next.

        Args:
            name: of the attempt; the copies are called after it.
            tree: what is proved.
            commands: as written in the plan.
            stop: ends the command that runs, and no further one is started.
            env: variables beside the workspace's own.
        """
        evidence: list[Evidence] = []
        for number, command in enumerate(commands, 1):
            if stop.is_set():
                break
            evidence.append(self._run_one(f"{name}-accept-{number}", tree, command, stop, env))
        return tuple(evidence)

    def _run_one(
        self, name: str, tree: str, command: str, stop: threading.Event, env: Mapping[str, str]
    ) -> Evidence:
        workspace = self._workspace
        self._transcript.note("acceptance", f"$ {command}")
        base = workspace.shadows.export(self._run.base_commit)
        self._remove_leftover(name)
        shadow = workspace.shadows.open(name, base, workspace.store.delta(base.tree, tree), tree=tree)
        try:
            spec = make_spec(
                workspace,
                shadow,
                Launch(argv=("bash", "-c", command)),
                level=self._level,
                limits=limit_acceptance(workspace.settings.limits),
                env=env,
            )
            watched = Watched(None, self._transcript, prefix="acceptance-")
            problem = self._install(shadow, stop, env) if self._install is not None else ""
            if problem:
                return _fail(command, f"install failed: {problem}", tree, self._level)
            outcome = self._launcher.run(spec, watched, cancel=stop)
            watched.raise_problem()
        finally:
            workspace.shadows.discard(shadow)
        return Evidence(
            command=command,
            passed=outcome.ending == "exited" and outcome.exit_code == 0,
            exit_code=outcome.exit_code,
            duration_s=round(outcome.duration_s, 3),
            tail=workspace.redact(watched.tail),
            tree=tree,
            isolation=self._level.value,
            reason=_explain(outcome),
        )

    def _remove_leftover(self, name: str) -> None:
        """Remove the copy that a host left when it died in the middle of this very command."""
        left = self._workspace.shadows.reopen(name)
        if left is not None:
            self._workspace.shadows.discard(left)


def is_proved(commands: Sequence[str], evidence: Sequence[Evidence]) -> bool:
    """Tell whether every command was run and has passed."""
    return len(evidence) == len(commands) and all(each.passed for each in evidence)


def _fail(command: str, reason: str, tree: str, level: Level) -> Evidence:
    return Evidence(command, False, None, 0.0, "", tree, level.value, reason)


def describe_failure(evidence: Sequence[Evidence]) -> str:
    """Return which acceptance commands did not pass, and why."""
    failed = [f"`{each.command}`: {each.reason}" for each in evidence if not each.passed]
    return f"acceptance failed: {'; '.join(failed)}"


def _explain(outcome: Outcome) -> str:
    if outcome.ending == "exited":
        return "" if outcome.exit_code == 0 else f"exit code {outcome.exit_code}"
    return outcome.detail or outcome.ending.replace("_", " ")
