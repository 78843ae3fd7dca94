"""Reading a tasks file: what is understood, and what is refused with which words and at which place."""

from __future__ import annotations

import pytest

from nightcrew.model.errors import InvalidInput, Place
from nightcrew.plan.tasksfile import MAX_BYTES, MAX_TASKS, decode, parse_tasks, read_tasks
from plan_loading import load_tasks

AGENTS = ("command", "script", "coder")


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_tasks(text.encode(), "t.md", agents=AGENTS)
    return [f"{problem} | {problem.hint}" for problem in caught.value.problems]


def test_a_whole_task() -> None:
    [task] = parse_tasks(
        "# Title\n\n- [ ] 2.1: Do the thing\n"
        "  - Agent: @coder\n  - Prompt: `be brief`\n  - Depends: 1, T01.1\n"
        "  - Scope: src/**, `docs/my file.md` tests/*.py\n  - Accept: `pytest -q`\n  - accept: ruff check .\n"
        "  - Timeout: 10m\n  - Role: qa\n  - Model: small\n\n  Free text.\n  - a free bullet\n",
        "t.md",
    )
    assert (task.id, task.number, task.title, task.agent) == ("T02.1", "2.1", "Do the thing", "coder")
    assert task.prompt == "be brief"
    assert task.depends == ("T01", "T01.1")
    assert task.scope == ("src/**", "docs/my file.md", "tests/*.py")
    assert task.accept == ("pytest -q", "ruff check .")
    assert (task.timeout_s, task.role, task.model) == (600.0, "qa", "small")
    assert task.description == "Free text.\n- a free bullet"
    assert task.place == Place("t.md", 3, 1)
    assert task.accept_places == (Place("t.md", 8, 13), Place("t.md", 9, 13))
    assert task.depends_places == (Place("t.md", 6, 14), Place("t.md", 6, 17))
    assert task.agent_place == Place("t.md", 4, 12)


@pytest.mark.parametrize(
    "head", ["- [ ] 1. a", "* [ ] 1 a", "+ [ ] 1: a", "- [ ] 1) a", "  - [ ] 01 a", "- [ ] T01 a"]
)
def test_ways_to_write_an_item(head: str) -> None:
    [task] = parse_tasks(f"{head}\n    - Run: x\n", "t.md")
    assert (task.id, task.title, task.agent, task.run) == ("T01", "a", "command", "x")


@pytest.mark.parametrize(
    ("number", "name"),
    [("1", "T01"), ("1.0", "T01.0"), ("2.1.3", "T02.1.3"), ("120", "T120"), ("007", "T07")],
)
def test_numbers_and_names(number: str, name: str) -> None:
    assert parse_tasks(f"- [ ] {number}. a\n", "t.md")[0].id == name


def test_ticked_items_are_done_and_need_no_agent() -> None:
    file = load_tasks(
        b"- [x] 1. a\n- [X] 2 b\n- [ ] 3 c\n  - Run: x\n  - Depends: 1\n", "t.md", agents=AGENTS
    )
    assert [task.done for task in file.tasks] == [True, True, False]


def test_script_names_its_agent() -> None:
    [task] = parse_tasks("- [ ] 1. a\n  - Script: `s/a.yaml`\n", "t.md")
    assert (task.agent, task.script, task.script_place) == ("script", "s/a.yaml", Place("t.md", 2, 13))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark(end: str, mark: str) -> None:
    text = mark + end.join(["# T", "- [ ] 1. a", "\t- Run:", "\t  ```", "\t  one", "\t\ttwo", "\t  ```", ""])
    file = read_tasks(text, "t.md")
    assert file.title == "T"
    assert file.problems == ()
    assert file.tasks[0].run == "one\n  two"


def test_only_real_line_ends_end_lines() -> None:
    [task] = parse_tasks("- [ ] 1. a\n  - Run: echo a\u2028b\x0cc\x85d\n", "t.md")
    assert task.run == "echo a\u2028b\x0cc\x85d"


