"""Publishes in a child that is killed at a named point: forked, so that it costs no new interpreter."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from nightcrew.host import crash


def die_at(point: str, work: Callable[[], object], hits: int = 1) -> bool:
    """Do some work in a child that dies at a crash point; tell whether it got there (otherwise it came to its end)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            crash.arm(point, hits)
            work()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise AssertionError("the child failed; see its traceback")
    return os.WIFSIGNALED(status)
