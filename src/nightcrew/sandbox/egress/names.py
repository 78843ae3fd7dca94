"""The name server inside: answers names that may be reached with an address of the sandbox's own loopback.

No query ever leaves: an address inside stands for a name, and what connects to it is taken to that name by us. Names
that may not be reached do not exist (NXDOMAIN), and so nothing can be told to anybody in a name.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from nightcrew.policy.hosts import BadHost, as_address, read_host

LONGEST_QUERY: Final = 512
_HEAD: Final = struct.Struct("!6H")
_ANSWER: Final = struct.Struct("!HHHIH4s")
_QUERY_MASK: Final = 0xF800  # QR and opcode: both must be zero
_RECURSION_DESIRED: Final = 0x0100
_RESPONSE: Final = 0x8080  # QR, recursion available
_ADDRESS, _INTERNET, _ANY_CLASS = 1, 1, 255
_OK, _FORMAT, _NO_SUCH_NAME, _NOT_IMPLEMENTED = 0, 1, 3, 4
_TTL_S: Final = 60
_POINTER_TO_QUESTION: Final = 0xC00C
_NET: Final = (127, 66)  # of 127.0.0.0/8, all of which is local
_MOST_NAMES: Final = 60_000


class Query(NamedTuple):
    """One question: its id and flags, the name as ``read_host`` writes it, type and class, and its bytes."""

    number: int
    flags: int
    name: str
    kind: int
    section: bytes


class Names:
    """Addresses inside that stand for names; given out in order, kept as long as the sandbox."""

    def __init__(self) -> None:
        self._by_name: dict[str, bytes] = {}
        self._by_address: dict[str, str] = {}

    def address_of(self, name: str) -> bytes | None:
        """Return the four bytes that stand for a name; None when there are too many names."""
        known = self._by_name.get(name)
        if known is None and len(self._by_name) < _MOST_NAMES:
            number = len(self._by_name) + 1
            known = bytes((*_NET, number >> 8, number & 255))
            self._by_name[name] = known
            self._by_address[".".join(map(str, known))] = name
        return known

    def name_of(self, address: str) -> str:
        """Return the name that an address inside stands for; empty when it stands for none."""
        return self._by_address.get(address, "")


def read_query(data: bytes) -> Query | bytes:
    """Return the question of a message, or the answer to one that is none; empty bytes: no answer at all."""
    if not _HEAD.size < len(data) <= LONGEST_QUERY:
        return b""
    number, flags, questions, answers, _, _ = _HEAD.unpack_from(data)
    if flags & 0x8000:
        return b""  # an answer: whoever sends those wants us to answer each other for ever
    if flags & _QUERY_MASK or questions != 1 or answers:
        return _head(number, flags, _NOT_IMPLEMENTED, 0, 0)
    try:
        name, end = _read_name(data, _HEAD.size)
        kind, family = struct.unpack_from("!HH", data, end)
    except (ValueError, struct.error):
        return _head(number, flags, _FORMAT, 0, 0)
    section = data[_HEAD.size : end + 4]
    if family not in (_INTERNET, _ANY_CLASS):
        return _head(number, flags, _NO_SUCH_NAME, 1, 0) + section
    return Query(number, flags, name, kind, section)


def _read_name(data: bytes, position: int) -> tuple[str, int]:
    labels: list[str] = []
    while True:
        length = data[position] if position < len(data) else 255
        position += 1
        if length == 0:
            break
        if length > 63 or position + length > len(data):
            raise ValueError("a label that is too long, or a pointer, which no question needs")
        label = data[position : position + length].decode("ascii")  # UnicodeDecodeError is a ValueError
        if "." in label:
            raise ValueError("a dot in a label")
        labels.append(label)
        position += length
    return ".".join(labels), position


def find_host(query: Query) -> str:
    """Return the host that a question is about; empty when no host has such a name."""
    try:
        host = read_host(query.name)
    except BadHost:
        return ""
    return host if as_address(host) is None else ""


def answer(query: Query, address: bytes | None) -> bytes:
    """Return the answer: ``address`` for an A question, nothing for other types; None: there is no such name."""
    if address is None:
        return _head(query.number, query.flags, _NO_SUCH_NAME, 1, 0) + query.section
    if query.kind != _ADDRESS:
        return _head(query.number, query.flags, _OK, 1, 0) + query.section
    record = _ANSWER.pack(_POINTER_TO_QUESTION, _ADDRESS, _INTERNET, _TTL_S, 4, address)
    return _head(query.number, query.flags, _OK, 1, 1) + query.section + record


def _head(number: int, flags: int, code: int, questions: int, answers: int) -> bytes:
    return _HEAD.pack(
        number,
        _RESPONSE | (flags & (_QUERY_MASK & 0x7800 | _RECURSION_DESIRED)) | code,
        questions,
        answers,
        0,
        0,
    )
