"""Rows 4-6: a timeout returns on time and takes every grandchild along; a line without an end does no harm."""

from __future__ import annotations

from datetime import datetime

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

ONCE = "version: 1\nretries:\n  attempts: 1\n"


def seconds(attempt: dict[str, str]) -> float:
    started, ended = (datetime.fromisoformat(attempt[key]) for key in ("started_at", "ended_at"))
    return (ended - started).total_seconds()


@pytest.mark.parametrize(
    "body",
    [
        "sleep 600.{token} & sleep 601.{token}",
        "(setsid sleep 600.{token} > /dev/null 2>&1 &); sleep 601.{token}",
        "trap '' TERM; sleep 600.{token} & wait; sleep 601.{token}",
    ],
    ids=["background", "own session", "ignores TERM"],
)
def test_04_05_timeout_is_on_time_and_no_grandchild_survives(crew: Hermetic, token: str, body: str) -> None:
    crew.write({".nightcrew/config.yaml": ONCE})
    crew.commit("settings")
    text = f"- [ ] 1. hang\n  - Run:\n    ```\n    {body.format(token=token)}\n    ```\n  - Timeout: 2s\n"
    done = crew.run_tasks(text)
    assert done.code == 10, done
    assert crew.find_commands(token) == []
    task = by_name(done.json)["T01"]
    assert task["state"] == "failed"
    [attempt] = crew.show("R-1/T01")["tries"]
    assert attempt["state"] == "timed_out"
    assert attempt["ending"] == "hard_timeout"
    assert 2 <= seconds(attempt) < 8 + 5, (
        attempt
    )  # 2 s, the grace of 5 s for who ignores TERM, and a slow machine


def test_04_a_grandchild_that_holds_the_output_open_does_not_hold_up_a_finished_task(
    crew: Hermetic, token: str
) -> None:
    text = f"- [ ] 1. leaves something behind\n  - Run: sleep 600.{token} & echo ok > ok.txt\n  - Accept: test -f ok.txt\n"
    done = crew.run_tasks(text, timeout_s=45)
    assert done.code == 0, done
    assert crew.find_commands(token) == []
    [attempt] = crew.show("R-1/T01")["tries"]
    assert seconds(attempt) < 15


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.stdout.write('x' * 200_000)",
        "import sys; sys.stderr.write('y' * 5_000_000)",
        "import os, sys; sys.stdout.buffer.write(os.urandom(300_000) + b'\\x1b[2J\\x00')",
    ],
    ids=["200 KB line", "5 MB line on stderr", "binary"],
)
def test_06_output_of_any_shape_does_not_hang(crew: Hermetic, program: str) -> None:
    crew.write({"noise.py": program})
    crew.commit("noise")
    text = "- [ ] 1. noise\n  - Run: python3 noise.py && echo ok > ok.txt\n  - Accept: python3 noise.py\n"
    done = crew.run_tasks(text, timeout_s=60)
    assert done.code == 0, done
    assert by_name(done.json)["T01"]["verified"] == "verified"
