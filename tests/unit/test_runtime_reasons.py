"""The table of reasons: words are filled, what is over is left out, and every entry names a kind that somebody writes."""

from __future__ import annotations

import re
from pathlib import Path

import nightcrew
from nightcrew.model.events import Event
from nightcrew.runtime.rulebook import reasons
from nightcrew.runtime.rulebook.reasons import REASONS, Reason, fill, tell

SOURCE = Path(nightcrew.__file__).parent


def event(seq, kind, **data):
    return Event(seq, "2025-01-01T00:00:00.000000Z", kind, "R-1", "R-1/T01", "", "engine", data)


def test_parts_without_a_value_are_left_out():
    words = "stopped: {reason}[ (rule {rule}, {source})][ by {actor}]"
    assert fill(words, event(1, "x.y", reason="late", rule="r")) == "stopped: late by engine"
    assert (
        fill(words, event(1, "x.y", reason="late", rule="r", source="f:1"))
        == "stopped: late (rule r, f:1) by engine"
    )
    assert fill("{paths}[: {more}]", event(1, "x.y", paths=["a", "b"], more={"n": 2, "m": ""})) == "a, b: n 2"


def test_the_last_one_counts_until_something_ends_it(monkeypatch):
    table = (
        Reason(
            "budget.reached",
            "spent: {said}",
            next=("nightcrew extend {subject}",),
            until=("budget.extended",),
        ),
        Reason("model.failed", "failed {n}", every=True),
    )
    monkeypatch.setattr(reasons, "REASONS", table)
    monkeypatch.setattr(reasons, "_BY_KIND", {each.kind: each for each in table})
    events = [event(1, "budget.reached", said="1"), event(2, "budget.reached", said="2")]
    events += [event(number, "model.failed", n=number) for number in range(3, 15)]
    told = tell(events, "R-1/T01")
    assert told.because[0] == "spent: 2 (E-2)"
    assert told.because[1:] == tuple(f"failed {n} (E-{n})" for n in range(7, 15))
    assert told.next == ("nightcrew extend R-1/T01",)
    assert tell([*events, event(20, "budget.extended")], "R-1").next == ()


def test_every_kind_of_the_table_is_written_somewhere():
    texts = [
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.name not in ("reasons.py", "lines.py")
    ]
    written = set(re.findall(r"\"([a-z_]+\.[a-z_]+)\"", "\n".join(texts)))
    families = {"task.", "run.", "approval.", "attempt."}
    for reason in REASONS:
        known = reason.kind in written or any(
            reason.kind.startswith(each) and re.search(rf"f\"{re.escape(each)}\{{", "\n".join(texts))
            for each in families
        )
        assert known, reason.kind


def test_no_kind_stands_twice():
    kinds = [each.kind for each in REASONS]
    assert len(kinds) == len(set(kinds))
