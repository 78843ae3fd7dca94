"""The door to a real bash parser: the ``shfmt`` program that our dependency brings along."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from nightcrew.host import procs
from nightcrew.model.errors import NotFound, ShellSyntaxError

__all__ = ["ShellSyntaxError", "find_shfmt", "parse"]

_PLACE = re.compile(r"^(?:<standard input>:|[^:\n]*?:)?(\d+):(\d+): (.*)", re.DOTALL)
_DEADLINE_S = 10.0
"""A command line that takes longer to parse was made to; an honest one of 100 KB takes a tenth of a second."""


@lru_cache(maxsize=2048)
def parse(text: str) -> Mapping[str, Any]:
    """Return the syntax tree of bash source as shfmt writes it (``--to-json``).

    The result is shared between callers of the same text: read it, never change it.

    Raises:
        ShellSyntaxError: bash would not accept it; with line and column, counted from 1.
        NotFound: shfmt is not installed.
    """
    if "\0" in text:
        raise ShellSyntaxError("a command line cannot hold a NUL character", 1, text.index("\0") + 1)
    done = procs.run(
        [find_shfmt(), "--language-dialect", "bash", "--to-json"],
        env={},
        input=os.fsencode(text),
        timeout_s=_DEADLINE_S,
    )
    if done.timed_out or done.truncated:
        raise ShellSyntaxError("too long to be understood", 1, 1)
    if done.code != 0:
        raise _syntax_error(done.stderr.decode("utf-8", "replace").strip())
    return cast("Mapping[str, Any]", json.loads(done.stdout.decode("utf-8", "surrogateescape")))


def _syntax_error(said: str) -> ShellSyntaxError:
    found = _PLACE.match(said)
    if found is None:
        return ShellSyntaxError(said or "not understood", 1, 1)
    return ShellSyntaxError(found.group(3).strip(), int(found.group(1)), int(found.group(2)))


@lru_cache(maxsize=1)
def find_shfmt() -> str:
    """Return the path of shfmt: beside the interpreter, in the scripts folder of its wheel, or on the PATH.

    Raises:
        NotFound: it is in none of these places.
    """
    places = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts")), *_wheel_scripts()]
    for place in places:
        if os.access(place / "shfmt", os.X_OK):
            return str(place / "shfmt")
    found = shutil.which("shfmt")
    if found is None:
        raise NotFound(
            "the shell parser shfmt is not installed",
            code="shfmt.missing",
            where=[f"looked in {place}" for place in places],
            hint="install nightcrew with its dependencies: pip install nightcrew",
        )
    return found


def _wheel_scripts() -> list[Path]:
    """Return where the wheel says that it put its program (``pip install --target`` and the like)."""
    from importlib import metadata

    try:
        files = metadata.files("shfmt-py") or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).parent for file in files if file.name == "shfmt"]
