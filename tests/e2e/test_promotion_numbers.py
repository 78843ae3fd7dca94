"""A number is a promotion's: what came to nothing gives it back, what was refused under it is told by name."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

BUILD = "- [ ] 1. change\n  - Run: echo all > Makefile\n  - Accept: test -f Makefile\n"


def test_a_missing_yes_uses_no_number_up(crew: Hermetic) -> None:
    assert crew.run_tasks(BUILD).code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    for _ in range(2):
        assert crew.run("promote", "R-1", "--yes").code == 5
    done = crew.run("promote", "R-1", "--yes", "--json", "--allow-handoff", "build")
    assert (done.code, done.json["id"]) == (0, "M-1"), done
    crew.write({"Makefile": "mine\n"})
    refused = crew.run("undo", "M-1", "--yes")
    assert refused.code == 7, refused
    crew.git("checkout", "-q", "Makefile")
    undone = crew.run("undo", "M-1", "--yes", "--json")
    assert (undone.code, undone.json["id"]) == (0, "M-2"), undone


def test_what_was_refused_is_told_by_its_number(crew: Hermetic) -> None:
    crew.run_tasks("- [ ] 1. change\n  - Run: echo new > src/new.txt\n  - Accept: test -f src/new.txt\n")
    assert crew.run("accept", "R-1/T01").code == 0
    policy = "version: 1\nhandoff:\n  robot: {who: the robot, reason: it runs, paths: [src/new.txt], decision: deny,"
    crew.write(
        {".nightcrew/policy.yaml": f"{policy} examples: {{match: [src/new.txt], not_match: [src/b.py]}}}}\n"}
    )
    assert crew.run("promote", "R-1", "--yes").code == 6
    for words in (("undo", "M-1", "--yes"), ("undo", "1"), ("show", "m-1"), ("redo", "M-1")):
        told = crew.run(*words)
        assert (
            told.code,
            "M-1 never landed: it was refused (a path that may never land)" in told.stderr,
        ) == (
            3,
            True,
        ), told
    log = crew.look("log", "R-1").stdout
    assert "promotion.refused" in log
    other = crew.run("undo", "M-7")
    assert (other.code, "no promotion M-7" in other.stderr) == (3, True), other
    crew.write({".nightcrew/policy.yaml": "version: 1\n"})
    done = crew.run("promote", "R-1", "--yes", "--json")
    assert (done.code, done.json["id"]) == (0, "M-2"), done


def test_what_does_not_hold_together_is_told_too(crew: Hermetic) -> None:
    tasks = "- [ ] 1. a\n  - Run: echo a > src/a.txt\n  - Accept: test ! -e src/b.txt\n"
    crew.run_tasks(tasks + "- [ ] 2. b\n  - Run: echo b > src/b.txt\n  - Accept: test -e src/b.txt\n")
    assert crew.run("accept", "R-1").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 7
    told = crew.run("show", "M-1")
    assert "M-1 never landed: it was refused (the accepted results of R-1 do not hold together" in told.stderr
    done = crew.run("promote", "R-1", "T01", "--yes", "--json")
    assert (done.code, done.json["id"]) == (0, "M-2"), done
