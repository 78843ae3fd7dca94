"""``run --include-dirty``: tasks start from the user's uncommitted work, and promotion leaves that work uncommitted."""

from __future__ import annotations

import os

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

LINES = [f"line {number}\n" for number in range(1, 31)]
TASK = """- [ ] 1. {title}
  - Run: {run}
  - Accept: {accept}
"""
LOOK = "test -f new.txt && ! test -e gone.txt && grep -q MINE a.txt && git diff --quiet HEAD"


@pytest.fixture
def dirty(crew: Hermetic) -> Hermetic:
    """A repository with staged, unstaged, deleted and untracked work in it."""
    crew.write({"a.txt": "".join(LINES), "staged.txt": "old\n", "gone.txt": "x\n", "tool.sh": "x\n"})
    crew.commit("second")
    crew.write({"a.txt": "".join(LINES).replace("line 3\n", "MINE\n"), "staged.txt": "staged\n"})
    crew.write({"new.txt": "untracked\n", "noise.log": "ignored\n"})
    crew.git("add", "staged.txt")
    (crew.repo / "gone.txt").unlink()
    (crew.repo / "tool.sh").chmod(0o755)
    return crew


def status(crew: Hermetic) -> tuple[str, str, str]:
    return (
        crew.git("status", "--porcelain=v2", "--untracked-files=all"),
        crew.git("diff", "HEAD"),
        crew.git("diff", "--cached"),
    )


def start(crew: Hermetic, run: str, accept: str = "true", code: int = 0) -> str:
    done = crew.run_tasks(TASK.format(title="work", run=run, accept=accept), "--include-dirty")
    assert done.code == code, done
    assert crew.run("accept", "R-1/T01").code == 0
    return done.stderr


def test_tasks_see_the_users_work_and_only_their_own_lands(dirty: Hermetic) -> None:
    before = status(dirty)
    said = start(dirty, f"{LOOK} && echo agent > agent.txt", "test -f agent.txt")
    assert "5 uncommitted paths taken along" in said
    assert status(dirty) == before
    promoted = dirty.run("promote", "R-1", "--yes", "--json")
    assert promoted.code == 0, promoted
    assert promoted.json["paths"] == ["agent.txt"]
    assert dirty.git("show", "--name-only", "--format=", "HEAD").split() == ["agent.txt"]
    assert status(dirty) == before
    assert dirty.run("undo", "M-1", "--yes").code == 0
    assert status(dirty) == before
    assert not (dirty.repo / "agent.txt").exists()


def test_work_in_a_file_that_the_user_edits_lands_beside_the_edit(dirty: Hermetic) -> None:
    before, short = status(dirty), dirty.git("status", "--porcelain")
    start(dirty, "sed -i 's/line 25/AGENT/' a.txt", "grep -q AGENT a.txt")
    done = dirty.run("promote", "R-1", "--yes")
    assert done.code == 0, done
    committed = "".join(LINES).replace("line 25\n", "AGENT\n")
    assert dirty.git("show", "HEAD:a.txt") == committed
    assert (dirty.repo / "a.txt").read_text() == committed.replace("line 3\n", "MINE\n")
    assert dirty.git("status", "--porcelain") == short
    assert dirty.run("undo", "M-1", "--yes").code == 0
    assert status(dirty) == before


def test_work_on_the_same_lines_is_refused_until_the_user_commits(dirty: Hermetic) -> None:
    start(dirty, "sed -i 's/MINE/OURS/' a.txt", "grep -q OURS a.txt")
    before = status(dirty)
    refused = dirty.run("promote", "R-1", "--yes")
    assert refused.code == 7, refused
    assert "a.txt" in refused.stderr
    assert status(dirty) == before
    dirty.commit("my own work")
    done = dirty.run("promote", "R-1", "--yes")
    assert done.code == 0, done
    assert "OURS\n" in (dirty.repo / "a.txt").read_text()
    assert dirty.git("status", "--porcelain") == ""


def test_work_on_a_file_that_git_does_not_know_yet_lands_with_the_file(dirty: Hermetic) -> None:
    before = status(dirty)
    start(dirty, "echo more >> new.txt", "grep -q more new.txt")
    done = dirty.run("promote", "R-1", "--yes", "--json")
    assert done.code == 0, done
    assert dirty.git("show", "HEAD:new.txt") == "untracked\nmore\n"
    assert (dirty.repo / "new.txt").read_text() == "untracked\nmore\n"
    assert dirty.run("undo", "M-1", "--yes").code == 0
    assert status(dirty) == before
    assert (dirty.repo / "new.txt").read_text() == "untracked\n"


