"""Evidence bundles: whatever single thing is changed is noticed, and the first bad record is named."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nightcrew.host.signing import SigningKey, is_signed, need_key
from nightcrew.journal import verify_bundle as verifier
from nightcrew.journal.heads import compute_root, make_statement, prove
from nightcrew.journal.verify_bundle import pack
from nightcrew.model import canonical
from nightcrew.model.events import Event, compute_hash

RUN = "R-3"
FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def a_key() -> SigningKey:
    with tempfile.TemporaryDirectory() as place:
        return need_key(Path(place) / "signing" / "journal.key")


@cache
def a_bundle() -> dict[str, bytes]:
    """A small bundle as ``audit bundle`` makes it; the run's numbers have gaps, for other runs went on meanwhile."""
    seqs = [2, 3, 5, 8, 13]
    events: list[Event] = []
    states = [("", "pending"), ("pending", "running"), ("", ""), ("running", "succeeded"), ("", "")]
    for seq, (old, new) in zip(seqs, states, strict=True):
        data = {"id": "R-3/T01", "from": old, "to": new} if new else {"text": f"caf\u00e9 {seq}"}
        events.append(chained(events, seq, "task.moved" if new else "x.happened", data))
    files = {
        "records.json": encode({"tasks": [{"id": "R-3/T01", "state": "succeeded"}]}),
        "plan.json": encode({"plan": {"tasks": ["T01"]}}),
        "receipts/M-1.json": encode({"promotion": "M-1"}),
    }
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = encode({"format": 1, "run": RUN, "seqs": seqs, "emptied": [], "files": digests})
    events.append(chained(events, 21, "bundle.made", {"manifest": hashlib.sha256(manifest).hexdigest()}))
    return {
        **files,
        "manifest.json": manifest,
        "events.jsonl": b"".join(encode(event) for event in events),
        "head.json": a_head(events, a_key()),
    }


def chained(events: list[Event], seq: int, kind: str, data: dict) -> Event:
    prev = events[-1].hash if events else "0" * 64
    event = Event(seq, "2025-01-01T00:00:00.000000Z", kind, RUN, "", "", "engine", data, prev)
    return Event(seq, event.at, kind, RUN, "", "", "engine", data, prev, compute_hash(event))


def a_head(events: list[Event], key: SigningKey) -> bytes:
    end = (RUN, len(events), events[-1].seq, events[-1].hash)
    ends = [("", 4, 20, "a" * 64), ("R-1", 3, 7, "b" * 64), ("R-2", 9, 19, "c" * 64), end]
    said = make_statement(ends, at="2025-01-02T00:00:00.000000Z", seq=21)
    plain = {"statement": said.to_plain(), "key": key.public, "signature": key.sign(said.message)}
    return encode({**plain, "end": list(end), "proof": prove(ends, RUN)})


def encode(value: object) -> bytes:
    return canonical.encode(value).encode("ascii") + b"\n"


def refuse(files: dict[str, bytes], key: str = "") -> verifier.Bad:
    with pytest.raises(verifier.Bad) as caught:
        verifier.verify(files, key)
    return caught.value


def test_what_was_not_changed_verifies():
    found = verifier.verify(a_bundle(), a_key().public)
    assert (found["events"], found["first"], found["last"], found["key_compared"]) == (6, 2, 21, True)


@FEW
@given(st.data())
def test_any_changed_byte_of_any_file_is_noticed_and_an_event_is_named(data):
    files = dict(a_bundle())
    name = data.draw(st.sampled_from(sorted(files)))
    at = data.draw(st.integers(0, len(files[name]) - 1))
    new = data.draw(st.integers(0, 255))
    assume(new != files[name][at])
    files[name] = files[name][:at] + bytes([new]) + files[name][at + 1 :]
    bad = refuse(files)
    if name == "events.jsonl":
        line = a_bundle()[name][:at].count(b"\n")
        assert bad.seq == [2, 3, 5, 8, 13, 21][line], bad.message
    else:
        assert bad.file == name, bad.message


@FEW
@given(st.data())
def test_a_record_that_was_removed_doubled_or_moved_is_named(data):
    seqs = [2, 3, 5, 8, 13, 21]
    lines = a_bundle()["events.jsonl"].splitlines(keepends=True)
    one = data.draw(st.integers(0, 5))
    act = data.draw(st.sampled_from(["remove", "double", "move", "cut", "tear"]))
    wanted = seqs[one]
    if act == "remove":
        changed = lines[:one] + lines[one + 1 :]
    elif act == "double":
        changed = lines[: one + 1] + lines[one:]
        wanted = seqs[one + 1] if one < 5 else 21
    elif act == "move":
        other = data.draw(st.integers(0, 5).filter(lambda each: each != one))
        changed = list(lines)
        changed[one], changed[other] = changed[other], changed[one]
        wanted = seqs[min(one, other)]
    elif act == "cut":
        changed = lines[:one]
    else:
        end = data.draw(st.integers(1, len(lines[one]) - 1))
        changed = [*lines[:one], lines[one][:end]]
    bad = refuse({**a_bundle(), "events.jsonl": b"".join(changed)})
    if act == "double" and one == 5:
        assert bad.file == "events.jsonl"
    else:
        assert bad.seq == wanted, (act, bad.message)


