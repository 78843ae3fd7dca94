"""Signed heads: one value over all chains, signed by the key of this installation, in the journal and in files kept elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import stamp
from nightcrew.host.signing import SigningKey, need_key, read_key, read_known
from nightcrew.journal.heads import SIGNED, SignedHead, ends_of, make_statement, read_signed
from nightcrew.model.errors import InvalidInput, NightcrewError, Place, Problem

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.runtime.parts import Parts

_LARGEST: Final = 64 << 20


def key_file(parts: Parts) -> Path:
    """Return where the signing key of this installation is, or will be; no sandbox ever sees it."""
    return parts.env.state / "signing" / "journal.key"


def own_key(parts: Parts) -> str:
    """Return the public half of the key of this installation, empty while there is none."""
    known = read_key(key_file(parts))
    return known.public if known else ""


def known_keys(parts: Parts) -> frozenset[str]:
    """Return the public keys that are of this installation: its own, earlier ones, and those that a person added."""
    return read_known(key_file(parts)) | ({own_key(parts)} - {""})


def seal(parts: Parts, *, actor: str) -> SignedHead:
    """Sign the journal as it is now, record that, and return the signed head with the ends of all chains.

    Raises:
        NotAuthenticated: the key cannot be used; nothing was recorded.
    """
    key = need_key(key_file(parts))
    with parts.journal.write(durable=True) as tx:
        return record_head(tx, key, at=stamp(parts.clock.now()), actor=actor)


def record_head(tx: Writer, key: SigningKey, *, at: str, actor: str) -> SignedHead:
    """Sign what stands in the journal up to here, inside of a transaction."""
    ends = ends_of(tx.heads())
    statement = make_statement(ends, at=at, seq=tx.last_seq())
    head = SignedHead(statement, key.public, key.sign(statement.message), tuple(ends))
    tx.append(SIGNED, actor=actor, data=SignedHead(statement, head.key, head.signature).to_plain())
    return head


def seal_when_new(parts: Parts) -> None:
    """Sign after something that counts (a run is over, a promotion), unless nothing came since; never a reason to fail."""
    try:
        with parts.journal.read() as tx:
            last = tx.events(limit=1, newest=True)
        if last and last[0].kind != SIGNED:
            seal(parts, actor="engine")
    except (NightcrewError, OSError) as problem:
        # What happened is recorded and chained; only the signature over it is missing, and the next one covers it too.
        parts.say(f"the journal was not signed: {problem}; nightcrew audit head --sign")


def read_head(path: Path) -> SignedHead:
    """Return the signed head in a file; checked for its form only.

    Raises:
        InvalidInput: it is none.
    """
    try:
        with path.open("rb") as file:
            return read_signed(json.loads(file.read(_LARGEST).decode("ascii")))
    except OSError as error:
        raise _not_a_head(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _not_a_head(path, str(error)) from None


def view_head(head: SignedHead) -> dict[str, Any]:
    """Return a signed head without the ends of chains."""
    said = head.statement
    return {
        "at": said.at,
        "seq": said.seq,
        "chains": said.chains,
        "root": said.root,
        "key": head.key,
        "signature": head.signature,
    }


def _not_a_head(path: Path, why: str) -> InvalidInput:
    problem = Problem(Place(str(path)), why, "a head file is made by: nightcrew audit head --sign -o FILE")
    return InvalidInput("this is not a signed head; nothing was compared", [problem], hint=problem.hint)
