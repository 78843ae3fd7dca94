"""Rows 15-18: promotion keeps what is the user's, carries every kind of change, is undone exactly, and is all or nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import FILES, sweep
from kept_place import KeptPlace
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

AGENT = r"""
import os, pathlib
os.makedirs("new/deep/er"); pathlib.Path("new/deep/er/file.txt").write_text("nested\n")
pathlib.Path("image.bin").write_bytes(bytes(range(256)) * 16)
os.remove("src/data.txt")
os.chmod("src/tool.sh", 0o755)
os.symlink("src/app.py", "link")
pathlib.Path("src/app.py").write_text("print('promoted')\n")
os.remove("becomes_link"); os.symlink("README.md", "becomes_link")
os.remove("becomes_file"); pathlib.Path("becomes_file").write_text("now a file\n")
with open(b"odd\n\xff name", "wb") as file: file.write(b"odd")
pathlib.Path("build").mkdir(); pathlib.Path("build/out.o").write_bytes(b"ignored")
"""
HANDOFF = ("--allow-handoff", "executable")
"""The yes to ``src/tool.sh``, which becomes executable."""
TASK = "- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: grep -q promoted src/app.py\n"


def prepare(crew: Hermetic) -> None:
    crew.write(
        {
            "agent.py": AGENT,
            "src/tool.sh": "#!/bin/sh\n",
            "becomes_link": "a file\n",
            "user.txt": "committed\n",
        }
    )
    (crew.repo / "becomes_file").symlink_to("README.md")
    crew.commit("second")
    done = crew.run_tasks(TASK)
    assert done.code == 0, done
    accepted = crew.run("accept", "R-1/T01")
    assert accepted.code == 0, accepted


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptPlace:
    return KeptPlace(tmp_path_factory.mktemp("accepted"), FILES, prepare)


@pytest.fixture
def accepted(kept: KeptPlace) -> Iterator[Hermetic]:
    """One accepted task that changes everything there is to change."""
    crew = kept.put_back()
    yield crew
    sweep(crew)


def snapshot(root: Path, *, without: tuple[str, ...] = ()) -> dict[str, tuple[int, bytes]]:
    """Path → mode and content (or link target) of everything in a work tree but ``.git``."""
    found = {}
    for folder, names, files in os.walk(os.fsencode(root)):
        if os.path.basename(folder) == b".git":
            names.clear()
            continue
        for name in [*files, *(n for n in names if os.path.islink(os.path.join(folder, n)))]:
            path = os.path.join(folder, name)
            key = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            mode = os.lstat(path).st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else Path(os.fsdecode(path)).read_bytes()
            if key not in without:
                found[key] = (mode, content)
    return found


def state_of(crew: Hermetic) -> tuple[object, ...]:
    return (
        crew.git("rev-parse", "HEAD"),
        crew.git("symbolic-ref", "HEAD"),
        crew.git("status", "--porcelain=v2", "-z", "--untracked-files=all", "--ignored"),
        crew.git("ls-files", "--stage", "-z"),
        snapshot(crew.repo),
    )


def make_wip(crew: Hermetic) -> dict[str, tuple[int, bytes]]:
    """The user's own work: an edit, a staged new file, an untracked and an ignored file, a stash and a branch."""
    crew.write({"README.md": "# stashed\n"})
    crew.git("stash", "-q")
    crew.git("branch", "other")
    crew.write(
        {
            "user.txt": "edited, uncommitted\n",
            "staged.txt": "staged\n",
            "wip/notes.md": "mine\n",
            "my.log": "ignored\n",
        }
    )
    crew.git("add", "staged.txt")
    names = ("user.txt", "staged.txt", "wip/notes.md", "my.log")
    return {name: found for name, found in snapshot(crew.repo).items() if name in names}


def test_15_promotion_keeps_the_users_edits_and_files(accepted: Hermetic) -> None:
    crew = accepted
    mine = make_wip(crew)
    stash, other = crew.git("stash", "list"), crew.git("rev-parse", "other")
    status = set(crew.git("status", "--porcelain=v1", "--untracked-files=all", "--ignored").splitlines())
    done = crew.run("promote", "R-1", "--yes", *HANDOFF, "--json")
    assert done.code == 0, done
    after = snapshot(crew.repo)
    assert {name: after[name] for name in mine} == mine
    assert (
        set(crew.git("status", "--porcelain=v1", "--untracked-files=all", "--ignored").splitlines()) == status
    )
    assert (crew.git("stash", "list"), crew.git("rev-parse", "other")) == (stash, other)
    names = crew.git("show", "--name-only", "--format=", "-z", "HEAD").split("\0")
    assert not set(names) & set(mine)
    assert crew.git("log", "--format=%s", "-1", "HEAD~1").strip() == "second"


