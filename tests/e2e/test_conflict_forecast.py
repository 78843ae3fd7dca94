"""A coming conflict is told while both tasks still work; ``conflicts: serialise`` has the later one wait and build on."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

PLAN = (
    "- [ ] 1. first\n  - Agent: script\n  - Script: a.yaml\n  - Accept: grep -q A src/data.txt\n"
    "- [ ] 2. second\n  - Agent: script\n  - Script: b.yaml\n  - Accept: grep -q B src/data.txt\n"
    "- [ ] 3. elsewhere\n  - Run: echo x > other.txt\n"
)


def steps(letter: str, wait_s: float) -> str:
    return (
        f"- run: sed -i 's/two/{letter} two/' src/data.txt\n- sleep: {wait_s}\n"
        f"- write: {letter}.txt\n  content: {letter}\n"
    )


def test_a_coming_conflict_is_told(crew: Hermetic) -> None:
    done = crew.run_tasks(PLAN, scripts={"a.yaml": steps("A", 2), "b.yaml": steps("B", 2)})
    assert done.code == 0, done
    events = crew.look("events", "--kinds", "conflict.forecast", "--json").stdout
    assert events.count("conflict.forecast") == 1, events
    assert "src/data.txt" in events
    view = crew.show("R-1")
    assert view["forecast"] == [{"tasks": ["R-1/T01", "R-1/T02"], "paths": ["src/data.txt"]}]
    assert "R-1/T01 and R-1/T02 will collide in src/data.txt" in crew.look("show", "R-1").stdout
    assert "R-1/T01 and R-1/T02 collide in src/data.txt" in crew.run("review", "R-1").stdout


def test_serialised_tasks_do_not_collide(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "version: 1\nconflicts: serialise\n"})
    crew.commit("settings")
    done = crew.run_tasks(PLAN, scripts={"a.yaml": steps("A", 3), "b.yaml": steps("B", 3)})
    assert done.code == 0, done
    tasks = by_name(done.json)
    assert {task["state"] for task in tasks.values()} == {"succeeded"}
    assert (tasks["T01"]["attempts"], tasks["T02"]["generation"]) == (1, 2)
    log = crew.look("log", "R-1/T02", "--json").stdout
    kinds = [json.loads(line)["kind"] for line in log.splitlines()]
    assert kinds.index("task.paused") < kinds.index("task.reset") < kinds.index("task.succeeded")
    assert crew.run("accept", "R-1", "--json").code == 0
    promoted = crew.run("promote", "R-1", "--yes", "--json")
    assert promoted.code == 0, promoted
    assert (crew.repo / "src/data.txt").read_text() == "one\nA B two\nthree\n"
