"""Going back in part: by file, by hunk, and to what policy lets pass; each is a checkpoint and can be undone."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

POLICY = """version: 1
safety:
  outside_scope: deny
  handoff: deny
"""
AGENT = r"""
import os, pathlib, shutil
numbers = pathlib.Path("src/data.txt")
lines = numbers.read_bytes().split(b"\n")
lines[0] = b"ONE\r"; lines[2] = b"THREE"
numbers.write_bytes(b"\n".join(lines).rstrip(b"\n"))
pathlib.Path("src/new.bin").write_bytes(bytes(range(256)))
os.chmod("src/app.py", 0o755)
pathlib.Path("src/app.py").write_text("print('changed')\n")
pathlib.Path("outside.txt").write_text("not asked for\n")
os.remove("README.md")
shutil.rmtree("src/old")
pathlib.Path("src/old").write_text("a file now\n")
pathlib.Path("src/line\nfeed").write_text("")
"""


def make(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": POLICY, "agent.py": AGENT, "src/old/one": "one\n"})
    crew.commit("agent")
    done = crew.run_tasks(
        "- [ ] 1. work\n  - Run: python3 agent.py\n  - Scope: src\n  - Accept: test -f src/new.bin\n"
    )
    assert done.code == 10, done


def changed(crew: Hermetic) -> dict[str, dict]:
    return {path["path"]: path for path in crew.look("diff", "R-1/T01", "--json").json["paths"]}


def settled(crew: Hermetic) -> dict:
    crew.wait_until(lambda: crew.show("R-1")["state"] in ("in_review", "failed"), what="the acceptance")
    return crew.show("R-1/T01")


def test_14_what_passes_is_kept_and_what_does_not_is_put_back(crew: Hermetic) -> None:
    make(crew)
    assert crew.show("R-1/T01")["state"] == "failed"
    [last] = [c["id"] for c in crew.look("checkpoint", "list", "R-1", "--json").json if c["current"]]
    listed = crew.look("checkpoint", "diff", last, "--hunks").stdout.splitlines()
    assert [line.split("  ")[1] for line in listed if "feed" in line] == ["src/line<U+000A>feed"]
    assert "nothing differs in nope" in crew.look("checkpoint", "diff", last, "nope").stderr
    dry = crew.run("checkpoint", "restore", last, "--keep-valid", "--dry-run", "--json")
    assert dry.code == 0, dry
    back = {each["path"]: each for each in dry.json["put_back"]}
    assert {path: each["whole"] for path, each in back.items()} == {
        "README.md": True,
        "outside.txt": True,
        "src/app.py": False,
    }
    assert "becomes executable" in back["src/app.py"]["why"][0]
    assert "outside_scope" in back["outside.txt"]["why"][0]
    assert len(crew.look("checkpoint", "list", "R-1", "--json").json) == 1, "a rehearsal took a checkpoint"
    done = crew.run("checkpoint", "restore", last, "--keep-valid", "--yes", "--json")
    assert done.code == 0, done
    task = settled(crew)
    assert (task["state"], task["verified"]) == ("succeeded", "verified")
    now = changed(crew)
    placed = {"src/old", "src/old/one", "src/line\nfeed"}
    assert set(now) == {"src/data.txt", "src/new.bin", "src/app.py", *placed}, "a file took a folder's place"
    assert (now["src/app.py"]["old_mode"], now["src/app.py"]["new_mode"]) == (0o100644, 0o100644)
    # What is kept lands to the byte.
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0
    assert (crew.repo / "src/data.txt").read_bytes() == b"ONE\r\ntwo\nTHREE"
    assert (crew.repo / "src/new.bin").read_bytes() == bytes(range(256))
    assert (crew.repo / "src/old").read_text() == "a file now\n"
    assert (crew.repo / "README.md").read_text() == "# sample\n"
    assert not (crew.repo / "outside.txt").exists()


def test_one_hunk_is_taken_from_a_checkpoint_and_the_restore_is_undone(crew: Hermetic) -> None:
    make(crew)
    [first] = [c["id"] for c in crew.look("checkpoint", "list", "R-1", "--json").json if c["current"]]
    crew.run("checkpoint", "restore", first, "--keep-valid", "--yes", "--no-start")
    [second] = [c["id"] for c in crew.look("checkpoint", "list", "R-1", "--json").json if c["current"]]
    # Out of the first checkpoint only the file outside, out of the base (by an earlier state) only one line.
    hunks = crew.look("checkpoint", "diff", second, first, "--hunks", "--json").json["hunks"]
    [outside] = [hunk for hunk in hunks if hunk["path"] == "outside.txt"]
    [mode] = [hunk for hunk in hunks if hunk["path"] == "src/app.py"]
    assert (mode["kind"], mode["old_mode"], mode["new_mode"]) == ("mode", 0o100644, 0o100755)
    shown = crew.look("checkpoint", "diff", second, first, "--hunks", "--", "outside.txt").stdout
    assert shown.startswith(f"{outside['id']}  outside.txt  added as a whole")
    done = crew.run("checkpoint", "restore", first, "--hunk", mode["id"], "--yes", "--no-start", "--json")
    assert done.code == 0, done
    third = done.json["checkpoint"]
    between = crew.look("checkpoint", "diff", second, third, "--json").json["paths"]
    assert [(p["path"], p["old_mode"], p["new_mode"]) for p in between] == [
        ("src/app.py", 0o100644, 0o100755)
    ]
    wrong = crew.run("checkpoint", "restore", first, "--hunk", "H-000000000000", "--yes")
    assert (wrong.code, "no hunk" in wrong.stderr) == (2, True), wrong
    assert f"nightcrew checkpoint diff {third} {first} --hunks" in wrong.stderr
    nobody = crew.run("checkpoint", "restore", first, "--hunk", outside["id"])
    assert (nobody.code, ": 1 path of it will change" in nobody.stderr) == (5, True), nobody
    same = crew.run("checkpoint", "restore", third, "--dry-run")
    assert "no path of it will change" in same.stderr, same
    back = crew.run("checkpoint", "restore", second, "--yes", "--no-start", "--json").json
    tree = {c["id"]: c["tree"] for c in crew.look("checkpoint", "list", "R-1", "--json").json}
    assert back["tree"] == tree[second]
    only = crew.run("checkpoint", "restore", first, "--files", "*.txt", "--yes", "--no-start", "--json")
    assert [path["path"] for path in only.json["changed"]] == ["outside.txt"]


def test_a_running_task_is_paused_for_a_restore(crew: Hermetic, token: str) -> None:
    text = (
        "- [ ] 1. a\n  - Run: echo a > a.txt\n- [ ] 2. slow\n  - Run: echo one > one.txt; "
        f"test -e flag || sleep {token}; echo two > two.txt\n"
    )
    crew.start("run", "-f", str(crew.write_plan(text)), "--yes", log=crew.root / "log")
    crew.wait_until(lambda: crew.find_commands(token), what="the agent")
    crew.run("pause", "R-1/T02")
    [first] = [c["id"] for c in crew.look("checkpoint", "list", "R-1/T02", "--json").json]
    crew.start("resume", "R-1/T02", log=crew.root / "log")
    crew.wait_until(lambda: crew.find_commands(token), what="the agent, again")
    done = crew.run("checkpoint", "restore", first, "--yes", "--json")
    assert done.code == 0, done
    crew.wait_until(lambda: not crew.find_commands(token), what="the end of the agent")
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run")
    assert {path["path"] for path in crew.look("diff", "R-1/T02", "--json").json["paths"]} == {"one.txt"}
