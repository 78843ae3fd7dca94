"""Questions of agents: as values, in the words of each protocol, and every answer that is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nightcrew.agents.adapter import Reply
from nightcrew.agents.inquiries import (
    read_claude,
    read_codex,
    read_form,
    write_claude,
    write_codex,
    write_form,
)
from nightcrew.gate.approvals import matches, open_approval
from nightcrew.gate.inquiries import ASKED, answer, put_question
from nightcrew.model.errors import DeniedByPolicy, NightcrewError, StaleError, UsageError
from nightcrew.model.inquiries import CHOICES_LIMIT, TEXT_LIMIT, Inquiry
from nightcrew.model.records import ApprovalRecord

NOW = "2026-01-01T00:00:00.000000Z"
LATER = "2026-01-01T01:00:00.000000Z"
PORT = Inquiry("Which port?", ("8080", "9090"))


def put(inquiry: Inquiry = PORT, **changes: Any) -> ApprovalRecord:
    record = open_approval(
        id="A-1",
        run="R-1",
        task="R-1/T01",
        action=inquiry.action,
        decision=ASKED,
        requester="agent:x",
        now=NOW,
    )
    return replace(put_question(record, inquiry, 1), **changes)


def give(record: ApprovalRecord, **changes: Any) -> ApprovalRecord:
    given: dict[str, Any] = {"text": "", "choices": (), "by": "ann", "via": "test", "digest": "", "now": NOW}
    return answer(record, **{**given, **changes})


def test_an_answer_is_told_and_permits_nothing() -> None:
    done = give(put(), choices=(2,))
    assert (done.state, done.answer, done.question["chosen"], done.uses) == ("answered", "9090", ["9090"], 0)
    assert not matches(done, done.digest)
    said = give(put(), text=" any free one ")
    assert (said.answer, said.question["chosen"]) == ("any free one", [])
    assert Inquiry.read(said.question) == PORT


def test_several_choices_where_several_may_be_taken() -> None:
    asked = put(replace(PORT, several=True))
    assert give(asked, choices=(2, 1, 2)).answer == "9090, 8080"


@pytest.mark.parametrize(
    ("changes", "kind", "code", "said"),
    [
        ({}, UsageError, "answer.choice", "no answer"),
        ({"text": "  "}, UsageError, "answer.choice", "no answer"),
        ({"choices": (3,)}, UsageError, "answer.choice", "no choice 3"),
        ({"choices": (1, 2)}, UsageError, "answer.choice", "one choice only"),
        ({"text": "x", "choices": (1,)}, UsageError, "answer.choice", "not both"),
        ({"text": "x" * 8001}, UsageError, "answer.choice", "8000"),
        ({"text": "x", "by": "agent:claude"}, DeniedByPolicy, "gate.actor", "agent:claude"),
        ({"text": "x", "by": " "}, DeniedByPolicy, "gate.actor", "nobody"),
        ({"text": "x", "digest": "ffff"}, StaleError, "gate.digest", "not about what was shown"),
        ({"text": "x", "digest": "a"}, StaleError, "gate.digest", "not about what was shown"),
    ],
)
def test_what_is_no_answer_is_refused_with_its_own_message(
    changes: dict[str, Any], kind: type[NightcrewError], code: str, said: str
) -> None:
    with pytest.raises(kind) as refused:
        give(put(), **changes)
    assert refused.value.code == code
    assert said in refused.value.message


def test_no_second_answer_none_too_late_and_none_to_a_wish() -> None:
    with pytest.raises(StaleError, match="answered already by ann"):
        give(give(put(), text="x"), text="y")
    with pytest.raises(StaleError, match="expired"):
        give(put(expires_at=NOW), text="x", now=LATER)
    with pytest.raises(UsageError, match="not a question"):
        give(put(kind="action"), text="x")
    with pytest.raises(UsageError, match="choices only"):
        give(put(replace(PORT, free=False)), text="x")


def test_a_question_is_bound_to_all_of_its_words() -> None:
    digests = {
        each.action.digest
        for each in (
            PORT,
            replace(PORT, text="Which port ?"),
            replace(PORT, choices=("8080",)),
            replace(PORT, free=False),
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    "inquiry",
    [
        Inquiry(" "),
        Inquiry("x" * (TEXT_LIMIT + 1)),
        Inquiry("x", ("",)),
        Inquiry("x", tuple(map(str, range(CHOICES_LIMIT + 1)))),
        Inquiry("x", free=False),
    ],
)
def test_what_nobody_could_answer_is_not_put(inquiry: Inquiry) -> None:
    assert inquiry.find_fault()


def test_claudes_questions_and_back() -> None:
    options = [{"label": "Postgres", "description": "grown up"}, {"label": "SQLite"}]
    given = {
        "questions": [
            {"question": "Which database?", "header": "DB", "options": options, "multiSelect": False},
            {
                "question": "What else?",
                "options": [{"label": "cache"}, {"label": "queue"}],
                "multiSelect": True,
            },
        ]
    }
    asked = read_claude(given)
    assert [inquiry.choices for _, inquiry in asked] == [("Postgres", "SQLite"), ("cache", "queue")]
    assert [inquiry.several for _, inquiry in asked] == [False, True]
    assert "- Postgres: grown up" in asked[0][1].text
    told = write_claude(
        given, asked, [Reply("answered", "SQLite", ("SQLite",)), Reply("answered", "neither")]
    )
    assert told["answers"] == {"Which database?": "SQLite", "What else?": "neither"}
    assert told["questions"] == given["questions"]


def test_codex_questions_and_back_but_never_a_secret() -> None:
    question = {"id": "q1", "question": "Which?", "options": [{"label": "a"}, {"label": "b"}]}
    asked = read_codex({"questions": [question]})
    assert write_codex(asked, [Reply("answered", "b", ("b",))]) == {"answers": {"q1": {"answers": ["b"]}}}
    assert write_codex(asked, [Reply("answered", "own words")]) == {
        "answers": {"q1": {"answers": ["own words"]}}
    }
    assert read_codex({"questions": [question, {**question, "id": "q2", "isSecret": True}]}) == ()


def test_forms_and_back() -> None:
    properties = {
        "sure": {"type": "boolean", "title": "Sure?"},
        "many": {"type": "integer"},
        "kind": {
            "type": "string",
            "oneOf": [{"const": "pg", "title": "Postgres"}, {"const": "li", "title": "SQLite"}],
        },
        "all": {"type": "array", "items": {"enum": ["x", "y"]}},
        "name": {"type": "string", "description": "Its name"},
    }
    params = {"mode": "form", "message": "Set up", "requestedSchema": {"properties": properties}}
    fields = read_form(params)
    assert [each.inquiry.free for each in fields] == [False, True, False, False, True]
    replies = [
        Reply("answered", "yes", ("yes",)),
        Reply("answered", "3"),
        Reply("answered", "SQLite", ("SQLite",)),
        Reply("answered", "x, y", ("x", "y")),
        Reply("answered", "fox"),
    ]
    content = {"sure": True, "many": 3, "kind": "li", "all": ["x", "y"], "name": "fox"}
    assert write_form(fields, replies) == {"action": "accept", "content": content}
    wrong = [replies[0], Reply("answered", "three"), *replies[2:]]
    assert write_form(fields, wrong) == {"action": "decline"}
    assert write_form((), ()) == {"action": "decline"}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"mode": "url", "url": "https://example.org"},
        {"mode": "form", "requestedSchema": {"properties": {"o": {"type": "object"}}}},
        {"mode": "form", "requestedSchema": {"properties": {"a": {"type": "array", "items": {}}}}},
        {"requestedSchema": {"properties": 3}},
        {"requestedSchema": []},
    ],
)
def test_what_cannot_be_asked_in_words_is_not_asked(params: dict[str, Any]) -> None:
    assert read_form(params) == ()


@pytest.mark.parametrize("odd", [None, 3, "x", [], [3, None, {"question": 5}], {"questions": {}}])
def test_odd_questions_give_none(odd: Any) -> None:
    assert read_claude({"questions": odd}) == ()
    assert read_codex({"questions": odd}) == ()
