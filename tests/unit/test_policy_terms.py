"""Terms of approvals and needs for a factor over layers: an inner one can only ask for more, whoever wrote the outer one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model.errors import InvalidInput
from nightcrew.policy.load import Policy, layer, parse_policy
from nightcrew.policy.rules import Terms
from nightcrew.policy.terms import join_terms, looser_terms, satisfies, stronger

TERMS = st.builds(
    Terms,
    approvers=st.sampled_from([(), ("ada",), ("ada", "grace"), ("grace", "linus")]),
    reason=st.booleans(),
    timeout_s=st.sampled_from([0.0, 60.0, 3600.0]),
    quorum=st.integers(1, 3),
    not_requester=st.booleans(),
    factor=st.sampled_from(["", "any", "pin", "totp"]),
    on_timeout=st.sampled_from(["deny", "park", "allow"]),
)


@given(TERMS, TERMS)
def test_both_together_ask_for_what_either_asks_for(outer: Terms, inner: Terms) -> None:
    both = join_terms(outer, inner)
    assert not looser_terms(both, outer) or (outer.approvers and inner.approvers and not both.approvers)
    assert join_terms(both, both).quorum == both.quorum >= max(outer.quorum, inner.quorum)
    assert both.reason == (outer.reason or inner.reason)
    assert both.factor == stronger(outer.factor, inner.factor)
    if outer.approvers and inner.approvers:
        assert set(both.approvers) == set(outer.approvers) & set(inner.approvers)
    times = [each.timeout_s for each in (outer, inner) if each.timeout_s]
    assert both.timeout_s == min(times, default=0.0)


@pytest.mark.parametrize("needed", ["any", "pin", "totp"])
def test_nothing_satisfies_no_need(needed: str) -> None:
    assert not satisfies("", needed)
    assert not satisfies("invite", needed)
    assert satisfies("", "")


def put(*texts: str) -> Policy:
    return layer([parse_policy(f"version: 1\n{text}\n", f"p{number}") for number, text in enumerate(texts)])


def test_a_repository_cannot_loosen_what_its_user_wants() -> None:
    policy = put(
        "approvals: {high: {approvers: [ada, grace, eve], quorum: 2, factor: totp, timeout: 1h, on_timeout: deny}}\n"
        "factors: {promote: totp, undo: any}",
        "approvals: {high: {approvers: [grace, ada], reason: true, timeout: 8h, on_timeout: park}}\n"
        "factors: {promote: none, undo: pin, role: any}",
    )
    terms = policy.settings["approvals.high"].value
    assert terms == Terms(("grace", "ada"), True, 3600.0, 2, False, "totp", "deny")
    needs = {name: policy.settings[f"factors.{name}"].value.factor for name in ("promote", "undo", "role")}
    assert needs == {"promote": "totp", "undo": "pin", "role": "any"}
    assert policy.settings["factors.promote"].source == "p0:3"


def test_where_nobody_could_say_yes_the_file_is_wrong() -> None:
    with pytest.raises(InvalidInput) as caught:
        put(
            "approvals: {high: {approvers: [ada, grace], quorum: 2}}",
            "approvals: {high: {approvers: [grace, linus]}}",
        )
    [problem] = caught.value.problems
    assert str(problem).startswith(
        "p1:2:13: approvals.high with p0:2 it needs 2 of the people that both name: 1 there"
    )


@pytest.mark.parametrize("yes", ["true", "any"])
def test_yes_is_any_factor(yes: str) -> None:
    assert put(f"factors: {{promote: {yes}}}").settings["factors.promote"].value.factor == "any"


def test_what_older_terms_could_not_say_does_not_change_a_digest() -> None:
    old = "approvals: {high: {approvers: [ada], reason: true, timeout: 1h}}"
    assert put(old).digest == put(old.replace("timeout: 1h", "timeout: 1h, quorum: 1, factor: none")).digest
    assert put(old).digest != put(old.replace("reason: true", "reason: true, not_requester: true")).digest
