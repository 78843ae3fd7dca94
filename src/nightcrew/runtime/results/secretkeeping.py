"""``secrets scan`` and ``secrets allow``: what of the user's files, or of a task, looks like a secret; what may land."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.files import write_atomic
from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.model.errors import InvalidInput, NotFound, UsageError
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.text import shown
from nightcrew.model.yamltext import read_document
from nightcrew.policy.load import parse_policy
from nightcrew.policy.scanning.change import MAX_FILE_BYTES, scan_change
from nightcrew.runtime.people.factors import require_factor
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.rules import POLICY_FILE, read_rules
from nightcrew.runtime.trees.guarding import REFUSED

if TYPE_CHECKING:
    from nightcrew.model.people import Proof
    from nightcrew.runtime.parts import Parts

DAYS: Final = 90
"""How long a secret is allowed when nothing else is said."""
_FILE: Final = 0o100644
_SKIPPED: Final = frozenset({".git", ".hg", ".svn"})


def scan_place(parts: Parts, target: str) -> dict[str, Any]:
    """Search a task (``R-1/T01``), a file or a folder for secrets, by the rules of the working tree as they are now.

    Raises:
        NotFound: there is no such task, file or folder.
    """
    place = parts.cwd / target
    if not place.exists() and "/" in target and target.startswith(("R-", "r-")):
        findings, scanned = _scan_task(parts, target)
    elif place.exists():
        findings, scanned = _scan_files(parts, place)
    else:
        raise NotFound(f"there is no file or folder {shown(target)}", hint="nightcrew secrets scan .")
    loud = [each for each in findings if each.verdict is Verdict.DENY]
    return {
        "target": target,
        "scanned": scanned,
        "found": len(loud),
        "secrets": [
            {
                "path": each.path,
                "line": each.line,
                "rule": each.rule,
                "severity": each.severity,
                "fingerprint": each.fingerprint,
                "allowed": each.verdict is Verdict.ALLOW,
                "message": each.message,
            }
            for each in findings
        ],
    }


def _scan_task(parts: Parts, name: str) -> tuple[tuple[Finding, ...], int]:
    from nightcrew.runtime.results.reviewing import need_run, trees_of
    from nightcrew.runtime.trees.guarding import rules_now

    with parts.journal.read() as tx:
        task = tx.need(TaskRecord, name)
        old, new = trees_of(tx, task)
    if not new:
        raise NotFound(f"{name} has changed nothing yet", hint=f"nightcrew show {name}")
    repository = parts.repository_of(need_run(parts, task.run))
    store = parts.store(repository)
    change = store.compare(old, new)
    today = parts.clock.now().date()
    policy = rules_now(parts, repository)
    found = scan_change(policy, change, store.read_blob, today=today, verdict=Verdict.DENY)
    return found, len(change.promotable)


def _scan_files(parts: Parts, place: Path) -> tuple[tuple[Finding, ...], int]:
    root = place if place.is_dir() else place.parent
    paths = {str(file): file.relative_to(root).as_posix() for file in _walk(place)}
    changes = tuple(
        PathChange(name, "added", new_mode=_FILE, new_id=file, size_bytes=Path(file).stat().st_size)
        for file, name in paths.items()
    )
    policy = read_rules(parts.env, parts.find_root()).policy
    today = parts.clock.now().date()
    found = scan_change(policy, Change("", "", changes), _read, today=today, verdict=Verdict.DENY)
    return found, len(changes)


def _walk(place: Path) -> Iterator[Path]:
    """Yield regular files, in order; links are not followed."""
    if not place.is_dir():
        yield place
        return
    for folder, names, files in os.walk(place):
        names[:] = sorted(set(names) - _SKIPPED)
        for name in sorted(files):
            file = Path(folder) / name
            if file.is_file() and not file.is_symlink():
                yield file


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_FILE_BYTES)
    except PermissionError as error:
        raise UsageError(
            f"{shown(file)} cannot be read: {error.strerror}", code="secrets.unreadable"
        ) from error


def allow_secret(
    parts: Parts,
    fingerprint: str,
    *,
    reason: str,
    until: str,
    force: bool = False,
    proof: Proof | None = None,
) -> dict[str, Any]:
    """Write into the repository's policy that a secret may land; return the place where that stands.

    Args:
        fingerprint: 20 hexadecimal digits.
        reason: why.
        until: last day, ``YYYY-MM-DD``; empty for DAYS from now.
        force: also when nothing with this fingerprint was seen here.
        proof: second factor, where the policy wants one for its own changes (``factors.policy``).

    Raises:
        NotAuthenticated: it wants one, and it is missing or wrong.
        UsageError: no reason, or a day that is over.
        NotFound: nothing with this fingerprint was found in what tasks changed, refused at a promotion, or is in the
            working tree; a typing error would open a door that nobody looks at.
        InvalidInput: the policy could not be read with it, or says ``allow`` in a form that a program cannot add to; the
            file was left as it was.
    """
    need_person(parts, "admin")
    root = parts.find_root()
    if root is None:
        raise NotFound("there is no repository here", hint="nightcrew init")
    if not reason.strip():
        raise UsageError(
            "allowing a secret needs a reason", code="reason.missing", hint='--reason "why it may be there"'
        )
    day = _find_last_day(until, parts.clock.now().date())
    seen = "" if force else _find_seen(parts, root, fingerprint)
    if not seen and not force:
        raise NotFound(
            f"no secret with the fingerprint {shown(fingerprint)} was seen in this repository; nothing was written",
            code="secrets.unseen",
            hint="see the fingerprints: nightcrew secrets scan R-1/T01   or, if you are sure: --force",
        )
    require_factor(parts, "policy", proof, root=root)
    file = root / POLICY_FILE
    before = file.read_text("utf-8") if file.exists() else "version: 1\n"
    item = _make_item(fingerprint, reason.strip(), day, parts.env.user)
    after = _insert(before, item)
    parse_policy(after, POLICY_FILE)
    file.parent.mkdir(exist_ok=True)
    write_atomic(file, after.encode("utf-8"), 0o644 if not file.exists() else file.stat().st_mode & 0o777)
    return {
        "fingerprint": fingerprint,
        "reason": reason.strip(),
        "until": str(day),
        "by": parts.env.user,
        "file": POLICY_FILE,
        "seen": seen,
    }


def _find_last_day(until: str, today: date) -> date:
    """Return the last day that is asked for, or the usual one."""
    day = _read_day(until) if until else today + timedelta(days=DAYS)
    if day < today:
        raise UsageError(f"{day} is over already; nothing was written", code="secrets.until")
    return day


def _find_seen(parts: Parts, root: Path, fingerprint: str) -> str:
    """Return where a secret was seen last: in what a task changed, at a promotion, in the working tree; empty if nowhere."""
    key = parts.repository_at(root).key
    with parts.journal.read() as tx:
        runs = [run.id for run in tx.find(RunRecord, newest=True) if run.repo_key == key]
        for run in runs:
            for task in tx.find(TaskRecord, run=run):
                for finding in task.findings:
                    if finding.get("fingerprint") == fingerprint:
                        return f"{task.id}: {finding['path']}"
            for event in tx.events(run=run, kinds=(REFUSED,), newest=True):
                if fingerprint in event.data.get("secrets", ()):
                    return str(event.data["promotion"])
    found, _ = _scan_files(parts, root)
    return next((each.path for each in found if each.fingerprint == fingerprint), "")


def _read_day(until: str) -> date:
    try:
        return date.fromisoformat(until)
    except ValueError as error:
        raise UsageError(
            f"there is no day {shown(until)}", code="secrets.until", hint="write it like 2027-01-31"
        ) from error


def _make_item(fingerprint: str, reason: str, day: date, user: str) -> list[str]:
    # In quotes: digits alone, or with an e between them, would be read as a number.
    return [
        f'- fingerprint: "{fingerprint}"',
        f"  reason: {_quote(reason)}",
        f'  until: "{day}"',
        f"  by: {_quote(user)}",
    ]


def _quote(text: str) -> str:
    return "'" + shown(text).replace("'", "''") + "'"


def _insert(text: str, item: list[str]) -> str:
    """Return the policy with one more item in ``secrets.allow``; everything else stays to the letter."""
    problems: list[Any] = []
    document = read_document(text, POLICY_FILE, problems)
    if problems or document is None:
        raise InvalidInput(
            f"{POLICY_FILE} cannot be read; nothing was written", problems, hint="nightcrew policy check"
        )
    value = document.value if isinstance(document.value, dict) else {}
    secrets = value.get("secrets")
    lines = text.splitlines()
    if not isinstance(secrets, dict):
        tail = ["", "secrets:", "  allow:", *("    " + line for line in item)]
        return "\n".join([*lines, *tail]) + "\n"
    if isinstance(secrets.get("allow"), list) and secrets["allow"]:
        first = document.place("secrets", "allow", 0)
        row, column = first.line - 1, lines[first.line - 1].find("-")
        if column >= 0 and not lines[row][:column].strip() and column < first.column:
            return _put(lines, row, item, column)
    elif "allow" not in secrets and "{" not in lines[document.key_place("secrets").line - 1]:
        first_key = document.key_place("secrets", next(iter(secrets)))
        return _put(
            lines, first_key.line - 1, ["allow:", *("  " + line for line in item)], first_key.column - 1
        )
    raise UsageError(
        f"secrets in {POLICY_FILE} is written in a form that a program cannot add to; nothing was written",
        code="secrets.form",
        where=["add this to secrets.allow yourself:", *item],
    )


def _put(lines: list[str], row: int, item: list[str], column: int) -> str:
    return "\n".join([*lines[:row], *(" " * column + line for line in item), *lines[row:]]) + "\n"
