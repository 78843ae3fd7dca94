"""Plans: any text is either read or refused with places; waves respect needs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model import text as words
from nightcrew.model.errors import InvalidInput, Place, Problem
from nightcrew.model.plans import Plan, Step, Task
from nightcrew.plan.check import check_tasks, waves
from nightcrew.plan.loops import find_loops
from nightcrew.plan.render import render_plan
from nightcrew.plan.script import parse_script
from nightcrew.plan.tasksfile import parse_tasks, read_tasks
from plan_loading import load_tasks

PIECES = st.sampled_from(
    ["- [ ] ", "- [x] ", "* [ ]", "1. ", "2.1: ", "title", "\n", "\r\n", "  ", "\t", "- ", "Run: ", "Agent: ", "`", "```",
     "~~~\n", "<!-- ", " -->", "depends: 1", "Depends: ", "1, 2", "Scope: ", "src/**", "[", "!", "Accept: ", "# ", "\u202e",
     "\x1b", "\ufeff", "\0", ":", "Timeout: ", "9m", "é"]
)  # fmt: skip
FILES = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200)


@given(FILES)
def test_any_text_is_read_or_refused_with_places(text: str) -> None:
    file = read_tasks(text, "t.md")
    line_count = len(re.split(r"\r\n|\n|\r", text))
    for problem in file.problems:
        assert 1 <= problem.place.line <= line_count
        assert words.find_hidden(problem.message) == ()
    names = [task.id for task in file.tasks]
    assert all(task.title or file.problems for task in file.tasks)
    check_tasks(file.tasks, agents=("command", "script"))
    assert set().union(*waves(file.tasks)) <= set(names)


@given(FILES)
def test_a_file_that_loads_renders_without_a_raw_control_character(text: str) -> None:
    try:
        file = load_tasks(text.encode("utf-8", "surrogatepass"), "t.md", agents=("command", "script"))
    except InvalidInput:
        return
    page = render_plan(
        Plan(file.title, "t.md", "", "", file.tasks), (), run_id="R-1", isolation="S3", width=80
    )
    assert words.find_hidden(page.replace("\n", "")) == ()


NEEDS = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.sets(st.integers(1, n), max_size=3), min_size=n, max_size=n)
)


def make(needs: list[set[int]]) -> list[Task]:
    return [
        Task(
            f"T{n:02d}",
            str(n),
            "t",
            Place("t.md", n),
            run="x",
            depends=tuple(f"T{d:02d}" for d in sorted(depends)),
        )
        for n, depends in enumerate(needs, 1)
    ]


@given(NEEDS)
def test_waves_respect_needs_and_leave_out_only_loops(needs: list[set[int]]) -> None:
    tasks = {task.id: task for task in make(needs)}
    seen: set[str] = set()
    for wave in waves(list(tasks.values())):
        assert all(set(tasks[name].depends) <= seen for name in wave)
        seen |= set(wave)
    loops = find_loops({name: task.depends for name, task in tasks.items()})
    assert bool(loops) == (seen != set(tasks))
    for loop in loops:
        for name, following in zip(loop, (*loop[1:], loop[0]), strict=True):
            assert following in tasks[name].depends
        assert not set(loop) & seen


@given(NEEDS)
def test_a_written_plan_is_read_back(needs: list[set[int]]) -> None:
    text = "".join(
        f"- [ ] {n}. t\n  - Run: x\n" + (f"  - Depends: {', '.join(map(str, sorted(d)))}\n" if d else "")
        for n, d in enumerate(needs, 1)
    )
    assert [(t.id, t.depends) for t in parse_tasks(text, "t.md")] == [(t.id, t.depends) for t in make(needs)]


@given(st.text(max_size=200))
def test_any_script_is_read_or_refused(text: str) -> None:
    problems: tuple[Problem, ...] = ()
    steps: tuple[Step, ...] = ()
    try:
        steps = parse_script(text, "s.yaml")
    except InvalidInput as error:
        problems = error.problems
    assert bool(steps) != bool(problems)


@given(st.text(max_size=60), st.integers(2, 40))
def test_folding_loses_nothing_and_fits(text: str, columns: int) -> None:
    pieces = words.fold(words.shown(text), columns)
    assert "".join(pieces) == words.shown(text)
    assert all(words.measure(piece) <= columns for piece in pieces)
