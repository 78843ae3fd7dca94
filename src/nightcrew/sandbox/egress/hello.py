"""The name in the first message of a TLS connection (RFC 8446 4.1.2, RFC 6066 3). Nothing is decrypted."""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = 0x16
#: A client's first message may be cut into records; longer ones than this are not answered.
LONGEST_BYTES: Final = 32 << 10
#: Records that it may be cut into: each is looked at again whenever another piece comes.
_MOST_RECORDS: Final = 64
_CLIENT_HELLO: Final = 1
_RECORD_HEAD: Final = 5
_MESSAGE_HEAD: Final = 4
_VERSION_AND_RANDOM: Final = 34
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0


class BadHello(ValueError):
    """What came is not the beginning of a TLS connection as a client makes it."""


class _Bytes:
    """Takes fields off the front; too short is a BadHello, never an IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, count: int) -> bytes:
        if len(self._data) < count:
            raise BadHello("a field is longer than what holds it")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def field(self, size: int) -> _Bytes:
        """Return what a length of ``size`` bytes stands before."""
        return _Bytes(self.take(self.number(size)))

    def rest(self) -> bytes:
        return self.take(len(self._data))


def read_name(data: bytes) -> str | None:
    """Return the server name a client asks for: empty when it gives none, None when more bytes are needed.

    Raises:
        BadHello: no TLS, no client's first message, two names, or a broken one.
    """
    message = _join_records(data)
    if message is None:
        return None
    hello = _Bytes(message)
    hello.take(_VERSION_AND_RANDOM)
    hello.field(1)  # session id
    hello.field(2)  # cipher suites
    hello.field(1)  # compression methods
    if not hello:
        return ""
    extensions = hello.field(2)
    names: list[str] = []
    while extensions:
        kind, content = extensions.number(2), extensions.field(2)
        if kind == _SERVER_NAME:
            names.append(_read_server_name(content))
    if len(names) > 1:
        raise BadHello("two server names")
    return names[0] if names else ""


def _join_records(data: bytes) -> bytes | None:
    """Return the first handshake message; None while it is not whole."""
    message = b""
    position = 0
    for _ in range(_MOST_RECORDS):
        head = data[position : position + _RECORD_HEAD]
        if (head and head[0] != HANDSHAKE) or (len(head) > 1 and head[1] != 3):
            raise BadHello("not TLS")
        if position > LONGEST_BYTES:
            raise BadHello("a first message without end")
        if len(head) < _RECORD_HEAD:
            return None
        length = int.from_bytes(head[3:5], "big")
        if not 0 < length <= 1 << 14:
            raise BadHello("a record of an impossible length")
        position += _RECORD_HEAD
        message += data[position : position + length]
        if message[0:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise BadHello("not a client's first message")
        if len(message) >= _MESSAGE_HEAD:
            size = int.from_bytes(message[1:_MESSAGE_HEAD], "big")
            if len(message) >= _MESSAGE_HEAD + size:
                return message[_MESSAGE_HEAD : _MESSAGE_HEAD + size]
        position += length
        if position > len(data):
            return None
    raise BadHello("a first message in too many pieces")


def _read_server_name(content: _Bytes) -> str:
    names = content.field(2)
    kind, name = names.number(1), names.field(2).rest()
    if names or content or kind != _HOST_NAME or not name.isascii():
        raise BadHello("a server name that is none")
    return name.decode("ascii").lower().removesuffix(".")
