"""Row 32: what an agent prints is redacted before it is written: transcripts, events, database, logs, error messages."""

from __future__ import annotations

import base64

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

A = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"
B = "uE4iO7aT2eW9rY5qU8oP1lK6jH3gF0dS"

# what is printed → the part of it that must be nowhere
PRINTED = {
    "token gh" + f"p_{A}abcd": A[2:],
    "export ANTHROPIC_API_KEY=sk-" + f"ant-api03-{B}{A}": B,
    "AWS_SECRET_ACCESS_KEY=" + f"{A}q/W+5678": A[6:],
    "postgres://app:" + f"{B[:16]}@db.internal/app": B[4:14],
    "Authorization: Bearer " + A[:28]: A[4:26],
    "dapi" + "0123456789abcdef0123456789abcde7": "456789abcdef0123456789abcd",
    "shpat_" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0": "2d3c4b5a69788796a5b4c3d2e1",
    "-----BEGIN RSA " + "PRIVATE KEY-----\n" + base64.b64encode(bytes(range(48))).decode() + "\n-----END RSA "
    + "PRIVATE KEY-----": base64.b64encode(bytes(range(48))).decode()[8:40],
}  # fmt: skip
DIGEST = "0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d"


def test_32_what_an_agent_prints_is_stored_nowhere(crew: Hermetic) -> None:
    lines = [f"print({text!r}, file=stream)" for text in PRINTED]
    script = f"import sys\nfor stream in (sys.stdout, sys.stderr):\n    print({DIGEST!r}, file=stream)\n"
    script += "".join(f"    {line}\n" for line in lines)
    # The agent makes its text up from pieces, as a program reads it from somewhere; the file itself is no part of this.
    packed = base64.b85encode(script.encode()).decode()
    crew.write({"agent.py": f"import base64\nexec(base64.b85decode({packed!r}))\n"})
    crew.commit("agent")
    done = crew.run_tasks("- [ ] 1. work\n  - Run: python3 agent.py\n")
    assert done.code == 0, done
    seen = str(done) + "".join(
        crew.run(*words).stdout + crew.run(*words).stderr
        for words in (
            ("log", "R-1/T01"),
            ("events", "--json"),
            ("why", "R-1/T01"),
            ("show", "R-1/T01", "--json"),
        )
    )
    files = [path for path in crew.state.rglob("*") if path.is_file()]
    transcripts = "".join(path.read_text() for path in files if path.suffix == ".jsonl")
    assert DIGEST in transcripts, "a commit id is no secret"
    assert transcripts.count("ghp_***cd") == 2
    for text, hidden in PRINTED.items():
        assert hidden not in seen, text[:20]
        assert not [str(path) for path in files if hidden.encode() in path.read_bytes()], text[:20]