def test_work_that_needs_the_users_edits_does_not_land_without_them(dirty: Hermetic) -> None:
    start(dirty, "echo agent > agent.txt", "grep -q MINE a.txt && test -f agent.txt")
    before = status(dirty)
    refused = dirty.run("promote", "R-1", "--yes")
    assert refused.code == 7, refused
    assert "commit" in refused.stderr
    assert status(dirty) == before
    dirty.commit("my own work")
    done = dirty.run("promote", "R-1", "--yes")
    assert done.code == 0, done


def test_what_was_approved_is_what_runs_whatever_is_edited_meanwhile(dirty: Hermetic) -> None:
    plan = str(
        dirty.write_plan(TASK.format(title="t", run="cat new.txt > seen.txt", accept="test -f seen.txt"))
    )
    previews = [dirty.run("plan", "-f", plan, "--include-dirty", "--json").json["plan"] for _ in range(2)]
    assert previews[0]["included"] == ["a.txt", "gone.txt", "new.txt", "staged.txt", "tool.sh"]
    assert dirty.run("run", "-f", plan, "--include-dirty").code == 5
    dirty.write({"new.txt": "edited since\n"})
    assert (
        dirty.run("plan", "-f", plan, "--include-dirty", "--json").json["digest"]
        != dirty.show("R-1")["plan"]["digest"]
    )
    done = dirty.run("approve", "R-1")
    dirty.wait_until(lambda: dirty.show("R-1")["state"] == "in_review", timeout_s=60, what=str(done))
    assert "untracked" in dirty.run("diff", "R-1/T01").stdout
    assert (dirty.repo / "new.txt").read_text() == "edited since\n"


def test_a_secret_in_uncommitted_work_stops_the_plan(dirty: Hermetic) -> None:
    dirty.write({"src/settings.py": "password = 'tr0ub4dor-and-3-horses'\n"})
    plan = str(dirty.write_plan(TASK.format(title="t", run="true", accept="true")))
    done = dirty.run("run", "-f", plan, "--include-dirty", "--yes")
    assert done.code == 6, done
    assert "src/settings.py:1" in done.stderr
    assert "tr0ub4dor" not in done.stderr + done.stdout
    assert dirty.run("ps", "--all", "--json").json == []


def test_a_merge_with_conflicts_stops_the_plan(crew: Hermetic) -> None:
    crew.git("switch", "-q", "-c", "other")
    crew.write({"src/app.py": "theirs\n"})
    crew.commit("theirs")
    crew.git("switch", "-q", "main")
    crew.write({"src/app.py": "ours\n"})
    crew.commit("ours")
    with pytest.raises(AssertionError):
        crew.git("merge", "other")
    plan = str(crew.write_plan(TASK.format(title="t", run="true", accept="true")))
    done = crew.run("run", "-f", plan, "--include-dirty", "--yes")
    assert done.code == 7, done
    assert "src/app.py" in done.stderr


def test_our_own_state_is_not_taken_along_from_a_home_under_git(crew: Hermetic) -> None:
    crew.write({"mine.txt": "mine\n"})
    inside = {"XDG_STATE_HOME": str(crew.repo / ".local/state")}
    text = TASK.format(
        title="t", run="find . -path ./.git -prune -o -type f -print > seen.txt", accept="true"
    )
    done = crew.run_tasks(text, "--include-dirty", extra=inside)
    assert done.code == 0, done
    assert "1 uncommitted path taken along" in done.stderr
    seen = crew.look("diff", "R-1/T01", extra=inside).stdout
    assert "./mine.txt" in seen
    assert "nightcrew.db" not in seen


def test_the_base_outlives_rewriting_and_garbage_collection(crew: Hermetic) -> None:
    crew.write({"lost.txt": "in no branch any more\n"})
    base = crew.commit("to be rewritten")
    crew.write({"dirty.txt": "dirty\n"})
    plan = TASK.format(title="t", run="cat lost.txt dirty.txt > seen.txt", accept="test -s seen.txt")
    assert crew.run("run", "-f", str(crew.write_plan(plan)), "--include-dirty").code == 5
    os.remove(crew.repo / "dirty.txt")
    crew.git("reset", "-q", "--hard", "HEAD~1")
    crew.git("reflog", "expire", "--expire=now", "--all")
    crew.git("gc", "-q", "--prune=now")
    assert crew.git("for-each-ref", "--format=%(objectname)", "refs/nightcrew/base").strip() == base
    crew.run("approve", "R-1")
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=60)
    seen = crew.look("diff", "R-1/T01").stdout
    assert "in no branch any more" in seen
    assert "dirty" in seen
