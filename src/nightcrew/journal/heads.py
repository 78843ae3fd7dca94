"""The head over all chains: one value for the whole journal, and the statement about it that is signed. Pure.

The ends of all chains are the leaves of a hash tree, in the order of their names. So one run can be shown to belong to a
signed head by a handful of hashes, without showing anything of the other runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model import canonical

FORMAT: Final = 1
KIND: Final = "nightcrew.head"
SIGNED: Final = "journal.signed"
"""Kind of the event that holds a signed head; of the chain of the installation."""
PRUNED: Final = "journal.pruned"
"""Kind of the event that tells which events were emptied."""
STUB: Final = "journal.stub"
"""Kind of what is left of an event that was emptied: its number, its chain, and the two hashes."""
_PREFIX: Final = b"nightcrew head 1\n"

End = tuple[str, int, int, str]
"""The end of a chain: its name, how many events it has, number and hash of the last."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What is signed.

    Attributes:
        at: when. seq: number of the last event that it covers. chains: how many there were. root: of the tree of their ends.
    """

    at: str
    seq: int
    chains: int
    root: str

    def to_plain(self) -> dict[str, Any]:
        """Return it for files and events."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "at": self.at,
            "seq": self.seq,
            "chains": self.chains,
            "root": self.root,
        }

    @property
    def message(self) -> bytes:
        """The very bytes that are signed."""
        return _PREFIX + canonical.encode_plain(self.to_plain()).encode("ascii")


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A statement with its signature; ``ends`` are the ends of the chains at that moment, where they are at hand."""

    statement: Statement
    key: str
    signature: str
    ends: tuple[End, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return it for a file."""
        plain = {"statement": self.statement.to_plain(), "key": self.key, "signature": self.signature}
        return {**plain, "ends": [list(end) for end in self.ends]} if self.ends else plain


def read_signed(plain: Any) -> SignedHead:
    """Return the signed head of a file or event; it is checked for its form, not for its signature.

    Raises:
        ValueError: it is none.
    """
    try:
        said = plain["statement"]
        statement = Statement(str(said["at"]), said["seq"], said["chains"], str(said["root"]))
        ends = tuple((str(c), int(n), int(s), str(h)) for c, n, s, h in plain.get("ends", ()))
        found = SignedHead(statement, str(plain["key"]), str(plain["signature"]), ends)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ValueError(f"not a signed head: {error}") from None
    if (
        said != statement.to_plain()
        or not isinstance(said["seq"], int)
        or not isinstance(said["chains"], int)
    ):
        raise ValueError("not a signed head of a format that is known here")
    return found


def make_statement(ends: Sequence[End], *, at: str, seq: int) -> Statement:
    """Return the statement about chains that end like this."""
    return Statement(at, seq, len(ends), compute_root(ends))


def compute_root(ends: Sequence[End]) -> str:
    """Return the root of the tree over these ends."""
    return _levels(ends)[-1][0].hex()


def prove(ends: Sequence[End], chain: str) -> list[list[str]]:
    """Return how to come from the end of one chain to the root: the hashes beside the way, each with its side.

    Raises:
        KeyError: there is no such chain.
    """
    names = sorted(end[0] for end in ends)
    if chain not in names:
        raise KeyError(chain)
    at, way = names.index(chain), []
    for level in _levels(ends)[:-1]:
        beside = at ^ 1
        if beside < len(level):
            way.append(["left" if beside < at else "right", level[beside].hex()])
        at //= 2
    return way


def _levels(ends: Sequence[End]) -> list[list[bytes]]:
    """Return the tree from the leaves up; a node without a neighbour goes up as it is."""
    level = [_hash(b"\0", canonical.encode_plain(list(end)).encode("ascii")) for end in sorted(ends)]
    levels = [level or [_hash(b"\0", b"")]]
    while len(level := levels[-1]) > 1:
        pairs = [
            _hash(b"\1", level[at] + level[at + 1]) if at + 1 < len(level) else level[at]
            for at in range(0, len(level), 2)
        ]
        levels.append(pairs)
    return levels


def _hash(mark: bytes, data: bytes) -> bytes:
    return hashlib.sha256(mark + data).digest()


def digest_hashes(hashes: Sequence[str]) -> str:
    """Return one value for the hashes of events, in their order."""
    return hashlib.sha256("".join(hashes).encode("ascii")).hexdigest()


def ends_of(heads: Mapping[str, Any]) -> list[End]:
    """Return the ends of chains by their names, sorted."""
    return sorted((chain, head.count, head.seq, head.hash) for chain, head in heads.items())
