"""The dossier of a task: everything a person needs to say yes or no to it, as one value. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model import ids
from nightcrew.model.actions import Change, Evidence, Finding, Verdict
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord, TaskRecord
from nightcrew.review.concerns import Concern, find_concerns, name_signs

GREEN: Final = "green"
LOOK: Final = "look"
FAILED: Final = "failed"
UNFINISHED: Final = "unfinished"

_ATTENTION: Final = {LOOK: 0, FAILED: 1, UNFINISHED: 2, GREEN: 3}
_SAME_KIND: Final = {"mode": "executable"}
"""Name of a policy check → kind of the concern that says the same of a path."""
_WEAK: Final = frozenset({"", "S0", "S1"})


@dataclass(frozen=True, slots=True)
class FileLine:
    """One path of the change. ``signs`` says in words what is special about it; ``kind`` as in PathChange."""

    path: str
    kind: str
    lines_added: int
    lines_deleted: int
    size_bytes: int
    binary: bool
    ignored: bool
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One attempt: how it went and why it ended; ``worked`` is false where a person put a result in its place."""

    number: int
    state: str
    ending: str
    exit_code: int | None
    reason: str
    worked: bool = True


@dataclass(frozen=True, slots=True)
class Dossier:
    """One task as it is laid before a person; ``to_plain`` of it is the JSON of ``review --json``.

    Attributes:
        id, name, title, state, agent, isolation, reason, checkpoint, promoted: as in the task's record.
        group: ``green`` (nothing to look at), ``look``, ``failed``, ``unfinished``.
        green: succeeded, proven by our own acceptance on this tree, and without a concern that asks for a look.
        verified: ``verified``, ``unverified``, ``failed`` or empty.
        verdict: ``accepted``, ``rejected`` or empty; ``verdict_stale`` when it was given on another tree.
        tree, base_tree: what would land, and what it started from.
        depends, scope, accept: as planned.
        files: the change; ``lines_added`` and ``lines_deleted`` without ignored files.
        evidence, findings, concerns, attempts: why.
    """

    id: str
    name: str
    title: str
    state: str
    group: str
    green: bool
    verified: str
    verdict: str
    verdict_stale: bool
    agent: str
    isolation: str
    reason: str
    tree: str
    base_tree: str
    checkpoint: str
    promoted: str
    depends: tuple[str, ...]
    scope: tuple[str, ...]
    accept: tuple[str, ...]
    files: tuple[FileLine, ...]
    lines_added: int
    lines_deleted: int
    evidence: tuple[Evidence, ...]
    findings: tuple[Finding, ...]
    concerns: tuple[Concern, ...]
    attempts: tuple[AttemptLine, ...]
    position: int = 0


@dataclass(frozen=True, slots=True)
class Others:
    """Names of the other tasks of a run because of which one needs a look.

    Attributes:
        stale: it was built on their result, and they have another one now.
        held: it needs them, directly or not, and they are rejected.
        rivals: other answers to the same task, while nobody has accepted one.
    """

    stale: Sequence[str] = ()
    held: Sequence[str] = ()
    rivals: Sequence[str] = ()


_ALONE: Final = Others()


def build_dossier(
    task: TaskRecord,
    spec: Task,
    change: Change | None,
    evidence: Sequence[Evidence | Mapping[str, Any]],
    findings: Sequence[Finding | Mapping[str, Any]],
    attempts: Iterable[AttemptRecord],
    others: Others = _ALONE,
    run_by_git: Collection[str] = (),
) -> Dossier:
    """Lay out one task.

    Args:
        task: its record. spec: its line of the plan.
        change: base against result; None when there is no result.
        evidence, findings: values, or the plain JSON of them that the record holds.
        attempts: all of them, in any order.
        others: tasks of the run that stand against it.
        run_by_git: paths that git runs or obeys by the user's settings and hooks, whatever they are called.
    """
    proofs = tuple(read_evidence(item) for item in evidence)
    found = tuple(read_finding(item) for item in findings)
    attempts = tuple(attempts)
    concerns = (
        *_doubt_ground(others),
        *_tell_takeover(task, attempts),
        *_collect(task, spec, change, proofs, found, run_by_git),
    )
    group = _group(task, concerns)
    promotable = change.promotable if change else ()
    return Dossier(
        id=task.id,
        name=task.name,
        title=task.title,
        state=task.state,
        group=group,
        green=group == GREEN,
        verified=task.verified,
        verdict=task.verdict,
        verdict_stale=_is_stale(task),
        agent=task.agent,
        isolation=task.isolation,
        reason=task.reason,
        tree=task.tree,
        base_tree=task.base_tree,
        checkpoint=task.checkpoint,
        promoted=task.promoted,
        depends=spec.depends,
        scope=spec.scope,
        accept=spec.accept,
        files=_list_files(change, run_by_git),
        lines_added=sum(path.lines_added for path in promotable),
        lines_deleted=sum(path.lines_deleted for path in promotable),
        evidence=proofs,
        findings=found,
        concerns=concerns,
        attempts=_list_attempts(attempts),
        position=task.position,
    )


def order_dossiers(dossiers: Iterable[Dossier]) -> list[Dossier]:
    """Sort by what needs a person most: to look at (most concerns first), failed, unfinished, green."""
    return sorted(dossiers, key=lambda d: (_ATTENTION[d.group], -_weigh(d), d.position, ids.sort_key(d.name)))


