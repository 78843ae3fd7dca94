"""Verify an evidence bundle of nightcrew: python3 verify_bundle.py BUNDLE.tar.gz [--key HEX] [--json]

One file, nothing but Python 3.8 or later, no network. It does not need nightcrew and believes nothing that the bundle says
about itself; read it, it is short. BUNDLE may also be the directory that a bundle was unpacked into.

What holds when it says OK:
  - the events of the run are complete, unchanged and in their order: each one's hash covers the one before;
  - the end of that chain is a leaf of the tree whose root is in the signed head;
  - the head was signed (Ed25519) by the key that is named: compare it with one that you have from elsewhere (--key);
  - every other file of the bundle is the one that the run's last event (bundle.made) names by its SHA-256;
  - the states of plan, tasks, approvals and promotions are those that the events tell of.
What it cannot show: that what was recorded is what happened, and what was done without nightcrew.

Exit codes: 0 verified, 1 not verified (the first bad record is named), 2 usage.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
import zlib
from typing import Any, Dict, List, Optional, Tuple  # noqa: UP035  Python 3.8

GENESIS = "0" * 64
EVENTS, HEAD, MANIFEST = "events.jsonl", "head.json", "manifest.json"
MADE, STUB = "bundle.made", "journal.stub"
FORMAT = 1
LARGEST = 1 << 28
# As written by nightcrew: no name, no time, so that no byte of the archive means nothing.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
RUN, TIME = re.compile(r"R-[1-9][0-9]{0,17}\Z"), re.compile(r"[0-9][0-9TZ:.-]{9,39}\Z")
KEY, SIGNATURE = re.compile(r"[0-9a-f]{64}\Z"), re.compile(r"[0-9a-f]{128}\Z")
# What comes of a bundle that is not built as one.
ODD = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


class Bad(Exception):
    """What is wrong; ``seq`` is the number of the first bad event, 0 when it is no event."""

    def __init__(self, message: str, seq: int = 0, file: str = "") -> None:
        # Somebody else wrote the bundle: what it says must not steer the terminal that it is shown on.
        self.message, self.seq, self.file = printable(message), seq, printable(file)
        super().__init__(self.message)


def printable(text: str) -> str:
    """Return text with everything but visible ASCII written out."""
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in text)


# -- reading -----------------------------------------------------------------------------------------------------------


def read_bundle(path: str) -> Dict[str, bytes]:  # noqa: UP006
    """Return the files of a bundle by their names."""
    try:
        if os.path.isdir(path):  # noqa: PTH112
            return _read_directory(path)
        with open(path, "rb") as file:  # noqa: PTH123
            return _read_archive(file.read(LARGEST + 1))
    except OSError as error:
        raise Bad("%s cannot be read: %s" % (path, error.strerror or error)) from None  # noqa: UP031


def _read_directory(path: str) -> Dict[str, bytes]:  # noqa: UP006
    found = {}  # type: Dict[str, bytes]
    left = LARGEST
    for place, folders, names in os.walk(path):
        for name in folders + names:
            full = os.path.join(place, name)  # noqa: PTH118
            inside = os.path.relpath(full, path).replace(os.sep, "/")
            mode = os.lstat(full).st_mode
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise Bad("%s is something else than a file" % inside, file=inside)  # noqa: UP031
            with open(full, "rb") as file:  # noqa: PTH123
                found[inside] = file.read(left + 1)
            left -= len(found[inside])
            if left < 0:
                raise Bad("%s is too large for a bundle" % path)  # noqa: UP031
    return found


def _read_archive(raw: bytes) -> Dict[str, bytes]:  # noqa: UP006
    if raw[:10] != GZIP_HEADER:
        raise Bad("not an archive as nightcrew writes it")
    if len(raw) > LARGEST:
        raise Bad("the archive is too large for a bundle")
    stream = zlib.decompressobj(wbits=31)
    try:
        data = stream.decompress(raw, len(raw))  # nothing in it is compressed, so it never becomes more
    except zlib.error as error:
        raise Bad("the archive is damaged: %s" % error) from None  # noqa: UP031
    if not stream.eof or stream.unused_data or stream.unconsumed_tail:
        raise Bad("the archive is cut off, too large, or something was added to it")
    found = {}  # type: Dict[str, bytes]
    try:
        found = _read_members(data)
        same = pack(found) == raw
    except ODD:
        same = False
    if not same:
        raise Bad("the archive is damaged, or not as nightcrew writes it")
    return found


def _read_members(data: bytes) -> Dict[str, bytes]:  # noqa: UP006
    found = {}  # type: Dict[str, bytes]
    at = 0
    while data[at : at + 1] not in (b"", b"\0"):
        name = data[at : at + 100].rstrip(b"\0").decode("ascii")
        size = int(data[at + 124 : at + 135].decode("ascii"), 8)
        if data[at + 156 : at + 157] != b"0" or name in found:
            raise Bad("the archive holds %r twice, or as something else than a file" % name)  # noqa: UP031
        found[name] = data[at + 512 : at + 512 + size]
        at += 512 + size + -size % 512
    return found


def pack(files: Dict[str, bytes]) -> bytes:  # noqa: UP006
    """Return files as an archive. There is one way only to write them, so every byte of it can be checked.

    It is a gzip file of blocks that are stored as they are: compressed ones could be written in many ways that mean the same.
    """
    parts = []
    for name in sorted(files):
        content = files[name]
        parts += [_tar_header(name, len(content)), content, bytes(-len(content) % 512)]
    data = b"".join(parts)
    data += bytes(1024 + -(len(data) + 1024) % 10240)
    stored = [GZIP_HEADER]
    for at in range(0, len(data), 65535):
        block = data[at : at + 65535]
        size = len(block).to_bytes(2, "little")
        last = b"\1" if at + 65535 >= len(data) else b"\0"
        stored += [last, size, bytes(255 - byte for byte in size), block]
    stored += [zlib.crc32(data).to_bytes(4, "little"), len(data).to_bytes(4, "little")]
    return b"".join(stored)


def _tar_header(name: str, size: int) -> bytes:
    raw = name.encode("ascii")
    if not 0 < len(raw) <= 100:
        raise ValueError(name)
    before = raw.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"0" * 11 + b"\0"
    after = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)
    return before + b"%06o\0 " % sum(before + b" " * 8 + after) + after


def read_json(files: Dict[str, bytes], name: str) -> Any:  # noqa: UP006
    """Return what a file of the bundle holds."""
    if name not in files:
        raise Bad("%s is missing" % name, file=name)  # noqa: UP031
    try:
        return json.loads(files[name].decode("ascii"))
    except (ValueError, RecursionError):
        raise Bad("%s is not JSON" % name, file=name) from None  # noqa: UP031


# -- events ------------------------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """Return canonical JSON: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def read_events(files: Dict[str, bytes], seqs: List[int]) -> List[Dict[str, Any]]:  # noqa: UP006
    """Return the events, each checked by itself and against the one before; ``seqs`` are the numbers there must be."""
    if EVENTS not in files:
        raise Bad("%s is missing" % EVENTS, seqs[0] if seqs else 0, EVENTS)  # noqa: UP031
    lines = files[EVENTS].split(b"\n")
    torn = lines.pop() != b""
    events = []  # type: List[Dict[str, Any]]
    prev = GENESIS
    for at, line in enumerate(lines):
        wanted = seqs[at] if at < len(seqs) else 0
        event = _read_line(line, wanted, EVENTS)
        if event["seq"] != wanted:
            raise Bad(_describe_other(event["seq"], wanted), wanted or event["seq"], EVENTS)
        if event["prev"] != prev:
            raise Bad("E-%d does not follow what stands before it" % wanted, wanted, EVENTS)  # noqa: UP031
        prev = event["hash"]
        events.append(event)
    if torn or len(events) < len(seqs):
        cut = seqs[len(events)] if len(events) < len(seqs) else 0
        raise Bad("the end is cut off: E-%d is missing or torn" % cut, cut, EVENTS)  # noqa: UP031
    return events


