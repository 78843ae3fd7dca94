"""What policy denies in a change ends the agent while it works, or asks, or waits for its end: as the policy says."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

CONFIG = "version: 1\ncheckpoints: {every: 200ms, debounce: 100ms}\n"
TASKS = "- [ ] 1. protected\n  - Run: sh protected.sh\n- [ ] 2. secret\n  - Run: sh secret.sh\n"
SCRIPTS = {
    # What a command line does not tell, and is seen only when it is done.
    "protected.sh": "echo x > server.pem\nsleep 40\necho y > src/never.txt\n",
    "secret.sh": "echo gh''p_kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAabcd > src/key.txt\nsleep 40\n",
    ".nightcrew/config.yaml": CONFIG,
}


def test_it_is_ended_at_once_and_what_it_did_is_kept(crew: Hermetic) -> None:
    crew.write({**SCRIPTS, ".nightcrew/policy.yaml": "version: 1\nsecrets: {change: deny}\n"})
    crew.commit("settings")
    done = crew.run_tasks(TASKS)
    assert done.code == 10, done
    for name, said in (
        ("T01", "server.pem is protected"),
        ("T02", "src/key.txt:1 holds what looks like a secret"),
    ):
        task = by_name(done.json)[name]
        assert task["state"] == "failed", task
        assert task["reason"].startswith("denied by policy while it ran: "), task
        assert said in task["reason"]
        assert "kX9wQ2mZ" not in task["reason"]
        assert "src/never.txt" not in crew.look("checkpoint", "diff", task["checkpoint"], "--stat").stdout


def test_a_person_is_asked_where_the_policy_says_so(crew: Hermetic) -> None:
    policy = "version: 1\nsafety: {while_running: ask}\n"
    crew.write({**SCRIPTS, ".nightcrew/policy.yaml": policy})
    crew.commit("settings")
    done = crew.run_tasks("- [ ] 1. protected\n  - Run: sh protected.sh\n")
    assert done.code == 5, done
    item = crew.look("show", "A-1", "--json").json
    assert item["risk"] == "high"
    assert "server.pem is protected" in item["reason"]
    assert crew.run("deny", "A-1", "-m", "no keys here").code == 0
    assert crew.show_tasks("R-1")["T01"]["state"] == "failed"