@FEW
@given(st.sampled_from(sorted(a_bundle())), st.booleans())
def test_a_file_that_is_missing_or_was_added_is_named(name, missing):
    files = dict(a_bundle())
    if missing:
        del files[name]
        assert refuse(files).file == name
    else:
        files["extra.txt"] = b"x"
        assert refuse(files).file == "extra.txt"


def test_a_forged_signature_a_swapped_head_and_a_foreign_key():
    files, key = a_bundle(), a_key()
    head = json.loads(files["head.json"])
    with tempfile.TemporaryDirectory() as place:
        other = need_key(Path(place) / "journal.key")
    assert "signature" in refuse({**files, "head.json": encode({**head, "signature": "0" * 128})}).message
    # A right head of another moment: its end is not that of these events.
    short = [chained([], 2, "x.happened", {})]
    assert refuse({**files, "head.json": a_head(short, key)}).file in ("events.jsonl", "head.json")
    # The same statement by somebody else verifies by itself: that is why a key must be compared.
    statement = make_statement([("R-3", 1, 2, "d" * 64)], at="x", seq=2)
    assert is_signed(other.public, other.sign(statement.message), statement.message)
    again = [Event(**json.loads(line)) for line in files["events.jsonl"].splitlines()]
    foreign = {**files, "head.json": a_head(again, other)}
    assert verifier.verify(foreign)["key"] == other.public
    assert "another key" in refuse(foreign, key.public).message


def test_states_of_records_are_those_that_the_events_tell():
    """Also by somebody who signs it all again with a key of his own."""
    files = dict(a_bundle())
    files["records.json"] = encode({"tasks": [{"id": "R-3/T01", "state": "failed"}]})
    manifest = json.loads(files["manifest.json"])
    manifest["files"]["records.json"] = hashlib.sha256(files["records.json"]).hexdigest()
    files["manifest.json"] = encode(manifest)
    events = [Event(**json.loads(line)) for line in files["events.jsonl"].splitlines()][:-1]
    events.append(
        chained(events, 21, "bundle.made", {"manifest": hashlib.sha256(files["manifest.json"]).hexdigest()})
    )
    files["events.jsonl"] = b"".join(encode(event) for event in events)
    files["head.json"] = a_head(events, a_key())
    bad = refuse(files)
    assert (bad.seq, bad.file) == (8, "records.json")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_changed_byte_of_the_archive_is_noticed(data):
    archive = pack(a_bundle())
    at = data.draw(st.integers(0, len(archive) - 1))
    new = data.draw(st.integers(0, 255))
    assume(new != archive[at])
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "b.tar.gz"
        path.write_bytes(archive[:at] + bytes([new]) + archive[at + 1 :])
        with pytest.raises(verifier.Bad):
            verifier.verify(verifier.read_bundle(str(path)))
        path.write_bytes(archive + bytes([new]))
        with pytest.raises(verifier.Bad):
            verifier.read_bundle(str(path))


def squeeze(data: bytes, level: int) -> bytes:
    made = zlib.compressobj(level, zlib.DEFLATED, -15)
    tail = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return verifier.GZIP_HEADER + made.compress(data) + made.flush() + tail


def archived(content: bytes, **headers: str) -> bytes:
    plain = io.BytesIO()
    form = tarfile.PAX_FORMAT if headers else tarfile.USTAR_FORMAT
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        member = tarfile.TarInfo("manifest.json")
        member.size, member.mode = len(content), 0o644
        member.pax_headers = {name.replace("_", "."): value for name, value in headers.items()}
        archive.addfile(member, io.BytesIO(content))
    return plain.getvalue()


def test_an_archive_is_written_in_one_way_only(tmp_path):
    """What was compressed could be written in many ways, and a changed byte of it could mean the same."""
    archive = pack(a_bundle())
    assert verifier.read_bundle(saved(tmp_path, archive)) == a_bundle()
    data = zlib.decompress(archive, 31)
    for other in (squeeze(data, 9), squeeze(data + bytes(10240), 0), squeeze(data[:-512], 0)):
        with pytest.raises(verifier.Bad):
            verifier.read_bundle(saved(tmp_path, other))


def saved(place: Path, data: bytes) -> str:
    (place / "some.tar.gz").write_bytes(data)
    return str(place / "some.tar.gz")