def _describe_other(seq: int, wanted: int) -> str:
    if not wanted:
        return "E-%d was added" % seq  # noqa: UP031
    return "E-%d is missing or not in its place: E-%d stands there" % (wanted, seq)  # noqa: UP031


def _read_line(line: bytes, wanted: int, name: str) -> Dict[str, Any]:  # noqa: UP006
    label = "E-%d" % wanted if wanted else "an event past the last one"  # noqa: UP031
    try:
        event = json.loads(line.decode("ascii"))
        body = {key: event[key] for key in event if key != "hash"}
        known = set(body) == {"actor", "at", "attempt", "data", "kind", "prev", "run", "seq", "task"}
        same = canonical(event) == line
    except ODD:
        raise Bad("%s cannot be read" % label, wanted, name) from None  # noqa: UP031
    if not known or type(event["seq"]) is not int or not isinstance(event["data"], dict):
        raise Bad("%s is not an event" % label, wanted, name)  # noqa: UP031
    body["format"] = FORMAT
    whole = _is_blank(event) if event["kind"] == STUB else sha256(canonical(body)) == event.get("hash")
    if not same or not whole:
        raise Bad("%s was changed after it was written" % label, wanted, name)  # noqa: UP031
    return event  # type: ignore[no-any-return]


def _is_blank(event: Dict[str, Any]) -> bool:  # noqa: UP006
    """Tell whether nothing but number, chain and hashes is left of an event that was emptied."""
    texts = [event["at"], event["task"], event["attempt"], event["actor"]]
    return texts == ["", "", "", ""] and event["data"] == {} and isinstance(event.get("hash"), str)


