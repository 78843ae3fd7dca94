"""Patterns of rules find what Python's engine finds, as far as they are taken; none of them takes long, whatever it is given."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.policy.linear import MOST_STEPS, CannotMatch, compile_linear

ATOMS = st.sampled_from(
    [
        r"a",
        r"b",
        r"A",
        r"é",
        r".",
        r"\n",
        r"\s",
        r"\S",
        r"\w",
        r"\W",
        r"\d",
        r"\D",
        r"\b",
        r"^",
        r"$",
        r"\A",
        r"\Z",
        r"[ab]",
        r"[^a]",
        r"[^\n]",
        r"[\s\d]",
        r"[^\W_]",
        r"[^\w]",
        r"[a-c]",
        r"[^a-c]",
        r"[!-é]",
        r"(?i:a)",
        r"(?s:.)",
        r"\.",
        r"1",
        r"-",
    ]
)
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda each: "(?:" + "|".join(each) + ")"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?", "+?"])).map(
            lambda each: f"({each[0]}){each[1]}"
        ),
    ),
    max_leaves=8,
)
FLAGS = st.sampled_from(["", "(?i)", "(?s)", "(?m)", "(?is)"])
TEXTS = st.text(alphabet="abAcé 1-._\n\t", max_size=8)


@settings(max_examples=1500, deadline=None)
@given(flags=FLAGS, pattern=PATTERNS, text=TEXTS)
def test_what_is_found_is_what_python_finds(flags: str, pattern: str, text: str) -> None:
    found = compile_linear(flags + pattern)
    assert found(text) == (re.compile(flags + pattern, re.ASCII).search(text) is not None)


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"^(a|a)*$", r"(a|aa)+$", r"(.*a){20}$", r"^(\w+\s?)*$", r"^(([a-z])+.)+[A-Z]([a-z])+$"],
)
def test_a_pattern_that_would_go_back_for_ever_is_through_at_once(pattern: str) -> None:
    # With an engine that goes back, the first of these takes 2**50000 steps: this test would not end.
    assert not compile_linear(pattern)("a" * 50_000 + "!")


@pytest.mark.parametrize(
    ("pattern", "at", "said", "hint"),
    [
        (r"\s(?!x)", 2, "looks around itself", "unless:"),
        (r"[(?=](?<=x)", 5, "looks around itself", "unless:"),
        (r"\\(?=x)", 2, "looks around itself", "unless:"),
        (r"(a)\1", 3, "refers back", "write out"),
        (r"(?P<q>a)(?P=q)", 8, "refers back", "write out"),
        (r"a++", 1, "possessive", "leave it out"),
        (r"(?>a)", 0, "atomic", "leave it out"),
        (r"a{2000}", -1, "repeats more than 1000 times", "write * or +"),
        (r"(?:a{1000}){1000}", -1, "repeats too much", "1000 times in all"),
        (".{1000}" * 5, -1, f"at most {MOST_STEPS} are allowed", "repeat less"),
        ("(" * 2000 + ")" * 2000, -1, "nested too deeply", ""),
        ("a" * 9000, -1, "at most 8192 are read", ""),
        ("(", 0, "missing )", "single quotes"),
        (r"(?m:^a$)b$", 6, "end of a line", r"\Z"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place(pattern: str, at: int, said: str, hint: str) -> None:
    with pytest.raises(CannotMatch, match=re.escape(said)) as caught:
        compile_linear(pattern)
    assert caught.value.at == at
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^a$", "a\n", True),
        ("^a$", "a\nb", False),
        ("a(?:$|b)\\s*c", "a\nc", False),
        ("a.b", "a\nb", False),
        ("a\\sb", "a\nb", True),
        ("a[^b]c", "a\nc", True),
        ("a\\n$", "a\n", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("(?i)É", "é", True),
        ("a.b", "a\udcffb", True),
        ("a", "\U0010fffe\na", True),
        ("a\\sb", "a\U0010fffeb", False),
        ("a", "a\x00b", True),
        ("^$", "", True),
    ],
)
def test_ends_of_lines_and_odd_characters(pattern: str, text: str, found: bool) -> None:
    assert compile_linear(pattern)(text) is found
