"""Everything that is found in a task's change when its agent is done, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.work import certainty
from nightcrew.engine.work.place import AttemptFailed
from nightcrew.engine.work.reconciling import find_unexplained
from nightcrew.model import canonical
from nightcrew.model.actions import Finding, Verdict
from nightcrew.policy.anomalies import find_anomalies
from nightcrew.policy.contents import inspect_contents
from nightcrew.policy.contract import find_unplanned
from nightcrew.policy.inspect import Known, inspect, name_empty
from nightcrew.policy.scanning.change import scan_change
from nightcrew.policy.suspicion import suspect_change

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Adapter, Answer
    from nightcrew.engine.course.starts import Start
    from nightcrew.engine.work.canaries import Canaries
    from nightcrew.engine.work.questions import Questions
    from nightcrew.engine.work.tools import Tools
    from nightcrew.engine.workspace import Workspace
    from nightcrew.model.plans import Task
    from nightcrew.model.records import AttemptRecord, CheckpointRecord


def find_in_result(
    workspace: Workspace,
    task: Task,
    checkpoint: CheckpointRecord,
    known: dict[Known, tuple[Finding, ...]],
    canaries: Canaries,
    today: date,
) -> tuple[Finding, ...]:
    """Return what policy, the search for secrets and that for canaries find in what a checkpoint holds.

    Args:
        known: what policy found at single paths before.
        today: allowances hold until the end of their day.
    """
    store = workspace.store
    change = store.compare(checkpoint.base_tree, checkpoint.tree, refused=checkpoint.refused)
    return (
        *canaries.find_in_change(change, store.read_blob),
        *inspect(workspace.policy, change, scope=task.scope, known=known),
        *name_empty(checkpoint.empty),
        *find_unplanned(
            workspace.policy,
            change,
            {"Creates": task.creates, "Modifies": task.modifies, "Deletes": task.deletes},
        ),
        *inspect_contents(workspace.policy, change, store.read_blob),
        *find_anomalies(workspace.policy, change, scope=task.scope, expected=task.files),
        *scan_change(workspace.policy, change, store.read_blob, today=today),
        *suspect_change(workspace.policy, change, store.read_blob),
    )


class Inspected(Protocol):
    """An attempt, as far as its result is looked at."""

    workspace: Workspace
    tools: Tools
    task: Task
    known: dict[Known, tuple[Finding, ...]]
    canaries: Canaries
    questions: Questions

    @property
    def record(self) -> AttemptRecord:
        """As last written."""

    @property
    def adapter(self) -> Adapter:
        """Of its agent."""

    def resume_judging(self, checkpoint: str) -> Start:
        """Return the start of an attempt that only has to judge what this one's agent made."""

    def obey(self, answer: Answer, resume: Start, checkpoint: str) -> None:
        """Go on after an answer, or not."""


def inspect_result(one: Inspected, checkpoint: CheckpointRecord) -> tuple[Finding, ...]:
    """Return what policy finds in the change of an attempt, once nothing of it stands in the way.

    Raises:
        AttemptFailed: a finding denies the change; names rules and paths.
        Parked: a human must decide on the change.
    """
    workspace, journal = one.workspace, one.tools.journal
    today = one.tools.clock.now().date()
    findings = find_in_result(workspace, one.task, checkpoint, one.known, one.canaries, today)
    findings += find_unexplained(journal, workspace, one.adapter, checkpoint)
    findings += certainty.doubt(journal, workspace.policy, one.record)
    refuse_denied(findings)
    asked = [finding for finding in findings if finding.verdict is Verdict.ASK]
    if asked:
        resume = one.resume_judging(checkpoint.id)
        odd = [finding for finding in findings if finding.check == "anomaly"]
        one.obey(one.questions.ask_change(checkpoint.tree, asked, odd), resume, checkpoint.id)
    return findings


def refuse_denied(findings: Iterable[Finding]) -> None:
    """Do nothing when policy denies nothing of a change.

    Raises:
        AttemptFailed: it does; names rules and paths.
    """
    shown: tuple[Any, ...] = tuple(canonical.to_plain(finding) for finding in findings)
    denied = [finding for finding in findings if finding.verdict is Verdict.DENY]
    if denied:
        said = "; ".join(f"{f.message} (rule {f.rule}, {f.source})" for f in denied)
        raise AttemptFailed(Failure("denied", f"denied by policy: {said}", task_changes={"findings": shown}))