def read_evidence(item: Evidence | Mapping[str, Any]) -> Evidence:
    """Return Evidence also from its plain JSON."""
    if isinstance(item, Evidence):
        return item
    found = tuple(read_finding(finding) for finding in item.get("findings", ()))
    return Evidence(**{**item, "findings": found})


def read_finding(item: Finding | Mapping[str, Any]) -> Finding:
    """Return a Finding also from its plain JSON."""
    if isinstance(item, Finding):
        return item
    return Finding(**{**item, "verdict": Verdict(item["verdict"])})


def _weigh(dossier: Dossier) -> int:
    return sum(max(1, len(concern.paths)) for concern in dossier.concerns if concern.look)


def _is_stale(task: TaskRecord) -> bool:
    return bool(task.verdict) and task.verdict_tree != task.tree


def _group(task: TaskRecord, concerns: Sequence[Concern]) -> str:
    if task.state == "failed" or task.verified == "failed":
        return FAILED
    if task.state != "succeeded":
        return UNFINISHED
    return LOOK if any(concern.look for concern in concerns) else GREEN


def _collect(
    task: TaskRecord,
    spec: Task,
    change: Change | None,
    evidence: Sequence[Evidence],
    findings: Sequence[Finding],
    run_by_git: Collection[str],
) -> tuple[Concern, ...]:
    concerns = list(find_concerns(change, spec.scope, run_by_git)) if change else []
    if task.state == "succeeded":
        concerns = [*_doubt_success(task, spec, change, evidence), *concerns]
    if _is_stale(task):
        concerns.append(Concern("stale_verdict", f"`{task.verdict}` was said of another tree; look again"))
    known = {(concern.kind, path) for concern in concerns for path in concern.paths}
    for finding in findings:
        kind = _SAME_KIND.get(finding.check, finding.check)
        if (kind, finding.path) not in known:
            paths = (finding.path,) if finding.path else ()
            # These need a look even where policy lets them pass: something will execute the path, obey the text, or lose data.
            risky = finding.risk in ("high", "critical") or finding.check in ("handoff", "suspicion", "role")
            look = finding.verdict is not Verdict.ALLOW or risky
            concerns.append(
                Concern("handoff" if finding.check == "handoff" else "finding", finding.message, paths, look)
            )
    return tuple(concerns)


def _tell_takeover(task: TaskRecord, attempts: Sequence[AttemptRecord]) -> list[Concern]:
    """Tell that another agent did the task than the plan says."""
    if not task.planned or task.planned == task.agent:
        return []
    failed = [each for each in attempts if each.agent == task.planned and each.failure]
    why = f": {failed[-1].reason}" if failed else ""
    said = f"done by {task.agent} in place of {task.planned}, which had {len(failed)} failed attempts{why}"
    return [Concern("takeover", said, look=False)]


def _doubt_ground(others: Others) -> list[Concern]:
    doubts = []
    if others.stale:
        doubts.append(
            Concern("stale", f"built on another {', '.join(others.stale)} than there is now; run it again")
        )
    if others.held:
        doubts.append(Concern("held", f"needs {', '.join(others.held)}, rejected: it cannot go without"))
    if others.rivals:
        doubts.append(
            Concern(
                "rivals",
                f"there are other answers to this task: {', '.join(others.rivals)}; accept one by name",
            )
        )
    return doubts


def _doubt_success(
    task: TaskRecord, spec: Task, change: Change | None, evidence: Sequence[Evidence]
) -> list[Concern]:
    """What keeps a task that ended well from being called proven."""
    doubts = []
    if task.verified != "verified" or not evidence:
        doubts.append(Concern("unverified", "no acceptance command of ours proved it"))
    if any(not proof.passed for proof in evidence):
        doubts.append(Concern("acceptance", "an acceptance command failed"))
    elif len({proof.command for proof in evidence}) < len(set(spec.accept)):
        doubts.append(Concern("acceptance", "not every planned acceptance command was run"))
    # Acceptance runs without the ignored files, so only without them must the trees be the same.
    whole = change is not None and not any(path.ignored for path in change.paths)
    if whole and any(proof.tree and proof.tree != task.tree for proof in evidence):
        doubts.append(Concern("acceptance", "acceptance ran on another tree than this one"))
    if task.isolation in _WEAK or any(proof.isolation in _WEAK for proof in evidence):
        doubts.append(
            Concern("isolation", f"ran with weak or unknown isolation ({task.isolation or 'unknown'})")
        )
    return doubts


def _list_files(change: Change | None, run_by_git: Collection[str]) -> tuple[FileLine, ...]:
    if change is None:
        return ()
    lines = [
        FileLine(
            p.path,
            p.kind,
            p.lines_added,
            p.lines_deleted,
            p.size_bytes,
            p.binary,
            p.ignored,
            name_signs(p, run_by_git),
        )
        for p in change.paths
    ]
    return tuple(sorted(lines, key=lambda line: (line.ignored, not line.signs, line.path)))


def _list_attempts(attempts: Iterable[AttemptRecord]) -> tuple[AttemptLine, ...]:
    ordered = sorted(attempts, key=lambda attempt: attempt.number)
    return tuple(
        AttemptLine(a.number, a.state, a.ending, a.exit_code, a.reason or a.failure, not a.stands_in)
        for a in ordered
    )
