"""What is wrapped in a content: UTF-16, base64, gzip, tar and zip, opened up to stated bounds. Pure.

What cannot be opened within the bounds is told, never passed over in silence.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from nightcrew.policy.scanning.runs import BASE64_LENGTH, Run

MAX_BYTES: Final = 32 << 20
"""Unwrapped from one file in all. A change of one task is at most 10 MB a file by default."""
MAX_MEMBERS: Final = 2_000
"""Members of archives in one file."""
MAX_DEPTH: Final = 3
"""Wrappings around each other: a base64 text in a file in an archive."""

# 24 bytes of key, four thirds of it.
_MIN_BASE64: Final = 32
# Of the characters of a text in base64 half are capital letters or digits, and `+` and `/` are rare.
_ODD_IN: Final = 3
_BASE64_TEXT: Final = re.compile(
    rb"[A-Za-z0-9+/_-]{15,}(?:[\r\n]{1,2}[ \t]*[A-Za-z0-9+/_-]{15,})*[\r\n]{0,2}[A-Za-z0-9+/_-]*={0,2}"
)
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")
_WIDE: Final = re.compile(rb"(?:[\t\r\n\x20-\x7e]\x00){15,}")
_PRINTED: Final = bytes(range(32, 127)) + b"\t\r\n"
_BOMS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

_BROKEN: Final = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, NotImplementedError,
    RuntimeError, KeyError, IndexError, OverflowError,
)  # fmt: skip
"""Everything that the readers of archives raise on hostile input."""


@dataclass
class Bounds:
    """What may still be unwrapped from one file, and what was left out because it may not."""

    bytes_left: int = MAX_BYTES
    members_left: int = MAX_MEMBERS
    left_out: list[str] = field(default_factory=list)

    def take(self, stream: io.BufferedIOBase, name: str) -> bytes:
        """Read a stream to its end, or as far as the bounds go."""
        data = stream.read(self.bytes_left + 1)
        if len(data) > self.bytes_left:
            self.left_out.append(f"{name}: more than {MAX_BYTES >> 20} MiB unpacked")
            data = data[: self.bytes_left]
        self.bytes_left -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class Part:
    """Something that was wrapped: how it is called, on which line its wrapping begins (0: it has lines of its own)."""

    name: str
    line: int
    data: bytes


def as_bytes_text(data: bytes) -> bytes:
    """Return a text in UTF-16 or UTF-32 as UTF-8, anything else as it is, with wide texts inside it added at its end."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace").encode("utf-8", "replace")
    if b"\0" not in data:
        return data
    if data.count(b"\0") * 5 >= len(data) * 2:  # without a mark, nearly every second byte is zero
        return data.replace(b"\0", b"")
    return b"\n".join([data, *(m[0].replace(b"\0", b"") for m in _WIDE.finditer(data))])


def unwrap(data: bytes, bounds: Bounds, runs: Sequence[Run], text: bytes | None = None) -> Iterator[Part]:
    """Yield what an archive holds, and what stands in base64 in a text; an archive is read as a text, too.

    So a text is hidden neither by beginning like an archive nor by standing before or behind what one holds.

    Args:
        runs: those of ``text``. text: ``data`` as text, where it is not the same.
    """
    opener = _find_opener(data)
    if opener is not None:
        try:
            yield from opener(data, bounds)
        except _BROKEN as problem:
            bounds.left_out.append(f"an archive that cannot be read ({type(problem).__name__})")
    yield from _open_base64(data if text is None else text, bounds, runs)


def _open_zip(data: bytes, bounds: Bounds) -> Iterator[Part]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            if info.is_dir() or not _count(bounds):
                continue
            if info.flag_bits & 1:
                bounds.left_out.append(f"{info.filename}: encrypted")
                continue
            with archive.open(info) as member:
                yield Part(info.filename, 0, bounds.take(member, info.filename))  # type: ignore[arg-type]


def _open_tar(data: bytes, bounds: Bounds) -> Iterator[Part]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            if not info.isfile() or not _count(bounds):
                continue
            member = archive.extractfile(info)
            if member is not None:
                yield Part(info.name, 0, bounds.take(member, info.name))  # type: ignore[arg-type]


def _count(bounds: Bounds) -> bool:
    bounds.members_left -= 1
    if bounds.members_left == -1:
        bounds.left_out.append(f"more than {MAX_MEMBERS} files in archives")
    return bounds.members_left >= 0


def _open_gzip(data: bytes, bounds: Bounds) -> Iterator[Part]:
    yield from _open_squeezed(lambda: zlib.decompressobj(wbits=47), data, bounds)


