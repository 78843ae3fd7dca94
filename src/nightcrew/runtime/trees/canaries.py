"""The key that canaries are made of: one per state directory, private, made when it is first needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.host.files import ensure_private_directory, write_atomic
from nightcrew.host.tokens import key, nonce
from nightcrew.model.actions import Change, Finding
from nightcrew.policy.canary import find_family
from nightcrew.policy.scanning.change import find_canaries

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store

_FILE: Final = "canary.key"
_SIZE: Final = 32


def read_key(state: Path) -> bytes:
    """Return the key of a state directory; a new one where there is none, or what is there is no key.

    A key that is lost costs only that canaries of unfinished attempts are not known any more.
    """
    file = state / _FILE
    try:
        found = file.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) == _SIZE:
        return found
    ensure_private_directory(state)
    if found:
        file.unlink(missing_ok=True)
    aside = state / f".{_FILE}.{nonce()}"
    write_atomic(aside, key(), 0o600)
    try:
        file.hardlink_to(aside)
    except FileExistsError:
        # Another process was quicker; its key is the one.
        pass
    finally:
        aside.unlink()
    return file.read_bytes()


def find_landing(state: Path, store: Store, run: str, change: Change) -> tuple[Finding, ...]:
    """Return a finding for each path of a change that would carry a canary of a run into the repository."""
    return tuple(find_canaries(change, store.read_blob, find_family(read_key(state), run)))
