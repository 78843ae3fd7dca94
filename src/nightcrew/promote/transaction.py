"""The transaction directory: plan, marker, slots. Format: docs/formats/promotion.md, version 1."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from nightcrew.host import crash
from nightcrew.host.apart import Emptied
from nightcrew.host.files import remove_tree, sync_directory, write_atomic
from nightcrew.host.spreading import make_spreading
from nightcrew.model import canonical
from nightcrew.model.errors import NightcrewError
from nightcrew.promote.moves import Move

FORMAT: Final = 1
BESIDE: Final = ".nightcrew-promotion"
PINS: Final = "refs/nightcrew/undo/"
EMPTIED: Final = "emptied"
"""In our directory for the repository: where much was removed lately (``host/apart.py``)."""

REMOVED_MANY: Final = 1000
_PLACES: Final = 3
"""So many are tried; each takes well under a millisecond."""
_DEAR_NS: Final = 100_000
"""A new file takes 10-20 us, and 200-500 us where thousands were removed a moment ago."""

Marker = Literal["", "committed", "done", "aborted"]
Kind = Literal["commit", "restore"]


@dataclass(frozen=True, slots=True)
class IndexChange:
    """One entry of the index, ``<mode> <id>`` or empty, before and after; ``flags`` as in ``git ls-files -v``."""

    path: str
    before: str
    after: str
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that recovery and undo need to know (fields: docs/formats/promotion.md)."""

    id: str
    transaction: str
    kind: str
    branch: str
    old_commit: str
    new_commit: str
    pin: str
    pin_commit: str
    slots: str
    at: str
    undo_of: str = ""
    moves: tuple[Move, ...] = ()
    index: tuple[IndexChange, ...] = ()
    kept: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    place: str = "here"
    format: int = field(default=FORMAT)

    @property
    def note(self) -> str:
        """The reflog message; with the commit it is at, it tells our move of the branch from anybody else's."""
        return f"nightcrew: {'undo' if self.undo_of else 'promote'} {self.transaction}"


class Transaction:
    """One directory of transactions; nothing is created before ``create``."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        self.name = name
        self.path = home / name

    def create(self, slots: Path, emptied: Emptied) -> None:
        """Make the directory and the directory of its slots.

        Args:
            slots: what plan.json will call ``slots``: ``home`` itself, or the place beside the working tree.
            emptied: where new files are dear.

        Raises:
            FileExistsError: it is there already.
        """
        make_spreading(slots)
        self.home.mkdir(parents=True, exist_ok=True)
        emptied.make_apart(self.path)
        inside = slots / self.name / "s"
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_PLACES if slots == self.home else 0):
            if not is_dear(inside):
                break
            # Somebody else has removed much here: kept in mind, so that the next place is another one.
            emptied.note(inside.stat().st_ino, REMOVED_MANY)
            inside.rmdir()
            self.path.rmdir()
            emptied.make_apart(self.path)
            inside.mkdir(mode=0o700)
        self.path.chmod(0o700)

    def write_plan(self, plan: Plan) -> None:
        """Write plan.json, complete and flushed."""
        plain = {field.name: getattr(plan, field.name) for field in fields(plan)}
        # By hand, for there may be thousands of them; the rest of the plan is plain already.
        plain["moves"] = [{"path": m.path, "slot": m.slot, "old": m.old, "new": m.new} for m in plan.moves]
        plain["index"] = [
            {"path": c.path, "before": c.before, "after": c.after, "flags": c.flags} for c in plan.index
        ]
        write_atomic(self.path / "plan.json", canonical.encode_plain(plain).encode("ascii"))

    def plan(self) -> Plan | None:
        """Read plan.json; None when it was not written yet.

        Raises:
            NightcrewError: it has another format, written by a newer nightcrew.
        """
        try:
            found = json.loads((self.path / "plan.json").read_bytes())
        except FileNotFoundError:
            return None
        if found.get("format") != FORMAT:
            raise NightcrewError(
                f"{self.path} was written by another version of nightcrew (format {found.get('format')})",
                code="promote.format",
                hint="use that version to finish or undo this promotion",
            )
        return _decode(found)

    @property
    def marker(self) -> Marker:
        """How far it came."""
        for name in ("done", "aborted", "committed"):
            if (self.path / name).exists():
                return name
        return ""

    def commit(self) -> None:
        """Set the marker after which the working tree may differ from what it was."""
        write_atomic(self.path / "committed", b"")

    def end(self, marker: Literal["done", "aborted"]) -> None:
        """Turn ``committed`` into the final marker: a rename, so it works on a full disk."""
        committed = self.path / "committed"
        if committed.exists():
            committed.rename(self.path / marker)
            sync_directory(self.path)

    def remove(self, slots: Path) -> None:
        """Remove the slots and the directory of a transaction that is taken back.

        The marker goes first: killed at any later moment, this is a transaction that never had one, and the next recovery
        removes what is left. Without its plan it could not be settled a second time.
        """
        committed = self.path / "committed"
        if committed.exists():
            committed.unlink()
            sync_directory(self.path)
        crash.point("promote.unmarked")
        if slots != self.home:
            remove_beside(slots, self.name)
        remove_tree(self.path, inside=self.home)


def is_dear(place: Path) -> bool:
    """Tell whether new files in a directory take the kernel unusually long, by two that are made and removed again."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return all(_time_new_file(fd, name) > _DEAR_NS for name in ("first", "second"))
    finally:
        os.close(fd)


def _time_new_file(directory: int, name: str) -> int:
    before = time.thread_time_ns()
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    spent = time.thread_time_ns() - before
    os.close(fd)
    os.unlink(name, dir_fd=directory)
    return spent


def remove_beside(slots: Path, name: str) -> None:
    """Remove the slots of a transaction that lie in the working tree, and their directory when it was the last."""
    if slots.name == BESIDE and slots.is_dir():
        remove_tree(slots / name, inside=slots)
        if {each.name for each in slots.iterdir()} <= {".gitignore"}:
            remove_tree(slots, inside=slots.parent)


def transactions(home: Path) -> list[Transaction]:
    """Return all transactions, by name."""
    if not home.is_dir():
        return []
    return [Transaction(home, each.name) for each in sorted(home.iterdir()) if each.is_dir()]


def _decode(found: dict[str, Any]) -> Plan:
    def pick(kind: type, value: dict[str, Any]) -> Any:
        return kind(**{name: value[name] for name in kind.__dataclass_fields__ if name in value})  # type: ignore[attr-defined]  # a dataclass type, which `type` does not tell

    # By hand, for there may be thousands of them.
    found["moves"] = tuple(Move(m["path"], m["slot"], m["old"], m["new"]) for m in found.get("moves", ()))
    found["index"] = tuple(
        IndexChange(c["path"], c["before"], c["after"], c.get("flags", "")) for c in found.get("index", ())
    )
    found["kept"] = tuple(found.get("kept", ()))
    found["edited"] = tuple(found.get("edited", ()))
    plan: Plan = pick(Plan, found)
    return plan
