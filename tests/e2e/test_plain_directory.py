"""A directory that is not a git repository: the whole job works there, and only what is promoted is written into it."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

AGENT = r"""
import os, pathlib, subprocess
pathlib.Path("letters/a.txt").write_bytes(b"one\r\nTWO\r\n")
pathlib.Path("new/deep").mkdir(parents=True); pathlib.Path("new/deep/f").write_text("new\n")
os.remove("letters/b.txt"); os.chmod("tool.sh", 0o755); os.symlink("letters", "link")
assert not os.path.exists(".env"), "kept out"
assert subprocess.run(["git", "log", "--oneline"], check=True, capture_output=True).stdout
"""
TASK = "- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: test ! -e letters/b.txt\n"
YES = ("--yes", "--allow-handoff", "executable")
APPEND = "- [ ] 1. {name}\n  - Run: echo {name} >> {file}\n  - Accept: grep -q {name} {file}\n"

REMOVE = "- [ ] 2. remove\n  - Run: rm tool.sh\n  - Accept: test ! -e tool.sh\n"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Hermetic]:
    """A user with a directory full of files, and no git anywhere above it."""
    from conftest import sweep

    place = Hermetic(tmp_path)
    place.repo.mkdir()
    place.write(
        {
            "letters/a.txt": b"one\r\ntwo\r\n",
            "letters/b.txt": "b\n",
            "tool.sh": "#!/bin/sh\n",
            "odd\nname \u00e4.txt": "odd\n",
            "agent.py": AGENT,
            ".env": "PASSWORD=correct-horse-battery\n",
            "node_modules/x": "x\n",
        }
    )
    (place.repo / "empty").mkdir()
    yield place
    sweep(place)


def look(folder: Path) -> dict[str, tuple[int, bytes, int]]:
    """Return mode, content and time of everything below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = b""
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = (status.st_mode, content, status.st_mtime_ns)
    return found


def only_files(found: dict[str, tuple[int, bytes, int]]) -> dict[str, tuple[int, bytes, int]]:
    return {name: each for name, each in found.items() if not stat.S_ISDIR(each[0])}


def accept(plain: Hermetic, *tasks: str) -> None:
    done = plain.run("accept", *tasks)
    assert done.code == 0, done


def test_the_whole_job_writes_nothing_but_what_is_promoted(plain: Hermetic) -> None:
    before = look(plain.repo)
    done = plain.run_tasks(TASK)
    assert done.code == 0, done
    assert "is not a git repository" in done.stderr
    assert by_name(done.json)["T01"]["verified"] == "verified"
    assert look(plain.repo) == before
    paths = {each["path"] for each in plain.run("diff", "R-1/T01", "--json").json["paths"]}
    assert paths == {"letters/a.txt", "letters/b.txt", "new/deep/f", "tool.sh", "link"}
    accept(plain, "R-1/T01")
    promoted = plain.run("promote", "R-1", *YES, "--json")
    assert promoted.code == 0, promoted
    after = look(plain.repo)
    touched = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert touched - {"letters", "new", "new/deep"} == paths
    assert after["letters/a.txt"][1] == b"one\r\nTWO\r\n"
    undone = plain.run("undo", "M-1", "--yes", "--json")
    assert undone.code == 0, undone
    assert only_files(look(plain.repo)) == only_files(before)
    assert set(look(plain.repo)) == set(before)
    again = plain.run("undo", undone.json["id"], *YES)
    assert again.code == 0, again
    assert {name: each[:2] for name, each in only_files(look(plain.repo)).items()} == {
        name: each[:2] for name, each in only_files(after).items()
    }
    assert plain.run("audit", "verify").code == 0


def test_what_the_user_writes_meanwhile_is_kept_and_overlap_is_refused_by_name(plain: Hermetic) -> None:
    assert plain.run_tasks(TASK).code == 0
    accept(plain, "R-1/T01")
    plain.write({"mine.txt": "mine\n", "letters/a.txt": "another letter\n"})
    before = look(plain.repo)
    refused = plain.run("promote", "R-1", *YES)
    assert refused.code == 7, refused
    assert "letters/a.txt" in refused.stderr
    assert look(plain.repo) == before
    plain.write({"letters/a.txt": b"one\r\ntwo\r\n"})
    assert plain.run("promote", "R-1", *YES).code == 0
    assert (plain.repo / "mine.txt").read_text() == "mine\n"


