"""The second net: hooks of ours inside an agent's own settings, which ask before every tool what was said to that call.

Where the hook cannot ask, it denies, and where it cannot be run the agent is told to take that for a no
(``onFailure: block``; versions that do not know that word take it for a yes, which is why this is never the only net).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nightcrew.agents import hook
from nightcrew.agents.adapter import INSIDE, Job
from nightcrew.model.isolation import Bind

#: Inside: where an attempt's hooks ask. Beside the ports of the gateway.
ADDRESS: Final = "127.0.0.1:8790"
PROGRAM: Final = "hook.py"
SETTINGS: Final = "claude-hooks.json"
_LIMIT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Net:
    """What it adds to a launch."""

    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


def cast_net(job: Job) -> Net:
    """Return the hooks of Claude Code for an attempt; none where nothing can be mounted, or nobody answers them."""
    if not job.mounted or not job.hooks:
        return Net()
    line = shlex.join((job.python, "-I", "-S", f"{INSIDE}/{PROGRAM}", "claude", hook.EVENTS["claude"]))
    command = {"type": "command", "command": line, "timeout": _LIMIT_S, "onFailure": "block"}
    settings = {"hooks": {hook.EVENTS["claude"]: [{"matcher": "*", "hooks": [command]}]}}
    binds = (
        Bind(str(Path(hook.__file__)), f"{INSIDE}/{PROGRAM}"),
        Bind(str(job.private / SETTINGS), f"{INSIDE}/{SETTINGS}"),
    )
    files = {SETTINGS: json.dumps(settings).encode("ascii")}
    return Net(("--settings", f"{INSIDE}/{SETTINGS}"), {hook.ADDRESS: ADDRESS}, binds, files)
