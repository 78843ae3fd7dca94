"""The report of an internal error: what a person can attach to a bug, without secrets."""

from __future__ import annotations

import errno
import platform
import sys
import traceback
from pathlib import Path
from typing import Any, TypeVar

from nightcrew import __version__
from nightcrew.runtime.settings.environment import Environment


def write_report(error: BaseException, arguments: list[str], env: Environment) -> Path:
    """Write a redacted report of ``error`` below the state directory and return its path.

    Raises:
        OSError: the state directory cannot be written.
    """
    from nightcrew.host.clock import SystemClock, stamp
    from nightcrew.host.files import ensure_private_directory, write_atomic

    at = stamp(SystemClock().now())
    text = "\n".join(
        [
            f"nightcrew {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"at {at}",
            "command: " + " ".join(arguments),
            "",
            "".join(traceback.format_exception(error)),
        ]
    )
    folder = env.state / "reports"
    ensure_private_directory(env.state)
    ensure_private_directory(folder)
    path = folder / f"{at.replace(':', '').replace('.', '-')}.txt"
    write_atomic(path, hide_secrets(text).encode("utf-8", "backslashreplace"))
    return path


Shown = TypeVar("Shown")


def hide_secrets(value: Shown) -> Shown:
    """Return a text, or plain JSON, as it may be shown: keys that were read, and what looks like a secret, blotted out."""
    from nightcrew.policy.secrets import redact
    from nightcrew.runtime.settings.keys import hide_known_keys

    def hide(each: Any) -> Any:
        if isinstance(each, str):
            return redact(hide_known_keys(each))
        if isinstance(each, dict):
            return {key: hide(held) for key, held in each.items()}
        return [hide(held) for held in each] if isinstance(each, list) else each

    hidden: Shown = hide(value)
    return hidden


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the error, or what caused it, is a full disk."""
    each: BaseException | None = error
    seen = set[int]()
    # An error can be the cause of its own cause: raised again `from` one that it had led to.
    while each is not None and id(each) not in seen:
        if isinstance(each, OSError) and each.errno == errno.ENOSPC:
            return True
        seen.add(id(each))
        each = each.__cause__ or each.__context__
    return "database or disk is full" in str(error)


def running_python() -> str:
    """Return the interpreter we run under."""
    return sys.executable
