"""Evidence of one run in one file, with the program that verifies it; format in docs/formats/evidence.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew import __version__
from nightcrew.host.signing import need_key
from nightcrew.journal.heads import STUB, SignedHead, prove
from nightcrew.journal.verify_bundle import HEAD, LARGEST, ODD, Bad, pack, read_bundle, verify
from nightcrew.model import canonical
from nightcrew.model.errors import JournalDamaged, NotFound, StaleError, UsageError
from nightcrew.model.events import Event
from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    PromotionRecord,
    Record,
    RunRecord,
    TaskRecord,
)
from nightcrew.runtime.evidence.sealing import keep_head, key_file, known_keys, own_key, sign_in

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts

FORMAT: Final = 1
MADE: Final = "bundle.made"
VERIFIER: Final = "verify_bundle.py"
_ROOM: Final = 4 << 20
"""For what a bundle has beside events and records: the list, the head, the archive itself."""
_ANY: Final = "any"
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}\Z")
_GROUPS: Final[Mapping[str, type[Record]]] = {
    "plans": PlanRecord,
    "tasks": TaskRecord,
    "attempts": AttemptRecord,
    "approvals": ApprovalRecord,
    "checkpoints": CheckpointRecord,
    "promotions": PromotionRecord,
}
_README: Final = """Evidence of the run {run} of nightcrew {version}.

Verify it, offline, with nothing but Python 3.8 or later:

    python3 verify_bundle.py BUNDLE.tar.gz --key {key}

The key above is what this bundle says of itself. Compare it with the one that its maker tells you in another way
(`nightcrew audit head` prints it), and take the verifier from a place you trust: `nightcrew audit verify --bundle` is the same.

