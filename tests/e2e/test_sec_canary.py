"""Canaries: planted where an agent sees them, caught in what it changed, never promoted, and off when told so."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

# Found by nobody who looks for forms of keys: turned round, and in a loose git object (zlib).
TAKE = """
import hashlib, os, pathlib, zlib
home = pathlib.Path(os.environ["HOME"], ".aws/credentials")
held = (home.read_text() if home.exists() else "") + os.environ.get("DEPLOY_API_KEY", "")
pathlib.Path("notes").mkdir()
pathlib.Path("notes/plain.txt").write_text(f"{len(held)}\\n")
pathlib.Path("notes/turned.txt").write_text(os.environ.get("DEPLOY_API_KEY", "")[::-1] + "\\n")
body = b"blob %d\\0" % len(held) + held.encode()
pathlib.Path("notes/object").write_bytes(zlib.compress(body))
"""


def test_one_in_the_change_stops_the_task_and_never_lands(crew: Hermetic) -> None:
    crew.write({"agent.py": TAKE})
    crew.commit("agent")
    done = crew.run_tasks("- [ ] 1. work\n  - Run: python3 agent.py\n  - Accept: test -f notes/object\n")
    assert done.code == 5, done
    item = crew.look("show", "A-1", "--json").json
    assert (item["risk"], item["kind"]) == ("critical", "change")
    assert (
        "notes/turned.txt holds a credential that was planted as a tripwire ($DEPLOY_API_KEY)"
        in item["reason"]
    )
    assert "notes/object holds a credential that was planted as a tripwire" in item["reason"]
    assert "plain.txt" not in item["reason"]
    # A person may let the task go on all the same; into the repository it does not come.
    assert crew.run("approve", "A-1").code == 0
    assert crew.run("resume").code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    before = crew.git("rev-parse", "HEAD")
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 6, refused
    assert "planted as a tripwire is in what would land; nothing was changed" in refused.stderr
    assert crew.git("rev-parse", "HEAD") == before


def test_each_attempt_has_its_own_and_none_where_it_is_off(crew: Hermetic) -> None:
    show = "cat ~/.aws/credentials | sha256sum; echo $DEPLOY_API_KEY | sha256sum"
    tasks = "".join(f"- [ ] {n}. see\n  - Run: {show}\n" for n in (1, 2))
    assert crew.run_tasks(tasks).code == 0
    seen = [
        line["text"] for n in (1, 2) for line in transcript(crew, f"R-1/T0{n}") if line["stream"] == "stdout"
    ]
    digests = "\n".join(seen).split("\n")
    assert len(set(digests)) == len(digests) == 4, digests
    crew.write({".nightcrew/config.yaml": "version: 1\ncanary: off\n"})
    refused = crew.run_tasks("- [ ] 1. see\n  - Run: true\n")
    assert (refused.code, "a repository cannot have less of it" in refused.stdout) == (2, True), refused
    (crew.repo / ".nightcrew" / "config.yaml").unlink()
    own = crew.root / "config" / "nightcrew" / "config.yaml"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("version: 1\ncanary: off\n")
    assert crew.run_tasks('- [ ] 1. see\n  - Run: test ! -e ~/.aws && test -z "$DEPLOY_API_KEY"\n').code == 0


def transcript(crew: Hermetic, task: str) -> list[dict[str, str]]:
    [file] = crew.state.glob(f"*/runs/{task}/1.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]
