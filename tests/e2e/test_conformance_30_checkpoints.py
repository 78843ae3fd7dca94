"""Row 30: checkpoints of tasks that run side by side are taken one after the other per task; 1,000 files are one of them."""

from __future__ import annotations

import itertools

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

EVERY = "version: 1\ncheckpoints:\n  every: 50ms\n  after_paths: 5\n  debounce: 50ms\n"
STEPS = "".join(f'- write: {{name}}/{number}.txt\n  content: "{number}\\n"\n' for number in range(8))
BURST = "- run: python3 burst.py {name}\n"
BURST_PROGRAM = """
import sys, time
for number in range(12):
    with open(f"{sys.argv[1]}-{number}", "w") as file:
        file.write(str(number))
    time.sleep(0.05)
"""
LIMITS = """version: 1
limits:
  soft: {files: 5000, lines: 100000, created: 5000}
  hard: {files: 5000, lines: 100000, created: 5000}
"""
MANY = """
import os
for number in range(1000):
    folder = f"many/{number % 20}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{number}.txt", "w") as file:
        file.write(f"{number}\\n" * 20)
"""


def test_30_concurrent_checkpoints_are_serialised_per_task_and_lose_nothing(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": EVERY, "burst.py": BURST_PROGRAM})
    crew.commit("settings")
    names = ["a", "b", "c"]
    scripts = {f"{name}.yaml": (STEPS + BURST).replace("{name}", name) for name in names}
    text = "".join(
        f"- [ ] {number}. {name}\n  - Script: {name}.yaml\n  - Accept: test -f {name}/7.txt\n"
        for number, name in enumerate(names, 1)
    )
    done = crew.run_tasks(text, "--max-parallel", "3", scripts=scripts)
    assert done.code == 0, done
    for task in done.json["tasks"]:
        taken = crew.look("checkpoint", "list", task["id"], "--json").json
        assert len(taken) >= 8, "one after each action at least"
        assert [each["parent"] for each in taken] == ["", *[each["id"] for each in taken[:-1]]], "one chain"
        assert [each["event"] for each in taken] == sorted(each["event"] for each in taken)
        for earlier, later in itertools.pairwise(taken):
            assert earlier["created_at"] <= later["created_at"]
            assert earlier["paths"] <= later["paths"], "files were only added"
        assert taken[-1]["paths"] == 20
        assert not any(each["refused"] for each in taken)
    assert crew.look("audit", "verify").code == 0


def test_30_a_thousand_files_are_one_checkpoint(crew: Hermetic) -> None:
    crew.write({"many.py": MANY, ".nightcrew/policy.yaml": LIMITS})
    crew.commit("many")
    done = crew.run_tasks("- [ ] 1. many\n  - Run: python3 many.py\n  - Accept: test -f many/19/999.txt\n")
    assert done.code == 0, done
    [*_, last] = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    assert last["paths"] == 1000
    paths = crew.look("checkpoint", "diff", last["id"], "--json").json["paths"]
    assert {path["path"] for path in paths} == {f"many/{number % 20}/{number}.txt" for number in range(1000)}
    measured = crew.look("stats", "R-1", "--json")
    assert measured.code == 0, measured
