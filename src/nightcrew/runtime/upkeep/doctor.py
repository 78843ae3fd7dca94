"""``doctor``: what this machine can enforce, found out by trying it, and how to mend each gap."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from nightcrew import __version__
from nightcrew.model import canonical
from nightcrew.model.errors import Exit, NightcrewError, UsageError
from nightcrew.model.isolation import Backend, Confinement, IsolationReport, Level
from nightcrew.model.settings import Settings
from nightcrew.runtime.isolating import describe

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: git merge-tree --write-tree, which promotion after drift needs, came with 2.38.
GIT_NEEDED: Final = (2, 38)
_LOW_DISK_BYTES: Final = 2 << 30
_COPYING: Final = frozenset({"bwrap", "landlock", "podman", "docker"})
"""Back ends that mount no overlay, whatever this machine could."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``status`` is ``ok``, ``warn`` (weaker) or ``fail`` (required and broken)."""

    name: str
    status: str
    text: str
    more: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()


def examine(parts: Parts) -> dict[str, Any]:
    """Look at everything and return the checks, the isolation report and the exit code doctor ends with."""
    rules, settings_check = _check_settings(parts)
    settings = rules.settings if rules else Settings()
    report, isolation = _guard("isolation", lambda: parts.isolation_by(settings.confinement))
    checks = [
        _check_version(),
        isolation if report is None else _check_isolation(report, settings),
        _check_backends(parts, settings),
        *([] if report is None else [_check_shadow(parts, report), _check_limits(parts, report)]),
        _check_engine(parts),
        _check_git(parts),
        _check_repository(parts),
        settings_check,
        _check_database(parts),
        _check_disk(parts),
        _check_secrets(),
        *_check_models(parts, rules),
        *_check_agents(parts, rules),
    ]
    return {
        "ok": all(check.status != "fail" for check in checks),
        "exit": int(_pick_exit(checks)),
        "checks": [canonical.to_plain(check) for check in checks],
        "isolation": canonical.to_plain(report) if report else None,
    }


def _pick_exit(checks: Sequence[Check]) -> Exit:
    failed = [check.name for check in checks if check.status == "fail"]
    if not failed:
        return Exit.OK
    return Exit.ISOLATION if failed == ["isolation"] else Exit.FAILED


def _guard(name: str, probe: Callable[[], IsolationReport]) -> tuple[IsolationReport | None, Check]:
    try:
        return probe(), Check(name, "ok", "")
    except NightcrewError as error:
        return None, Check(name, "fail", error.message, error.where, (error.hint,) if error.hint else ())


def _check_version() -> Check:
    text = f"nightcrew {__version__}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    return Check("version", "ok", text)


def _check_isolation(report: IsolationReport, settings: Settings) -> Check:
    enough = report.level.satisfies(settings.require_isolation)
    name = describe(report.level, report.backend, ())
    text = f"{name} (required: {settings.require_isolation} or stronger)"
    more = (*(f"holds: {each}" for each in report.holds), *(f"missing: {each}" for each in report.missing))
    status = "fail" if not enough else "warn" if report.missing else "ok"
    return Check("isolation", status, text, more, report.fixes)


def _check_backends(parts: Parts, settings: Settings) -> Check:
    """Say what else could confine, each tried: containers only where one is chosen, for they take seconds."""
    chosen = settings.confinement
    names: tuple[Backend, ...] = ("nightcrew", "bwrap", "landlock")
    found = {name: parts.isolation_by(Confinement(name)) for name in names}
    if chosen.backend in ("podman", "docker"):
        found[chosen.backend] = parts.isolation_by(chosen)
    more = tuple(_describe_backend(name, report) for name, report in found.items())
    return Check("backends", "ok", f"{chosen.backend} (isolation.backend in your own config.yaml)", more)


def _describe_backend(name: str, report: IsolationReport) -> str:
    if report.level is not Level.S0:
        return f"{name}: {report.level} ({report.level.words})"
    why = next(iter(report.details.values()), "it does not hold what it should")
    return f"{name}: not here: {why}"


def _check_shadow(parts: Parts, report: IsolationReport) -> Check:
    from nightcrew.shadow.ladder import describe_mode, shares_blocks

    shares = shares_blocks(parts.env.state)
    refused = next((said for what, said in report.details.items() if what.endswith("with overlay")), "")
    unused = (
        f"not used: {report.backend} works in a copy (isolation.backend)"
        if report.backend in _COPYING
        else ""
    )
    fixes = () if unused else report.fixes
    more = (
        f"overlay: {'works' if report.overlay else unused or refused or 'cannot be mounted here'}",
        f"copy that shares blocks: {'works' if shares else 'this file system cannot (btrfs and xfs can)'}",
        "plain copy: works everywhere",
    )
    if report.overlay:
        return Check("shadow", "ok", f"{describe_mode('overlay')}: cost grows with the change", more)
    if shares:
        text = f"{describe_mode('reflink')}: every task costs a call per file, and no space"
        return Check("shadow", "ok", text, more, fixes)
    return Check("shadow", "warn", f"{describe_mode('copy')}: every task copies the whole tree", more, fixes)


