"""YAML texts: plain values, a place for everything, all problems at once, a caret under each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.model.errors import InvalidInput, Place, Problem
from nightcrew.model.yamltext import (
    MAX_DEPTH,
    check_shape,
    describe_value,
    load_document,
    read_document,
    read_plain,
    render_problem,
    render_problems,
)

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version"],
    "properties": {
        "version": {"const": 1, "description": "Version of this format: 1."},
        "word": {"enum": ["allow", "ask", "deny"]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "text": {"type": "string", "minLength": 1},
        "words": {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1},
        "map": {"type": "object", "propertyNames": {"pattern": "^[a-z]+$", "description": "small letters"}},
        "name": {"type": "string", "pattern": "^[a-z]+$", "description": "small letters"},
        "set": {"type": "array", "uniqueItems": True},
        "some": {"type": "object", "minProperties": 1},
        "more": {"type": "number", "exclusiveMinimum": 0},
    },
}


def problems_of(text: str, schema: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_document(text, "p.yaml", schema)
    return [str(p) for p in caught.value.problems]


def hints_of(text: str, schema: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load_document(text, "p.yaml", schema)
    return [p.hint for p in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("a: 1", {"a": 1}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: [1, x, true, null, 1.5, -3]", {"a": [1, "x", True, None, 1.5, -3]}),
        ("a: 'yes'\nb: yes\nc: off\nd: no", {"a": "yes", "b": "yes", "c": "off", "d": "no"}),
        ("a: 010\nb: 0o17\nc: 0x1F\nd: 1_000", {"a": 10, "b": 15, "c": 31, "d": "1_000"}),
        ("a: 2026-01-02", {"a": "2026-01-02"}),
        ("a: ~\nb:\nc: ''", {"a": None, "b": None, "c": ""}),
        ("a: .inf\nb: .nan\nc: 1e999", {"a": ".inf", "b": ".nan", "c": "1e999"}),
        ("a: !!str 3\nb: '3'\nc: \"3\"", {"a": "3", "b": "3", "c": "3"}),
        ("a: |\n  one\n  two\n", {"a": "one\ntwo\n"}),
        ("1: x\ntrue: y", {"1": "x", "true": "y"}),
        ("- a\n- b: c\n", ["a", {"b": "c"}]),
        ("word", "word"),
        ("a: " + "9" * 5000, {"a": "9" * 5000}),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert load_document(text, "p.yaml").value == value


def test_everything_has_a_place() -> None:
    document = load_document("a:\n  - b: 1\n    c: [x, y]\n", "p.yaml")
    assert document.place("a") == Place("p.yaml", 2, 3)
    assert document.place("a", 0, "c", 1) == Place("p.yaml", 3, 12)
    assert document.key_place("a", 0, "c") == Place("p.yaml", 3, 5)
    assert document.key_place("a", 0) == document.place("a", 0)
    assert document.place("a", 0, "nothing", "there") == document.place("a", 0)
    assert load_document("", "p.yaml").place("x") == Place("p.yaml", 1, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: [1",
            "p.yaml:1:6: YAML: expected ',' or ']', but got 'the end of the file' (while parsing a flow sequence)",
        ),
        ("a: b: c", "p.yaml:1:5: YAML: mapping values are not allowed here"),
        ("a: x\n\tb: y", "p.yaml:2:1: YAML: found character"),
        ("a: 'x", "p.yaml:1:6: YAML: found unexpected end of stream"),
        ("- a\nb: 1", "p.yaml:2:1: YAML: expected <block end>"),
        ("a: 1\nb: \0", "p.yaml:2:4: YAML: character <U+0000> is not allowed"),
        ("a: 1\nb: \udc80", "p.yaml:2:4: YAML: character <0x80> is not allowed"),
        ("a: @x", "p.yaml:1:4: YAML: found character '@'"),
        ("a: *x", "p.yaml:1:4: alias *x"),
        ("a: &x 1", "p.yaml:1:4: anchor &x"),
        ("a: !!int 1", "p.yaml:1:4: tag tag:yaml.org,2002:int"),
        ("a: !python/object 1", "p.yaml:1:4: tag"),
        ("<<: {a: 1}", "p.yaml:1:1: merge key <<"),
        ("[a]: 1", "p.yaml:1:1: a key must be a text"),
        ("a: 1\n---\nb: 2", "p.yaml:2:1: a second document begins here"),
        ("a: 1\nb: 2\na: 3", "p.yaml:3:1: key 'a' stands twice in this mapping"),
        ("x:\n  a: 1\n  'a': 2", "p.yaml:3:3: key 'a' stands twice"),
        ("a: " + "[" * 60 + "]" * 60, "p.yaml:1:43: nested deeper than 40"),
        ("x" * (1 << 21), "p.yaml:1:1: larger than 1 MiB"),
    ],
)
def test_what_cannot_be_read(text: str, problem: str) -> None:
    assert problems_of(text)[0].startswith(problem)


def test_all_that_is_odd_is_said_at_once() -> None:
    said = problems_of("a: 1\na: 2\nb: *x\nc: !!int 3\n[d]: 4\nb: 5\n")
    assert [line.split(": ")[0] for line in said] == [
        "p.yaml:2:1",
        "p.yaml:3:4",
        "p.yaml:4:4",
        "p.yaml:5:1",
        "p.yaml:6:1",
    ]


def test_a_key_that_stands_twice_keeps_the_first_place() -> None:
    document = read_document("a: 1\na: {b: 2}\n", "p.yaml", [])
    assert document is not None
    assert (document.value, document.place("a")) == ({"a": 1}, Place("p.yaml", 1, 4))


SHAPES = [
    ("version: 1\nwrd: ask", "p.yaml:2:1: unknown key 'wrd'", "did you mean 'word'?"),
    ("version: 1\nqqqqqqq: ask", "p.yaml:2:1: unknown key 'qqqqqqq'", "known here: version, word, count"),
    ("word: ask", "p.yaml:1:1: 'version' is missing", "Version of this format: 1."),
    ("version: 2", "p.yaml:1:10: version: expected 1, found the number 2", ""),
    (
        "version: 1\nword: alow",
        "p.yaml:2:7: word: expected one of allow, ask, deny, found the text 'alow'",
        "did you mean 'allow'?",
    ),
    ("version: 1\nword: 3", "p.yaml:2:7: word: expected one of allow, ask, deny, found the number 3", ""),
    ("version: 1\ncount: x", "p.yaml:2:8: count: expected a whole number, found the text 'x'", ""),
    ("version: 1\ncount: true", "p.yaml:2:8: count: expected a whole number, found true", ""),
    ("version: 1\ncount: 0", "p.yaml:2:8: count: must be at least 1, found the number 0", ""),
    ("version: 1\ncount: 10", "p.yaml:2:8: count: must be at most 9, found the number 10", ""),
    ("version: 1\nmore: 0", "p.yaml:2:7: more: must be more than 0, found the number 0", ""),
    (
        "version: 1\ntext: 010",
        "p.yaml:2:7: text: expected a text, found the number 10",
        'put quotes around it: "010"',
    ),
    ("version: 1\ntext:", "p.yaml:2:6: text: expected a text, found nothing", ""),
    ("version: 1\ntext: ''", "p.yaml:2:7: text: must not be empty", ""),
    ("version: 1\nwords: [a, [b]]", "p.yaml:2:12: words[2]: expected a text, found a list", ""),
    ("version: 1\nwords: {a: 1}", "p.yaml:2:8: words: expected a text or a list, found a mapping", ""),
    ("version: 1\nwords: []", "p.yaml:2:8: words: must have at least 1 item(s)", ""),
    ("version: 1\nmap: {aB: 1}", "p.yaml:2:7: map: bad name 'aB'", "small letters"),
    ("version: 1\nname: aB", "p.yaml:2:7: name: the text 'aB' has the wrong form", "small letters"),
    ("version: 1\nset: [1, 1]", "p.yaml:2:6: set: an item stands twice in this list", ""),
    ("version: 1\nsome: {}", "p.yaml:2:7: some: must have at least 1 key(s)", ""),
    ("[]", "p.yaml:1:1: expected a mapping (key: value), found a list", ""),
    ("word", "p.yaml:1:1: expected a mapping (key: value), found the text 'word'", ""),
]


@pytest.mark.parametrize(
    ("text", "problem", "hint"), SHAPES, ids=[row[1].split(": ", 1)[1] for row in SHAPES]
)
def test_wrong_shapes(text: str, problem: str, hint: str) -> None:
    assert problems_of(text, SCHEMA) == [problem]
    [said] = hints_of(text, SCHEMA)
    assert said.startswith(hint)
    assert bool(said) == bool(hint)


def test_an_empty_text_has_every_shape() -> None:
    assert load_document("# nothing\n", "p.yaml", SCHEMA).value is None


def test_a_problem_is_shown_with_its_line_and_a_caret() -> None:
    text = "version: 1\nword:   alow  # no\n"
    with pytest.raises(InvalidInput) as caught:
        load_document(text, "p.yaml", SCHEMA)
    assert render_problems(caught.value.problems, {"p.yaml": text}) == (
        "p.yaml:2:9: word: expected one of allow, ask, deny, found the text 'alow'\n"
        "  2 | word:   alow  # no\n"
        "    |         ^\n"
        "  hint: did you mean 'allow'?"
    )


def test_the_caret_stands_right_under_hidden_and_wide_characters() -> None:
    shown = render_problem(Problem(Place("p", 1, 5), "m"), "日\u202e\tx: y")
    lines = shown.split("\n")
    assert lines[1] == "  1 | 日<U+202E> x: y"
    # Two columns for the wide character, eight for the chip, one for the tab, one for x.
    assert lines[2].index("^") == len("    | ") + 12


def test_a_place_outside_the_text_is_shown_without_a_line() -> None:
    assert render_problem(Problem(Place("p", 9, 1), "m", "h"), "a") == "p:9:1: m\n  hint: h"
    assert render_problem(Problem(Place("p"), "m"), "a") == "p: m"


def test_values_in_words() -> None:
    said = [describe_value(v) for v in (None, True, 3, "x", [], {})]
    assert said == ["nothing", "true", "the number 3", "the text 'x'", "a list", "a mapping"]


@given(st.text(max_size=80) | st.text(st.sampled_from("ab:-[]{}'\"&*!|>#%@` \n\t,?~1"), max_size=80))
@settings(max_examples=500, deadline=None)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    problems: list[Problem] = []
    document = read_document(text, "p.yaml", problems)
    assert document is not None or problems
    if document is not None:
        check_shape(document, SCHEMA, problems)
    assert all(p.place.line >= 1 for p in problems)
    assert render_problems(problems, {"p.yaml": text}) or not problems


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5), s, max_size=3),
        max_leaves=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_json_is_yaml(value: Any) -> None:
    import json

    text = json.dumps(value)
    assert load_document(text, "p").value == value or "\\u" in text or "\\" in text


@given(st.text(max_size=12))
def test_a_plain_scalar_becomes_some_plain_value(text: str) -> None:
    assert isinstance(read_plain(text), str | int | float | bool | None)


def test_depth_is_limited_and_not_the_stack() -> None:
    assert load_document("[" * MAX_DEPTH + "]" * MAX_DEPTH, "p").value is not None
    assert any("nested deeper" in line for line in problems_of("{a: " * 3000 + "}" * 3000))


@pytest.mark.parametrize("piece", ["[", "[\n", "{a: ", "- ", "? "])
def test_a_text_that_only_goes_down_is_left_in_time(piece: str) -> None:
    # Read to its end, each of these costs hours.
    assert any("nested deeper" in line for line in problems_of(piece * 200_000))
