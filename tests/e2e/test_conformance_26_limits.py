"""Row 26: size and line limits are counted on the real change: above a soft one a person is asked, above a hard one it fails."""

from __future__ import annotations

from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic, Ran, by_name

pytestmark = pytest.mark.needs_userns


def run(crew: Hermetic, program: str) -> Ran:
    """Run a task that runs a Python program which nobody can read the size of its work from."""
    once = "\nimport os; open('once.txt', 'w').write(os.urandom(8).hex())\n"  # tells whether it ran a second time
    crew.write({"agent.py": program + once})
    crew.commit("agent")
    return crew.run_tasks("- [ ] 1. big\n  - Run: python3 agent.py\n  - Accept: true\n")


def find(task: dict[str, Any], verdict: str) -> list[dict[str, Any]]:
    return [found for found in task["findings"] if found["check"] == "limits" and found["verdict"] == verdict]


@pytest.mark.parametrize(
    "program",
    [
        "open('big.bin', 'wb').write(b'x' * (11 * 1024 * 1024))",
        "import os\nfor n in range(101): open(f'f{n}.txt', 'w').write('x')",
        "import os\nos.makedirs('d')\nfor n in range(30): open(f'd/{n}.bin', 'wb').write(bytes([n]) * (8 << 20))",
    ],
    ids=["one file of 11 MB", "101 new files", "240 MB in all"],
)
def test_26_above_a_hard_limit_the_task_fails(crew: Hermetic, program: str) -> None:
    done = run(crew, program)
    assert done.code == 10, done
    task = by_name(done.json)["T01"]
    assert task["state"] == "failed"
    assert find(task, "deny"), task
    assert crew.run("accept", "R-1/T01").code == 7


@pytest.mark.parametrize(
    "program",
    [
        "open('long.txt', 'w').write('line\\n' * 1500)",
        "open('src/data.txt', 'w').write('line\\n' * 1500)",
        "for n in range(25): open(f'f{n}.txt', 'w').write('x')",
        (
            "import subprocess\nfor n in range(25): open(f'f{n}.txt', 'w').write('x')\n"
            "subprocess.check_call('git add -A && git -c user.name=a -c user.email=a@b commit -qm hidden', shell=True)"
        ),
    ],
    ids=["1500 new lines", "1500 changed lines", "25 files", "25 files, committed by the agent"],
)
def test_26_above_a_soft_limit_a_person_is_asked(crew: Hermetic, program: str) -> None:
    done = run(crew, program)
    assert done.code == 5, done
    assert by_name(done.json)["T01"]["state"] == "awaiting_approval"
    shown = crew.look("diff", "R-1/T01").stdout
    [item] = crew.look("inbox", "--json").json
    assert item["kind"] == "change"
    assert item["task"] == "R-1/T01"
    assert crew.run("approve", item["id"], "--no-start").code == 0
    resumed = crew.run("resume", "R-1", "--wait", "--json")
    assert resumed.code == 0, resumed
    task = by_name(resumed.json)["T01"]
    assert (task["state"], task["verified"]) == ("succeeded", "verified")
    assert crew.look("diff", "R-1/T01").stdout == shown, "the agent ran again after its result was approved"


def test_26_limits_of_the_repository_are_used(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": "version: 1\nlimits:\n  hard:\n    created: 2\n"})
    crew.commit("limits")
    done = run(crew, "for n in range(3): open(f'f{n}.txt', 'w').write('x')")
    assert done.code == 10, done
    assert "policy.yaml:4" in find(by_name(done.json)["T01"], "deny")[0]["source"]


def test_26_ignored_files_do_not_count_as_changes_of_the_repository(crew: Hermetic) -> None:
    done = run(crew, "for n in range(60): open(f'f{n}.log', 'w').write('x')\nopen('one.txt', 'w').write('x')")
    assert done.code == 0, done
