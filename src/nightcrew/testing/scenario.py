"""What a scripted model says, neutral to any provider's wire format.

A scenario is a list of turns. Each turn is a text, some tool calls by what they *mean* (``shell``, ``write``, ``read``),
or a fault. The same scenario drives every coding agent that speaks one of the formats of ``wires``. As JSON::

    [
        {
            "when": "",
            "turns": [
                {"calls": [{"tool": "write", "path": "hello.txt", "content": "hi\\n"}]},
                {
                    "calls": [{"tool": "shell", "command": "cat hello.txt"}],
                    "fault": {"kind": "status", "status": 529},
                },
                {"text": "Done."},
            ],
        }
    ]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from nightcrew.model.errors import UsageError

#: What an answer says when a scenario has no further turn, or is asked for something beside the work (a title).
NOTHING_LEFT: Final = "Nothing is left to do."
FaultKind = Literal["status", "cut", "hang", "garbage"]
_FAULTS: Final = ("status", "cut", "hang", "garbage")
_TOOLS: Final = ("shell", "write", "read")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer.

    Attributes:
        input: read in all, with those out of a cache. cached: of them, out of a cache.
        output: written in all, with those of reasoning. reasoning: of them, reasoning.
    """

    input: int = 1000
    output: int = 20
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call by meaning.

    Attributes:
        tool: ``shell`` (``command``), ``write`` (``path``, ``content``) or ``read`` (``path``); else the name of a tool
            as the agent itself offers it, with ``arguments``.
    """

    tool: str
    command: str = ""
    path: str = ""
    content: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a turn before it is answered.

    Attributes:
        kind: ``status`` (an error response), ``cut`` (the connection ends inside the answer), ``hang`` (no byte until
            the client or the server goes away) or ``garbage`` (a response that is no JSON).
        status: HTTP status of ``status``. times: how often, before the turn is answered properly.
        retry_after_s: value of the Retry-After header of ``status``; 0 for none.
    """

    kind: FaultKind
    status: int = 529
    times: int = 1
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model: text, calls, or both; ``delay_s`` seconds after it was asked."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    usage: Usage = Usage()
    fault: Fault | None = None
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Turns, one after the other; ``when`` is a text that a request must contain for this scenario to be meant."""

    turns: tuple[Turn, ...]
    when: str = ""

    def turn(self, number: int) -> Turn:
        """Return the turn counted from 0; after the last one, a text that nothing is left."""
        return self.turns[number] if number < len(self.turns) else Turn(NOTHING_LEFT)


def read_scenarios(text: str, source: str) -> tuple[Scenario, ...]:
    """Return the scenarios of a JSON document: a list of scenarios, or one, or only a list of its turns.

    Raises:
        UsageError: it is none; says where.
    """
    try:
        value = json.loads(text)
    except ValueError as problem:
        raise UsageError(f"{source} is no JSON: {problem}", hint="see nightcrew.testing.scenario") from None
    if isinstance(value, dict):
        value = [value]
    if isinstance(value, list) and not any(isinstance(each, dict) and "turns" in each for each in value):
        value = [{"turns": value}]
    try:
        return tuple(_read_scenario(each) for each in value)
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise UsageError(
            f"{source} is no scenario: {problem}", hint="see nightcrew.testing.scenario"
        ) from None


def _read_scenario(plain: Mapping[str, Any]) -> Scenario:
    return Scenario(tuple(_read_turn(turn) for turn in plain["turns"]), str(plain.get("when", "")))


def _read_turn(plain: Mapping[str, Any]) -> Turn:
    fields = dict(plain)
    fields["calls"] = tuple(_read_call(call) for call in plain.get("calls", ()))
    if "usage" in plain:
        fields["usage"] = Usage(**plain["usage"])
    if plain.get("fault"):
        fields["fault"] = Fault(**plain["fault"])
        if fields["fault"].kind not in _FAULTS:
            raise ValueError(f"fault {fields['fault'].kind!r}; known: {', '.join(_FAULTS)}")
    return Turn(**fields)


def _read_call(plain: Mapping[str, Any]) -> Call:
    call = Call(**plain)
    needs = {"shell": call.command, "write": call.path, "read": call.path}
    if call.tool in _TOOLS and not needs[call.tool]:
        raise ValueError(f"a {call.tool} call needs {'command' if call.tool == 'shell' else 'path'}")
    return call


def of_calls(*calls: Call, closing: str = "Done.") -> Sequence[Scenario]:
    """Return one scenario with a turn per call and a closing text."""
    return (Scenario((*(Turn(calls=(call,)) for call in calls), Turn(closing))),)
