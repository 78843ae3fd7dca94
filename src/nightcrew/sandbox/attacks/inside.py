"""The attacking program: started inside like any agent, tries each attack in a process of its own.

Usage: ``python -I -S -c "...; main()"`` with the facts as JSON on stdin; writes one JSON object per attack.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import sys
from typing import Final

from nightcrew.sandbox.attacks import calls, files, networks, processes, proxied
from nightcrew.sandbox.attacks.trying import BLOCKED, GOT, Attack, Blocked, Facts

ATTACKS: Final[dict[str, Attack]] = {
    **files.ATTACKS,
    **processes.ATTACKS,
    **networks.ATTACKS,
    **calls.ATTACKS,
    **proxied.ATTACKS,
}
_PATIENCE_S: Final = 10


def main() -> None:
    """Try what the facts name and say each result as soon as it is there."""
    facts: Facts = json.load(sys.stdin)
    os.chdir(facts["cwd"])
    for name in facts["attacks"]:
        sys.stdout.write(json.dumps({"attack": name, "result": _try(ATTACKS[name], facts)}) + "\n")
        sys.stdout.flush()


def _try(attack: Attack, facts: Facts) -> str:
    """Run one attack in a child: it may be killed for trying, hang, or leave something behind."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            os.setpgid(0, 0)
            os.write(writing, _say(attack, {**facts, "own_descriptors": [writing]}).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    said = _read_in_time(reading)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said:
        return said
    return f"{BLOCKED}killed by {signal.Signals(-code).name}" if code < 0 else f"{BLOCKED}it said nothing"


def _read_in_time(fd: int) -> str:
    """Return what the child says; a child that says nothing for long is given up, which its caller tells."""
    try:
        if not select.select([fd], [], [], _PATIENCE_S)[0]:
            return f"{GOT}no answer in {_PATIENCE_S} s, which proves nothing"
        return os.read(fd, 4096).decode()
    finally:
        os.close(fd)


def _say(attack: Attack, facts: Facts) -> str:
    try:
        return GOT + attack(facts)
    except Blocked as blocked:
        return f"{BLOCKED}{blocked}"
    except OSError as problem:
        return BLOCKED + errno.errorcode.get(problem.errno or 0, str(problem))
    except Exception as problem:  # noqa: BLE001 - a defect of an attack must not look like a wall
        return f"{GOT}nothing, the attack itself failed: {type(problem).__name__}: {problem}"
