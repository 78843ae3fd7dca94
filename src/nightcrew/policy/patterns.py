"""What stands under ``when``: one reader per subject of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from nightcrew.model.yamltext import YamlPath
from nightcrew.policy.netblock import read_net_pattern
from nightcrew.policy.reading import Reading
from nightcrew.policy.rules import CommandPattern, DependencyPattern, FilePattern


def _read_command(reading: Reading, path: YamlPath) -> CommandPattern:
    for name in ("command", "text"):
        reading.check_regex((*path, name))
    for name in ("program", "not_program"):
        _check_names(reading, (*path, name))
    opaque = reading.at(*path, "opaque")
    return CommandPattern(
        program=reading.texts(*path, "program"),
        not_program=reading.texts(*path, "not_program"),
        subcommand=reading.texts(*path, "subcommand"),
        flags=reading.texts(*path, "flags"),
        args=reading.texts(*path, "args"),
        command=reading.text(*path, "command"),
        text=reading.text(*path, "text"),
        opaque=opaque if isinstance(opaque, bool) else None,
        stdin=reading.text(*path, "stdin"),
        sql=reading.texts(*path, "sql"),
    )


def _check_names(reading: Reading, path: YamlPath) -> None:
    """Programs are matched by their names alone; a pattern with a folder would never match."""
    for index, name in enumerate(reading.texts(*path)):
        if "/" in name:
            where = (*path, index) if isinstance(reading.at(*path), list) else path
            reading.complain(
                where,
                f"{name!r} names a folder, and programs are matched by name",
                f"write {name.rpartition('/')[2] or '*'!r}",
            )


def _read_file(reading: Reading, path: YamlPath) -> FilePattern:
    globs = reading.texts(*path, "paths")
    if path[-1] in ("when", "unless") and "paths" not in reading.at(*path):
        reading.complain(path, "'paths' is missing", "which paths the rule is about")
    for index, glob in enumerate(globs):
        where = (*path, "paths", index) if isinstance(reading.at(*path, "paths"), list) else (*path, "paths")
        reading.check_glob(glob, where)
    return FilePattern(paths=globs, do=reading.texts(*path, "do"), sql=reading.texts(*path, "sql"))


def _read_dependency(reading: Reading, path: YamlPath) -> DependencyPattern:
    pinned = reading.at(*path, "pinned")
    return DependencyPattern(
        name=reading.texts(*path, "name"),
        ecosystem=reading.texts(*path, "ecosystem"),
        do=reading.texts(*path, "do"),
        origin=reading.text(*path, "origin"),
        pinned=pinned if isinstance(pinned, bool) else None,
    )


READERS: Final[Mapping[str, Callable[[Reading, YamlPath], Any]]] = {
    "command": _read_command,
    "file": _read_file,
    "dependency": _read_dependency,
    "net": read_net_pattern,
}