def test_a_later_run_starts_from_what_is_there_then(plain: Hermetic) -> None:
    assert plain.run_tasks(APPEND.format(name="first", file="letters/b.txt")).code == 0
    plain.write({"later.txt": "later\n"})
    second = plain.run_tasks(
        APPEND.format(name="second", file="later.txt"), "-C", str(plain.repo / "letters")
    )
    assert second.code == 0, second
    for task in ("R-2/T01", "R-1/T01"):
        accept(plain, task)
        done = plain.run("promote", task.partition("/")[0], *YES)
        assert done.code == 0, done
    assert (plain.repo / "later.txt").read_text() == "later\nsecond\n"
    assert (plain.repo / "letters/b.txt").read_text() == "b\nfirst\n"
    undone = plain.run("undo", "M-1", "--inverse", "--yes")
    assert undone.code == 0, undone
    assert (plain.repo / "later.txt").read_text() == "later\n"
    assert (plain.repo / "letters/b.txt").read_text() == "b\nfirst\n"


def test_no_screen_names_a_branch_that_nobody_has(plain: Hermetic) -> None:
    assert plain.run_tasks(APPEND.format(name="first", file="letters/b.txt")).code == 0
    accept(plain, "R-1/T01")
    said = [plain.run("promote", "R-1", *YES), plain.run("show", "M-1"), plain.run("log", "R-1")]
    said += [plain.run("promote", "R-1", *YES), plain.run("undo", "M-1", "--yes"), plain.run("review", "R-1")]
    text = "".join(each.stdout + each.stderr for each in said)
    assert ("directory is at" in text, "branch: refs/heads/directory" in text) == (True, True)
    assert not re.search(r"\bmain\b", text), text


def test_a_history_from_before_keeps_the_name_that_its_promotions_were_recorded_with(plain: Hermetic) -> None:
    assert plain.run_tasks(APPEND.format(name="first", file="letters/b.txt")).code == 0
    [own] = [path for path in plain.state.glob("*/git") if path.is_dir()]
    plain.git("--git-dir", str(own), "branch", "-m", "directory", "main")
    accept(plain, "R-1/T01")
    done = plain.run("promote", "R-1", *YES, "--json")
    assert (done.code, done.json["branch"]) == (0, "refs/heads/main"), done
    assert plain.run("undo", "M-1", "--yes").code == 0
    assert (plain.repo / "letters/b.txt").read_text() == "b\n"


def test_a_run_stays_with_its_history_when_git_comes_later(plain: Hermetic) -> None:
    assert plain.run_tasks(APPEND.format(name="first", file="letters/b.txt")).code == 0
    plain.git("init", "-q", "-b", "main")
    plain.commit("now with git")
    head, status = plain.git("rev-parse", "HEAD"), plain.git("status", "--porcelain")
    accept(plain, "R-1/T01")
    done = plain.run("promote", "R-1", *YES)
    assert done.code == 0, done
    assert (plain.repo / "letters/b.txt").read_text() == "b\nfirst\n"
    assert (plain.git("rev-parse", "HEAD"), status) == (head, "")
    assert plain.git("status", "--porcelain") == " M letters/b.txt\n"


@pytest.mark.parametrize("point", ["checkpoint.history_indexed", "checkpoint.history_moved"])
def test_a_snapshot_that_was_killed_is_made_anew(plain: Hermetic, point: str) -> None:
    before = look(plain.repo)
    plan = plain.write_plan(TASK)
    killed = plain.run("plan", "-f", str(plan), extra={"NIGHTCREW_CRASH_AT": point})
    assert killed.code == -9, killed
    plain.write({"letters/c.txt": "since\n"})
    done = plain.run_tasks(TASK)
    assert done.code == 0, done
    accept(plain, "R-1/T01")
    assert plain.run("promote", "R-1", *YES).code == 0
    assert plain.run("undo", "M-1", "--yes").code == 0
    (plain.repo / "letters/c.txt").unlink()
    assert only_files(look(plain.repo)) == only_files(before)


