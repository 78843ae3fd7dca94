"""What ``--agents`` says, and whom it bounds."""

from __future__ import annotations

import pytest

from nightcrew.model.errors import UsageError
from nightcrew.runtime.crew.assigning import choose_slots, read_slots
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.plans.planning import read_draft
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.testing.hermetic import Hermetic


@pytest.mark.parametrize(
    "wrong", ["a:0", "a:65", "a:064", "a:0641", "a:640", "a:-1", "a:²", "a:", ":2", "a:1,a:2"]
)
def test_odd_numbers_of_slots_are_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="nothing was started"):
        read_slots(wrong)


def test_an_agent_that_takes_over_is_bounded_like_one_of_the_plan(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "agents: {a: {argv: ['true']}, b: {argv: ['true']}}\n"})
    crew.commit("agents")
    parts = Parts(read_environment(crew.variables), crew.repo)
    wanted = read_slots("a:2,b:1")
    draft = read_draft(parts, str(crew.write_plan("- [ ] 1. x\n  - Agent: a\n  - Fallback: b\n")))
    assert choose_slots(draft.rules, draft.plan.tasks, wanted) == {"a": 2, "b": 1}