@pytest.mark.parametrize("overlap", ["edit", "untracked", "staged"])
def test_15_overlap_with_the_users_work_is_refused_by_name(accepted: Hermetic, overlap: str) -> None:
    crew = accepted
    name = {"edit": "src/app.py", "staged": "src/app.py", "untracked": "image.bin"}[overlap]
    crew.write({name: "the user's own\n"})
    if overlap == "staged":
        crew.git("add", name)
    before = state_of(crew)
    done = crew.run("promote", "R-1", "--yes", *HANDOFF)
    assert done.code == 7, done
    assert name in done.stderr
    assert state_of(crew) == before


def test_16_promotion_carries_every_kind_of_change(accepted: Hermetic) -> None:
    crew = accepted
    before = snapshot(crew.repo)
    done = crew.run("promote", "R-1", "--yes", *HANDOFF, "--json")
    assert done.code == 0, done
    after = snapshot(crew.repo)
    assert after["new/deep/er/file.txt"][1] == b"nested\n"
    assert after["image.bin"][1] == bytes(range(256)) * 16
    assert "src/data.txt" not in after
    assert after["src/tool.sh"][0] & 0o111 == 0o111
    assert after["link"] == (after["link"][0], b"src/app.py")
    assert stat.S_ISLNK(after["becomes_link"][0])
    assert stat.S_ISREG(after["becomes_file"][0])
    assert after["src/app.py"][1] == b"print('promoted')\n"
    assert after["odd\n\udcff name"][1] == b"odd"
    assert "build/out.o" not in after, "ignored files are not promoted"
    touched = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert touched == {
        "new/deep/er/file.txt", "image.bin", "src/data.txt", "src/tool.sh", "link", "becomes_link", "becomes_file",
        "src/app.py", "odd\n\udcff name",
    }  # fmt: skip
    assert crew.git("status", "--porcelain=v1") == "", "index and work tree are what was committed"
    assert set(done.json["paths"]) == touched
    assert crew.git("fsck", "--no-dangling").strip() == ""


def test_17_undo_touches_only_promoted_paths(accepted: Hermetic) -> None:
    crew = accepted
    mine = make_wip(crew)
    before = state_of(crew)
    promoted = crew.run("promote", "R-1", "--yes", *HANDOFF, "--json").json
    crew.write({"wip/later.md": "written after the promotion\n"})
    done = crew.run("undo", promoted["id"], "--yes", "--json")
    assert done.code == 0, done
    later = crew.repo / "wip/later.md"
    assert later.read_text() == "written after the promotion\n"
    later.unlink()
    assert state_of(crew) == before
    assert {name: found for name, found in snapshot(crew.repo).items() if name in mine} == mine


def test_17_undo_after_later_commits_makes_an_inverse_commit(accepted: Hermetic) -> None:
    crew = accepted
    old = snapshot(crew.repo)
    promoted = crew.run("promote", "R-1", "--yes", *HANDOFF, "--json").json
    crew.write({"later.txt": "by the user\n"})
    head = crew.commit("later")
    refused = crew.run("undo", promoted["id"], "--yes")
    assert (refused.code, crew.git("rev-parse", "HEAD").strip()) == (5, head), refused
    done = crew.run("undo", promoted["id"], "--yes", "--inverse", "--json")
    assert done.code == 0, done
    assert crew.git("rev-parse", "HEAD~1").strip() == head
    assert snapshot(crew.repo, without=("later.txt",)) == old
    assert (crew.repo / "later.txt").read_text() == "by the user\n"


POINTS = ["promote.staged", "promote.planned", "promote.path", "promote.path:4", "promote.committed", "promote.index", "promote.ref", "promote.done",
          "runtime.promotion.published"]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_18_kill_9_during_promotion_is_all_or_nothing(accepted: Hermetic, point: str) -> None:
    crew = accepted
    mine = make_wip(crew)
    old = state_of(crew)
    killed = crew.run("promote", "R-1", "--yes", *HANDOFF, extra={"NIGHTCREW_CRASH_AT": point})
    assert killed.code == -9, killed
    settled = crew.run(
        "review", "R-1", "--json"
    )  # the next command that looks at the repository puts it right
    assert settled.code == 0, settled
    after = state_of(crew)
    names = crew.git("show", "--name-only", "--format=", "-z", "HEAD").split("\0")
    if after != old:  # then it must be the whole promotion
        assert crew.git("rev-parse", "HEAD~1") == old[0]
        assert {name for name in names if name} >= {"image.bin", "src/data.txt", "link", "becomes_file"}
        changed = crew.git("status", "--porcelain=v1", "--untracked-files=all").splitlines()
        assert sorted(changed) == [" M user.txt", "?? wip/notes.md", "A  staged.txt"]
        assert (crew.repo / "src/app.py").read_text() == "print('promoted')\n"
        record = crew.show("M-1")
        assert record["state"] == "published", json.dumps(record)
    assert {name: found for name, found in snapshot(crew.repo).items() if name in mine} == mine
    assert crew.git("fsck", "--no-dangling").strip() == ""
    assert crew.look("audit", "verify").code == 0
    if after == old:  # nothing happened, so it can be done again
        again = crew.run("promote", "R-1", "--yes", *HANDOFF, "--json")
        assert again.code == 0, again
        assert (crew.repo / "src/app.py").read_text() == "print('promoted')\n"
