"""Whatever stands in policy.yaml: a policy or a list of problems, and never anything else."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.host.shell import parse
from nightcrew.model.errors import InvalidInput
from nightcrew.policy.load import parse_policy
from nightcrew.policy.rules import Policy

RULE = "commands:\n  - id: a.b\n    when: {program: x}\n    decision: ask\n    reason: r\n"
WORDS = st.sampled_from(
    [
        "version",
        "commands",
        "files",
        "id",
        "when",
        "decision",
        "reason",
        "program",
        "paths",
        "do",
        "flags",
        "args",
        "text",
        "safety",
        "limits",
        "soft",
        "hard",
        "lines",
        "defaults",
        "examples",
        "match",
        "allow",
        "ask",
        "deny",
        "prompt",
        "a.b",
        "[",
        "*",
        "(",
        "../x",
        "",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | WORDS,
    lambda s: st.lists(s, max_size=3) | st.dictionaries(WORDS, s, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(WORDS, VALUES, max_size=6))
@settings(max_examples=400, deadline=None)
def test_any_mapping_gives_a_policy_or_problems(value) -> None:
    try:
        policy = parse_policy(json.dumps(value), "p", parse=parse)
    except InvalidInput as error:
        assert error.problems  # noqa: PT017  either outcome is right; an empty list of problems is not
        return
    assert isinstance(policy, Policy)


@given(st.text(max_size=100) | st.text(st.sampled_from("ab:- []{}'\"&*!|>\n#%@"), max_size=100))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_a_policy_or_problems(text: str) -> None:
    try:
        assert isinstance(parse_policy(text, "p", parse=parse), Policy)
    except InvalidInput:
        return


@given(st.integers(0, 60), st.sampled_from("\x00\t:[]{}'\"!&*x \n"))
@settings(max_examples=200, deadline=None)
def test_a_damaged_policy_gives_a_policy_or_problems(position: int, damage: str) -> None:
    text = RULE[:position] + damage + RULE[position + 1 :]
    try:
        assert isinstance(parse_policy(text, "p", parse=parse), Policy)
    except InvalidInput:
        return
