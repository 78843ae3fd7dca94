"""Signed heads: one value over all chains, signed by the key of this installation, in the journal and in files kept elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import stamp
from nightcrew.host.files import write_atomic
from nightcrew.host.signing import SigningKey, need_key, read_key, read_known
from nightcrew.journal.heads import SIGNED, SignedHead, ends_of, make_statement, read_signed
from nightcrew.model import canonical
from nightcrew.model.errors import InvalidInput, JournalDamaged, NightcrewError, Place, Problem

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer
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
        head = sign_in(parts, tx, key, actor=actor)
    keep_head(parts, head)
    return head


def sign_in(parts: Parts, tx: Writer, key: SigningKey, *, actor: str) -> SignedHead:
    """Sign what stands in the journal up to here, inside of a transaction; ``keep_head`` when that is written.

    Raises:
        JournalDamaged: what was signed last is not in it any more; nothing was signed.
    """
    if problem := compare_kept(parts, tx, read_kept(parts)):
        raise JournalDamaged(f"{problem[0]}; nothing was signed", code="journal.damaged", hint=problem[2])
    return record_head(tx, key, at=stamp(parts.clock.now()), actor=actor)


def record_head(tx: Writer, key: SigningKey, *, at: str, actor: str) -> SignedHead:
    """Sign whatever stands in a journal, inside of a transaction."""
    ends = ends_of(tx.heads())
    statement = make_statement(ends, at=at, seq=tx.last_seq())
    head = SignedHead(statement, key.public, key.sign(statement.message), tuple(ends))
    tx.append(SIGNED, actor=actor, data=SignedHead(statement, head.key, head.signature).to_plain())
    return head


def kept_file(parts: Parts) -> Path:
    """Return where the head that was signed last is kept, beside the key; each database has one of its own."""
    own = parts.env.database == f"sqlite:///{parts.env.state / 'nightcrew.db'}"
    which = (
        "" if own else "-" + hashlib.sha256(parts.env.database.encode("utf-8", "replace")).hexdigest()[:16]
    )
    return key_file(parts).with_name(f"last{which}.head")


def keep_head(parts: Parts, head: SignedHead) -> None:
    """Keep a signed head outside of the database, so that a database that is cut back to before it is noticed."""
    plain = SignedHead(head.statement, head.key, head.signature).to_plain()
    try:
        write_atomic(kept_file(parts), canonical.encode_plain(plain).encode("ascii") + b"\n", 0o600)
    except OSError as problem:
        parts.say(f"{kept_file(parts)} cannot be written: {problem.strerror}; an older head stays there")


def read_kept(parts: Parts) -> SignedHead | None:
    """Return the head that was signed last; to be read before a journal is looked at, for others go on signing meanwhile."""
    file = kept_file(parts)
    return read_head(file) if os.path.lexists(file) else None


def compare_kept(parts: Parts, tx: Reader, head: SignedHead | None) -> tuple[str, int, str] | None:
    """Compare a journal with the head that was signed last: it stands in it as the event after those that it covers.

    Returns:
        What is wrong, in words, the number of the first event that is missing or another, and what to do; None when all is well.
    """
    if head is None:
        return None
    seq = head.statement.seq
    found = tx.events(after=seq, limit=1)
    if found and found[0].kind == SIGNED and found[0].data == head.to_plain():
        return None
    why = f"the head of E-{seq}, signed {head.statement.at}, is not in it: it was cut back or rewritten"
    hint = f"if you have put back an older database yourself, move {kept_file(parts)} away"
    return why, min(seq, tx.last_seq()) + 1, hint


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
    except (ValueError, RecursionError) as error:
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
