"""What confines the tasks of a run: chosen when it is planned, shown in its plan, and kept to by everyone who goes on with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import Confinement, IsolationReport, Level

if TYPE_CHECKING:
    from nightcrew.model.records import RunRecord
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules


@dataclass(frozen=True, slots=True)
class Choice:
    """What a run is confined by.

    Attributes:
        level: see there.
        confinement: the back end, by name, with what it needs.
        missing: guarantees of the strongest level that it does not give, in words.
    """

    level: Level
    confinement: Confinement
    missing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Everything a person should know before saying yes, in one line."""
        return describe(self.level, self.confinement.backend, self.missing)

    def to_settings(self) -> dict[str, Any]:
        """Return what is recorded with a run, beside its level."""
        return {"confinement": canonical.to_plain(self.confinement), "missing": list(self.missing)}


def choose(parts: Parts, rules: Rules, *, unsandboxed: bool) -> Choice:
    """Return what confines a run planned now.

    Args:
        parts: this machine.
        rules: what is required, and which back end is wanted.
        unsandboxed: a person allows S0 by name, should there be nothing better.

    Raises:
        SandboxUnavailable: it would be weaker than required; nothing was started.
    """
    wanted = rules.settings.confinement
    report = parts.isolation_by(wanted)
    choice = Choice(report.level, _name(wanted, report), report.missing)
    if unsandboxed and not report.level.satisfies(Level.S2):
        # As strong as it can be all the same: the flag allows less, it does not ask for it.
        return choice if report.level is not Level.S0 else _nothing(report)
    if report.level is not Level.S0 and report.level.satisfies(rules.settings.require_isolation):
        return choice
    raise _too_weak(report, rules)


def preview(parts: Parts, rules: Rules) -> str:
    """Return what would confine a run, for a plan that nobody can approve yet; a refusal in words."""
    try:
        return choose(parts, rules, unsandboxed=False).text
    except SandboxUnavailable as error:
        return f"none: {error.message}"


def confinement_of(run: RunRecord) -> Confinement:
    """Return what a run was planned to be confined by; one from before this was recorded has our own launcher."""
    return Confinement(**run.settings.get("confinement", {}))


def text_of(run: RunRecord) -> str:
    """Return what confines a run, in one line."""
    if not run.isolation:
        return ""
    return describe(Level(run.isolation), confinement_of(run).backend, run.settings.get("missing", ()))


def name_of(run: RunRecord) -> str:
    """Return what confines a run without what it does not hold; empty for one that was never to be started."""
    return describe(Level(run.isolation), confinement_of(run).backend, ()) if run.isolation else ""


def view_isolation(run: RunRecord) -> Mapping[str, Any]:
    """Return the same for scripts: ``{level, backend, missing, text}``, where text is without what is missing."""
    return {
        "level": run.isolation,
        "backend": confinement_of(run).backend,
        "missing": list(run.settings.get("missing", ())),
        "text": name_of(run),
    }


def describe(level: Level, backend: str, missing: tuple[str, ...] | list[str]) -> str:
    """Return a level with what builds it and what it does not hold."""
    by = f", by {backend}" if backend not in ("auto", "none") else ""
    gaps = f"; not held: {'; '.join(missing)}" if missing else ""
    return f"{level} ({level.words}{by}){gaps}"


def _name(wanted: Confinement, report: IsolationReport) -> Confinement:
    """Return the choice with ``auto`` replaced by what it came to: a run must not change its walls on the way."""
    return Confinement(report.backend, wanted.image, wanted.profile)


def _nothing(report: IsolationReport) -> Choice:
    return Choice(Level.S0, Confinement("none"), report.missing)


def _not_allowed(report: IsolationReport) -> SandboxUnavailable:
    """Nothing confines here, and that is accepted in the settings; a person says so once more for every run."""
    return SandboxUnavailable(
        "nothing would confine the agents of this run (isolation S0); nothing was started",
        code="isolation.not_allowed",
        where=[f"missing: {each}" for each in report.missing],
        hint="knowingly: the same command with --allow-unsandboxed",
    )


def _too_weak(report: IsolationReport, rules: Rules) -> SandboxUnavailable:
    wanted, required = rules.settings.confinement.backend, rules.settings.require_isolation
    who = "this machine" if wanted == "auto" else f"the back end {wanted}"
    given = report.level is not Level.S0
    if not given and required is Level.S0:
        return _not_allowed(report)
    accept = f"or, knowingly, accept {report.level}: isolation: {{require: {report.level}}} in your own config.yaml"
    fixes = (*report.fixes, *([accept] if given else []))
    reasons = () if given else tuple(report.details.values())
    gives = f"gives isolation {report.level}" if given else "can confine nothing here (isolation S0)"
    return SandboxUnavailable(
        f"{who} {gives}, {required} is required; nothing was started",
        code="isolation.too_weak",
        where=[
            *(f"missing: {each}" for each in report.missing),
            *(f"refused: {each}" for each in reasons),
            *(f"fix: {each}" for each in fixes),
        ],
        hint="nightcrew doctor",
    )
