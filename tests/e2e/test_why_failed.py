"""A command that failed in the night: the morning's one question is what it said, and what it was not allowed."""

from __future__ import annotations

from nightcrew.testing.hermetic import Hermetic


def test_why_tells_what_a_failed_command_printed_last(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "version: 1\nretries: {attempts: 1}\n"})
    crew.commit("no retries")
    line = "for i in $(seq 1 20); do echo line $i; done; echo 'the disk is full' >&2; exit 3"
    done = crew.run_tasks(f"- [ ] 1. fails\n  - Run: {line}\n")
    assert done.code == 10, done
    found = crew.look("why", "R-1/T01", "--json").json
    assert "it printed last: the disk is full" in found["because"], found
    assert "it printed last: line 20" in found["because"]
    assert "it printed last: line 1" not in found["because"]
    [shown] = [each for each in found["next"] if "all that it printed" in each]
    assert shown.startswith("less /")
    tries = crew.look("show", "R-1/T01", "--json").json["tries"]
    assert tries[-1]["transcript"] in shown
