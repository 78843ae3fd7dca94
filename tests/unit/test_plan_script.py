"""Reading recordings of the script agent."""

from __future__ import annotations

import pytest

from nightcrew.model.errors import InvalidInput
from nightcrew.model.plans import Step
from nightcrew.plan.script import parse_script


def problems_of(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse_script(text, "s.yaml")
    return [f"{problem} | {problem.hint}" for problem in caught.value.problems]


def test_every_kind_of_step() -> None:
    text = (
        "- write: a/b.txt\n  content: |\n    one\n    two\n- append: x\n  content: ''\n- delete: q\n"
        '- chmod: q\n  mode: "755"\n- symlink: l\n  target: ../x\n- run: echo "hi"\n  on_denied: continue\n'
        "- say: hi\n- sleep: 0.5\n- exit: 3\n"
    )
    assert parse_script(text, "s.yaml") == (
        Step("write", "a/b.txt", "one\ntwo\n"),
        Step("append", "x", ""),
        Step("delete", "q"),
        Step("chmod", "q", "755"),
        Step("symlink", "l", "../x"),
        Step("run", "", 'echo "hi"', "continue"),
        Step("say", "", "hi"),
        Step("sleep", "", "0.5"),
        Step("exit", "", "3"),
    )


def test_a_script_may_try_anything() -> None:
    assert (
        parse_script("- write: /etc/passwd\n  content: x\n- delete: ../../x\n", "s.yaml")[0].path
        == "/etc/passwd"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "s.yaml:1:1: a script is a list of steps, found nothing"),
        ("a: b", "s.yaml:1:1: a script is a list of steps, found a mapping"),
        ("- wrte: a", "s.yaml:1:3: step 1: unknown step `wrte` | did you mean `write`?"),
        ("- {}", "s.yaml:1:3: step 1: unknown step ``"),
        ("- write: b", "s.yaml:1:3: step 1: `write` needs `content:`"),
        (
            "- write: c\n  contnt: x",
            "s.yaml:2:3: step 1: unknown key `contnt` in a `write` step | did you mean `content`?",
        ),
        ("- write: c\n  content: 5", "s.yaml:2:12: step 1: `content` must be a text, found the number 5"),
        ("- write: ''\n  content: x", "s.yaml:1:10: step 1: `write` needs a path"),
        ("- chmod: d\n  mode: 755", "s.yaml:2:9: step 1: `mode` must be three octal digits in quotes"),
        ('- chmod: d\n  mode: "999"', "s.yaml:2:9: step 1: `mode` must be three octal digits in quotes"),
        ("- symlink: l\n  target: ''", "s.yaml:2:11: step 1: `target` must not be empty"),
        ("- run: true", "s.yaml:1:8: step 1: `run` must be a text, found true; put it in quotes"),
        ("- run: ''", "s.yaml:1:8: step 1: `run` needs a text"),
        ("- sleep: -1", "s.yaml:1:10: step 1: `sleep` needs seconds from 0 to 86400"),
        ("- sleep: soon", "s.yaml:1:10: step 1: `sleep` needs seconds"),
        ("- exit: 256", "s.yaml:1:9: step 1: `exit` needs a number from 0 to 255"),
        ("- exit: true", "s.yaml:1:9: step 1: `exit` needs a number"),
        ("- run: a\n  say: b", "s.yaml:2:3: step 1: one step says both `run` and `say` | make two steps"),
        ("- run: a\n- foo", "s.yaml:2:3: step 2: a step is `what: …`, found the text 'foo'"),
        ("- run: a\n  on_denied: maybe", "s.yaml:2:14: step 1: on_denied is `stop` or `continue`"),
        ("- [", "s.yaml:1:4: YAML:"),
    ],
)
def test_what_is_refused_and_where(text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems_of(text)), problems_of(text)


def test_all_problems_come_at_once() -> None:
    assert len(problems_of("- wrte: a\n- write: b\n- run: ''\n- exit: 999\n")) == 4
