"""Any bytes that call themselves an agent: read without an exception, within bounds, and never more than words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.agents.markdown import IGNORED, NAME_LIMIT, TEXT_LIMIT, read_agent
from nightcrew.agents.match import Profile, match

KEYS = ("name", "id", "role", "goal", "description", "skills", "tools", "model", "hooks", "category", "x")
LINES = st.one_of(
    st.tuples(st.sampled_from(KEYS), st.text(max_size=40)).map(lambda pair: f"{pair[0]}: {pair[1]}"),
    st.text(max_size=40),
    st.just("---"),
    st.just("  - item"),
)


@given(st.lists(LINES, max_size=12), st.text(max_size=60), st.booleans())
def test_any_file_gives_an_agent_or_says_what_is_wrong(head: list[str], body: str, fenced: bool) -> None:
    text = "\n".join(["---", *head, "---", body] if fenced else [*head, body])
    agent = read_agent(text, "a.md", "stem")
    assert re.fullmatch(r"[a-z0-9-]*", agent.name)
    assert len(agent.name) <= NAME_LIMIT
    assert agent.problem or (agent.name and len(agent.text) <= TEXT_LIMIT)
    assert all(key.replace("_", "").replace("-", "").lower() in IGNORED for key in agent.ignored)
    assert "\n" not in agent.about


@given(
    st.text(max_size=200), st.dictionaries(st.sampled_from(("name", "skills", "role")), st.text(max_size=80))
)
def test_a_fit_is_one_of_three_and_always_says_why(task: str, fields: dict[str, str]) -> None:
    fit = match(task, Profile("a", fields))
    assert fit.quality in ("excellent", "acceptable", "insufficient")
    assert fit.score >= 0
    assert fit.why
    assert fit == match(task, Profile("a", fields))


def test_front_matter_of_nothing_but_brackets_is_left_in_time() -> None:
    # Read as YAML, two hundred of these cost a quarter of an hour.
    for _ in range(200):
        agent = read_agent(f"---\nname: deep\nrole: digs\na: {'[' * 60_000}\n---\nDig.\n", "deep.md", "deep")
        assert (agent.name, agent.role, agent.text) == ("deep", "digs", "Dig.")


@pytest.mark.parametrize(
    "text", ["---\nname: n\n---\na\0b", '---\nname: n\nrole: "a\\0b"\n---\nx', "---\nrole: a\0b\n---\nx"]
)
def test_what_no_program_can_be_given_is_a_problem_of_the_file(text: str) -> None:
    assert "NUL" in read_agent(text, "n.md", "n").problem
