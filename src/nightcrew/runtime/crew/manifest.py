"""What was found out about agents, kept for a day: versions of programs, front matter of Markdown files.

Each entry holds for exactly the file it was read from (place, time of change, size); the manifest is a cache and nothing
depends on it. A text that goes into a prompt is never taken from it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from nightcrew.agents.markdown import MarkdownAgent
from nightcrew.host.clock import Clock, parse_stamp, stamp
from nightcrew.host.files import ensure_private_directory, write_atomic
from nightcrew.model import canonical

FORMAT: Final = 2
#: Older entries are made anew: a program may say another version without having changed itself.
KEEP: Final = timedelta(hours=24)
_NAME: Final = "agents.json"
_MAX_BYTES: Final = 8 << 20


class Manifest:
    """The cache, in the state directory.

    Args:
        state: our state directory. clock: the only clock.
        refresh: begin with an empty one.

    Attributes:
        at: when it was begun.
    """

    def __init__(self, state: Path, clock: Clock, *, refresh: bool = False) -> None:
        self._path = state / _NAME
        self._clock = clock
        self._changed = False
        body = {} if refresh else self._read()
        if not body:
            body = {"format": FORMAT, "at": stamp(clock.now()), "programs": {}, "files": {}}
        self.at = str(body["at"])
        self._programs: dict[str, Any] = dict(body["programs"])
        self._files: dict[str, Any] = dict(body["files"])

    def version(self, path: str, probe: Callable[[str], str]) -> str:
        """Return what a program says its version is; it is asked when nobody knows."""
        key = _identify(path)
        known = self._programs.get(path)
        if key and known and known["file"] == key:
            return str(known["version"])
        found = probe(path)
        if key:
            self._programs[path] = {"file": key, "version": found}
            self._changed = True
        return found

    def agent(self, path: Path, found: os.stat_result, read: Callable[[], MarkdownAgent]) -> MarkdownAgent:
        """Return what a Markdown file says, without its text; it is read when nobody knows."""
        key = _describe(found)
        known = self._files.get(str(path))
        if known and known["file"] == key:
            return _restore(known["agent"])
        agent = replace(read(), text="")
        self._files[str(path)] = {"file": key, "agent": canonical.to_plain(agent)}
        self._changed = True
        return agent

    def keep(self) -> None:
        """Write it down, if anything was learnt; a cache that cannot be written costs only time."""
        if not self._changed:
            return
        body = {"format": FORMAT, "at": self.at, "programs": self._programs, "files": self._files}
        try:
            ensure_private_directory(self._path.parent)
            write_atomic(self._path, json.dumps(body).encode("ascii"))
        except OSError:
            return  # a read-only or full state directory: everything is found out anew next time
        self._changed = False

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_size > _MAX_BYTES:
                return {}
            body = json.loads(self._path.read_bytes())
            fresh = body["format"] == FORMAT and self._clock.now() - parse_stamp(body["at"]) < KEEP
            return (
                body
                if fresh and isinstance(body["programs"], dict) and isinstance(body["files"], dict)
                else {}
            )
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # none yet, or from another version: found out anew


def _identify(path: str) -> str:
    try:
        return _describe(Path(path).resolve().stat())
    except OSError:
        return ""


def _describe(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _restore(plain: Mapping[str, Any]) -> MarkdownAgent:
    many = ("skills", "examples", "ignored")
    return MarkdownAgent(**{**plain, **{name: tuple(plain[name]) for name in many}})
