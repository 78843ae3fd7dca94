"""Canaries: the same for the same attempt, found in every form that is promised, and in nothing honest."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from nightcrew.policy.canary import FILE, VARIABLE, find, find_family, make_canaries
from nightcrew.policy.leaving import Stream, find_in

KEY = bytes(range(32))
PLANTED = make_canaries(KEY, "R-1", "R-1/T01/1")
VALUES = [canary.value for canary in PLANTED.canaries]

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda held: held,
    "small letters": bytes.lower,
    "reversed": lambda held: held[::-1],
    "hex": lambda held: held.hex().encode(),
    "hex with colons": lambda held: held.hex(":").upper().encode(),
    "base64": base64.b64encode,
    "base64 behind one": lambda held: base64.b64encode(b"a" + held + b"b"),
    "base64 behind two": lambda held: base64.b64encode(b"ab" + held + b"cd"),
    "base64 url": base64.urlsafe_b64encode,
    "base64 lines": lambda held: base64.encodebytes(b"x" * 50 + held),
    "base32": lambda held: base64.b32encode(b"abc" + held),
    "percent, all": lambda held: b"".join(b"%%%02x" % byte for byte in held),
    "percent, some": lambda held: held[:3] + b"%%%02X" % held[3] + held[4:],
    "percent twice": lambda held: quote(b"".join(b"%%%02x" % byte for byte in held)).encode(),
    "json": lambda held: b"".join(b"\\u%04x" % byte for byte in held),
    "json, some": lambda held: held[:2] + b"\\u%04x" % held[2] + held[3:],
    "labels": lambda held: b".".join(held[at : at + 7] for at in range(0, len(held), 7)) + b".evil.example",
    "wide": lambda held: held.decode().encode("utf-16"),
    "spaced": lambda held: b" ".join(bytes([byte]) for byte in held),
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "half": lambda held: held[:20],
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_found_in_every_form(form: str) -> None:
    for value in VALUES:
        sent = b"POST /x\r\n" * (form not in ("gzip", "zlib")) + FORMS[form](value.encode()) + b"\r\n"
        assert find_in(sent, PLANTED.canaries) in {f"~/{FILE}", f"${VARIABLE}"}, value


@pytest.mark.parametrize("form", FORMS)
def test_it_is_found_wherever_a_stream_is_cut(form: str) -> None:
    sent = FORMS[form](VALUES[1].encode())
    if form not in ("gzip", "zlib"):
        sent = bytes(range(200, 232)) * 2 + sent + bytes(range(200, 232)) * 2
    for size in (3, 17):
        stream = Stream(PLANTED.canaries)
        found = [stream.feed(sent[at : at + size]) for at in range(0, len(sent), size)]
        assert f"~/{FILE}" in found, size


def test_it_is_found_in_a_git_pack(tmp_path: Path) -> None:
    def git(*words: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            ["git", "-C", str(tmp_path), *words], input=given, capture_output=True, check=True
        ).stdout

    git("init", "-q")
    names = [
        git("hash-object", "-w", "--stdin", given=text)
        for text in (b"a" * 5000, b"x" * 3000 + VALUES[2].encode(), os.urandom(3000), b"a" * 4999 + b"b")
    ]
    pack = git("pack-objects", "--stdout", "--window=10", given=b"".join(names))
    assert find(pack, PLANTED.canaries) is None
    for size in (11, len(pack)):
        stream = Stream(PLANTED.canaries)
        sent = b"00b4 refs/heads/main\0 report-status0000" + pack
        assert f"${VARIABLE}" in [stream.feed(sent[at : at + size]) for at in range(0, len(sent), size)]


def test_the_same_attempt_has_the_same_ones_and_no_other_has() -> None:
    assert make_canaries(KEY, "R-1", "R-1/T01/1") == PLANTED
    sibling, stranger = make_canaries(KEY, "R-1", "R-1/T01/2"), make_canaries(KEY[::-1], "R-1", "R-1/T01/1")
    for other in (sibling, stranger):
        assert not set(VALUES) & {canary.value for canary in other.canaries}
        assert find(other.canaries[0].value.encode(), PLANTED.canaries) is None
        assert find(other.canaries[1].value[20:].encode(), PLANTED.canaries) is None
    assert find(stranger.file + stranger.variable.encode(), PLANTED.canaries) is None


def test_a_run_tells_those_of_all_its_attempts() -> None:
    family = find_family(KEY, "R-1")
    assert find(PLANTED.file, family) == f"~/{FILE}"
    assert find(PLANTED.variable.encode(), family) == f"${VARIABLE}"
    assert find(make_canaries(KEY, "R-2", "R-1/T01/1").file, family) is None


def test_they_are_found_by_their_own_attempt() -> None:
    assert find(PLANTED.file, PLANTED.canaries) == f"~/{FILE}"
    assert find(PLANTED.variable.encode(), PLANTED.canaries) == f"${VARIABLE}"


def test_only_what_is_wanted_is_planted() -> None:
    only = make_canaries(KEY, "R-1", "R-1/T01/1", kinds=("file",))
    assert (only.variable, {canary.name for canary in only.canaries}) == ("", {f"~/{FILE}"})
    none = make_canaries(KEY, "R-1", "R-1/T01/1", kinds=())
    assert none.canaries == ()
    assert find_in(PLANTED.file, none.canaries) is None


def test_honest_bytes_hold_none() -> None:
    for sent in (
        b"",
        os.urandom(1 << 20),
        Path(__file__).read_bytes(),
        gzip.compress(os.urandom(9000)),
        b"PACK\0\0\0\2",
    ):
        assert find_in(sent, PLANTED.canaries) is None


def test_a_bomb_is_unpacked_only_so_far() -> None:
    stream = Stream(PLANTED.canaries)
    bomb = gzip.compress(bytes(80 << 20), 1)
    assert stream.feed(bomb) is None
    assert stream.feed(VALUES[0].encode()) == f"~/{FILE}"