@pytest.mark.parametrize(
    "data",
    [
        squeeze(bytes(1 << 26), 9),
        squeeze(archived(b"", GNU_sparse_size=str(1 << 40), GNU_sparse_map=f"{1 << 40},0"), 0),
        squeeze(archived(b"[" * 200_000), 0),
        squeeze(archived(b'{"format":1,"run":"R-1","seqs":[1e999],"emptied":[],"files":{}}'), 0),
        squeeze(archived(b"[]")[:600], 0),
        squeeze(b"x" * 2000, 0),
    ],
    ids=["compressed", "sparse", "deep", "endless", "torn", "none"],
)
def test_an_archive_made_to_hurt_is_refused_in_words(tmp_path, data):
    with pytest.raises(verifier.Bad):
        verifier.verify(verifier.read_bundle(saved(tmp_path, data)))


def test_a_directory_with_links_and_pipes_is_refused_without_reading_them(tmp_path):
    import os

    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "events.jsonl").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "receipts").symlink_to("/")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "events.jsonl")
    for name in ("link", "folder", "pipe"):
        with pytest.raises(verifier.Bad, match="something else than a file"):
            verifier.read_bundle(str(tmp_path / name))


def test_what_a_bundle_says_of_itself_cannot_write_lines_of_its_own():
    """Somebody signs with a key of their own, and would have the verifier say another one."""
    said = "2025-01-02\nsigned by the one you trust\x1b[2J"
    files = dict(a_bundle())
    head = json.loads(files["head.json"])
    head["statement"]["at"] = said
    message = b"nightcrew head 1\n" + canonical.encode_plain(head["statement"]).encode()
    files["head.json"] = encode({**head, "signature": a_key().sign(message)})
    assert refuse(files).message == "head.json was changed after it was written"
    files = {**a_bundle(), "manifest.json": a_bundle()["manifest.json"].replace(b'"R-3"', b'"R-3\\n OK"')}
    assert refuse(files).message == "manifest.json is not of a format that is known here"
    files = {**a_bundle(), "evil\x1b[2J\nOK: R-3": b""}
    assert refuse(files).message == "evil\\x1b[2J\\nOK: R-3 was added"


def test_an_empty_key_is_no_key_to_compare_with(tmp_path, capsys):
    path = saved(tmp_path, pack(a_bundle()))
    assert verifier.main([path, "--key", a_key().public]) == 0
    assert verifier.main([path, "--key", ""]) == 2
    assert verifier.main([path, "--key", "any"]) == 2
    assert capsys.readouterr().out.count("OK") == 1


def test_links_and_doubled_names_in_an_archive_are_refused(tmp_path):
    for kind in ("link", "double"):
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            member = tarfile.TarInfo("plan.json")
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(member, io.BytesIO())
            archive.addfile(member, io.BytesIO())
        data = plain.getvalue()
        path = tmp_path / kind
        path.write_bytes(squeeze(data, 0))
        with pytest.raises(verifier.Bad, match="twice, or as something else"):
            verifier.read_bundle(str(path))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=100), st.data())
def test_its_own_ed25519_agrees_with_the_library(message, data):
    key = a_key()
    public, signature = bytes.fromhex(key.public), bytes.fromhex(key.sign(message))
    assert verifier.verify_signature(public, message, signature)
    at = data.draw(st.integers(0, 63))
    bit = 1 << data.draw(st.integers(0, 7))
    wrong = signature[:at] + bytes([signature[at] ^ bit]) + signature[at + 1 :]
    assert not verifier.verify_signature(public, message, wrong)
    assert not is_signed(key.public, wrong.hex(), message)
    assert not verifier.verify_signature(public, message + b"x", signature)
    # The same signature with its scalar written another way.
    scalar = int.from_bytes(signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    if scalar < 1 << 256:
        assert not verifier.verify_signature(public, message, signature[:32] + scalar.to_bytes(32, "little"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.data())
def test_every_chain_is_shown_to_belong_to_the_root(number, data):
    ends = [(f"R-{each}", each, each * 2, f"{each:064x}") for each in range(number)]
    chosen = data.draw(st.sampled_from(ends))
    node = hashlib.sha256(b"\0" + canonical.encode_plain(list(chosen)).encode()).digest()
    for side, beside in prove(ends, chosen[0]):
        other = bytes.fromhex(beside)
        node = hashlib.sha256(b"\1" + (other + node if side == "left" else node + other)).digest()
    assert node.hex() == compute_root(ends)
    changed = [(*end[:3], "f" * 64) if end == chosen else end for end in ends]
    assert compute_root(changed) != compute_root(ends)


def test_the_program_is_python_3_8_and_needs_nothing_else():
    import ast
    import sys

    source = Path(verifier.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= set(sys.stdlib_module_names)
