"""A secret in a plan is refused before anything is stored, because what is stored is what is approved and run."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

TOKEN = "gh" + "p_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"


@pytest.mark.parametrize(
    "lines",
    [
        f"- [ ] 1. push\n  - Run: `echo {TOKEN} > out`\n",
        f"- [ ] 1. push\n  - Run: `echo x`\n  - Accept: `grep {TOKEN} out`\n",
        f"- [ ] 1. push with {TOKEN}\n  - Run: `echo x`\n",
    ],
    ids=["run", "accept", "title"],
)
def test_a_secret_in_a_tasks_file_is_refused_and_stored_nowhere(crew: Hermetic, lines: str) -> None:
    done = crew.run_tasks(lines)
    assert done.code == 2, done
    assert "looks like a secret" in str(done)
    assert TOKEN not in done.stdout + done.stderr
    stored = [path for path in crew.state.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in stored)


def test_a_secret_in_the_policy_is_refused_with_its_line(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": f"version: 1\n# {TOKEN}\n"})
    done = crew.run_tasks("- [ ] 1. x\n  - Run: echo x\n")
    assert done.code == 2, done
    assert ".nightcrew/policy.yaml:2" in str(done)
    assert TOKEN not in str(done)
