"""The whole job on every rung of the ladder, a later run from a newer commit, and everything git can do inside."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

FILES = {
    "README.md": "# sample\n",
    "src/app.py": "print('hello')\n",
    **{f"d{n}/f": f"{n}\n" for n in range(30)},
}
TASKS = """# ladder
- [ ] 1. first
  - Run: `test -z "$(git status --porcelain)"; echo one > one; rm d3/f; ln -s one link`
  - Accept: `test "$(cat link)" = one; test ! -e d3`
- [ ] 2. second
  - Run: `test -z "$(git status --porcelain)" && test ! -e d3 && cat one one > two`
  - Depends: T01
  - Accept: `test "$(wc -l < two)" = 2`
"""


@pytest.fixture
def stacked(request, tmp_path, disks):
    """A place whose file system is itself an overlay, so that none can be mounted on it; a copy it must be."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount an overlay here to make overlays impossible")
    below = disks.find("ext4" if request.param == "copy" else "btrfs")
    parts = {name: below / f"{name}-{os.getpid()}" for name in ("lower", "upper", "work")}
    for part in parts.values():
        part.mkdir()
    place = tmp_path / "place"
    place.mkdir()
    options = ",".join(f"{name}dir={part}" for name, part in parts.items())
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def shadow_line(crew: Hermetic) -> dict[str, object]:
    return next(check for check in crew.run("doctor", "--json").json["checks"] if check["name"] == "shadow")


def do_the_job(crew: Hermetic) -> None:
    for number in range(2):
        done = crew.run_tasks(TASKS)
        assert done.code == 0, done
        run = done.json["id"]
        assert {task["state"] for task in crew.show_tasks(run).values()} == {"succeeded"}
        if number == 0:
            # The next run starts from a newer commit.
            crew.write({"src/app.py": "print('newer')\n"})
            crew.commit("newer")
    (repository,) = (place for place in crew.state.iterdir() if (place / "bases").is_dir())
    assert len(list((repository / "bases").glob("*/meta.json"))) == 2
    layers = [len(list(place.rglob("f"))) for place in sorted(repository.glob("bases/*/tree"))]
    assert sorted(layers) == [0, 30]


def test_overlay_is_the_first_rung(crew: Hermetic) -> None:
    crew.git("rm", "-q", "-r", ".")
    crew.write(FILES)
    crew.commit("files")
    line = shadow_line(crew)
    assert str(line["text"]).startswith("overlay")
    assert "plain copy: works everywhere" in line["more"]
    do_the_job(crew)


@pytest.mark.parametrize("stacked", ["copy", "reflink"], indirect=True)
def test_where_no_overlay_can_be_mounted(stacked: Path, request: pytest.FixtureRequest) -> None:
    crew = Hermetic(stacked)
    crew.make_repository(FILES)
    rung = request.node.callspec.params["stacked"]
    line = shadow_line(crew)
    assert str(line["text"]).startswith({"copy": "plain copy", "reflink": "copy that shares blocks"}[rung])
    assert line["status"] == {"copy": "warn", "reflink": "ok"}[rung]
    do_the_job(crew)


GIT_WORK = r"""
set -e
git status --porcelain; echo work > work.txt; git add -A; git commit -qm one
git checkout -qb side HEAD~1; echo side > side.txt; git add -A; git commit -qm side
git checkout -q main; echo more >> README.md; git stash -q; git stash pop -q; git commit -qam two
git rebase -q side; git merge -q --no-ff -m merge HEAD~1 || true; git cherry-pick -n side 2>/dev/null || git reset -q --hard
git worktree add -q ../worktree-inside side 2>/dev/null || git worktree add -q .git/inner side
git worktree list | tail -1 | cut -d' ' -f1 > /tmp/second; ls "$(cat /tmp/second)/side.txt"; git worktree remove --force "$(cat /tmp/second)"
git config core.hooksPath hooks; git config alias.x '!touch /tmp/ran'; git config remote.origin.url file:///nowhere
mkdir -p hooks .git/hooks; printf '#!/bin/sh\ntouch ran-by-hook\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit
cp .git/hooks/pre-commit hooks/; git commit -q --allow-empty -m hooked
git tag v9; git branch -D side; git update-ref refs/heads/main HEAD~1; git update-index --assume-unchanged src/app.py
git reflog expire --expire=now --all; git gc -q --prune=now; git repack -qad; git pack-refs --all; rm -f .git/index; git reset -q
git fsck --no-dangling; rm -rf .git/refs/tags .git/config; echo done > done.txt
"""


def fingerprint(git_dir: Path) -> dict[str, tuple[int, int, str]]:
    """Return mode, time and content of every file of a git directory, but the ref of ours that keeps the base commit."""
    rows = {}
    for place in sorted(git_dir.rglob("*")):
        if "refs/nightcrew" in str(place):
            continue
        found = place.lstat()
        content = hashlib.sha256(place.read_bytes()).hexdigest() if place.is_file() else ""
        rows[str(place.relative_to(git_dir))] = (
            found.st_mode,
            found.st_mtime_ns if place.is_file() else 0,
            content,
        )
    return rows


def test_git_inside_works_and_the_users_git_directory_stays_byte_identical(crew: Hermetic) -> None:
    crew.write({"work.sh": GIT_WORK})
    crew.commit("work")
    crew.git("tag", "v1")
    crew.git("gc", "-q")
    crew.write({"staged.txt": "staged\n", "README.md": "edited by the user\n"})
    crew.git("add", "staged.txt")
    crew.git("stash", "push", "-q", "--keep-index", "--", "README.md")
    before = fingerprint(crew.repo / ".git")
    done = crew.run_tasks("- [ ] 1. work\n  - Run: bash work.sh\n  - Accept: test -s done.txt\n")
    assert fingerprint(crew.repo / ".git") == before
    task = by_name(done.json)["T01"]
    said = crew.look("log", "R-1/T01").stdout
    assert "fatal" not in said, said
    assert (done.code, task["state"]) == (0, "succeeded"), said
    assert not Path("/tmp/ran").exists()