@pytest.mark.parametrize("point", ["promote.planned", "promote.path:2", "promote.ref"])
def test_18_kill_9_during_a_promotion_into_a_directory_is_all_or_nothing(plain: Hermetic, point: str) -> None:
    assert plain.run_tasks(APPEND.format(name="more", file="letters/b.txt") + REMOVE).code == 0
    accept(plain, "R-1")
    before = only_files(look(plain.repo))
    killed = plain.run("promote", "R-1", *YES, extra={"NIGHTCREW_CRASH_AT": point})
    assert killed.code == -9, killed
    settled = plain.run("review", "R-1", "--json")
    assert settled.code == 0, settled
    assert "M-1" in settled.stderr, "the next command tells what it put right"
    after = only_files(look(plain.repo))
    if after != before:
        assert (plain.repo / "letters/b.txt").read_text() == "b\nmore\n"
        assert not (plain.repo / "tool.sh").exists()
        assert plain.run("undo", "M-1", "--yes").code == 0
    assert only_files(look(plain.repo)) == before
    assert not list(plain.repo.glob(".nightcrew*"))


def test_init_begins_a_history_and_doctor_tells_of_it(plain: Hermetic) -> None:
    done = plain.run("init")
    assert done.code == 0, done
    assert "private history" in done.stderr + done.stdout
    assert (plain.repo / ".nightcrew/policy.yaml").exists()
    assert not (plain.repo / ".git").exists()
    again = plain.run("init")
    assert "private history" in again.stderr + again.stdout
    assert "commit .nightcrew" not in again.stderr + again.stdout
    checks = {each["name"]: each for each in plain.run("doctor", "--json").json["checks"]}
    assert checks["repository"]["status"] == "ok"
    assert "not a git repository" in checks["repository"]["text"]


def test_another_repository_inside_stays_out_and_that_is_said(plain: Hermetic) -> None:
    (plain.repo / "inner").mkdir()
    plain.git("init", "-q", cwd=plain.repo / "inner")
    (plain.repo / "inner/file").write_text("x\n")
    done = plain.run_tasks("- [ ] 1. look\n  - Run: ls -a > seen.txt; ls inner >> seen.txt || true\n")
    assert done.code == 0, done
    assert "inner/: a git repository of its own" in done.stderr


def test_what_looks_like_a_secret_is_named_before_a_task_can_read_it(plain: Hermetic) -> None:
    plain.write({"settings.ini": "password = tr0ub4dor-and-3-horses\n"})
    done = plain.run("plan", "-f", str(plain.write_plan(TASK)))
    assert "settings.ini:1" in done.stderr, done
    assert "tr0ub4dor" not in done.stderr


def test_home_and_directories_of_the_system_are_refused(plain: Hermetic) -> None:
    plan = str(plain.write_plan(TASK))
    for folder in (plain.home, plain.root, Path("/etc")):
        done = plain.run("run", "-f", plan, "--yes", cwd=folder)
        assert done.code == 2, done
        assert "not a project" in done.stderr
        assert not list(plain.state.glob("*/git"))
    assert plain.run("init", cwd=plain.home).code == 2
    assert not (plain.home / ".nightcrew").exists()


@pytest.mark.needs_root
def test_on_another_file_system_nothing_stays_beside_the_files(plain: Hermetic) -> None:
    state = plain.root / "state"
    state.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "state", str(state)], check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("cannot mount a second file system here")
    try:
        assert plain.run_tasks(TASK).code == 0
        before = look(plain.repo)
        accept(plain, "R-1/T01")
        assert plain.run("promote", "R-1", *YES).code == 0
        assert not list(plain.repo.glob(".nightcrew*"))
        assert plain.run("undo", "M-1", "--yes").code == 0
        assert {n: e[:2] for n, e in look(plain.repo).items()} == {n: e[:2] for n, e in before.items()}
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)
