"""Rows 7-10: dependency order, real parallelism, what a failed task blocks, and plans that are refused."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name


def spans(view: dict[str, object]) -> list[tuple[datetime, datetime]]:
    return [
        (datetime.fromisoformat(task["started_at"]), datetime.fromisoformat(task["ended_at"]))
        for task in view["tasks"]  # type: ignore[attr-defined]
    ]


@pytest.mark.needs_userns
def test_07_dependency_order_with_the_results_of_what_was_needed(crew: Hermetic) -> None:
    text = (
        "- [ ] 4. last\n  - Depends: 2, 3\n  - Run: cat two.txt three.txt > four.txt\n  - Accept: grep -q 'one two' four.txt\n"
        "  - Accept: grep -q 'one three' four.txt\n"
        '- [ ] 2. left\n  - Depends: 1\n  - Run: echo "$(cat one.txt) two" > two.txt\n  - Accept: test -s two.txt\n'
        '- [ ] 3. right\n  - Depends: 1\n  - Run: echo "$(cat one.txt) three" > three.txt\n  - Accept: test ! -e two.txt\n'
        "- [ ] 1. first\n  - Run: echo one > one.txt\n  - Accept: test -f one.txt\n"
    )
    done = crew.run_tasks(text)
    assert done.code == 0, done
    tasks = by_name(done.json)
    assert {task["state"] for task in tasks.values()} == {"succeeded"}
    ended = {name: datetime.fromisoformat(task["ended_at"]) for name, task in tasks.items()}
    started = {name: datetime.fromisoformat(task["started_at"]) for name, task in tasks.items()}
    assert ended["T01"] <= min(started["T02"], started["T03"])
    assert max(ended["T02"], ended["T03"]) <= started["T04"]


@pytest.mark.needs_userns
def test_08_independent_tasks_are_really_parallel(crew: Hermetic) -> None:
    text = "".join(
        f"- [ ] {n}. t\n  - Run: sleep 4 && echo {n} > {n}.txt\n  - Accept: test -f {n}.txt\n"
        for n in range(1, 5)
    )
    done = crew.run_tasks(text)
    assert done.code == 0, done
    taken = spans(done.json)
    assert max(start for start, _ in taken) < min(end for _, end in taken), (
        "they did not all run at the same time"
    )


@pytest.mark.needs_userns
def test_08_max_parallel_is_kept(crew: Hermetic) -> None:
    text = "".join(
        f"- [ ] {n}. t\n  - Run: sleep 1 && echo {n} > {n}.txt\n  - Accept: test -f {n}.txt\n"
        for n in range(1, 4)
    )
    done = crew.run_tasks(text, "--max-parallel", "1")
    assert done.code == 0, done
    ordered = sorted(spans(done.json))
    assert all(before[1] <= after[0] for before, after in pairwise(ordered))


@pytest.mark.needs_userns
@pytest.mark.parametrize(
    "failing",
    ["Run: exit 3", "Run: echo x > x.txt\n  - Accept: test -f never.txt"],
    ids=["agent", "acceptance"],
)
def test_09_a_failed_task_blocks_its_dependents_only(crew: Hermetic, failing: str) -> None:
    text = (
        f"- [ ] 1. fails\n  - {failing}\n"
        "- [ ] 2. needs it\n  - Depends: 1\n  - Run: echo 2 > 2.txt\n"
        "- [ ] 3. independent\n  - Run: echo 3 > 3.txt\n  - Accept: test -f 3.txt\n"
        "- [ ] 4. needs what needs it\n  - Depends: 2, 3\n  - Run: echo 4 > 4.txt\n"
        "- [ ] 5. needs the good one\n  - Depends: 3\n  - Run: cat 3.txt > 5.txt\n  - Accept: test -f 5.txt\n"
    )
    done = crew.run_tasks(text)
    assert done.code == 10, done
    states = {name: task["state"] for name, task in by_name(done.json).items()}
    assert states == {
        "T01": "failed",
        "T02": "blocked",
        "T03": "succeeded",
        "T04": "blocked",
        "T05": "succeeded",
    }
    assert crew.show("R-1")["state"] not in ("running", "interrupted")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- [ ] 1. a\n  - Run: x\n  - Depends: 9.9\n", ["tasks.md:3:14", "9.9", "does not exist"]),
        (
            "- [ ] 1. a\n  - Run: x\n  - Depends: 2\n- [ ] 2. b\n  - Run: x\n  - Depends: 1\n",
            ["tasks.md:3:14", "1 → 2 → 1"],
        ),
        ("- [ ] 1. a\n  - Run: x\n- [ ] 1. b\n  - Run: x\n", ["tasks.md:3:1", "twice"]),
        ("- [ ] 1. a\n  - Run: x\n  - Accpet: y\n", ["tasks.md:3:5", "Accpet", "Accept"]),
        ("- [ ] 1. a\n  - Run: x\n  - Agent: nobody\n", ["tasks.md:3:12", "nobody"]),
        ("- [ ] 1. a\n  - Script: missing.yaml\n", ["tasks.md:2:13", "missing.yaml"]),
        (
            "- [ ] 1. a\n  - Run: x\n  - Timeout: soon\n- [ ] 2. b\n  - Depends: 7\n",
            ["tasks.md:3:14", "tasks.md:4:1", "tasks.md:5:14"],
        ),
        ("nothing to do\n", ["tasks.md:1:1", "no tasks"]),
    ],
)
def test_10_a_plan_with_problems_is_refused_with_their_places(
    crew: Hermetic, text: str, expected: list[str]
) -> None:
    done = crew.run("run", "-f", str(crew.write_plan(text)), "--yes")
    assert done.code == 2, done
    assert all(word in done.stderr for word in expected), done
    assert crew.look("ps", "-a", "--json").json == []
    assert not list(crew.find_processes())
