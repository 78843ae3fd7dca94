"""``nightcrew`` for a test that only looks: run in a fork of a process that has loaded the program already.

A test looks at a run again and again, and of what a look costs nine tenths are the loading of Python modules. Here they are
loaded once; every look is still a process of its own, with its own arguments, environment and directory, and runs the installed
script. What changes something is never run like this: that is always the installed program itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from nightcrew.host.procs import Completed, Conversation

_GRACE_S: Final = 10.0
"""What the process that forks may need beyond the deadline of the look itself."""


@cache
def start_looker() -> Conversation:
    """Return the process that forks, of this interpreter; it ends with us."""
    path = os.environ.get("PATH", "")  # noqa: TID251 - a test kit; what a look sees is given with it
    looker = Conversation([sys.executable, "-m", __name__], env={"PATH": path, "LC_ALL": "C.UTF-8"}, cwd="/")
    atexit.register(looker.end)
    return looker


def look(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, timeout_s: float) -> Completed:
    """Run ``nightcrew`` with these words (the first is the installed script) and return how it went.

    Raises:
        NightcrewError: the process that forks has ended.
    """
    asked = {"argv": list(argv), "env": dict(env), "cwd": str(cwd), "timeout_s": timeout_s}
    with start_looker() as looker:
        looker.send(json.dumps(asked).encode() + b"\n")
        told = json.loads(looker.receive_line(timeout_s=timeout_s + _GRACE_S))
    out, err = (told[name].encode("utf-8", "surrogateescape") for name in ("stdout", "stderr"))
    return Completed(tuple(argv), told["code"], out, err, told["timed_out"])


def serve() -> None:
    """Answer on stdout what is asked on stdin, one line each, until nobody asks any more."""
    for line in sys.stdin.buffer:
        told, used = _answer(json.loads(line))
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        for name in used:
            with suppress(ImportError):
                importlib.import_module(name)
        gc.collect()
        gc.freeze()


def _answer(asked: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fork one look; return what it told, and the modules that it had to load itself."""
    out, err, used = (os.memfd_create(name) for name in ("stdout", "stderr", "used"))
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _run(asked, out, err, used)
        finally:
            os._exit(code)
    late = not _has_ended(pid, asked["timeout_s"])
    if late:
        os.kill(pid, signal.SIGKILL)  # noqa: TID251 - our own child, not waited for yet
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    texts = [_read(file) for file in (out, err, used)]
    told = {"code": code, "stdout": texts[0], "stderr": texts[1], "timed_out": late}
    return told, texts[2].split()


def _has_ended(pid: int, timeout_s: float) -> bool:
    ending = os.pidfd_open(pid)
    try:
        return bool(select.select([ending], [], [], timeout_s)[0])
    finally:
        os.close(ending)


def _run(asked: Mapping[str, Any], out: int, err: int, used: int) -> int:
    os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()  # noqa: TID251 - what the look shall see, instead of ours
    os.environ.update(asked["env"])  # noqa: TID251
    time.tzset()
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
        os.dup2(file, number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
    sys.argv = list(asked["argv"])
    known = set(sys.modules)
    code = 0
    try:
        runpy.run_path(asked["argv"][0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(used, " ".join(name for name in sys.modules if name not in known).encode())
    return code


def _read(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb") as stream:
        return stream.read().decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    serve()
