"""A task's real change beside what its agent was allowed to do: what no allowed action explains is asked about.

It says something only of agents that ask for every action, and only as long as none of these was a command line: what a
command changes nobody knows beforehand. So it finds an agent that writes without asking, or elsewhere than it asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.actions import Change, Finding, Verdict
from nightcrew.model.records import TaskRecord

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Adapter
    from nightcrew.engine.workspace import Workspace
    from nightcrew.journal.journal import Journal
    from nightcrew.model.records import CheckpointRecord

RULE: Final = "agent.unexplained"
#: Actions that name the paths they change; any other one may change anything.
_NAMED: Final = frozenset({"write", "delete", "chmod", "symlink"})
_HARMLESS: Final = frozenset({"read", "net", "change"})
#: So many are named one by one.
_SHOWN: Final = 20


def find_unexplained(
    journal: Journal, workspace: Workspace, adapter: Adapter, checkpoint: CheckpointRecord
) -> tuple[Finding, ...]:
    """Return a finding for each changed path that no action of the task explains."""
    if adapter.capabilities.approvals != "all":
        return ()
    with journal.read() as tx:
        if tx.need(TaskRecord, checkpoint.task).forked_from:
            # What it began with was done by another task.
            return ()
        events = tx.events(task=checkpoint.task, kinds=("policy.decided",))
        allowed = [event.data for event in events if _is_allowed(event.data)]
    if any(each["kind"] not in _NAMED | _HARMLESS for each in allowed if each["purpose"] == "step"):
        return ()
    named = {path for each in allowed if each["kind"] in _NAMED for path in each.get("paths", ())}
    change = workspace.store.compare(checkpoint.base_tree, checkpoint.tree, refused=checkpoint.refused)
    return compare_paths(change, named)


def compare_paths(change: Change, named: Iterable[str]) -> tuple[Finding, ...]:
    """Return a finding for each changed path that is neither named nor below a named folder."""
    known = frozenset(named)
    odd = [each.path for each in change.paths if not _is_named(each.path, known)]
    shown = [_describe(path) for path in odd[:_SHOWN]]
    if len(odd) > _SHOWN:
        shown.append(
            _describe(odd[_SHOWN], f" ({len(odd) - _SHOWN} such paths in all beside the ones above)")
        )
    return tuple(shown)


def _is_named(path: str, known: frozenset[str]) -> bool:
    parts = path.split("/")
    return any("/".join(parts[:end]) in known for end in range(1, len(parts) + 1))


def _describe(path: str, more: str = "") -> Finding:
    said = f"{path} changed, and nothing that the agent asked for explains it{more}"
    return Finding("unexplained", Verdict.ASK, RULE, "built in", said, path)


def _is_allowed(data: Mapping[str, Any]) -> bool:
    return data.get("verdict") == "allow" or bool(data.get("approval"))
