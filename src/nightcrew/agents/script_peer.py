"""The inside half of the ``script`` agent: one file, standard library only, run as ``python -I -S script_peer.py``.

It speaks JSON lines. In, first: ``{"steps": [...], "first": 3}``. Then before each step it says ``{"ask": 3}`` and waits
for ``{"allow": 3}`` (with ``"answer"`` to a question) or ``{"deny": 3, "reason": "..."}``; after it, ``{"done": 3, "ok": true, "text": ""}``; and at the
very end ``{"end": "finished"}``, or ``{"end": "failed" | "denied", "reason": "..."}``. No answer, no action: when the
other side is gone, reading gives end of file and this program leaves at once.

What steps print goes to stderr, so that stdout holds nothing but the protocol.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from typing import Any, NoReturn


class StepFailed(Exception):
    """A step could not be done; the text says why."""


def say(message: dict[str, Any]) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> dict[str, Any]:
    """Return the next line; leave at once when nobody is there any more."""
    line = sys.stdin.readline()
    if not line:
        os._exit(3)
    answer: dict[str, Any] = json.loads(line)
    return answer


def encode(text: str) -> bytes:
    """Return the bytes of a step's text; lone surrogates stand for bytes that are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def make_room(path: str) -> None:
    """Create the folders above ``path``."""
    above = os.path.dirname(path)  # noqa: PTH120 - bytes-safe, and pathlib costs start-up time here
    if above:
        os.makedirs(above, exist_ok=True)  # noqa: PTH103


def write(path: str, text: str) -> None:
    """Replace a file; a symbolic link in its place is replaced, not followed."""
    make_room(path)
    if os.path.islink(path):  # noqa: PTH114
        os.unlink(path)  # noqa: PTH108
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(encode(text))


def append(path: str, text: str) -> None:
    """Add to a file, making it when it is not there."""
    make_room(path)
    with open(path, "ab") as file:  # noqa: PTH123
        file.write(encode(text))


def delete(path: str, _text: str) -> None:
    """Remove a file, a link or a whole folder."""
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        shutil.rmtree(path)  # noqa: TID251 - inside the sandbox, in a private copy
    else:
        os.unlink(path)  # noqa: PTH108


def chmod(path: str, text: str) -> None:
    """Set the mode, given in octal."""
    os.chmod(path, int(text, 8))  # noqa: PTH101


def symlink(path: str, text: str) -> None:
    """Make a symbolic link to ``text``, replacing what was there."""
    make_room(path)
    if os.path.lexists(path):
        os.unlink(path)  # noqa: PTH108
    os.symlink(text, path)  # noqa: PTH211


def run(_path: str, text: str) -> None:
    """Run a command line; anything but exit code 0 fails the step."""
    # stdin is empty, stdout joins stderr: the protocol's own streams are not for steps.
    streams = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
    environment = os.environ  # noqa: TID251 - the sandbox's own, made by us
    child = os.posix_spawnp("bash", ["bash", "-c", text], environment, file_actions=streams)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 0:
        raise StepFailed(f"`{text}` ended with exit code {code if code >= 0 else 128 - code}")


def tell(_path: str, text: str) -> None:
    """Say something; it lands in the transcript."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def question(path: str, answer: str) -> None:
    """Take the answer to a question; it goes into a file where the step names one."""
    if path:
        write(path, answer + "\n")
    tell(path, f"the answer: {answer}")


def sleep(_path: str, text: str) -> None:
    """Wait for a number of seconds."""
    time.sleep(float(text))


def leave(_path: str, text: str) -> NoReturn:
    """End now with this exit code; without a terminal event, unless it is 0."""
    code = int(text or "0")
    if code == 0:
        say({"end": "finished"})
    os._exit(code)


DO = {
    "write": write,
    "append": append,
    "delete": delete,
    "chmod": chmod,
    "symlink": symlink,
    "run": run,
    "question": question,
    "say": tell,
    "sleep": sleep,
    "exit": leave,
}


def take(number: int, step: dict[str, Any]) -> None:
    """Ask for one step and do it."""
    say({"ask": number})
    answer = hear()
    if answer.get("deny") == number:
        if step.get("on_denied", "stop") == "stop":
            finish("denied", str(answer.get("reason", "")))
        say({"done": number, "ok": False, "text": "denied"})
        return
    if answer.get("allow") != number:
        finish("failed", f"step {number + 1}: the answer was not understood")
    try:
        given = answer.get("answer", step.get("text", ""))
        DO[step["do"]](step.get("path", ""), given)
    except (StepFailed, OSError, ValueError) as problem:
        finish("failed", f"step {number + 1}: {problem}")
    say({"done": number, "ok": True, "text": ""})


def finish(how: str, reason: str) -> NoReturn:
    """Send the terminal event and leave."""
    say({"end": how, "reason": reason})
    sys.exit(0 if how == "finished" else 1)


def main() -> NoReturn:
    """Do the steps, one after the other."""
    order = hear()
    steps = order["steps"]
    for number in range(order["first"], len(steps)):
        take(number, steps[number])
    finish("finished", "")


if __name__ == "__main__":
    main()
