"""What of an approved task may become less by itself, and what is more; and globs that lie within others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.model.errors import Place
from nightcrew.model.plans import Task
from nightcrew.plan.goals import lies_within
from nightcrew.plan.revise import find_growth, narrows, revise

TASK = Task(
    "T01",
    "1",
    "Limit it",
    Place("plan", 1),
    agent="claude",
    prompt="Limit it\n\nBy hand.",
    scope=("src/**", "!src/x/**"),
    accept=("true", "test -s a"),
    network=("example.org:443",),
    budget="5usd",
    role="careful",
)


@pytest.mark.parametrize(
    ("glob", "globs", "is_within"),
    [
        ("part1/**", ("part1/**",), True),
        ("part1/a/**", ("part1/**",), True),
        ("part1/a.txt", ("part1/**",), True),
        ("/part1/", ("part1/**",), True),
        ("part1/*.txt", ("part1/**",), True),
        ("part1/", ("part1/**",), False),
        ("part1", ("part1/**",), False),
        ("**/part1/**", ("part1/**",), False),
        ("**/part1/*", ("part1/**",), False),
        ("*/**", ("x*/**",), False),
        ("**", ("part1/**",), False),
        ("*", ("part1/**",), False),
        ("a/**/b", ("a/b",), False),
        ("a/**/b/**/c/**/d/**/e/**", ("a/**",), False),
        ("/", ("a/**",), False),
        # Whatever a wildcard stands for, not only what the one who looks thinks of.
        ("*", ("a*",), False),
        ("src/*", ("src/a*",), False),
        ("src/*", ("src/*-*",), False),
        ("src/*", ("src/[!x]*",), False),
        ("src/*", ("src/?",), False),
        ("src/a", ("src/?",), True),
        ("src/\\*", ("src/\\\\*",), False),
        ("a/**/b", ("a/b", "a/*/b"), False),
        ("a/**/b", ("a/**",), True),
    ],
)
def test_what_lies_within(glob: str, globs: tuple[str, ...], is_within: bool) -> None:
    assert lies_within(glob, globs) is is_within


@pytest.mark.parametrize(
    ("new", "old", "is_narrower"),
    [
        (("src/a.py",), ("src/**",), True),
        (("src/**", "!src/b"), ("src/**",), True),
        (("src/**",), ("src/**", "!src/b"), False),
        (("src/**", "!src/b", "src/b/**"), ("src/**", "!src/b"), False),
        (("!src/b", "src/**"), ("src/**", "!src/b"), False),
        ((), ("src/**",), False),
        (("anything",), (), True),
        (("docs/**",), ("src/**",), False),
        (("!src/b",), ("src/**", "!src/b"), False),
    ],
)
def test_what_narrows(new: tuple[str, ...], old: tuple[str, ...], is_narrower: bool) -> None:
    assert narrows(new, old) is is_narrower


def test_what_a_planner_has_no_words_for_stays() -> None:
    said = replace(
        TASK,
        prompt="Limit it\n\nLimit  it\n By hand.",
        agent="codex",
        budget="",
        role="",
        accept=("test -s a", "true"),
        depends=("T02",),
        depends_places=(Place("plan", 9),),
    )
    made = revise(TASK, said, agent_named=False)
    assert made == replace(TASK, depends=("T02",), depends_places=(Place("plan", 9),))
    assert find_growth(TASK, made) == []
    assert revise(TASK, replace(said, depends=()), agent_named=False) is TASK


@pytest.mark.parametrize(
    "more",
    [
        {"prompt": "Do something else."},
        {"title": "Other"},
        {"accept": ("true",)},
        {"accept": ("true", "test -s a", "false")},
        {"network": ("example.org:443", "example.com:443")},
        {"install": ("true",)},
        {"scope": ("src/**",)},
        {"scope": ()},
    ],
    ids="-".join,
)
def test_what_is_more(more: dict[str, tuple[str, ...]]) -> None:
    assert find_growth(TASK, revise(TASK, replace(TASK, **more), agent_named=False))


def test_another_agent_is_more() -> None:
    assert find_growth(TASK, revise(TASK, replace(TASK, agent="codex"), agent_named=True)) == [
        "T01: another agent"
    ]


def test_what_goes_to_the_network_waits_for_what_it_was_approved_after() -> None:
    late = replace(TASK, depends=("T02", "T03"))
    assert find_growth(late, replace(late, depends=("T03",))) == [
        "T01: goes to the network without waiting for T02"
    ]
    assert find_growth(late, replace(late, depends=(), network=())) == []


def test_fewer_places_to_go_to_are_not() -> None:
    assert find_growth(TASK, revise(TASK, replace(TASK, network=()), agent_named=False)) == []


LISTING = replace(TASK, creates=("a.py", "b.py"), deletes=("old.py",))


@pytest.mark.parametrize(
    ("new", "more"),
    [
        ({"creates": ("a.py",), "deletes": ()}, []),
        ({"modifies": ("c.py",)}, ["T01: may do to more files: c.py"]),
        ({"deletes": ("old.py", "b.py")}, ["T01: may do to more files: b.py"]),
        ({"creates": (), "deletes": ()}, ["T01: no list of files any more"]),
    ],
)
def test_what_it_may_do_to_files_only_becomes_less(new: dict[str, tuple[str, ...]], more: list[str]) -> None:
    assert find_growth(LISTING, replace(LISTING, **new)) == more


def test_a_list_where_there_was_none_is_less() -> None:
    assert find_growth(TASK, LISTING) == []


def test_words_change_nothing_of_a_task_with_a_command_line() -> None:
    line = replace(TASK, agent="command", run="make all", prompt="", description="")
    said = replace(
        TASK, agent="claude", prompt="Limit it\n\nOtherwise.", title="Other", scope=("src/a.py", "!src/x/**")
    )
    made = revise(line, said, agent_named=False)
    assert (made.run, made.prompt, made.title, made.scope) == (
        "make all",
        "",
        "Limit it",
        ("src/a.py", "!src/x/**"),
    )
    assert find_growth(line, made) == []
