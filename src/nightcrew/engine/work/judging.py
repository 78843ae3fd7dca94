"""What decides on the actions of one attempt: its run's policy, and the files as its agent finds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from nightcrew.model.actions import Action, Decision
from nightcrew.model.errors import NightcrewError
from nightcrew.policy.judge import judge
from nightcrew.policy.lines.project import Project

if TYPE_CHECKING:
    from nightcrew.engine.workspace import Workspace

_MAX_BYTES = 1 << 20


def make_judge(
    workspace: Workspace, find_tree: Callable[[], str], find_root: Callable[[], str]
) -> Callable[[Action], Decision]:
    """Return what says allow, ask or deny.

    Args:
        workspace: policy, shell parser, store.
        find_root: where the agent finds its copy of the repository.
        find_tree: id of the tree whose files count just now; names of scripts are looked up there.
    """

    def decide(action: Action) -> Decision:
        # A project of its own for every action: the agent may have changed its files since the last one.
        project = Project(partial(_read, workspace, find_tree()))
        return judge(workspace.policy, action, parse=workspace.parse_shell, root=find_root(), project=project)

    return decide


def _read(workspace: Workspace, tree: str, path: str) -> str | None:
    try:
        data = workspace.store.read(tree, path)
    except (
        NightcrewError
    ):  # a folder, or a tree that is not kept: the name stands for nothing that can be read
        return None
    return data.decode("utf-8", "replace") if data is not None and len(data) <= _MAX_BYTES else None
