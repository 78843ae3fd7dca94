"""Actions, decisions, changes and findings: the values policy is about."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nightcrew.model import canonical


class Verdict(StrEnum):
    """What policy says. Deny beats ask, ask beats allow."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_STRENGTH = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


def strictest(*verdicts: Verdict) -> Verdict:
    """Return the strictest of the verdicts; of none it is ``allow`` (callers ask only about what exists)."""
    return max(verdicts, key=_STRENGTH.__getitem__, default=Verdict.ALLOW)


@dataclass(frozen=True, slots=True)
class Action:
    """Something an agent (or a plan) wants to do.

    Attributes:
        kind: ``exec``, ``write``, ``delete``, ``chmod``, ``symlink``, ``read``, ``net``, ``change`` (a whole
            change that must be decided on) or ``other``.
        command: shell command line for ``exec``.
        paths: repository-relative paths it touches.
        content_sha256: SHA-256 of the new content for ``write``, empty otherwise.
        purpose: ``run``, ``accept``, ``step`` or ``change``: why it is wanted.
        detail: anything else that must be bound by the decision (modes, link target, tree id).
    """

    kind: str
    command: str = ""
    paths: tuple[str, ...] = ()
    content_sha256: str = ""
    purpose: str = "step"
    detail: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over the whole action; an approval is bound to it."""
        return canonical.digest(self)

    def describe(self) -> str:
        """Return the action in one line for a person; never shortened."""
        if self.kind == "exec":
            return self.command
        what = " ".join(self.paths)
        return f"{self.kind} {what}".strip() + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy says about one action, and why.

    Attributes:
        verdict: allow, ask or deny.
        rule: id of the winning rule; ``no_rule`` when none matched.
        source: ``file:line`` of that rule.
        reason: in words, also told to the agent on a denial.
        risk: ``low``, ``medium``, ``high`` or ``critical``.
        effective_commands: what a command line really runs, after unwrapping, one per program start.
        opaque: why parts of it cannot be known before it runs; empty when all is known.
        also_matched: ids of the rules that matched and did not win.
        hint: what would help the agent or the person to go on.
    """

    verdict: Verdict
    rule: str
    source: str
    reason: str
    risk: str = "low"
    effective_commands: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    also_matched: tuple[str, ...] = ()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path that differs between two trees.

    Attributes:
        path: repository-relative; bytes that are not UTF-8 are surrogate escapes.
        kind: ``added``, ``modified``, ``deleted`` or ``typechange``.
        old_mode, new_mode: git modes as ints (0o100644, 0o100755, 0o120000, 0o160000), 0 when absent.
        old_id, new_id: blob ids, empty when absent.
        size_bytes: size of the new content, 0 when deleted.
        lines_added, lines_deleted: 0 for binary content.
        binary: the old or new content has a NUL byte in its first 8000 bytes (git's own rule).
        ignored: matched by the ignore rules of the *base* tree; such a path is judged but not promoted.
        link_target: target of a new symbolic link.
    """

    path: str
    kind: str
    old_mode: int = 0
    new_mode: int = 0
    old_id: str = ""
    new_id: str = ""
    size_bytes: int = 0
    lines_added: int = 0
    lines_deleted: int = 0
    binary: bool = False
    ignored: bool = False
    link_target: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The difference between a base tree and a task's tree.

    Attributes:
        base_tree, tree: git tree ids.
        paths: every differing path, sorted.
        refused: paths that cannot be captured (FIFOs, sockets, devices), as ``path: what it is``.
    """

    base_tree: str
    tree: str
    paths: tuple[PathChange, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def promotable(self) -> tuple[PathChange, ...]:
        """The paths that would land in the user's repository: everything that is not ignored."""
        return tuple(p for p in self.paths if not p.ignored)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check says about a change.

    Attributes:
        check: ``scope``, ``protected``, ``limits``, ``symlink``, ``mode``, ``refused``, ``handoff``, ``secrets``, ``canary``, ``suspicion``,
            ``sql``, ``dependencies``, ``anomaly``, ``acceptance``, ``role``, ``empty``.
        verdict: what follows: allow (only shown), ask (a human decides), deny (the task fails).
        rule, source: which rule, and its file:line.
        message: in words.
        path: the path it is about, empty for the whole change.
        line: line of the path, counted from 1; 0 where it is about no line.
        severity: of a secret: ``high``, ``medium`` or ``low``; empty otherwise.
        fingerprint: of a secret: the name it can be allowed by; empty otherwise.
        risk: low, medium, high or critical, where a rule says so; empty otherwise.
    """

    check: str
    verdict: Verdict
    rule: str
    source: str
    message: str
    path: str = ""
    line: int = 0
    severity: str = ""
    fingerprint: str = ""
    risk: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The result of one acceptance command that we ran on the tree.

    Attributes:
        command: as written in the plan.
        passed: exit code 0, within its time, in a sandbox.
        exit_code: None when it was killed.
        duration_s: wall time in seconds.
        tail: last output, redacted, at most 4000 characters.
        tree: tree id it ran on.
        isolation: level it ran under.
    """

    command: str
    passed: bool
    exit_code: int | None
    duration_s: float
    tail: str
    tree: str
    isolation: str
    reason: str = ""
    findings: tuple[Finding, ...] = field(default=())
