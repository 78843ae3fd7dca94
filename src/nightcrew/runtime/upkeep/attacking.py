"""``doctor --attack``: the shipped self-check attacks one level from inside and says what held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import Exit, SandboxUnavailable
from nightcrew.model.isolation import Backend, Confinement, IsolationReport, Level, SandboxSpec
from nightcrew.runtime.rules import read_rules

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.sandbox.attacks.drill import Finding


def attack_self(parts: Parts, level: Level | None, backend: Backend | None) -> dict[str, Any]:
    """Attack a sandbox of ours and return every finding and the exit code.

    Args:
        parts: this machine.
        level: to attack; the strongest one that is there when None.
        backend: that builds it; when None the one that usually gives ``level``, or else the one of the settings.

    Raises:
        SandboxUnavailable: the host does not give that level; nothing was attacked.
        UsageError: the back end does not give that level; or nightcrew lies in a place that no sandbox may show.
    """
    from nightcrew.host import landlock
    from nightcrew.runtime.inside import find_binds, find_python
    from nightcrew.sandbox.attacks.drill import Place, attack
    from nightcrew.sandbox.landlocked import find_unheld
    from nightcrew.sandbox.levels import pick

    confinement = _choose(parts, level, backend)
    report = parts.isolation_by(confinement)
    chosen = level or _strongest(report, confinement)
    place = Place(
        state_dir=parts.env.state,
        home=parts.env.home,
        overlay=report.overlay,
        python=find_python(),
        binds=find_binds(str(parts.env.state)),
        confinement=confinement,
        variables=parts.env.variables,
    )
    kept = parts.launcher.describe_limits()
    cannot = {"burn_cpu": kept["cpus"]} if kept["cpus"].startswith("not kept") else {}
    if chosen is Level.S1:
        cannot |= find_unheld(landlock.version())
    findings = attack(parts.launcher, place, chosen, cannot)
    broken = [each for each in findings if each.promised and not each.held]
    return {
        "ok": not broken,
        "exit": int(Exit.FAILED if broken else Exit.OK),
        "level": str(chosen),
        "backend": pick(SandboxSpec(("true",), "/", {}, level=chosen, confinement=confinement)),
        "findings": [canonical.to_plain(each) for each in findings],
        "counts": _count(findings),
    }


def _strongest(report: IsolationReport, confinement: Confinement) -> Level:
    if report.level is Level.S0 and confinement.backend != "none":
        raise SandboxUnavailable(
            "there is no sandbox here that could be attacked; nothing was started",
            code="isolation.attack",
            hint="nightcrew doctor",
            where=[*(f"refused: {said}" for said in report.details.values()), *report.fixes],
        )
    return report.level


def _choose(parts: Parts, level: Level | None, backend: Backend | None) -> Confinement:
    if backend is not None:
        return Confinement(backend)
    if level is not None:
        return Confinement()
    return read_rules(parts.env, parts.find_root()).settings.confinement


def _count(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(_judge(each) for each in findings)
    return {name: counted[name] for name in ("held", "broken", "not_promised")}


def _judge(finding: Finding) -> str:
    if finding.promised:
        return "held" if finding.held else "broken"
    return "not_promised"
