"""The transcript: whole lines, redacted, bounded, private."""

from __future__ import annotations

import json
from pathlib import Path

from nightcrew.agents.transcript import LINE_LIMIT_BYTES, Transcript


def read(path: Path) -> list[tuple[str, str]]:
    return [(line["stream"], line["text"]) for line in map(json.loads, path.read_text().splitlines())]


def make(path: Path, limit_bytes: int = 1 << 20) -> Transcript:
    return Transcript(
        path,
        redact=lambda text: text.replace("s3cret", "***"),
        elapsed_s=lambda: 1.5,
        limit_bytes=limit_bytes,
    )


def test_a_secret_that_arrives_in_two_pieces_is_redacted(tmp_path: Path) -> None:
    with make(tmp_path / "t.jsonl") as transcript:
        transcript.write("stdout", b"key s3c")
        transcript.write("stderr", b"between\n")
        transcript.write("stdout", b"ret end\nrest")
    assert read(tmp_path / "t.jsonl") == [
        ("stderr", "between"),
        ("stdout", "key *** end"),
        ("stdout", "rest"),
    ]


def test_bytes_that_are_no_text_and_endless_lines_are_kept_as_far_as_they_go(tmp_path: Path) -> None:
    with make(tmp_path / "t.jsonl") as transcript:
        transcript.write("stdout", b"\xff\n")
        transcript.write("stdout", b"x" * LINE_LIMIT_BYTES)
    assert [len(text) for _, text in read(tmp_path / "t.jsonl")] == [4, LINE_LIMIT_BYTES]


def test_it_never_grows_beyond_its_limit(tmp_path: Path) -> None:
    with make(tmp_path / "t.jsonl", limit_bytes=2000) as transcript:
        for _ in range(1000):
            transcript.write("stdout", b"some line of output\n")
    assert (tmp_path / "t.jsonl").stat().st_size < 2300
    assert "limit" in read(tmp_path / "t.jsonl")[-1][1]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "t.jsonl"
    make(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