# -- the head ----------------------------------------------------------------------------------------------------------


def check_head(files: Dict[str, bytes], run: str, key: str) -> Dict[str, Any]:  # noqa: UP006
    """Return the signed head: its signature is right, and the end of the run's chain that it names belongs to its root."""
    head = read_json(files, HEAD)
    try:
        said, end = head["statement"], head["end"]
        proof = [(str(side), bytes.fromhex(beside)) for side, beside in head["proof"]]
        signature, public = bytes.fromhex(head["signature"]), bytes.fromhex(head["key"])
        chain, number, seq, digest = end
        right = set(head) == {"statement", "key", "signature", "proof", "end"} and said["seq"] >= seq
        right = right and chain == run and type(number) is type(seq) is int and isinstance(digest, str)
        written = KEY.match(head["key"]) and SIGNATURE.match(head["signature"]) and TIME.match(said["at"])
    except ODD:
        raise Bad("%s cannot be read" % HEAD, file=HEAD) from None  # noqa: UP031
    if files[HEAD] != canonical(head) + b"\n" or not right or not written:
        raise Bad("%s was changed after it was written" % HEAD, file=HEAD)  # noqa: UP031
    if key and key.lower() != head["key"]:
        raise Bad("signed by another key than the one given: %s" % head["key"], file=HEAD)  # noqa: UP031
    if not verify_signature(public, b"nightcrew head 1\n" + canonical(said), signature):
        raise Bad("the signature of the head is wrong", file=HEAD)
    node = hashlib.sha256(b"\0" + canonical(end)).digest()
    for side, beside in proof:
        node = hashlib.sha256(b"\1" + (beside + node if side == "left" else node + beside)).digest()
    if node.hex() != said["root"]:
        raise Bad("the end of the chain in %s is not the one that was signed" % HEAD, seq, HEAD)  # noqa: UP031
    return head  # type: ignore[no-any-return]


# -- Ed25519, RFC 8032: only checking, so no secret is ever at hand -----------------------------------------------------

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = Tuple[int, int, int, int]  # noqa: UP006


def _add(p: _Point, q: _Point) -> _Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiply(s: int, p: _Point) -> _Point:
    q = (0, 1, 1, 0)  # type: _Point
    while s > 0:
        if s & 1:
            q = _add(q, p)
        p = _add(p, p)
        s >>= 1
    return q


def _recover_x(y: int, sign: int) -> Optional[int]:  # noqa: UP045
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P != 0:
        x = x * _ROOT % _P
    if (x * x - square) % _P != 0:
        return None
    return _P - x if (x & 1) != sign else x