def test_fenced_values() -> None:
    text = (
        "- [ ] 1. a\n  - Run: first\n    ```bash\n    second\n      - [ ] 9. not a task\n    ```\n"
        "  - Accept:\n\n    ~~~\n    ```\n    x  \n    ~~~\n- [ ] 2. b\n  - Run: y\n"
    )
    first, second = parse_tasks(text, "t.md")
    assert first.run == "first\nsecond\n  - [ ] 9. not a task"
    assert first.accept == ("```\nx  ",)
    assert first.accept_places == (Place("t.md", 10, 5),)
    assert second.run == "y"


def test_a_fence_that_belongs_to_no_key_is_description() -> None:
    [task] = parse_tasks("- [ ] 1. a\n  - Run: x\n\n  ```\n  - Accept: no\n  ```\n", "t.md")
    assert task.accept == ()
    assert task.description == "```\n- Accept: no\n```"


def test_backticks() -> None:
    def run(value: str) -> str:
        return parse_tasks(f"- [ ] 1. a\n  - Run: {value}\n", "t.md")[0].run

    assert run("`ls -l`") == "ls -l"
    assert run("`a` and `b`") == "`a` and `b`"
    assert run("`` echo `date` ``") == "echo `date`"
    assert run("echo `date`") == "echo `date`"


def test_auroras_comments() -> None:
    text = (
        "- [x] 1. a <!-- goal: sg-1 -->\n- [ ] 2. b <!-- agent: coder --> \n  <!-- depends: 1 -->\n"
        "- [ ] 3. c\n<!-- agent: coder -->\n<!--\ndepends: 1,\n 2\n-->\n<!-- TODO: something -->\n"
    )
    one, two, three = parse_tasks(text, "t.md")
    assert one.title == "a"
    assert (two.title, two.agent, two.depends) == ("b", "coder", ("T01",))
    assert (three.agent, three.depends) == ("coder", ("T01", "T02"))


def test_a_commented_out_task_is_not_there() -> None:
    assert [t.id for t in parse_tasks("<!--\n- [ ] 1. a\n-->\n- [ ] 2. b\n  - Run: x\n", "t.md")] == ["T02"]


def test_nested_items_own_their_own_keys() -> None:
    text = "- [ ] 1. a\n  - [ ] 1.1 b\n    - Run: inner\n  - Run: outer\n- [ ] 2. c\n  - Run: last\n"
    assert [(t.id, t.run) for t in parse_tasks(text, "t.md")] == [
        ("T01", "outer"),
        ("T01.1", "inner"),
        ("T02", "last"),
    ]


def test_bold_keys() -> None:
    [task] = parse_tasks("- [ ] 1. a\n  - **Run:** x\n  - __Accept__: y\n  - *Scope*: z/**\n", "t.md")
    assert (task.run, task.accept, task.scope) == ("x", ("y",), ("z/**",))


def test_prose_around_tasks_is_left_alone() -> None:
    text = (
        "Intro: words\n- Scope: of this document\n1. first\n\n```\n- [ ] no task\n```\n# T\n- [ ] 1. a\n  - Run: x\n"
        "  - see file.py: there\n  - https://example.org: a page\n  - std::vector is fine\n  more text: yes\n\n"
        "## Notes\n- Agent: this is prose again\n"
    )
    [task] = parse_tasks(text, "t.md")
    assert task.run == "x"
    assert "https://example.org: a page" in task.description


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("  - Depend: 1", "t.md:2:5: unknown key `Depend:` | write `- Depends: …`"),
        ("  - Accpet: x", "t.md:2:5: unknown key `Accpet:` | write `- Accept: …`"),
        ("  - Accpet:x", "t.md:2:5: unknown key `Accpet:` | write `- Accept: …`"),
        ("  - Time out: 5", "t.md:2:5: unknown key `Time out:` | write `- Timeout: …`"),
        ("  - Depends on: 1", "t.md:2:5: unknown key `Depends on:` | write `- Depends: …`"),
        ("  - depends-on: 1", "t.md:2:5: unknown key `depends-on:` | write `- Depends: …`"),
        ("  - Scope = src/**", "t.md:2:5: unknown key `Scope=` | write `- Scope: …`"),
        ("  - Run：x", "t.md:2:5: unknown key `Run：` | write `- Run: …`"),
        ("  - Depends 1, 2", "t.md:2:5: `Depends` has no colon | write `- Depends: …`"),
        ("  - Timeout 10m", "t.md:2:5: `Timeout` has no colon | write `- Timeout: …`"),
        ("  - Accept `pytest`", "t.md:2:5: `Accept` has no colon | write `- Accept: …`"),
        (
            "  - `Run: x`",
            "t.md:2:5: `Run:` and its value are inside one pair of backticks | write `- Run: …`",
        ),
        ("  - Ag\u200bent: x", "t.md:2:5: invisible characters in the key: <U+200B> | write `- Agent: …`"),
        ("  - Аgent: x", "t.md:2:5: unknown key `Аgent:` | write `- Agent: …`"),
        ("  1. Agnet: x", "t.md:2:6: unknown key `Agnet:` | write `- Agent: …`"),
        ("  Accept: x", "t.md:2:3: `Accept:` is not a sub-bullet | write `- Accept: …`"),
        ("Agent: x", "t.md:2:1: `Agent:` is not a sub-bullet | write `- Agent: …`"),
        ("- Accept: x", "t.md:2:1: `Accept` stands under no task | indent it below its `- [ ]` line"),
        ("- Accpet: x", "t.md:2:1: `Accept` stands under no task | indent it below its `- [ ]` line"),
    ],
)
def test_no_key_is_lost_to_a_typo(line: str, expected: str) -> None:
    assert expected in problems_of(f"- [ ] 1. a\n{line}\n")


