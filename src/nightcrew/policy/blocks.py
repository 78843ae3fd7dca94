"""The blocks of policy.yaml that hold single values: limits, safety, destructive, anomalies, recovery, approvals, gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place
from nightcrew.model.units import parse_duration, parse_size
from nightcrew.model.yamltext import YamlPath
from nightcrew.policy.reading import Reading
from nightcrew.policy.rules import FilePattern, Gate, Placed, Rule
from nightcrew.policy.terms import read_approvals, read_factors

Settings = dict[str, Placed[Any]]

LIMITS: Final = ("files", "lines", "created", "modified", "deleted", "file_size", "total_size")
_ALIASES: Final = {"max_files_modified": "limits.soft.files", "max_lines_changed": "limits.soft.lines"}


DESTRUCTIVE: Final[Mapping[str, str]] = {
    "git_force_push": "git.force_push",
    "git_push_main": "git.push_main",
    "git_push": "git.push",
    "drop_table": "destructive.sql_drop",
    "truncate": "destructive.sql_truncate",
    "delete_without_where": "destructive.sql_unbounded",
    "remove_root": "destructive.remove_root",
    "disk": "destructive.disk",
    "power": "destructive.power",
}
"""Names of the block ``destructive`` beside ``file_delete`` → the shipped rule whose decision each changes."""

FILE_DELETE: Final = "destructive.file_delete"


def read_destructive(reading: Reading, found: Settings) -> Iterator[Rule]:
    """Yield the rules that the short names of ``destructive`` stand for; ``max_files`` becomes a limit."""
    for name in reading.names("destructive"):
        path = ("destructive", name)
        decision = reading.verdict(*path) or reading.verdict(*path, "decision")
        most = reading.at(*path, "max_files")
        if isinstance(most, int) and not isinstance(most, bool):
            reading.put(found, (*path, "max_files"), most, name="limits.soft.deleted")
        if decision is None:
            continue
        meant = DESTRUCTIVE.get(name)
        if meant is not None:
            yield _change_rule(reading, path, meant, decision)
        elif name == "file_delete" and decision is not Verdict.ALLOW:
            reading.take_id(FILE_DELETE, path, key=True)
            when = (FilePattern(paths=("**",), do=("delete",)),)
            place = reading.document.key_place(*path)
            floor = decision if reading.ceiling else None
            yield Rule(FILE_DELETE, "file", when, decision, "deletes a file", place, floor=floor)


def _change_rule(reading: Reading, path: YamlPath, meant: str, decision: Verdict) -> Rule:
    reading.take_id(meant, path, key=True)
    place = reading.document.key_place(*path)
    floor = decision if reading.ceiling else None
    return Rule(meant, "command", None, decision, "", place, risk="", floor=floor)


def read_limits(reading: Reading, found: Settings) -> None:
    """Read the block ``limits``."""
    for level in ("soft", "hard"):
        for name in LIMITS:
            _read_limit(reading, ("limits", level, name), found)


def _read_limit(reading: Reading, path: YamlPath, found: Settings) -> None:
    value = reading.at(*path)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return
    if value == "unlimited":
        reading.put(found, path, None)
    elif isinstance(value, int):
        reading.put(found, path, value)
    elif str(path[-1]).endswith("_size"):
        try:
            reading.put(found, path, parse_size(value))
        except ValueError as error:
            reading.complain(path, str(error))


def _read_safety(reading: Reading, found: Settings) -> None:
    for name, meant in _ALIASES.items():
        value = reading.at("safety", name)
        if isinstance(value, int) and not isinstance(value, bool):
            reading.put(found, ("safety", name), value, name=meant)
    if isinstance(branch := reading.at("safety", "auto_branch"), bool):
        reading.put(found, ("safety", "auto_branch"), branch)
    if prefix := reading.text("safety", "branch_prefix"):
        path = ("safety", "branch_prefix")
        if prefix.startswith(("/", "-", ".")) or ".." in prefix or any(c in prefix for c in " ~^:?*[\\"):
            reading.complain(path, f"{prefix!r} cannot begin the name of a branch", "write such as night/")
        reading.put(found, path, prefix)


def _read_anomalies(reading: Reading, found: Settings) -> None:
    multiplier = reading.at("anomalies", "scope_multiplier")
    if isinstance(multiplier, int | float) and not isinstance(multiplier, bool):
        reading.put(found, ("anomalies", "scope_multiplier"), float(multiplier))
    path: YamlPath = ("anomalies", "unexpected_file_types")
    if isinstance(reading.at(*path), list):
        for index, glob in enumerate(reading.texts(*path)):
            reading.check_glob(glob, (*path, index))
        reading.put(found, path, reading.texts(*path))
    verdict = reading.verdict("anomalies", "decision")
    if verdict is not None:
        reading.put(found, ("anomalies", "decision"), verdict)


def _read_budget(reading: Reading, found: Settings) -> None:
    for name in ("usd", "tokens", "day_usd", "month_usd", "warn_at_percent"):
        value = reading.at("budget", name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            reading.put(found, ("budget", name), float(value) if name.endswith("usd") else int(value))


def _read_recovery(reading: Reading, found: Settings) -> None:
    retries = reading.at("agent_recovery", "max_retries")
    if isinstance(retries, int) and not isinstance(retries, bool):
        reading.put(found, ("agent_recovery", "max_retries"), retries)
    seconds = _read_time(reading, ("agent_recovery", "timeout"))
    if seconds is not None:
        reading.put(found, ("agent_recovery", "timeout"), seconds)


def _read_time(reading: Reading, path: YamlPath) -> float | None:
    value = reading.at(*path)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        reading.complain(path, str(error))
        return None
    if seconds <= 0:
        reading.complain(path, "must be more than nothing", "write such as 8h")
        return None
    return seconds


def read_gates(reading: Reading) -> Iterator[Placed[Gate]]:
    """Yield the commands that must pass for every task."""
    seen: dict[str, Place] = {}
    for path, _ in reading.items("gates"):
        name = reading.text(*path, "id")
        place = reading.document.place(*path, "run")
        first = seen.setdefault(name, place)
        if first != place:
            reading.complain((*path, "id"), f"a gate {name!r} stands already in line {first.line}")
        gate = Gate(name, reading.text(*path, "run"), reading.text(*path, "reason"))
        yield Placed(gate, place, reading.ceiling)


SETTINGS: Final[tuple[Callable[[Reading, Settings], None], ...]] = (
    read_limits,
    _read_safety,
    _read_anomalies,
    _read_budget,
    _read_recovery,
    read_approvals,
    read_factors,
)
"""Readers of the blocks that hold single values."""
