"""What is offered to loosen a policy is never wider than what was asked about."""

from __future__ import annotations

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Verdict
from nightcrew.policy.judge import judge
from nightcrew.policy.load import default_policy, layer
from nightcrew.runtime.rulebook.loosening import tell_ways
from nightcrew.runtime.rulebook.replaying import reads_input

POLICY = layer([default_policy()])


@pytest.mark.parametrize(
    ("command", "offered"),
    [
        ("curl http://localhost/x", True),
        ("psql -c 'UPDATE t SET a=1'", True),
        # As an exception for ``psql db`` this would let every statement pass.
        ("psql db <<< 'UPDATE t SET a=1'", False),
        ("psql db <<'E'\nUPDATE t SET a=1\nE", False),
        ("curl -d @- http://localhost/x < notes.txt", False),
    ],
)
def test_an_exception_is_offered_only_where_the_command_says_all(command: str, offered: bool) -> None:
    decision = judge(POLICY, Action("exec", command=command), parse=parse)
    assert decision.verdict is Verdict.ASK
    ways = tell_ways(POLICY, decision, command)
    assert any("this command alone" in way for way in ways) is offered
    assert any("all that the rule is about" in way for way in ways)


def test_what_reads_a_pipe_is_never_suggested() -> None:
    assert reads_input(POLICY, "echo 'UPDATE t SET a=1' | psql db")
    assert not reads_input(POLICY, "echo x | tee y; curl http://localhost/x")
