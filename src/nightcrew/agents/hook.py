"""``nightcrew hook AGENT EVENT``: what an agent's own command hook runs before each of its tools; standard library only.

A second net, never the only one: it knows nothing and decides nothing. It asks the one who governs the attempt, at the
address in ``NIGHTCREW_HOOK``, what was said to this very call, and passes that on in the words of its agent. No address, no
answer in time, an answer that is none, input that is none: denied. Inside a sandbox it runs as a file of its own
(``python -I -S hook.py claude PreToolUse``), outside as a command; it imports next to nothing, because it runs before
every single tool.

The question is one line of JSON, ``{"agent", "event", "call", "tool", "input"}``, and so is the answer:
``{"verdict": "allow" | "deny", "reason"}``.
"""

from __future__ import annotations

import json
import os
import socket
import sys

ADDRESS = "NIGHTCREW_HOOK"
#: How long the governor may take: until the agent has asked over its own protocol too. The agents' own limits are longer.
ANSWER_S = 30.0
#: Agents, and the event before a tool in each; what other events tell is nothing that is decided on.
EVENTS = {"claude": "PreToolUse", "codex": "PreToolUse", "gemini": "BeforeTool"}
_LARGEST = 64 << 20
_ALLOWED, _DENIED = 0, 2


def main(agent: str, event: str) -> int:
    """Read what the agent tells on stdin, ask, and say the answer in the agent's words; 0 allows, 2 denies."""
    verdict, reason = decide(agent, event, sys.stdin.buffer.read(_LARGEST))
    if verdict == "allow":
        sys.stdout.write(json.dumps(describe_allowed(agent, event)) + "\n")
        return _ALLOWED
    # Exit code 2 and the reason on stderr: the one answer that all three read as a denial.
    sys.stderr.write(f"nightcrew: {reason}\n")
    return _DENIED


def decide(agent: str, event: str, data: bytes) -> tuple[str, str]:
    """Return verdict and reason for what an agent's hook is told."""
    if agent not in EVENTS:
        return "deny", f"there is no hook for the agent {agent}; known: {', '.join(sorted(EVENTS))}"
    if event != EVENTS[agent]:
        return (
            "deny",
            f"nobody decides on {event or 'nothing'}: of {agent} it is {EVENTS[agent]} that is asked about",
        )
    try:
        told = json.loads(data)
        call, tool, given = told.get("tool_use_id", ""), told["tool_name"], told.get("tool_input", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "deny", "what the hook was told is no call of a tool"
    address = os.environ.get(ADDRESS, "")  # noqa: TID251 - a program of its own, inside a sandbox
    if not address:
        return "deny", "this is no task of nightcrew, so nobody can be asked"
    question = {"agent": agent, "event": event, "call": call, "tool": tool, "input": given}
    try:
        return read_answer(ask(address, json.dumps(question).encode("ascii") + b"\n"))
    except (OSError, ValueError) as problem:
        return "deny", f"no answer: {problem}"


def ask(address: str, question: bytes) -> bytes:
    """Send one line and return the line that comes back.

    Raises:
        OSError: nobody is there, or says nothing in time. ValueError: the address is none.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_S) as connection:
        connection.sendall(question)
        answer = b""
        while not answer.endswith(b"\n"):
            piece = connection.recv(65536)
            if not piece or len(answer) > _LARGEST:
                raise OSError("the connection ended before it")
            answer += piece
        return answer


def read_answer(line: bytes) -> tuple[str, str]:
    """Return verdict and reason of an answer; anything but a plain yes is a no."""
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise ValueError("it was not understood")
    reason = answer.get("reason")
    return (
        "allow" if answer.get("verdict") == "allow" else "deny",
        reason if isinstance(reason, str) and reason else "denied by policy",
    )


def describe_allowed(agent: str, event: str) -> object:
    """Return what an agent reads as: no objection from here. It asks over its own protocol all the same."""
    if agent == "gemini":
        return {"decision": "allow"}
    return {} if agent == "codex" else {"continue": True, "suppressOutput": True}


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:3] if len(sys.argv) == 3 else ("", ""))))
