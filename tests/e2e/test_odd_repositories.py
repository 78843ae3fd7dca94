"""Repositories of every odd kind: the whole job works, or what stands in the way is said before anything runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import sweep
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

FILES = {"src/a.txt": "one\n", "other/b.txt": "b\n", "README.md": "# odd\n"}
TASK = "- [ ] 1. odd\n  - Run: {run}\n  - Accept: grep -q more src/a.txt\n"
WORK = "echo more >> src/a.txt && git status --short > /dev/null && git log -1 > /dev/null"
CONFIG = """
[status]
\tshowUntrackedFiles = no
\tshort = true
\trenames = copies
[color]
\tui = always
[core]
\tabbrev = 4
\tcheckStat = minimal
\tpager = false
[diff]
\tnoprefix = true
\texternal = false
\tmnemonicPrefix = true
[merge]
\trenames = false
\tff = only
[feature]
\tmanyFiles = true
[submodule]
\trecurse = true
[safe]
\tbareRepository = explicit
[commit]
\tgpgSign = true
[gpg]
\tprogram = false
"""


def do_the_job(crew: Hermetic, place: Path, *, run: str = WORK) -> None:
    """Run, accept, promote and undo in a working tree; it must end as it began."""
    before = (crew.git("rev-parse", "HEAD", cwd=place), crew.git("status", "--porcelain=v2", cwd=place))
    done = crew.run_tasks(TASK.format(run=run), "-C", str(place))
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01", cwd=place).code == 0
    promoted = crew.run("promote", "R-1", "--yes", "--json", cwd=place)
    assert promoted.code == 0, promoted
    assert promoted.json["paths"] == ["src/a.txt"]
    assert (place / "src/a.txt").read_text() == "one\nmore\n"
    assert crew.git("status", "--porcelain=v2", cwd=place) == before[1]
    undone = crew.run("undo", "M-1", "--yes", cwd=place)
    assert undone.code == 0, undone
    after = (crew.git("rev-parse", "HEAD", cwd=place), crew.git("status", "--porcelain=v2", cwd=place))
    assert after == before
    assert crew.git("fsck", "--no-dangling", cwd=place).strip() == ""


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[Hermetic]:
    place = Hermetic(tmp_path)
    yield place
    sweep(place)


def make_linked(odd: Hermetic) -> Path:
    odd.make_repository(FILES)
    odd.git("worktree", "add", "-q", "-b", "night", str(odd.root / "linked tree"))
    return odd.root / "linked tree"


def make_thin(odd: Hermetic) -> Path:
    """A shallow, partial and sparse clone."""
    odd.make_repository(FILES)
    odd.write({"later.txt": "later\n"})
    odd.commit("second")
    odd.git("config", "uploadpack.allowFilter", "true")
    odd.git("config", "uploadpack.allowAnySHA1InWant", "true")
    clone = odd.root / "clone"
    odd.git(*("clone", "-q", "--depth=1", "--filter=blob:none", "--sparse"), f"file://{odd.repo}", str(clone))
    odd.git("sparse-checkout", "set", "src", cwd=clone)
    assert not (clone / "other").exists()
    return clone


def make_sha256_at_an_odd_path(odd: Hermetic) -> Path:
    odd.repo = odd.root / os.fsdecode(b"r\xc3\xa9po \xff\nwith : , \"quote' $x")
    odd.repo.mkdir()
    odd.git("init", "-q", "-b", "feature/\u00fc", "--object-format=sha256")
    odd.write(FILES)
    odd.commit("first")
    return odd.repo


def make_mixed(odd: Hermetic) -> Path:
    """A submodule, an LFS pointer without LFS, names that differ in case only, a deep path, a branch that is a tag too."""
    inner = odd.root / "inner"
    inner.mkdir()
    odd.git("init", "-q", "-b", "main", cwd=inner)
    (inner / "in.txt").write_text("in\n")
    odd.git("add", "-A", cwd=inner)
    odd.git("commit", "-q", "-m", "inner", cwd=inner)
    odd.make_repository(FILES)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
    odd.write({".gitattributes": "*.big filter=lfs diff=lfs merge=lfs -text\n", "x.big": pointer})
    odd.write({"Case/A.txt": "1\n", "case/a.txt": "2\n", "/".join(["d" * 40] * 40) + "/f": "deep\n"})
    odd.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "module")
    odd.commit("second")
    odd.git("tag", "main")
    return odd.repo


def make_configured(odd: Hermetic) -> Path:
    """Hooks that leave a trace, and a configuration that changes what git prints and starts programs."""
    odd.make_repository(FILES)
    with (odd.home / ".gitconfig").open("a", encoding="utf-8") as config:
        config.write(CONFIG)
    for name in ("pre-commit", "post-commit", "post-checkout", "reference-transaction"):
        hook = odd.repo / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch '{odd.root}/hook-ran'\n")
        hook.chmod(0o755)
    return odd.repo


@pytest.mark.parametrize(
    "make", [make_linked, make_thin, make_sha256_at_an_odd_path, make_mixed, make_configured]
)
def test_the_whole_job_works(odd: Hermetic, make: Callable[[Hermetic], Path]) -> None:
    do_the_job(odd, make(odd))
    assert not (odd.root / "hook-ran").exists()


def test_what_cannot_be_worked_in_is_refused_with_what_to_do(odd: Hermetic) -> None:
    odd.make_repository(FILES)
    plan = str(odd.write_plan(TASK.format(run="true")))
    bare = odd.root / "bare.git"
    odd.git("clone", "-q", "--bare", str(odd.repo), str(bare))
    empty = odd.root / "empty"
    empty.mkdir()
    odd.git("init", "-q", cwd=empty)
    lost = odd.root / "lost"
    lost.mkdir()
    (lost / ".git").write_text("gitdir: /nowhere\n")
    away = odd.root / "away"
    shutil.copytree(odd.repo, away)
    odd.git("config", "core.worktree", str(odd.root / "home"), cwd=away)
    for place, word in (
        (bare, "bare repository"),
        (odd.repo / ".git", "inside a git directory"),
        (empty, "no commit yet"),
        (lost, "not a repository that git can use"),
        (away, "core.worktree"),
    ):
        done = odd.run("run", "-f", plan, "--yes", cwd=place)
        assert done.code == 2, done
        assert word in done.stderr, done
        assert "hint:" in done.stderr, done
    assert odd.run("ps", "--all", "--json", cwd=odd.repo).json == []


def test_a_detached_head_and_a_merge_in_progress_are_told_in_the_evening(odd: Hermetic) -> None:
    odd.make_repository(FILES)
    odd.git("switch", "-q", "-c", "other")
    odd.write({"theirs.txt": "theirs\n"})
    odd.commit("theirs")
    odd.git("switch", "-q", "--detach", "main")
    odd.write({"ours.txt": "ours\n"})
    odd.commit("ours")
    odd.git("merge", "-q", "--no-commit", "--no-ff", "other")
    done = odd.run_tasks(TASK.format(run="echo more >> src/a.txt"))
    assert done.code == 0, done
    assert "HEAD is detached" in done.stderr
    assert "a merge is in progress" in done.stderr
    assert odd.run("accept", "R-1/T01").code == 0
    refused = odd.run("promote", "R-1", "--yes")
    assert (refused.code, "merge --abort" in refused.stderr) == (7, True), refused
    odd.git("commit", "-q", "-m", "merged")
    refused = odd.run("promote", "R-1", "--yes")
    assert (refused.code, "detached" in refused.stderr) == (2, True), refused
    odd.git("switch", "-q", "-c", "night")
    done = odd.run("promote", "R-1", "--yes")
    assert done.code == 0, done
    assert (odd.repo / "src/a.txt").read_text() == "one\nmore\n"
    assert (odd.repo / "theirs.txt").exists()


@pytest.mark.needs_root
def test_a_read_only_checkout_gives_its_results_as_a_patch(odd: Hermetic) -> None:
    odd.make_repository(FILES)
    subprocess.run(["mount", "--bind", str(odd.repo), str(odd.repo)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(odd.repo)], check=True)
        done = odd.run_tasks(TASK.format(run="echo more >> src/a.txt"))
        assert done.code == 0, done
        assert "cannot be written to" in done.stderr
        assert odd.run("accept", "R-1/T01").code == 0
        refused = odd.run("promote", "R-1", "--yes")
        assert refused.code == 2, refused
        assert "cannot be written to" in refused.stderr
        patch = odd.root / "night.patch"
        done = odd.run("promote", "R-1", "--patch", str(patch), "--yes")
        assert done.code == 0, done
    finally:
        subprocess.run(["umount", "--lazy", str(odd.repo)], check=True)
    odd.git("apply", str(patch))
    assert (odd.repo / "src/a.txt").read_text() == "one\nmore\n"
