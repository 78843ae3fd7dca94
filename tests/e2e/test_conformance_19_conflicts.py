"""Row 19: both sides changed. What overlaps is refused by name, with nothing changed; what does not is brought together."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

LINES = "".join(f"line {number}\n" for number in range(1, 31))
AGENT = """
import os, pathlib
text = pathlib.Path("text.txt").read_text()
pathlib.Path("text.txt").write_text(text.replace("line 20\\n", "AGENT\\n"))
pathlib.Path("new.txt").write_text("by the agent\\n")
os.remove("old.txt")
"""
TASK = "- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: grep -q AGENT text.txt\n"


@pytest.fixture
def night(crew: Hermetic) -> Hermetic:
    """A repository with the accepted result of one task."""
    crew.write({"text.txt": LINES, "old.txt": "old\n", "agent.py": AGENT})
    crew.commit("second")
    assert crew.run_tasks(TASK).code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    return crew


def everything(crew: Hermetic) -> tuple[str, str, dict[str, bytes]]:
    files = {str(path): path.read_bytes() for path in crew.repo.iterdir() if path.is_file()}
    return crew.git("rev-parse", "HEAD"), crew.git("status", "--porcelain=v2"), files


def replaced(old: str, new: str) -> dict[str, str]:
    return {"text.txt": LINES.replace(f"{old}\n", f"{new}\n")}


OVERLAPS = {
    "text.txt": replaced("line 20", "USER"),
    "new.txt": {"new.txt": "by the user\n"},
    "old.txt": {"old.txt": "changed\n"},
}


def test_19_an_overlap_is_refused_by_name(night: Hermetic) -> None:
    head = night.git("rev-parse", "HEAD").strip()
    for path, content in OVERLAPS.items():
        for how in ("committed", "uncommitted", "staged"):
            night.write(content)
            if how == "staged":
                night.git("add", path)
            if how == "committed":
                night.commit("meanwhile")
            before = everything(night)
            done = night.run("promote", "R-1", "--yes")
            assert done.code == 7, (path, how, done)
            assert path in done.stderr, (path, how, done)
            assert "high" in done.stderr, (path, how, done)
            assert everything(night) == before, (path, how)
            night.git("reset", "-q", "--hard", head)
            night.git("clean", "-q", "-f")
    assert night.show("R-1/T01")["promoted"] == ""
    assert night.run("promote", "R-1", "--yes").code == 0


def test_19_other_lines_of_the_same_file_are_merged_when_committed(night: Hermetic) -> None:
    night.write(replaced("line 5", "USER"))
    head = night.commit("meanwhile")
    done = night.run("promote", "R-1", "--yes", "--json")
    assert done.code == 0, done
    both = LINES.replace("line 5\n", "USER\n").replace("line 20\n", "AGENT\n")
    assert (night.repo / "text.txt").read_text() == both == night.git("show", "HEAD:text.txt")
    assert night.git("rev-parse", "HEAD~1").strip() == head
    assert night.git("status", "--porcelain") == ""
    assert night.run("undo", "M-1", "--yes").code == 0
    assert night.git("rev-parse", "HEAD").strip() == head


def test_19_other_lines_of_the_same_file_stay_the_users_when_not_committed(night: Hermetic) -> None:
    night.write({**replaced("line 5", "USER"), "beside.txt": "mine\n"})
    before = everything(night)
    done = night.run("promote", "R-1", "--yes", "--json")
    assert done.code == 0, done
    assert night.git("show", "HEAD:text.txt") == LINES.replace("line 20\n", "AGENT\n")
    both = LINES.replace("line 5\n", "USER\n").replace("line 20\n", "AGENT\n")
    assert (night.repo / "text.txt").read_text() == both
    assert night.git("status", "--porcelain") == " M text.txt\n?? beside.txt\n"
    assert night.run("undo", "M-1", "--yes").code == 0
    assert everything(night) == before


def test_19_the_same_change_on_both_sides_is_no_conflict(night: Hermetic) -> None:
    night.write({**replaced("line 20", "AGENT"), "new.txt": "by the agent\n"})
    Path(night.repo / "old.txt").unlink()
    night.commit("the same")
    done = night.run("promote", "R-1", "--yes")
    assert done.code == 7, done
    assert "already" in done.stderr


def test_19_a_later_task_lands_right_beside_an_earlier_one(crew: Hermetic) -> None:
    text = (
        "- [ ] 1. first\n  - Run: echo first >> src/data.txt\n  - Accept: grep -q first src/data.txt\n"
        "- [ ] 2. second\n  - Depends: 1\n  - Run: echo second >> src/data.txt\n  - Accept: grep -q second src/data.txt\n"
    )
    assert crew.run_tasks(text).code == 0
    assert crew.run("accept", "R-1").code == 0
    assert crew.run("promote", "R-1", "T01", "--yes").code == 0
    crew.write({"src/app.py": "meanwhile\n"})
    crew.commit("meanwhile")
    done = crew.run("promote", "R-1", "--yes")
    assert done.code == 0, done
    assert (crew.repo / "src/data.txt").read_text() == "one\ntwo\nthree\nfirst\nsecond\n"
    assert crew.git("show", "--name-only", "--format=", "HEAD").split() == ["src/data.txt"]
    # Taken back by its user, the earlier work is not brought back by the later one.
    assert crew.run("undo", "M-2", "--yes").code == 0
    crew.write({"src/data.txt": "one\ntwo\nthree\n"})
    crew.commit("without the first")
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 7, refused
