"""Rows 11 and 12: a restore gives the exact bytes, modes and absences of its checkpoint, however often a file was edited."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

STEPS = r"""
- write: src/data.txt
  content: "first\r\nno end of line"
- run: "python3 change.py"
- write: src/data.txt
  content: "third"
- delete: "new"
- run: "rm -r src && printf again > src"
"""
CHANGE = r"""
import os, pathlib
pathlib.Path("src/data.txt").write_bytes(b"second\n\n")
pathlib.Path("new/deep").mkdir(parents=True); pathlib.Path("new/deep/all.bin").write_bytes(bytes(range(256)) * 40)
with open(b"odd\n\xff", "wb") as file: file.write(b"odd")
os.chmod("src/app.py", 0o755); os.remove("README.md"); os.symlink("src/app.py", "link"); open("empty", "w").close()
os.remove("file"); os.mkdir("file"); pathlib.Path("file/inside").write_text("a file became a directory\n")
"""
PLAN = "- [ ] 1. steps\n  - Script: steps.yaml\n  - Accept: test -e src\n"
Files = dict[str, tuple[str, bytes]]


def look(folder: Path) -> Files:
    """Return kind and content of every file below a folder."""
    found: Files = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if name == ".git" or name.startswith(".git/") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        else:
            found[name] = ("x" if path.stat().st_mode & stat.S_IXUSR else "-", path.read_bytes())
    return found


def make_states(before: Files) -> list[Files]:
    """Return what the tree is after each step, worked out by hand."""
    first = {**before, "src/data.txt": ("-", b"first\r\nno end of line")}
    second = {name: each for name, each in first.items() if name not in ("README.md", "file")}
    second |= {
        "src/data.txt": ("-", b"second\n\n"),
        "new/deep/all.bin": ("-", bytes(range(256)) * 40),
        "odd\n\udcff": ("-", b"odd"),
        "src/app.py": ("x", before["src/app.py"][1]),
        "link": ("link", b"src/app.py"),
        "empty": ("-", b""),
        "file/inside": ("-", b"a file became a directory\n"),
    }
    third = {**second, "src/data.txt": ("-", b"third")}
    fourth = {name: each for name, each in third.items() if not name.startswith("new/")}
    fifth = {name: each for name, each in fourth.items() if not name.startswith("src/")}
    return [first, second, third, fourth, {**fifth, "src": ("-", b"again")}]


def settle(crew: Hermetic) -> None:
    crew.wait_until(lambda: crew.show("R-1/T01")["state"] == "succeeded", timeout_s=60, what="the acceptance")


def test_11_every_checkpoint_is_restored_to_the_byte(crew: Hermetic) -> None:
    crew.write({"change.py": CHANGE, "file": "a file\n"})
    crew.commit("second")
    before = look(crew.repo)
    assert crew.run_tasks(PLAN, scripts={"steps.yaml": STEPS}).code == 0
    states = make_states(before)
    taken = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    after_steps = taken[: len(states)]
    assert [each["why"].split()[0] for each in after_steps] == ["after"] * len(states)
    # Out of order, so that none builds on the one before.
    for number in (1, 4, 0):
        wanted = after_steps[number]
        restored = crew.run("checkpoint", "restore", wanted["id"], "--yes", "--json")
        assert restored.code == 0, restored
        assert restored.json["tree"] == wanted["tree"]
        settle(crew)
        assert crew.run("accept", "R-1/T01").code == 0
        promoted = crew.run("promote", "R-1", "--yes", "--allow-handoff", "executable", "--json")
        assert promoted.code == 0, promoted
        assert look(crew.repo) == states[number], f"the state after step {number + 1}"
        assert crew.run("undo", promoted.json["id"], "--yes").code == 0
        assert look(crew.repo) == before
    # The agent's own, and one judgement of each result that was put in its place.
    assert crew.show("R-1/T01")["attempts"] == crew.show_tasks("R-1")["T01"]["attempts"] == 4
    assert "attempts 4" in crew.run("review", "R-1").stdout
    assert crew.look("audit", "verify").code == 0


def test_12_a_file_edited_again_and_again_goes_back_to_any_of_its_versions(crew: Hermetic) -> None:
    texts = [f"version {number}\n" * number for number in range(1, 5)]
    steps = "".join(f"- write: src/data.txt\n  content: {text!r}\n".replace("'", '"') for text in texts)
    assert crew.run_tasks(PLAN, scripts={"steps.yaml": steps}).code == 0
    taken = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    path = "src/data.txt"
    for number in (1, 0):
        restored = crew.run("checkpoint", "restore", taken[number]["id"], "--yes", "--no-start", "--json")
        assert restored.code == 0, restored
        shown = crew.look("checkpoint", "diff", restored.json["id"], "--", path).stdout
        added = [
            line[1:] for line in shown.splitlines() if line.startswith("+") and not line.startswith("+++")
        ]
        assert added == texts[number].splitlines()
        back = crew.run("checkpoint", "restore", restored.json["before"], "--yes", "--no-start", "--json")
        assert back.code == 0, back
        assert back.json["tree"] == taken[-1]["tree"], "a restore is undone by a restore"
    assert crew.git("status", "--porcelain") == "", "the repository changed"
