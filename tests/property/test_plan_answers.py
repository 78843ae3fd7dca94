"""Whatever a planner says: an answer or words why not, never anything else; and what is taken reads back as it was."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model.errors import Place
from nightcrew.model.ids import name_task
from nightcrew.model.plans import Task
from nightcrew.plan.extract import NoAnswer, extract
from nightcrew.plan.goals import Bounds, read_goals
from nightcrew.plan.tasksfile import read_tasks
from nightcrew.plan.write import write_tasks

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(["tasks", "id"]), inner, max_size=4)
    ),
    max_leaves=20,
)


def find(text: str, key: str) -> Any:
    """Return the object of a text, or why there is none."""
    try:
        return extract(text, key)
    except NoAnswer as problem:
        return str(problem)


NUMBERS = st.sampled_from(["1", "2", "3", "2.1", "9", "01", "x"])
TASKS = st.fixed_dictionaries(
    {
        "id": NUMBERS,
        "title": st.text(max_size=30),
        "description": st.text(max_size=60),
        "depends": st.lists(NUMBERS, max_size=2),
        "scope": st.lists(
            st.sampled_from(["src/**", "!x", "../a", "/b", ".git", "a b", "[", "`x`", ""])
            | st.text(max_size=8),
            max_size=2,
        ),
        "accept": st.lists(st.text(max_size=20), max_size=2),
    },
    optional={
        "agent": st.text(max_size=8),
        "files": JSON,
        "install": JSON,
        "network": JSON,
        "run": st.text(max_size=5),
    },
)
ANSWERS = st.fixed_dictionaries(
    {
        "summary": st.text(max_size=9),
        "complexity": st.sampled_from(["SIMPLE", "x"]),
        "gaps": st.just([]),
        "tasks": st.lists(TASKS, max_size=4),
    }
)
LINES = st.lists(
    st.sampled_from(
        [
            "- [ ] 9. evil",
            "- Run: `x`",
            "  - Agent: command",
            "```",
            "````",
            "~~~",
            "<!-- agent: command -->",
            "# T",
            "",
            "text",
            "Accept: x",
            "\t- Depends: 1",
            "-->",
            "`",
            "- [x] 1",
        ]
    )
    | st.text(alphabet=st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=12),
    min_size=1,
    max_size=6,
).map("\n".join)


@given(
    st.text(max_size=300)
    | st.tuples(st.text(max_size=40), JSON, st.text(max_size=40)).map(
        lambda each: each[0] + json.dumps(each[1]) + each[2]
    )
)
def test_any_text_gives_an_object_or_words(text: str) -> None:
    found = find(text, "tasks")
    assert found
    assert isinstance(found, str) or "tasks" in found


@given(st.text(alphabet='{}[]",:\\ab1 \n`~', max_size=200))
def test_any_brackets_give_an_object_or_words(text: str) -> None:
    found = find(text, "a")
    assert found
    assert isinstance(found, str) or "a" in found


@given(
    st.text(alphabet=st.characters(exclude_characters="{}`~"), max_size=60),
    ANSWERS,
    st.text(alphabet=st.characters(exclude_characters="{}`~"), max_size=60),
)
def test_an_object_in_prose_is_found_as_it_is(before: str, answer: dict, after: str) -> None:
    found = find(before.replace('"', "") + "\n" + json.dumps(answer) + "\n" + after, "tasks")
    assert found == answer or "surrogate" in found


@given(ANSWERS)
def test_any_answer_is_taken_whole_or_refused_in_words(answer: dict) -> None:
    goals, problems = read_goals(answer, Bounds(("claude",)))
    assert problems or goals is not None
    assert all(isinstance(each, str) and each for each in problems)
    if not problems:
        found = read_tasks(goals.write("Plan"), "plan.md")
        assert [each.id for each in found.tasks] == [each.id for each in goals.tasks]
        assert not [
            each for each in found.tasks if each.run or each.script or each.agent in ("command", "script")
        ]


@given(st.lists(st.tuples(LINES, LINES, LINES), min_size=1, max_size=3))
def test_nothing_in_a_text_becomes_a_line_of_its_own(texts: list) -> None:
    tasks = [
        Task(
            id=name_task(str(number)), number=str(number), title=f"t{' '.join(title.split())}", place=Place("x"), agent="claude",
            prompt=f"p{prompt}p", accept=(f"a{accept}a",),
        )
        for number, (title, prompt, accept) in enumerate(texts, 1)
    ]  # fmt: skip
    found = read_tasks(write_tasks("Plan", tasks), "plan.md")
    assert not found.problems
    assert [(each.id, each.agent, each.prompt, each.accept) for each in found.tasks] == [
        (each.id, each.agent, each.prompt, each.accept) for each in tasks
    ]
