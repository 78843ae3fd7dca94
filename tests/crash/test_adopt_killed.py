"""Killed while a result is replaced: it is exactly the old one or exactly the new one, and both can go on."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = "- [ ] 1. a\n  - Run: echo a > a.txt; echo b > b.txt\n  - Accept: test -s a.txt\n"


def rest(crew: Hermetic) -> dict:
    crew.run("resume", "R-1")
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run")
    return crew.show("R-1/T01")


def paths(crew: Hermetic) -> set[str]:
    return {path["path"] for path in crew.look("diff", "R-1/T01", "--json").json["paths"]}


@pytest.mark.parametrize(("point", "after"), [("checkpoint", {"a.txt", "b.txt"}), ("done", {"a.txt"})])
def test_a_rollback_in_part_is_done_or_not(crew: Hermetic, point: str, after: set[str]) -> None:
    assert crew.run_tasks(PLAN).code == 0
    words = ("rollback", "R-1/T01", "--files", "a.txt", "--yes", "--unproven", "--no-start")
    killed = crew.run(*words, extra={"NIGHTCREW_CRASH_AT": f"runtime.adopt.{point}"})
    assert killed.code < 0, killed
    if point == "checkpoint":
        assert (crew.show("R-1/T01")["state"], paths(crew)) == ("succeeded", after)
        assert crew.run(*words).code == 0, "it cannot be done any more"
    task = rest(crew)
    assert (task["state"], task["verified"], paths(crew)) == ("succeeded", "verified", {"a.txt"})
    assert crew.look("audit", "verify").code == 0
    # What was there before can be had again.
    assert crew.run("rollback", "R-1/T01", "--undo", "--no-start").code == 0
    rest(crew)
    assert paths(crew) == {"a.txt", "b.txt"}


def test_a_fork_that_was_recorded_goes_on(crew: Hermetic) -> None:
    assert crew.run_tasks(PLAN).code == 0
    first = crew.show("R-1/T01")["checkpoint"]
    words = ("checkpoint", "fork", first, "--run", "echo c > c.txt", "--yes")
    assert crew.run(*words, extra={"NIGHTCREW_CRASH_AT": "runtime.forked"}).code < 0
    rest(crew)
    tasks = crew.show_tasks("R-1")
    assert {name: task["state"] for name, task in tasks.items()} == {"T01": "succeeded", "T01F1": "succeeded"}
