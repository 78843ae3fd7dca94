"""What a meaning (run this, write that) is called by the tools that an agent offers to its model.

The tools are recognised by their names in the request; an agent with other tools needs a row here.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.testing.scenario import Call


@dataclass(frozen=True, slots=True)
class Made:
    """A call as an agent's own tool takes it; a ``freeform`` tool takes a text where the format has such tools."""

    name: str
    arguments: Mapping[str, Any]
    freeform: str = ""


def _patch(call: Call) -> str:
    lines = "".join(f"+{line}\n" for line in call.content.splitlines())
    return f"*** Begin Patch\n*** Add File: {call.path}\n{lines}*** End Patch\n"


Row = tuple[str, Callable[[Call], Mapping[str, Any] | str]]

#: In order of preference; the first tool that the agent offers is taken.
SHELL: Final[tuple[Row, ...]] = (
    ("Bash", lambda c: {"command": c.command, "description": "run it"}),
    ("run_shell_command", lambda c: {"command": c.command, "description": "run it"}),
    ("bash", lambda c: {"command": c.command, "description": "run it"}),
    ("exec_command", lambda c: {"cmd": c.command}),
    ("shell_command", lambda c: {"command": c.command}),
    ("shell", lambda c: {"command": ["bash", "-lc", c.command]}),
)
WRITE: Final[tuple[Row, ...]] = (
    ("Write", lambda c: {"file_path": c.path, "content": c.content}),
    ("write_file", lambda c: {"file_path": c.path, "content": c.content}),
    ("write", lambda c: {"filePath": c.path, "content": c.content}),
    ("apply_patch", _patch),
)
READ: Final[tuple[Row, ...]] = (
    ("Read", lambda c: {"file_path": c.path}),
    ("read_file", lambda c: {"file_path": c.path}),
    ("read", lambda c: {"filePath": c.path}),
)
_ROWS: Final = {"shell": SHELL, "write": WRITE, "read": READ}


def make_call(call: Call, offered: frozenset[str]) -> Made:
    """Return the call in the words of an agent that offers these tools; without a fitting one, through its shell."""
    if call.tool not in _ROWS:
        return Made(call.tool, call.arguments)
    for name, fill in _ROWS[call.tool]:
        if name in offered:
            filled = fill(call)
            return (
                Made(name, {"patchText": filled}, filled) if isinstance(filled, str) else Made(name, filled)
            )
    if call.tool == "shell":
        return Made("shell", {"command": call.command})
    return make_call(Call("shell", command=_as_line(call)), offered)


def _as_line(call: Call) -> str:
    if call.tool == "read":
        return f"cat {shlex.quote(call.path)}"
    return f"printf %s {shlex.quote(call.content)} > {shlex.quote(call.path)}"


#: Stands in the instructions of a client that has no tools and takes changes as text.
_TAKES_EDITS: Final = "SEARCH/REPLACE"


def takes_edits(asked: str) -> bool:
    """Tell whether a request comes from a client that takes changes as text, in blocks that name what they replace."""
    return _TAKES_EDITS in asked


def write_edits(calls: Iterable[Call]) -> str:
    """Return all new files of some calls as one text for such a client; it runs nothing, so other calls are left out."""
    blocks = [
        f"{call.path}\n```text\n<<<<<<< SEARCH\n=======\n{call.content.rstrip(chr(10))}\n>>>>>>> REPLACE\n```\n"
        for call in calls
        if call.tool == "write"
    ]
    return "\n".join(blocks)
