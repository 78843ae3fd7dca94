"""Tasks against each other: needs, loops, agents, waves."""

from __future__ import annotations

import time

import pytest

from nightcrew.model.errors import Place
from nightcrew.model.plans import Task
from nightcrew.plan.check import check_tasks, waves
from nightcrew.plan.loops import find_loops
from nightcrew.plan.tasksfile import parse_tasks
from plan_loading import load_tasks

AGENTS = ("command", "script", "coder")


def plan(**needs: str) -> str:
    """A tasks file: ``plan(_1="", _2="1")`` is task 1, and task 2 that needs it."""
    lines = []
    for name, depends in needs.items():
        lines.append(f"- [ ] {name[1:].replace('_', '.')}. task\n  - Run: true\n")
        lines.append(f"  - Depends: {depends}\n" if depends else "")
    return "".join(lines)


def messages(text: str) -> list[str]:
    return [f"{p} | {p.hint}" for p in check_tasks(parse_tasks(text, "t.md"), agents=AGENTS)]


def test_good_tasks_have_no_problems() -> None:
    assert messages(plan(_1="", _2="1", _3="1, 2")) == []


def test_duplicate_numbers_name_the_first() -> None:
    [found] = messages("- [ ] 1. a\n  - Run: x\n- [ ] 01. b\n  - Run: x\n")
    assert found.startswith("t.md:3:1: task 01 is there twice; the first stands in line 1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plan(_1="9.9"), "t.md:3:14: task 1 depends on 9.9, which does not exist | tick or remove"),
        (plan(_1_0="", _2="1"), "t.md:5:14: task 2 depends on 1, which does not exist | did you mean 1.0?"),
        (plan(_1="", _2="1.0"), "t.md:5:14: task 2 depends on 1.0, which does not exist | did you mean 1?"),
        (plan(_11="", _3="12"), "t.md:5:14: task 3 depends on 12, which does not exist | did you mean 11?"),
    ],
)
def test_unknown_dependencies(text: str, expected: str) -> None:
    assert any(found.startswith(expected) for found in messages(text)), messages(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (plan(_1="1"), "task 1 depends on itself: 1 → 1"),
        (plan(_1="2", _2="1"), "tasks wait for each other: 1 → 2 → 1"),
        (plan(_1="", _2="4", _3="2", _4="3"), "tasks wait for each other: 2 → 4 → 3 → 2"),
    ],
)
def test_loops_are_named(text: str, expected: str) -> None:
    [found] = messages(text)
    assert expected in found


def test_every_separate_loop_is_named() -> None:
    assert len(messages(plan(_1="2", _2="1", _3="4", _4="3", _5="5"))) == 3


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("Agent: comand", "2:12: unknown agent `comand` | did you mean `command`?"),
        ("Agent: nobody", "2:12: unknown agent `nobody` | known agents: coder, command, script"),
        ("Agent: command", "1:1: task 1 has no `Run:`"),
        ("Agent: script", "1:1: task 1 has no `Script:`"),
        ("Agent: coder\n  - Run: x", "3:10: `Run:` is for the agent `command`, and task 1 has `coder`"),
        (
            "Agent: coder\n  - Script: x.yaml",
            "3:13: `Script:` is for the agent `script`, and task 1 has `coder`",
        ),
        (
            "Run: x\n  - Prompt: y",
            "1:1: `Prompt:` of task 1 would not be used: the agent `command` takes none",
        ),
        ("Scope: x/**", "1:1: task 1 does not say what to run"),
    ],
)
def test_agents_and_what_they_take(keys: str, expected: str) -> None:
    [found] = messages(f"- [ ] 1. a\n  - {keys}\n")
    assert found.startswith(f"t.md:{expected}")


def test_a_done_task_may_name_an_agent_that_is_gone() -> None:
    assert messages("- [x] 1. a\n  - Agent: retired\n") == []


def test_tasks_made_without_places_are_checked_too() -> None:
    task = Task("T01", "1", "a", Place("x"), run="true", depends=("T02",))
    assert "depends on 2" in str(check_tasks([task], agents=AGENTS)[0])


def test_waves_keep_the_order_of_the_file_and_skip_done_tasks() -> None:
    tasks = parse_tasks(plan(_3="", _1="", _2="3, 1", _4="5", _5="1", _6="2"), "t.md")
    assert waves(tasks) == (("T03", "T01"), ("T02", "T05"), ("T04", "T06"))
    done = parse_tasks("- [x] 1. a\n- [ ] 2. b\n  - Run: x\n  - Depends: 1\n", "t.md")
    assert waves(done) == (("T02",),)
    assert waves(()) == ()


def test_waves_leave_out_loops() -> None:
    assert waves(parse_tasks(plan(_1="", _2="3", _3="2"), "t.md")) == (("T01",),)


def test_find_loops_in_a_knot() -> None:
    loops = find_loops({"a": ["b"], "b": ["c", "a"], "c": ["a"], "d": ["a"]})
    assert loops == [("a", "b", "c"), ("a", "b")]


def test_ten_thousand_tasks_in_a_chain() -> None:
    text = "".join(
        f"- [ ] {n}. t\n  - Run: `true`\n"
        + (f"  - Depends: {n - 1}\n" if n > 1 else "")
        + "  - Scope: a/**\n"
        for n in range(1, 10_001)
    )
    started = time.monotonic()
    file = load_tasks(text.encode(), "t.md", agents=AGENTS)
    assert len(waves(file.tasks)) == 10_000
    assert (
        time.monotonic() - started < 8
    )  # about 0.8 s on an idle machine; the test only catches what is not linear


def test_ten_thousand_tasks_with_unknown_needs_stay_fast() -> None:
    text = "".join(f"- [ ] {n}. t\n  - Run: x\n  - Depends: 99{n}\n" for n in range(1, 8_001))
    started = time.monotonic()
    assert len(check_tasks(parse_tasks(text, "t.md"), agents=AGENTS)) > 6_000
    assert time.monotonic() - started < 8
