"""A change is held against what its task said it would do to which files."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nightcrew.model.actions import Change, PathChange, Verdict
from nightcrew.policy.contract import find_unplanned
from nightcrew.policy.load import default_policy, layer, parse_policy

LISTED = {"Creates": ("new.txt", "docs/*.md"), "Modifies": ("src/**",), "Deletes": ("old/**",)}


def find(*paths: PathChange, listed: Mapping[str, tuple[str, ...]] = LISTED, policy: str = "") -> list[tuple]:
    rules = layer([default_policy(), parse_policy(f"version: 1\n{policy}", "policy.yaml")])
    found = find_unplanned(rules, Change("x", "y", paths), listed)
    return [(each.path, each.rule, each.verdict) for each in found]


def change(kind: str, path: str) -> PathChange:
    return PathChange(path, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("added", "new.txt"),
        ("added", "docs/a.md"),
        ("modified", "src/a/b.py"),
        ("modified", "new.txt"),
        ("typechange", "src/a.py"),
        ("deleted", "old/x"),
    ],
)
def test_what_is_listed_is_fine(kind: str, path: str) -> None:
    assert find(change(kind, path)) == []


@pytest.mark.parametrize(
    ("kind", "path", "rule", "verdict"),
    [
        ("deleted", "src/a.py", "safety.unplanned_delete", Verdict.ASK),
        ("deleted", "new.txt", "safety.unplanned_delete", Verdict.ASK),
        ("added", "src/a.py", "safety.unplanned_change", Verdict.ALLOW),
        ("modified", "old/x", "safety.unplanned_change", Verdict.ALLOW),
    ],
)
def test_what_is_not_listed_is_found(kind: str, path: str, rule: str, verdict: Verdict) -> None:
    assert find(change(kind, path)) == [(path, rule, verdict)]


def test_a_task_that_lists_nothing_is_held_against_nothing() -> None:
    assert find(change("deleted", "a"), listed={"Creates": (), "Modifies": (), "Deletes": ()}) == []


def test_the_policy_says_what_follows() -> None:
    strict = "safety: {unplanned_delete: deny, unplanned_change: ask}\n"
    found = find(change("deleted", "a"), change("added", "b"), policy=strict)
    assert [verdict for *_, verdict in found] == [Verdict.DENY, Verdict.ASK]


def test_a_deletion_is_found_where_only_other_lines_are_there() -> None:
    assert len(find(change("deleted", "a"), listed={"Creates": ("b",)})) == 1
