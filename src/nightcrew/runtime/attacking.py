"""``doctor --attack``: the shipped self-check attacks one level from inside and says what held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import Exit, SandboxUnavailable
from nightcrew.model.isolation import IsolationReport, Level

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.sandbox.attacks.drill import Finding


def attack_self(parts: Parts, level: Level | None) -> dict[str, Any]:
    """Attack ``level``, or the strongest one this host gives, and return every finding and the exit code.

    Raises:
        SandboxUnavailable: the host does not give that level; nothing was attacked.
        UsageError: nightcrew lies in a place that no sandbox may show.
    """
    from nightcrew.runtime.inside import find_binds, find_python
    from nightcrew.sandbox.attacks.drill import Place, attack

    report = parts.isolation
    chosen = level or report.level
    _check_level(chosen, report)
    place = Place(
        state_dir=parts.env.state,
        home=parts.env.home,
        overlay=report.overlay,
        python=find_python(),
        binds=find_binds(str(parts.env.state)),
    )
    kept = parts.launcher.describe_limits()
    cannot = {"burn_cpu": kept["cpus"]} if kept["cpus"].startswith("not kept") else {}
    findings = attack(parts.launcher, place, chosen, cannot)
    broken = [each for each in findings if each.promised and not each.held]
    return {
        "ok": not broken,
        "exit": int(Exit.FAILED if broken else Exit.OK),
        "level": str(chosen),
        "findings": [canonical.to_plain(each) for each in findings],
        "counts": _count(findings),
    }


def _check_level(level: Level, report: IsolationReport) -> None:
    if not report.level.satisfies(level):
        raise SandboxUnavailable(
            f"level {level} cannot be attacked: this host gives {report.level} at most",
            code="isolation.level",
            hint="nightcrew doctor",
            where=report.fixes,
        )


def _count(findings: Sequence[Finding]) -> dict[str, int]:
    counted = Counter(_judge(each) for each in findings)
    return {name: counted[name] for name in ("held", "broken", "not_promised")}


def _judge(finding: Finding) -> str:
    if finding.promised:
        return "held" if finding.held else "broken"
    return "not_promised"
