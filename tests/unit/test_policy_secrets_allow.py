"""An allowance is added to a policy that a person wrote, and nothing else of it changes."""

from __future__ import annotations

from datetime import date

import pytest

from nightcrew.model.errors import InvalidInput, UsageError
from nightcrew.policy.load import parse_policy
from nightcrew.runtime.results.secretkeeping import _insert, _make_item

ITEM = _make_item("12345678901234567e89", "it's closed: really", date(2027, 1, 31), "ada")
OLD = 'fingerprint: "00000000000000000000", reason: r, until: "2027-01-01", by: bob'


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("version: 1\n# mine\ndefaults: {network: deny}\n", 1),
        ("secrets:\n  change: deny  # strict\n", 1),
        ("secrets:\n  allow:\n    - " + OLD.replace(", ", "\n      ") + "\n  change: ask\n", 2),
        ("secrets:\n  allow:\n  - {" + OLD + "}\n# the end\n", 2),
    ],
)
def test_it_stands_in_the_policy_and_all_else_stays(text: str, count: int) -> None:
    after = _insert(text, ITEM)
    found = [placed.value for placed in parse_policy(after, "p").allowances]
    assert len(found) == count
    assert ("12345678901234567e89", "it's closed: really", "2027-01-31", "ada") in [
        (each.fingerprint, each.reason, each.until, each.by) for each in found
    ]
    kept = [line for line in after.splitlines() if line not in {*text.splitlines()}]
    assert [line for line in after.splitlines() if line not in kept] == text.splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "secrets: {change: ask}\n",
        "secrets: {allow: [{" + OLD + "}]}\n",
        "secrets:\n  allow: [{" + OLD + "}]\n",
    ],
)
def test_a_form_that_cannot_be_added_to_is_refused_with_the_lines_to_add(text: str) -> None:
    with pytest.raises(UsageError) as error:
        _insert(text, ITEM)
    assert any("12345678901234567e89" in line for line in error.value.where)


def test_a_policy_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(InvalidInput):
        _insert("secrets: [\n", ITEM)