def _check_limits(parts: Parts, report: IsolationReport) -> Check:
    kept = parts.launcher.describe_limits(report.backend)
    missing = [name for name, how in kept.items() if how.startswith("not kept")]
    watched = [name for name, how in kept.items() if how.startswith("watched")]
    exact = [name for name in kept if name not in (*missing, *watched)]
    text = f"exact: {', '.join(exact)}; watched: {', '.join(watched)}"
    text += f"; not kept: {', '.join(missing)}" if missing else ""
    # Where only some are watched, that is as good as this kernel gets without giving nightcrew a group of its own.
    fixes = (
        ("systemd-run --user --scope nightcrew ...  (where that gives control groups)",) if missing else ()
    )
    return Check(
        "limits", "warn" if missing else "ok", text, tuple(f"{k}: {v}" for k, v in kept.items()), fixes
    )


def _check_engine(parts: Parts) -> Check:
    holder = parts.engine_holder
    text = f"DBOS {version('dbos')}, " + (f"hosted by {holder}" if holder else "hosted by nobody now")
    return Check("engine", "ok", text)


def _check_git(parts: Parts) -> Check:
    from nightcrew.runtime.crew.finding import probe_version

    said = probe_version(parts, "git")
    numbers = tuple(int(part) for part in said.removeprefix("git version ").split(".")[:2] if part.isdigit())
    if not numbers:
        return Check("git", "fail", said, fixes=("install git 2.38 or newer",))
    if numbers < GIT_NEEDED:
        return Check("git", "fail", f"{said}, 2.38 is needed", fixes=("install git 2.38 or newer",))
    return Check("git", "ok", said)


def _check_repository(parts: Parts) -> Check:
    try:
        found = parts.repository
    except NightcrewError as error:
        return Check("repository", "warn", error.message, fixes=(error.hint,) if error.hint else ())
    if found.private:
        text = f"{found.root} is not a git repository; nightcrew keeps its history in {found.git_dir}"
        return Check("repository", "ok", text)
    where = found.branch.removeprefix("refs/heads/") or "detached HEAD"
    kinds = [name for name, is_so in (("shallow", found.shallow), ("sparse", found.sparse)) if is_so]
    text = f"{found.root} at {found.head[:12]} on {where}" + (f" ({', '.join(kinds)})" if kinds else "")
    if found.operation:
        return Check("repository", "warn", text, (f"a {found.operation} is in progress",))
    return Check("repository", "ok", text)


def _check_settings(parts: Parts) -> tuple[Rules | None, Check]:
    from nightcrew.runtime.rules import read_rules

    try:
        rules = read_rules(parts.env, parts.find_root())
    except UsageError as error:
        return None, Check(
            "settings", "fail", error.message, error.where, (error.hint,) if error.hint else ()
        )
    files = ", ".join(text.source for text in rules.texts)
    if not any(text.layer == "repository" for text in rules.texts):
        return rules, Check("settings", "ok", f"{files} (none in this repository: nightcrew init)")
    return rules, Check("settings", "ok", f"valid: {files}")


def _check_database(parts: Parts) -> Check:
    shown = parts.env.database.partition("@")[2] or parts.env.database.removeprefix("sqlite:///")
    try:
        with parts.journal.read() as tx:
            return Check("database", "ok", f"{shown}, {tx.last_seq()} events")
    except NightcrewError as error:
        return Check(
            "database", "fail", f"{shown}: {error.message}", error.where, (error.hint,) if error.hint else ()
        )


def _check_disk(parts: Parts) -> Check:
    from nightcrew.host.files import free_bytes

    place = parts.env.state
    while not place.exists():
        place = place.parent
    free = free_bytes(place)
    text = f"{free / (1 << 30):.1f} GiB free at {place}"
    if free < _LOW_DISK_BYTES:
        return Check("disk", "warn", text, fixes=("free some space; shadows and checkpoints live there",))
    return Check("disk", "ok", text)


def _check_secrets() -> Check:
    from nightcrew.runtime.trees.scanners import find_engine

    if find_engine() is not None:
        return Check(
            "secrets", "ok", "searched by nightcrew at every change, by nightcrew and kingfisher at promotion"
        )
    text = "searched by nightcrew at every change and at promotion"
    return Check(
        "secrets", "ok", text, ("a second, stronger engine at promotion: pip install 'nightcrew[secrets]'",)
    )


def _check_models(parts: Parts, rules: Rules | None) -> list[Check]:
    from nightcrew.runtime.money.providing import list_providers

    found = list_providers(parts, rules, ask_programs=False) if rules else []
    ready = [each["name"] for each in found if each["ready"]]
    if not found:
        return []
    bad = tuple(each["problem"] for each in found if not each["ready"])
    text = f"keys of {', '.join(ready)} are there" if ready else "no provider has its key"
    return [Check("models", "warn" if bad else "ok", text, bad, ("nightcrew keys check",) if bad else ())]


def _check_agents(parts: Parts, rules: Rules | None) -> list[Check]:
    from nightcrew.runtime.crew.finding import detect_agents, find_listed

    if rules is None:
        return []
    usable = [each.name for each in find_listed(parts, rules) if not each.problem]
    installed = [
        Check(each["name"], "ok", f"{each['version']}; {each['text']}")
        for each in detect_agents(parts, rules)
    ]
    return [Check("agents", "ok", ", ".join(usable)), *installed]