events.jsonl     every event of the run, each with the hash of the one before
head.json        the signed head over all runs of that installation, and the way from this run's last event to it
manifest.json    numbers of the events and SHA-256 of every other file; its own SHA-256 stands in the last event
records.json     run, plans, tasks, attempts, approvals, checkpoints, promotions as they stood
plan.json        the plan in force    policies.json   the policies and settings in force, word by word
trees.json       git ids of every tree and commit: what was started from, what each task made, what landed
receipts/        one file for each promotion: what landed, by whom, with the approvals that it rests on
"""


def check_place(target: Path, *, force: bool = False) -> None:
    """Check that a bundle can be written there.

    Raises:
        StaleError: the file is there. UsageError: there is no such directory.
    """
    if target.exists() and not force:
        raise StaleError(
            f"{target} is there already; nothing was written", code="bundle.exists", hint="--force"
        )
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}; nothing was written", code="bundle.place")


def make_bundle(parts: Parts, name: str, target: Path) -> dict[str, Any]:
    """Write the evidence bundle of a run, and record that it was made; whoever calls has verified the journal.

    Args:
        name: full id of the run. target: the file; one that is there is replaced.

    Raises:
        UsageError: it cannot be written, or would be larger than what can be verified.
    """
    key = need_key(key_file(parts))
    with parts.journal.write(durable=True) as tx:
        events = tx.events(run=name)
        files = collect_files(tx, name, events, key.public)
        _check_size(name, events, files)
        manifest = _manifest(name, events, files)
        data = {"manifest": hashlib.sha256(manifest).hexdigest(), "files": len(files) + 3}
        seq = tx.append(MADE, run=name, actor=f"user:{parts.env.user}", data=data)
        events += tx.events(after=seq - 1, run=name)
        head = sign_in(parts, tx, key, actor="engine")
    keep_head(parts, head)
    files |= {
        "manifest.json": manifest,
        "events.jsonl": b"".join(_encode(event) for event in events),
        "head.json": _head(head, name),
    }
    _write(target, pack(files))
    return {
        "run": name,
        "file": str(target),
        "events": len(events),
        "files": len(files),
        "first": events[0].seq,
        "last": seq,
        "key": key.public,
    }


def collect_files(tx: Reader, name: str, events: Sequence[Event], key: str) -> dict[str, bytes]:
    """Return the files of a bundle beside events, head and list."""
    run = tx.need(RunRecord, name)
    records: dict[str, Sequence[Any]] = {group: tx.find(cls, run=name) for group, cls in _GROUPS.items()}
    plan = tx.need(PlanRecord, f"{name}/P{run.plan_version}")
    promotions = tx.find(PromotionRecord, run=name)
    readme = _README.format(run=name, version=__version__, key=key)
    return {
        "README.txt": readme.encode(),
        "records.json": _encode({"runs": [run], **records}),
        "plan.json": _encode({"digest": plan.digest, "flags": plan.flags, "plan": plan.body}),
        "policies.json": _encode(plan.policies),
        "trees.json": _encode(_trees(run, tx.find(TaskRecord, run=name), promotions)),
        **{f"receipts/{each.id}.json": _encode(_receipt(tx, each, events)) for each in promotions},
        VERIFIER: resources.files("nightcrew.journal").joinpath(VERIFIER).read_bytes(),
    }


def _trees(
    run: RunRecord, tasks: Sequence[TaskRecord], promotions: Sequence[PromotionRecord]
) -> dict[str, Any]:
    return {
        "base": {"commit": run.base_commit, "tree": run.base_tree},
        "tasks": {
            each.id: {"base_tree": each.base_tree, "tree": each.tree, "built_on": dict(each.built_on)}
            for each in tasks
        },
        "promotions": {
            each.id: {"old": each.old_commit, "new": each.new_commit, "tree": each.tree}
            for each in promotions
        },
    }


def _receipt(tx: Reader, record: PromotionRecord, events: Sequence[Event]) -> dict[str, Any]:
    tasks = set(record.tasks)
    answered = [
        each for each in tx.find(ApprovalRecord, run=record.run) if each.task in tasks and each.decided_at
    ]
    told = [
        event
        for event in events
        if event.kind.startswith("promotion.")
        and record.id in (event.data.get("id"), event.data.get("promotion"))
    ]
    return {"promotion": record, "approvals": answered, "events": [event.id for event in told]}


def _manifest(name: str, events: Sequence[Event], files: Mapping[str, bytes]) -> bytes:
    return _encode(
        {
            "format": FORMAT,
            "run": name,
            "nightcrew": __version__,
            "seqs": [event.seq for event in events],
            "emptied": [event.seq for event in events if event.kind == STUB],
            "files": {path: hashlib.sha256(content).hexdigest() for path, content in files.items()},
        }
    )


def _head(head: SignedHead, name: str) -> bytes:
    end = next(each for each in head.ends if each[0] == name)
    plain = SignedHead(head.statement, head.key, head.signature).to_plain()
    return _encode({**plain, "end": list(end), "proof": prove(head.ends, name)})


def _encode(value: Any) -> bytes:
    return canonical.encode(value).encode("ascii") + b"\n"


def _check_size(name: str, events: Sequence[Event], files: Mapping[str, bytes]) -> None:
    size = sum(map(len, files.values())) + sum(len(_encode(event)) for event in events)
    if size > LARGEST - _ROOM:
        raise UsageError(
            f"the evidence of {name} has {size >> 20} MiB, more than a verifier reads ({LARGEST >> 20} MiB); nothing was written",
            code="bundle.large",
            hint=f"nightcrew audit export --run {name} -o events.jsonl",
        )


def _write(target: Path, data: bytes) -> None:
    from nightcrew.host.files import write_atomic

    try:
        write_atomic(target, data, 0o600)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}", code="bundle.place") from error


def check_bundle(parts: Parts, target: Path, key: str) -> dict[str, Any]:
    """Verify a bundle, and by default that this installation signed it; return what was found.

    Args:
        key: public key that must have signed it; ``any`` for whichever it names; empty for those of this installation.

    Raises:
        UsageError: that is no key, or there is none to compare with. JournalDamaged: it does not verify.
    """
    if key not in ("", _ANY) and not _KEY.match(key):
        raise UsageError(
            "a key has 64 hexadecimal digits; nothing was verified",
            code="bundle.key",
            hint="nightcrew audit head prints it where the bundle was made",
        )
    if not target.exists():
        raise NotFound(f"there is no {target}", code="bundle.missing", hint="nightcrew audit bundle RUN")
    known = frozenset() if key else known_keys(parts)
    if not key and not known:
        raise UsageError(
            "this installation has no key of its own, so there is none to compare with; nothing was verified",
            code="bundle.key",
            hint="--key HEX, as whoever made the bundle tells you by another way; or, knowingly, --key any",
        )
    try:
        files = read_bundle(str(target))
        wanted = "" if key == _ANY else key or _choose_key(files, known, own_key(parts))
        return verify(files, wanted)
    except Bad as bad:
        where = [f"first bad record: E-{bad.seq}"] if bad.seq else []
        where += [f"file: {bad.file}"] if bad.file else []
        hint = "--key HEX compares with the key of whoever made it, --key any with none"
        raise JournalDamaged(
            f"the bundle does not verify: {bad.message}",
            code="bundle.damaged",
            where=where,
            hint=hint if "another key" in bad.message else "get it again from whoever made it",
        ) from None


def _choose_key(files: Mapping[str, bytes], known: frozenset[str], own: str) -> str:
    """Return the key of this installation that a bundle says it was signed by; its present one for any other."""
    try:
        named = str(json.loads(files[HEAD])["key"])
    except ODD:
        named = ""
    return named if named in known else own or min(known)
