"""How agents are described, matched with tasks, and chosen: values in, values out."""

from __future__ import annotations

import pytest

from nightcrew.agents.markdown import LIMITS, TEXT_LIMIT, read_agent
from nightcrew.agents.match import Fit, Profile, describe_quality, find_words, match, rank
from nightcrew.agents.routing import Candidate, choose
from nightcrew.model.routes import QUALITIES, STRATEGIES

QA = """---
name: QA Expert
role: writes tests
skills: [pytest, coverage]
when_to_use: flaky suites
tools: Bash, Read
permissionMode: bypassPermissions
mcpServers: {x: {command: evil}}
---

You write small, exact tests.
"""


def test_front_matter_gives_words_and_nothing_else() -> None:
    agent = read_agent(QA, "qa.md", "qa", tool="claude")
    assert (agent.name, agent.role, agent.skills) == ("qa-expert", "writes tests", ("pytest", "coverage"))
    assert agent.text == "You write small, exact tests."
    assert agent.ignored == ("mcpServers", "permissionMode", "tools")
    assert (agent.problem, agent.about) == ("", "writes tests")


def test_front_matter_that_is_nearly_yaml_is_read_line_by_line() -> None:
    text = "---\nname: doc\ndescription: Use this: always, when docs\n  are wrong\nskills:\n  - prose\n  - style\n---\nx\n"
    agent = read_agent(text, "doc.md", "doc")
    assert agent.description == "Use this: always, when docs are wrong"
    assert agent.skills == ("prose", "style")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nname: '***'\n---\nx", "no name"),
        ("---\nname: a\nrole: " + "r" * (LIMITS["role"] + 1) + "\n---\nx", "`role` has 201 characters"),
        ("---\nname: a\ncategory: magic\n---\nx", "`category` is one of"),
        ("---\nname: a\n---\n" + "x" * (TEXT_LIMIT + 1), "at most 32000"),
        ("---\nname: a\n---\n\n", "it says nothing"),
        ("", "it says nothing"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(text: str, said: str) -> None:
    problem = read_agent(text, "a.md", "a").problem
    assert said in problem
    assert problem.startswith("a.md:1")


def test_a_file_without_front_matter_is_a_text() -> None:
    agent = read_agent("Be kind.\n", "kind.md", "kind")
    assert (agent.name, agent.text, agent.problem) == ("kind", "Be kind.", "")


def test_words_are_plain_and_empty_ones_say_nothing() -> None:
    assert find_words("Parsing the parsers: parsed") == ("pars",)
    assert find_words("please do it with the code") == ()


def test_quality_is_by_what_is_said_of_an_agent() -> None:
    qa = Profile("qa", {"skills": "pytest coverage", "role": "tests"})
    assert match("raise pytest coverage", qa).quality == "excellent"
    assert match("a pytest for the parser", qa).quality == "acceptable"
    assert match("draw a picture", qa).quality == "insufficient"
    assert (
        match("draw a picture", Profile("claude", {"name": "claude"}, general=True)).quality == "acceptable"
    )
    assert "pytest" in match("raise pytest coverage", qa).why


def test_the_best_fit_stands_first_and_equal_ones_in_their_order() -> None:
    profiles = [
        Profile("a", {"role": "docs"}),
        Profile("b", {"skills": "docs prose"}),
        Profile("c", {"role": "docs"}),
    ]
    assert [profile.name for profile, _ in rank("docs and prose", profiles)] == ["b", "a", "c"]


def test_how_well_an_agent_can_be_matched_at_all() -> None:
    assert describe_quality({"name", "skills", "role"}) == "excellent"
    assert describe_quality({"name", "description"}) == "acceptable"
    assert describe_quality({"name"}) == "insufficient"


def fit(quality: str, score: float = 0.0) -> Fit:
    return Fit(quality, score, f"says {quality}")


def test_nobody_usable_is_nobody_chosen() -> None:
    assert choose([Candidate("a", fit("excellent"), problem="not installed")], "capability") is None
    assert choose([], "load") is None


def test_a_better_agent_that_is_missing_is_a_gap() -> None:
    chosen = choose(
        [
            Candidate("a", fit("acceptable", 2)),
            Candidate("b", fit("excellent", 9), problem="b is not installed"),
        ],
        "capability",
    )
    assert chosen is not None
    name, route = chosen
    assert (name, route.quality, route.confidence) == ("a", "acceptable", 1.0)
    assert route.gap == "b would fit better (excellent: says excellent), but b is not installed"
    assert [(each.agent, each.usable) for each in route.alternatives] == [("b", False)]


def test_each_strategy_looks_at_its_own_thing() -> None:
    crew = [
        Candidate("fit", fit("excellent", 8), busy=4, priority=0, usd=9.0, order=2),
        Candidate("idle", fit("acceptable", 2), busy=0, priority=1, usd=None, order=1),
        Candidate("cheap", fit("acceptable", 2), busy=2, priority=2, usd=0.5, order=0),
    ]
    found = {
        strategy: choose(crew, strategy, after="cheap") for strategy in STRATEGIES if strategy != "manual"
    }
    names = {strategy: chosen[0] for strategy, chosen in found.items() if chosen}
    assert names == {
        "capability": "fit",
        "load": "idle",
        "priority": "cheap",
        "cost": "cheap",
        "round_robin": "idle",
    }
    for chosen in found.values():
        assert chosen is not None
        assert chosen[1].reason
        assert 0.0 <= chosen[1].confidence <= 1.0
        assert {each.agent for each in chosen[1].alternatives} == {"fit", "idle", "cheap"} - {chosen[0]}


def test_turns_go_round() -> None:
    crew = [Candidate(name, fit("acceptable"), order=place) for place, name in enumerate("abc")]
    after, taken = "", []
    for _ in range(5):
        chosen = choose(crew, "round_robin", after=after)
        assert chosen is not None
        after = chosen[0]
        taken.append(after)
    assert taken == ["a", "b", "c", "a", "b"]


def test_load_counts_slots() -> None:
    crew = [
        Candidate("wide", fit("acceptable"), busy=2, slots=4),
        Candidate("thin", fit("acceptable"), busy=1, slots=1),
    ]
    chosen = choose(crew, "load")
    assert chosen is not None
    assert chosen[0] == "wide"


def test_one_that_asks_stands_before_one_that_does_not() -> None:
    crew = [
        Candidate("silent", fit("acceptable", 2), asks=False),
        Candidate("asks", fit("acceptable", 2), order=1),
    ]
    chosen = choose(crew, "capability")
    assert chosen is not None
    assert chosen[0] == "asks"
    assert chosen[1].confidence == 0.5


def test_what_fits_too_little_is_only_taken_when_nothing_else_is_there() -> None:
    bad, good = Candidate("bad", fit("insufficient"), busy=0), Candidate("good", fit("acceptable", 2), busy=9)
    assert choose([bad, good], "load")[0] == "good"  # type: ignore[index]
    name, route = choose([bad], "load")  # type: ignore[misc]
    assert (name, "no agent fits well" in route.gap) == ("bad", True)
    assert set(QUALITIES) == {"excellent", "acceptable", "insufficient"}
