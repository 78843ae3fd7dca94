"""Everything that is found in a task's change when its agent is done, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, Any

from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.work.place import AttemptFailed
from nightcrew.model import canonical
from nightcrew.model.actions import Finding, Verdict
from nightcrew.policy.anomalies import find_anomalies
from nightcrew.policy.contents import inspect_contents
from nightcrew.policy.inspect import Known, inspect
from nightcrew.policy.scanning.change import scan_change
from nightcrew.policy.suspicion import suspect_change

if TYPE_CHECKING:
    from nightcrew.engine.work.canaries import Canaries
    from nightcrew.engine.workspace import Workspace
    from nightcrew.model.plans import Task
    from nightcrew.model.records import CheckpointRecord


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
        *inspect_contents(workspace.policy, change, store.read_blob),
        *find_anomalies(workspace.policy, change, scope=task.scope, expected=task.files),
        *scan_change(workspace.policy, change, store.read_blob, today=today),
        *suspect_change(workspace.policy, change, store.read_blob),
    )


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
