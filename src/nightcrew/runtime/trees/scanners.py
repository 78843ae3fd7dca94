"""The strong engine for secrets: kingfisher, where its package is installed (``nightcrew[secrets]``). Ours is the floor.

It is run on private copies of the changed files, never on the repository, and always without validation, updates and
alerts: nothing of a secret leaves the machine. What it finds beside ours becomes a finding like ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host import procs
from nightcrew.host.files import ensure_private_directory, remove_tree, write_atomic
from nightcrew.host.tokens import nonce
from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.policy.scanning.blot import blot
from nightcrew.policy.scanning.change import MAX_FILE_BYTES, judge_secret
from nightcrew.policy.scanning.noise import is_digest, is_placeholder
from nightcrew.policy.scanning.texts import Secret, fingerprint

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts

_NAME: Final = "kingfisher"
# Nothing found, something found. A third code stands for validated secrets, and we never validate.
_DONE: Final = (0, 200)
# Its rules are compiled at the first use, which took 13 s on two busy cores; afterwards they come from its cache.
_TIMEOUT_S: Final = 120.0
_OPTIONS: Final = (
    "--no-validate", "--no-update-check", "--no-ignore", "--git-history", "none", "--format", "json", "--quiet",
    "--confidence", "medium", "--jobs", "2",
)  # fmt: skip
_FILES: Final = (0o100644, 0o100755)


def find_engine() -> Path | None:
    """Return the program of the strong engine; None when its package is not installed."""
    spec = find_spec(_NAME)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / "bin" / _NAME
        if program.is_file():
            return program
    return None


def scan_strongly(
    parts: Parts, store: Store, policy: Policy, change: Change, found: Sequence[Finding], *, today: date
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Search the changed files with the strong engine, where there is one.

    Args:
        found: what ours has found; it is not told twice.

    Returns:
        What it found beside that, with ``deny`` where it stands against the change, and its name with how it went;
        both empty where it is not installed.
    """
    program = find_engine()
    paths = [p for p in change.promotable if p.new_mode in _FILES and p.new_id != p.old_id]
    paths = [p for p in paths if p.size_bytes <= MAX_FILE_BYTES]
    if program is None or not paths:
        return (), ()
    state = parts.env.state
    folder = state / f"scan-{nonce()}"
    ensure_private_directory(folder)
    try:
        for number, path in enumerate(paths):
            write_atomic(folder / f"{number}{_ending(path.path)}", store.read_blob(path.new_id))
        env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "XDG_CACHE_HOME": str(state / "cache")}
        done = procs.run(
            [str(program), "scan", str(folder), *_OPTIONS], env=env, cwd=folder, timeout_s=_TIMEOUT_S
        )
    finally:
        remove_tree(folder, inside=state)
    rows = _read(done.stdout) if done.code in _DONE and not done.timed_out else None
    if rows is None:
        return (), (f"{_NAME} (failed: it ended with {'its time' if done.timed_out else done.code})",)
    told = {(finding.path, finding.fingerprint) for finding in found}
    more = tuple(_judge(store, policy, paths, rows, found, today))
    return tuple(f for f in more if (f.path, f.fingerprint) not in told), (_NAME,)


def _ending(path: str) -> str:
    """The part of a name that tells a scanner what kind of file it is."""
    tail = path.rpartition("/")[2].rpartition(".")[2]
    return f".{tail}" if tail.isascii() and tail.isalnum() and len(tail) <= 12 else ".txt"


def _read(output: bytes) -> list[Any] | None:
    try:
        rows = json.loads(output)["findings"] if output.strip() else []
    except (ValueError, KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) else None


def _judge(
    store: Store,
    policy: Policy,
    paths: Sequence[PathChange],
    rows: Sequence[Any],
    found: Sequence[Finding],
    today: date,
) -> Iterator[Finding]:
    ours: dict[str, str] = {}
    for finding in found:
        ours[finding.path] = ours.get(finding.path, "") + finding.message
    for row in rows:
        rule, seen = row["rule"], row["finding"]
        path = paths[int(Path(seen["path"]).name.partition(".")[0])]
        value = str(seen["snippet"])
        known = blot(value) in ours.get(path.path, "") or is_placeholder(value) or is_digest(value)
        if known or _stood_before(store, path, value):
            continue
        name = f"{_NAME}.{rule['id']}"
        secret = Secret(
            name, str(rule["name"]), "high", int(seen["line"]), blot(value), fingerprint(name, value.encode())
        )
        yield judge_secret(policy, path, secret, today=today, verdict=Verdict.DENY)


def _stood_before(store: Store, path: PathChange, value: str) -> bool:
    return path.old_mode in _FILES and value.encode() in store.read_blob(path.old_id)