def test_an_unknown_word_before_a_colon_is_an_error() -> None:
    [found] = problems_of("- [ ] 1. a\n  - Run: x\n  - Note: see above\n")
    assert found.startswith("t.md:3:5: unknown key `Note:` | keys are Agent, Run,")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t.md:1:1: there are no tasks in this file"),
        ("# only a title\n", "t.md:1:1: there are no tasks in this file"),
        ("- [ ] no number\n", "t.md:1:1: the item `no number` has no task number"),
        ("- [ ]\n", "t.md:1:1: an item without number and title"),
        ("- [ ] 1.2.3.4 deep\n", "t.md:1:1: `1.2.3.4` is no task number"),
        ("- [ ] 1234567 big\n", "t.md:1:1: `1234567` is no task number"),
        ("- [ ] 1a mixed\n", "t.md:1:1: `1a` is no task number"),
        ("- [ ] 1.\n  - Run: x\n", "t.md:1:1: task 1 has no title"),
        ("- [] 1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("-[ ] 1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("- [ ]1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("1. [x] 1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("- [-] 1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("- [y] 1. a\n", "t.md:1:1: this looks like a task but is none"),
        ("- [ ] 1. a\n", "t.md:1:1: task 1 does not say what to run"),
        ("- [ ] 1. a\n  - Run:\n", "t.md:2:5: `Run:` has no value"),
        ("- [ ] 1. a\n  - Run: ``\n", "t.md:2:5: `Run:` has no value"),
        (
            "- [ ] 1. a\n  - Run: x\n  - Run: y\n",
            "t.md:3:5: `Run:` is given twice for task 1 (first in line 2)",
        ),
        ("- [ ] 1. a\n  - Run: x\n  - Script: y\n", "t.md:1:1: task 1 has both `Run:` and `Script:`"),
        ("- [ ] 1. a\n  - Run: x\0y\n", "t.md:2:3: a NUL character"),
        ("- [ ] 1. a\n  - Run:\n    ```\n    x\n", "t.md:3:5: this block is never closed"),
        ("- [ ] 1. a\n  - Run: x\n<!-- forgotten\n- [ ] 2. b\n", "t.md:3:1: this comment is never closed"),
        ("- [ ] 1. a <!-- open\n  - Run: x\n", "t.md:1:1: the comment on this line is not closed"),
        ("<!-- a --> - [ ] 1. a\n", "t.md:1:1: a task on the same line as a comment"),
        ("- [ ] 1. a\n  <!-- run: rm -rf / -->\n", "t.md:2:8: `Run:` in a comment would be hidden"),
        ("- [ ] 1. a\n  <!-- depend: 1 -->\n", "t.md:2:8: unknown key `depend:`"),
        ("<!-- agent: x -->\n- [ ] 1. a\n  - Run: x\n", "t.md:1:6: this comment belongs to no task"),
        ("- [ ] 1. a\n  - Run: x\n  - Depends: two\n", "t.md:3:14: `two` is not the number of a task"),
        ("- [ ] 1. a\n  - Run: x\n  - Timeout: soon\n", "t.md:3:14: 'soon' is not a time"),
        ("- [ ] 1. a\n  - Run: x\n  - Timeout: 0\n", "t.md:3:14: `0` is not a time between 0 and 7 days"),
        (
            "- [ ] 1. a\n  - Run: x\n  - Timeout: never\n",
            "t.md:3:14: `never` is not a time between 0 and 7 days",
        ),
        ("- [ ] 1. a\n  - Run: x\n  - Timeout: 8d\n", "t.md:3:14: `8d` is not a time between 0 and 7 days"),
        (
            "- [ ] 1. a\n  - Script: ../s.yaml\n",
            "t.md:2:13: the script `../s.yaml` is outside the repository",
        ),
        ("- [ ] 1. a\n  - Script: /s.yaml\n", "t.md:2:13: the script `/s.yaml` is outside the repository"),
    ],
)
def test_what_is_refused_and_where(text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems_of(text)), problems_of(text)


@pytest.mark.parametrize(
    "glob",
    [
        "/etc/**",
        "~/x",
        "\\\\server",
        "C:/x",
        "../x",
        "a/../b",
        ".git/config",
        "a/.GIT/x",
        "./a",
        "a//b",
        "#x",
        "[",
        "!",
        "a\u202eb",
    ],
)
def test_scopes_that_are_refused(glob: str) -> None:
    found = problems_of(f"- [ ] 1. a\n  - Run: x\n  - Scope: ok/**, {glob}\n")
    assert any(problem.startswith("t.md:3:19: the scope `") for problem in found), found


@pytest.mark.parametrize(
    "glob", ["src/**", "*.py", "docs/", "a[0-9].txt", "**/x", "..hidden", ".github/**", "src/** !src/x"]
)
def test_scopes_that_are_fine(glob: str) -> None:
    assert parse_tasks(f"- [ ] 1. a\n  - Run: x\n  - Scope: {glob}\n", "t.md")[0].scope == tuple(glob.split())


def test_a_scope_that_only_excludes_is_refused() -> None:
    assert any(
        "the scope only excludes" in p for p in problems_of("- [ ] 1. a\n  - Run: x\n  - Scope: !src/**\n")
    )


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = problems_of(
        "- [ ] 1. a\n  - Depend: 2\n- [ ] nope\n- [ ] 2. b\n  - Agent: nobody\n  - Depends: 9\n- [ ] 2. c\n  - Run: x\n"
    )
    assert [problem.split(": ")[0] for problem in found] == [
        "t.md:1:1",
        "t.md:2:5",
        "t.md:3:1",
        "t.md:5:12",
        "t.md:6:14",
        "t.md:7:1",
    ]


def test_hostile_words_in_a_file_are_shown_as_chips_in_messages() -> None:
    found = problems_of("- [ ] \x1b[31mred\n- [ ] 2. b\n  - Agent: x\u202ey\n")
    assert "`<U+001B>[31mred`" in found[0]
    assert "`x<U+202E>y`" in found[1]


def test_bytes_that_are_not_utf8_name_their_place() -> None:
    with pytest.raises(InvalidInput) as caught:
        decode("- [ ] 1. ä\n  - Run: ".encode() + b"\xff", "t.md")
    assert str(caught.value.problems[0]) == "t.md:2:10: not UTF-8: byte 0xFF cannot be read"


def test_too_large_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 problem"):
        decode(b"x" * (MAX_BYTES + 1), "t.md")
    assert "at most" in str(read_tasks("é" * (MAX_BYTES // 2 + 1), "t.md").problems[0])
    too_many = "".join(f"- [x] {n}. a\n" for n in range(1, MAX_TASKS + 2))
    assert any(f"{MAX_TASKS + 1} tasks" in str(p) for p in read_tasks(too_many, "t.md").problems)


def test_the_title_falls_back_to_the_file_name() -> None:
    assert read_tasks("- [ ] 1. a\n", "work/next release.md").title == "next release"
    assert read_tasks("# Real one #\n", "x.md").title == "Real one"