def _decompress(data: bytes) -> Optional[_Point]:  # noqa: UP045
    if len(data) != 32:
        return None
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    x = _recover_x(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def verify_signature(public: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is one of ``message`` by the key whose public half is ``public``."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, point = _decompress(public), _decompress(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or point is None or scalar >= _L:
        return False
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    base_y = 4 * pow(5, _P - 2, _P) % _P
    base_x = _recover_x(base_y, 0) or 0
    left = _multiply(scalar, (base_x, base_y, 1, base_x * base_y % _P))
    right = _add(point, _multiply(hashed, key))
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (
        left[1] * right[2] - right[1] * left[2]
    ) % _P == 0


# -- everything else -----------------------------------------------------------------------------------------------------


def check_manifest(files: Dict[str, bytes], made: Dict[str, Any]) -> None:  # noqa: UP006
    """Check that the list of files is the one that the last event names."""
    if sha256(files[MANIFEST]) != made["data"].get("manifest"):
        raise Bad("%s is not the one that E-%d names" % (MANIFEST, made["seq"]), file=MANIFEST)  # noqa: UP031


def check_files(files: Dict[str, bytes], manifest: Any) -> None:  # noqa: UP006
    """Check that the files are those of the list."""
    named = manifest["files"]
    for name in sorted(set(files) - set(named) - {EVENTS, HEAD, MANIFEST}):
        raise Bad("%s was added" % name, file=name)  # noqa: UP031
    for name in sorted(named):
        if name not in files:
            raise Bad("%s is missing" % name, file=name)  # noqa: UP031
        if sha256(files[name]) != named[name]:
            raise Bad("%s was changed" % name, file=name)  # noqa: UP031


def check_records(files: Dict[str, bytes], events: List[Dict[str, Any]]) -> None:  # noqa: UP006
    """Check that the states of the records are those that the events tell of last."""
    states = {}  # type: Dict[str, Tuple[str, int]]
    for event in events:
        data = event["data"]
        state = data.get("to", data.get("state", ""))
        if state and "id" in data:
            states[str(data["id"])] = (str(state), event["seq"])
    for group, records in sorted(read_json(files, "records.json").items()):
        for record in records:
            told = states.get(record["id"])
            if told and record.get("state") != told[0]:
                message = "%s of %s is %r, but E-%d tells that it became %r"
                values = (record["id"], group, record.get("state"), told[1], told[0])
                raise Bad(message % values, told[1], "records.json")


def verify(files: Dict[str, bytes], key: str = "") -> Dict[str, Any]:  # noqa: UP006
    """Verify the files of a bundle and return what was found; raises Bad with the first thing that is wrong."""
    try:
        return _verify(files, key)
    except ODD as error:
        raise Bad("it is not built as a bundle is: %s" % type(error).__name__) from None  # noqa: UP031


def _verify(files: Dict[str, bytes], key: str) -> Dict[str, Any]:  # noqa: UP006
    manifest = read_json(files, MANIFEST)
    try:
        run, seqs = str(manifest["run"]), [int(seq) for seq in manifest["seqs"]]
        emptied = [int(seq) for seq in manifest["emptied"]]
        if manifest["format"] != FORMAT or not isinstance(manifest["files"], dict) or not RUN.match(run):
            raise ValueError
    except ODD:
        raise Bad("%s is not of a format that is known here" % MANIFEST, file=MANIFEST) from None  # noqa: UP031
    head = check_head(files, run, key)
    _, number, last, digest = head["end"]
    made = _find_made(files, last, digest)
    if made is not None:
        check_manifest(files, made)
    events = read_events(files, [*seqs, last])
    for event in events:
        if event["run"] != run:
            raise Bad("E-%d is of another run" % event["seq"], event["seq"], EVENTS)  # noqa: UP031
        if (event["kind"] == STUB) != (event["seq"] in emptied):
            raise Bad("E-%d was emptied after the bundle was made" % event["seq"], event["seq"], EVENTS)  # noqa: UP031
    if made is None or events[-1]["hash"] != digest or len(events) != number:
        raise Bad("E-%d is not the end that was signed" % last, last, EVENTS)  # noqa: UP031
    check_files(files, manifest)
    check_records(files, events)
    return {
        "ok": True,
        "run": run,
        "events": len(events),
        "emptied": len(emptied),
        "first": events[0]["seq"],
        "last": last,
        "files": len(files),
        "signed_at": head["statement"]["at"],
        "key": head["key"],
        "key_compared": bool(key),
    }


def _find_made(files: Dict[str, bytes], last: int, digest: str) -> Optional[Dict[str, Any]]:  # noqa: UP006, UP045
    """Return the event that tells of this bundle when it is the end that was signed; it names the manifest."""
    lines = files.get(EVENTS, b"").split(b"\n")
    try:
        event = _read_line(lines[-2], last, EVENTS)
    except (Bad, IndexError):
        return None  # reading all events says what is wrong
    return event if event["hash"] == digest and event["kind"] == MADE else None


def main(arguments: List[str]) -> int:  # noqa: UP006
    """Verify what the command line names, print what was found, return the exit code."""
    words = [word for word in arguments if word != "--json"]
    key = ""
    if "--key" in words and words.index("--key") + 1 < len(words):
        at = words.index("--key")
        key = words[at + 1].strip()
        del words[at : at + 2]
    asked = "--key" in arguments
    if len(words) != 1 or words[0].startswith("-") or (asked and not KEY.match(key.lower())):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        found = verify(read_bundle(words[0]), key)
    except Bad as bad:
        found = {"ok": False, "problem": bad.message, "first_bad": bad.seq, "file": bad.file}
    if "--json" in arguments:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        sys.stdout.write(describe(found))
    return 0 if found["ok"] else 1


def describe(found: Dict[str, Any]) -> str:  # noqa: UP006
    """Return what was found, for a person."""
    if not found["ok"]:
        first = "\nfirst bad record: E-%d" % found["first_bad"] if found["first_bad"] else ""  # noqa: UP031
        return "NOT VERIFIED: %s%s\n" % (found["problem"], first)  # noqa: UP031
    said = "OK: %(run)s, %(events)d events (E-%(first)d to E-%(last)d), %(files)d files\n" % found  # noqa: UP031
    if found["emptied"]:
        said += "    %(emptied)d events hold only their hashes: they were emptied by retention\n" % found  # noqa: UP031
    said += "    signed at %(signed_at)s by %(key)s\n" % found  # noqa: UP031
    if not found["key_compared"]:
        said += "    is that their key? compare it with one you have from elsewhere: --key %(key)s\n" % found  # noqa: UP031
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
