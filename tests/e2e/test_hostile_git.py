"""What an agent does to git in its shadow starts nothing on the host, whatever a person then looks at, lands and takes back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

SETTINGS = (
    "core.fsmonitor", "core.hooksPath", "core.pager", "core.editor", "core.sshCommand", "diff.external", "gpg.program",
    "diff.evil.command", "diff.evil.textconv", "merge.evil.driver", "filter.evil.clean", "filter.evil.smudge",
    "filter.evil.process", "alias.status", "alias.diff", "credential.helper", "sequence.editor", "uploadpack.packObjectsHook",
)  # fmt: skip
AGENT = r"""
import os, pathlib, subprocess, sys
trap = sys.argv[1]
def git(*words, **more): subprocess.run(["git", *words], check=False, capture_output=True, **more)
for key in sys.argv[2:]:
    value = os.path.dirname(trap) if key == "core.hooksPath" else f"!{trap}" if key.startswith("alias") else trap
    git("config", key, value)
git("config", "commit.gpgSign", "true")
hooks = pathlib.Path(".git/hooks")
hooks.mkdir(parents=True, exist_ok=True)
for name in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "post-merge", "fsmonitor-watchman"):
    (hooks / name).write_text(f"#!/bin/sh\n{trap}\n")
    os.chmod(hooks / name, 0o755)
info = pathlib.Path(".git/info")
info.mkdir(exist_ok=True)
(info / "attributes").write_text("* filter=evil diff=evil merge=evil\n")
pathlib.Path(".git/objects/info/alternates").open("a").write("/etc\n")
pathlib.Path(".gitattributes").write_text("*.txt filter=evil diff=evil merge=evil\nown.txt filter=own diff=own merge=own\n")
pathlib.Path("own.txt").write_text("by the agent\n")
pathlib.Path("work.txt").write_text("work\n")
if not os.environ.get("NESTED"): sys.exit()
# A repository in the repository, with programs of its own.
os.mkdir("nested")
git("init", "-q", cwd="nested")
git("config", "core.fsmonitor", trap, cwd="nested")
pathlib.Path("nested/.git/config").open("a").write(f"[core]\n\tworktree = /\n\tfsmonitor = {trap}\n")
pathlib.Path(".gitmodules").write_text(f'[submodule "x"]\n\tpath = nested\n\turl = ext::{trap}\n\tupdate = !{trap}\n')
"""


@pytest.fixture
def trap(crew: Hermetic) -> Path:
    """A program of the host that leaves a mark; in a sandbox it does not exist."""
    folder = crew.home / "trap"
    folder.mkdir()
    program = folder / "trap.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {folder}/ran\ncat\n')
    program.chmod(0o755)
    return program


def check_nothing_ran(trap: Path, done: object) -> None:
    mark = trap.parent / "ran"
    assert not mark.exists(), (mark.read_text(), done)


def test_nothing_that_it_set_is_started(crew: Hermetic, trap: Path) -> None:
    # The user has drivers under a name that an agent can guess, and choose by attributes.
    for key in (
        "filter.own.clean",
        "filter.own.smudge",
        "diff.own.command",
        "diff.own.textconv",
        "merge.own.driver",
    ):
        crew.git("config", key, str(trap))
    crew.write({"agent.py": AGENT, "own.txt": "mine\n", "work.txt": "old\n"})
    crew.commit("a hostile agent")
    config = (crew.repo / ".git/config").read_bytes()
    text = f"- [ ] 1. go\n  - Run: python3 agent.py {trap} {' '.join(SETTINGS)}\n  - Accept: grep -q work work.txt\n"
    done = crew.run_tasks(text)
    check_nothing_ran(trap, done)
    for words in (
        ("show", "R-1"), ("review", "R-1"), ("diff", "R-1/T01"), ("diff", "R-1/T01", "--hunks"), ("diff", "R-1/T01", "--json"),
        ("why", "R-1/T01"), ("checkpoint", "list", "R-1/T01"), ("secrets", "scan", "R-1/T01"), ("inbox",), ("log", "R-1"),
    ):  # fmt: skip
        check_nothing_ran(trap, crew.run(*words))
    for item in crew.run("inbox", "--json").json:
        check_nothing_ran(trap, crew.run("approve", item["id"]))
    crew.wait_until(
        lambda: crew.show_tasks("R-1")["T01"]["state"] in ("succeeded", "failed"), what="the task"
    )
    assert crew.show_tasks("R-1")["T01"]["state"] == "succeeded", crew.run("why", "R-1/T01")
    review = crew.run("review", "R-1").stdout
    assert ".gitattributes" in review
    assert crew.run("accept", "R-1/T01").code == 0
    for words in (
        ("promote", "R-1", "--patch", str(crew.root / "out.patch"), "--yes", "--allow-handoff", "git"),
    ):
        check_nothing_ran(trap, crew.run(*words))
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 5, refused
    check_nothing_ran(trap, refused)
    done = crew.run("promote", "R-1", "--yes", "--allow-handoff", "git")
    assert done.code == 0, done
    check_nothing_ran(trap, done)
    assert (crew.repo / "own.txt").read_text() == "by the agent\n"
    assert (crew.repo / ".git/config").read_bytes() == config
    for words in (
        ("blame", "work.txt:1"),
        ("show", "M-1"),
        ("undo", "M-1", "--yes"),
        ("redo", "M-1", "--yes", "--allow-handoff", "git"),
    ):
        check_nothing_ran(trap, crew.run(*words))


def test_a_repository_within_is_neither_run_nor_landed(crew: Hermetic, trap: Path) -> None:
    crew.write({"agent.py": AGENT})
    crew.commit("a hostile agent")
    done = crew.run_tasks(f"- [ ] 1. go\n  - Run: NESTED=1 python3 agent.py {trap} {' '.join(SETTINGS)}\n")
    for words in (("review", "R-1"), ("diff", "R-1/T01"), ("accept", "R-1/T01"), ("promote", "R-1", "--yes")):
        check_nothing_ran(trap, crew.run(*words))
    assert crew.show_tasks("R-1")["T01"]["state"] == "failed", done
    why = " ".join(crew.run("why", "R-1/T01").stdout.replace("…", "").split())
    assert "nested" in why, why
    assert crew.git("status", "--porcelain") == ""


def test_the_trap_is_a_real_one(crew: Hermetic, trap: Path) -> None:
    """Git itself would start it, so that nothing ran above says something."""
    crew.write({"a.txt": "a\n"})
    crew.commit("a")
    crew.git("config", "core.fsmonitor", str(trap))
    subprocess.run(["git", "status"], cwd=crew.repo, capture_output=True, check=False)
    assert (trap.parent / "ran").exists()