def _open_bzip2(data: bytes, bounds: Bounds) -> Iterator[Part]:
    yield from _open_squeezed(bz2.BZ2Decompressor, data, bounds)


def _open_xz(data: bytes, bounds: Bounds) -> Iterator[Part]:
    yield from _open_squeezed(lambda: lzma.LZMADecompressor(memlimit=256 << 20), data, bounds)


class _Inflater(Protocol):
    @property
    def eof(self) -> bool:
        """A stream has come to its end."""

    @property
    def unused_data(self) -> bytes:
        """What lies behind it."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return what comes out, at most so much."""


def _open_squeezed(make: Callable[[], _Inflater], data: bytes, bounds: Bounds) -> Iterator[Part]:
    """Yield each of the streams that lie one behind the other, as the programs that open them read all, and what is left."""
    magic = data[:2]
    while data.startswith(magic) and _count(bounds):
        inflate = make()
        yield _squeezed(inflate.decompress(data, bounds.bytes_left + 1), bounds)
        if not inflate.eof:
            if bounds.bytes_left:
                bounds.left_out.append("an archive that is cut off")
            return
        data = inflate.unused_data.lstrip(b"\0")
    if data and not data.startswith(magic):
        yield Part("behind the archive", 0, data)


def _squeezed(data: bytes, bounds: Bounds) -> Part:
    return Part("unpacked", 0, bounds.take(io.BytesIO(data), "unpacked"))


_ARCHIVES: Final = (
    (b"PK\x03\x04", 0, _open_zip),
    (b"ustar", 257, _open_tar),
    (b"\x1f\x8b", 0, _open_gzip),
    (b"BZh", 0, _open_bzip2),
    (b"\xfd7zXZ\x00", 0, _open_xz),
)
_CLOSED: Final = (
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "rar"), (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP\x01", "lzip"), (b"\x1f\x9d", "compress"), (b"MSCF\0\0\0\0", "cab"), (b"!<arch>\n", "ar"),
    (b"\xed\xab\xee\xdb", "rpm"), (b"070701", "cpio"), (b"070702", "cpio"), (b"070707", "cpio"), (b"hsqs", "squashfs"),
    (b"xar!\0", "xar"),
)  # fmt: skip
"""Archives that nothing here can open; what they hold is told as not looked at."""
_FIRST: Final = frozenset(magic[:1] for magic, at, _ in _ARCHIVES if at == 0) | {m[:1] for m, _ in _CLOSED}


def _open_base64(data: bytes, bounds: Bounds, runs: Sequence[Run]) -> Iterator[Part]:
    """Yield what base64 texts say, where it is text or an archive again."""
    done = line = counted = 0
    for run in runs:
        size = run.end - run.start
        if run.odd * _ODD_IN < size or size < BASE64_LENGTH or run.start < done or bounds.bytes_left <= 0:
            continue
        start, end = run.widen(data)
        if end - start < _MIN_BASE64 and data[end : end + 1] not in (b"\n", b"\r"):
            continue
        match = _BASE64_TEXT.match(data, max(start, done), run.start + (1 << 20))
        if match is None or len(match[0]) < _MIN_BASE64:
            continue
        done = match.end()
        said = _decode(match[0])
        if said and bounds.bytes_left >= len(said) and (_reads_as_text(said) or is_archive(said)):
            bounds.bytes_left -= len(said)
            line, counted = line + data.count(b"\n", counted, run.start), run.start
            yield Part("base64", line + 1, said)


def _decode(text: bytes) -> bytes:
    plain = _NOT_BASE64.sub(b"", text.replace(b"-", b"+").replace(b"_", b"/")).rstrip(b"=")
    plain = plain[: len(plain) - 1] if len(plain) % 4 == 1 else plain
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4))
    except binascii.Error:
        return b""


def _reads_as_text(data: bytes) -> bool:
    seen = as_bytes_text(data)
    return len(seen.translate(None, _PRINTED)) * 20 <= len(seen)


def is_archive(data: bytes) -> bool:
    """Tell whether a content begins as an archive does."""
    return _find_opener(data) is not None


def _find_opener(data: bytes) -> Callable[[bytes, Bounds], Iterator[Part]] | None:
    if data[:1] not in _FIRST and data[257:262] != b"ustar":
        return None
    opener = next((opener for magic, at, opener in _ARCHIVES if data.startswith(magic, at)), None)
    if opener is None and (kind := next((kind for magic, kind in _CLOSED if data.startswith(magic)), "")):
        return partial(_leave_closed, kind)
    return opener


def _leave_closed(kind: str, _data: bytes, bounds: Bounds) -> Iterator[Part]:
    bounds.left_out.append(f"an archive of a kind that is not opened here ({kind})")
    yield from ()
