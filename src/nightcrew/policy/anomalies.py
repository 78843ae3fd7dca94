"""A change that is not of the kind one would expect of its task: larger than expected, or with odd files. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nightcrew.model.actions import Change, Finding, Verdict
from nightcrew.model.text import count, shown
from nightcrew.policy.globs import Globs
from nightcrew.policy.rules import RISKS, Policy

CHECK: Final = "anomaly"
_WILD: Final = frozenset("*?[!")


def find_anomalies(
    policy: Policy, change: Change, *, scope: Sequence[str], expected: int = 0
) -> tuple[Finding, ...]:
    """Return what is odd about a change.

    Args:
        policy: says what counts as odd, and what follows (``anomalies``).
        change: difference of two trees.
        scope: the task's globs.
        expected: how many files the task said that it would change; 0 when it did not. Then a scope that names single
            files says it.
    """
    placed = policy.verdict("anomalies.decision")
    verdict = placed.value if placed else Verdict.ALLOW
    return (
        *_find_growth(policy, change, expected or _count_named(scope), verdict),
        *_find_odd(policy, change, scope, verdict),
    )


def raise_risk(risk: str) -> str:
    """Return the next higher risk."""
    return RISKS[min(RISKS.index(risk) + 1, len(RISKS) - 1)]


def weigh_risk(findings: Sequence[Finding], least: str = "medium") -> str:
    """Return the risk of taking a change: that of its riskiest finding, one more where something about it is odd."""
    risks = [least, *(finding.risk for finding in findings if finding.risk)]
    risk = max(risks, key=RISKS.index)
    return raise_risk(risk) if any(finding.check == CHECK for finding in findings) else risk


def _count_named(scope: Sequence[str]) -> int:
    """Return the number of files that a scope names one by one; 0 when it has anything else in it."""
    if any(_WILD & set(glob) or glob.endswith("/") or "." not in glob.rpartition("/")[2] for glob in scope):
        return 0
    return len(scope)


def _find_growth(policy: Policy, change: Change, expected: int, verdict: Verdict) -> Iterator[Finding]:
    placed = policy.settings.get("anomalies.scope_multiplier")
    paths = len(change.promotable)
    if placed is None or not expected or paths <= placed.value * expected:
        return
    said = (
        f"{count(paths, 'file')} changed, and {expected} expected: more than {placed.value:g} times as many"
    )
    yield Finding(CHECK, verdict, "anomalies.scope_multiplier", placed.source, said, risk="medium")


def _find_odd(policy: Policy, change: Change, scope: Sequence[str], verdict: Verdict) -> Iterator[Finding]:
    placed = policy.settings.get("anomalies.unexpected_file_types")
    if placed is None or not placed.value:
        return
    globs: Globs = policy.compiled.setdefault("anomalies", Globs(placed.value))
    for path in change.promotable:
        if globs.matches(path.path) and not _is_expected(path.path, scope):
            said = f"{shown(path.path)} is of a kind that was not expected"
            yield Finding(
                CHECK, verdict, "anomalies.unexpected_file_types", placed.source, said, path.path, risk="low"
            )


def _is_expected(path: str, scope: Sequence[str]) -> bool:
    """Tell whether the scope speaks of such files: it names this one, or its ending."""
    name = path.rpartition("/")[2]
    ending = f".{name.rpartition('.')[2]}" if "." in name else name
    return any(glob.rpartition("/")[2].endswith(ending) for glob in scope if not glob.startswith("!"))
