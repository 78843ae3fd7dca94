"""A change → findings about the secrets that it adds. Pure: contents are handed in by a reader, the day by a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Final

from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.model.text import shown
from nightcrew.policy.canary import Canary
from nightcrew.policy.leaving import find_in
from nightcrew.policy.rules import Allowance, Placed, Policy
from nightcrew.policy.scanning.contents import Scan, scan_content
from nightcrew.policy.scanning.noise import is_example
from nightcrew.policy.scanning.runs import look
from nightcrew.policy.scanning.texts import Secret, blot_out, fingerprint, hide_in_name, scan_text
from nightcrew.policy.scanning.unwrap import MAX_DEPTH, Bounds, is_archive, unwrap

MAX_FILE_BYTES: Final = 32 << 20
"""Of a larger file nothing is read; it is a finding of its own."""

_FILES: Final = (0o100644, 0o100755)
_BUILT_IN: Final = "built in"

Read = Callable[[str], bytes]
Scans = dict[tuple[str, str], Scan]


def scan_change(
    policy: Policy,
    change: Change,
    read: Read,
    *,
    today: date,
    verdict: Verdict | None = None,
    known: Scans | None = None,
) -> tuple[Finding, ...]:
    """Return a finding for every secret that a change adds to a file that would land.

    What stood in the file before is not told again. What is allowed by its fingerprint, only looks like a secret by
    the name it has in a test or example, or is meant to be seen, is told with the verdict ``allow``.

    Args:
        policy: says what a secret means (``secrets.change``) and which may land (``secrets.allow``).
        change: difference of two trees.
        read: content of a blob by its id.
        today: allowances hold until the end of their day.
        verdict: instead of what the policy says.
        known: what was found in single contents before; what is new is added to it.
    """
    known = {} if known is None else known
    moved = {path.old_id for path in change.paths if path.old_mode in _FILES}
    judge = _Judge(policy, today, verdict)
    found: list[Finding] = []
    for path in change.promotable:
        if path.new_mode not in _FILES or path.new_id == path.old_id:
            continue
        if not path.old_id:
            found += judge.name(path)
        if path.size_bytes > MAX_FILE_BYTES:
            found.append(judge.unread(path, f"larger than {MAX_FILE_BYTES >> 20} MiB"))
            continue
        if path.new_id in moved:
            continue  # the content of another path, moved or copied: nothing is added
        scan = _scan(path.new_id, path.path, read, known)
        before = _old(path, read, known) if scan.secrets else frozenset()
        found += judge.all(path, scan, before)
    return tuple(found)


def find_canaries(change: Change, read: Read, canaries: Sequence[Canary]) -> Iterator[Finding]:
    """Yield a finding for each path of a change that would land with a planted credential; none can be allowed."""
    for path in change.promotable if canaries else ():
        if path.new_mode not in _FILES or path.new_id == path.old_id or path.size_bytes > MAX_FILE_BYTES:
            continue
        name = _find_canary(read(path.new_id), canaries, Bounds(), MAX_DEPTH)
        if name is not None:
            message = (
                f"{shown(hide_in_name(path.path))} holds a credential that was planted as a tripwire ({name})"
            )
            yield Finding("canary", Verdict.ASK, "canary", _BUILT_IN, message, path.path)


def _find_canary(data: bytes, canaries: Sequence[Canary], bounds: Bounds, depth: int) -> str | None:
    found = find_in(data, canaries)
    if found is not None or not depth or not is_archive(data):
        return found
    parts = (_find_canary(part.data, canaries, bounds, depth - 1) for part in unwrap(data, bounds, ()))
    return next((name for name in parts if name is not None), None)


def judge_secret(
    policy: Policy, path: PathChange, secret: Secret, *, today: date, verdict: Verdict | None = None
) -> Finding:
    """Return the finding about one secret that another engine found."""
    return _Judge(policy, today, verdict).secret(path, secret)


def _scan(blob: str, name: str, read: Read, known: Scans) -> Scan:
    key = (blob, name)
    if key not in known:
        known[key] = scan_content(read(blob), name)
    return known[key]


def _old(path: PathChange, read: Read, known: Scans) -> frozenset[str]:
    """Return the fingerprints of what stood in the file before."""
    if path.old_mode not in _FILES:
        return frozenset()
    return frozenset(secret.fingerprint for secret in _scan(path.old_id, path.path, read, known).secrets)


class _Judge:
    """What a policy says of secrets on one day."""

    def __init__(self, policy: Policy, today: date, verdict: Verdict | None) -> None:
        placed = policy.verdict("secrets.change")
        self.verdict = verdict or (placed.value if placed else Verdict.ASK)
        self.source = placed.source if placed else _BUILT_IN
        self.allowed = {each.value.fingerprint: each for each in policy.allowances}
        self.today = today

    def all(self, path: PathChange, scan: Scan, before: frozenset[str]) -> Iterator[Finding]:
        for secret in scan.secrets:
            if secret.fingerprint not in before:
                yield self.secret(path, secret)
        for said in scan.unread:
            yield self.unread(path, said)

    def name(self, path: PathChange) -> Iterator[Finding]:
        """Yield what looks like a secret in the name of a new path."""
        held = path.path.encode("utf-8", "surrogateescape")
        for secret in scan_text(held, path.path, look(held)):
            if secret.severity == "high":
                said = f"the name of {shown(blot_out(held)[0].decode('utf-8', 'replace'))} holds what looks like a secret"
                message = f"{said} ({secret.title})  fingerprint {secret.fingerprint}"
                rule = f"secrets.{secret.rule}"
                yield self._tell(rule, message, path, 0, secret.severity, secret.fingerprint)

    def secret(self, path: PathChange, secret: Secret) -> Finding:
        inside = "".join(f", inside {shown(each)}" for each in secret.inside)
        message = (
            f"{shown(hide_in_name(path.path))}:{secret.line} holds what looks like a secret ({secret.title}{inside}): "
            f"{shown(secret.shown)}  fingerprint {secret.fingerprint}"
        )
        quiet = secret.severity == "low" or (secret.severity == "medium" and is_example(path.path))
        rule = f"secrets.{secret.rule}"
        return self._tell(
            rule, message, path, secret.line, "low" if quiet else secret.severity, secret.fingerprint
        )

    def unread(self, path: PathChange, said: str) -> Finding:
        name = fingerprint("unread", f"{path.new_id} {said}".encode())
        message = f"{shown(hide_in_name(path.path))} could not be searched for secrets: {shown(said)}  fingerprint {name}"
        return self._tell("secrets.unread", message, path, 0, "medium", name)

    def _tell(
        self, rule: str, message: str, path: PathChange, line: int, severity: str, name: str
    ) -> Finding:
        verdict, source = (Verdict.ALLOW if severity == "low" else self.verdict), self.source
        placed = self.allowed.get(name)
        if placed is not None and severity != "low":
            said, holds = describe_allowance(placed, self.today)
            message = f"{message} ({said})"
            verdict, source = (Verdict.ALLOW, placed.source) if holds else (verdict, source)
        return Finding("secrets", verdict, rule, source, message, path.path, line, severity, name)


def describe_allowance(placed: Placed[Allowance], today: date) -> tuple[str, bool]:
    """Return in words what an allowance says, and whether it holds on a day."""
    each = placed.value
    holds = today <= date.fromisoformat(each.until)
    word = "allowed until" if holds else "no longer allowed since"
    return f"{word} {each.until} by {shown(each.by)}: {shown(each.reason)}", holds
