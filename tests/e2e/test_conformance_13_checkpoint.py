"""Row 13: a checkpoint sees everything an agent did: staged, committed, ignored, binary, renamed, odd names."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

AGENT = r"""
import os, subprocess, pathlib
def git(*args):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True)
pathlib.Path("staged.txt").write_text("staged\n"); git("add", "staged.txt")
pathlib.Path("committed.txt").write_text("committed\n"); git("add", "committed.txt"); git("commit", "-qm", "by the agent")
pathlib.Path("unstaged.txt").write_text("unstaged\n")
pathlib.Path("noise.log").write_text("ignored\n")
pathlib.Path("binary.bin").write_bytes(bytes(range(256)) * 8)
git("mv", "src/data.txt", "src/renamed.txt")
os.remove("README.md")
pathlib.Path("src/app.py").write_text("print('changed')\n")
for name in (b"-dash", b"two\nlines", b"sp ace", b"t\xc3\xa4b\t", b"not-utf8-\xff", b'quo"te', b"back\\slash"):
    with open(os.path.join(b"odd", name) if os.makedirs("odd", exist_ok=True) is None else name, "wb") as file:
        file.write(name)
os.makedirs("deep/er/and/deeper"); pathlib.Path("deep/er/and/deeper/file").write_text("x")
pathlib.Path("tool.sh").write_text("#!/bin/sh\n"); os.chmod("tool.sh", 0o755)
os.symlink("src/app.py", "link"); os.symlink("nowhere", "dangling")
pathlib.Path(".gitignore").write_text("staged.txt\nunstaged.txt\n__pycache__/\n*.log\n")
os.mkfifo("pipe")
"""
ADDED = {
    "staged.txt", "committed.txt", "unstaged.txt", "noise.log", "binary.bin", "src/renamed.txt", "odd/-dash", "odd/two\nlines",
    "odd/sp ace", "odd/t\u00e4b\t", "odd/not-utf8-\udcff", 'odd/quo"te', "odd/back\\slash", "deep/er/and/deeper/file", "tool.sh",
    "link", "dangling",
}  # fmt: skip


def test_13_a_checkpoint_holds_everything_the_agent_did(crew: Hermetic) -> None:
    crew.write({"agent.py": AGENT})
    crew.commit("agent")
    before = (crew.git("rev-parse", "HEAD"), crew.git("status", "--porcelain=v2"))
    done = crew.run_tasks("- [ ] 1. everything\n  - Run: python3 agent.py\n  - Accept: test ! -e README.md\n")
    assert by_name(done.json)["T01"]["attempts"] == 1, done
    [*_, last] = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    change = crew.look("checkpoint", "diff", last["id"], "--json").json
    kinds = {path["path"]: path for path in change["paths"]}
    assert {path for path, entry in kinds.items() if entry["kind"] == "added"} == ADDED
    assert {path for path, entry in kinds.items() if entry["kind"] == "deleted"} == {
        "README.md",
        "src/data.txt",
    }
    assert {path for path, entry in kinds.items() if entry["kind"] == "modified"} == {
        "src/app.py",
        ".gitignore",
    }
    assert kinds["tool.sh"]["new_mode"] == 0o100755
    assert kinds["link"]["new_mode"] == 0o120000
    assert kinds["binary.bin"]["binary"]
    assert [path for path, entry in kinds.items() if entry["ignored"]] == ["noise.log"], (
        "judged by the base's rules"
    )
    assert any("pipe" in refused for refused in last["refused"] + change["refused"])
    assert (crew.git("rev-parse", "HEAD"), crew.git("status", "--porcelain=v2")) == before, (
        "the repository changed"
    )
    assert not (crew.repo / "staged.txt").exists()


def test_13_every_attempt_and_every_question_has_its_checkpoint(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "version: 1\nretries:\n  attempts: 1\n"})
    crew.commit("settings")
    text = "- [ ] 1. a\n  - Run: echo a > a.txt; exit 1\n- [ ] 2. b\n  - Run: echo b > b.txt\n  - Accept: test -f b.txt\n"
    done = crew.run_tasks(text)
    assert done.code == 10, done
    for name, path in (("T01", "a.txt"), ("T02", "b.txt")):
        [*_, last] = crew.look("checkpoint", "list", f"R-1/{name}", "--json").json
        assert [p["path"] for p in crew.look("checkpoint", "diff", last["id"], "--json").json["paths"]] == [
            path
        ]
