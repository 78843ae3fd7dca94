"""What the user changes is looked for once more when a run ends, and whenever its results are looked at."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns


def test_drift_is_as_it_is_now(crew: Hermetic, token: str) -> None:
    plan = crew.write_plan(f"- [ ] 1. one\n  - Run: sleep 6.{token}; echo mine >> src/app.py\n")
    crew.start("run", "-f", str(plan), "--yes", log=crew.root / "run.log")
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the task")
    crew.write({"src/app.py": "print('yours')\n"})
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=60, what="the end")
    crew.wait_until(lambda: told(crew), what="the last look")
    [event] = told(crew)
    assert (event["severity"], event["both"], event["tasks"]) == ("high", ["src/app.py"], ["R-1/T01"])
    crew.git("checkout", "-q", "--", "src/app.py")
    assert crew.show("R-1")["drift"] == {}
    assert "drift high" not in crew.run("review", "R-1").stdout
    crew.write({"src/app.py": "print('yours again')\n"})
    assert crew.show("R-1")["drift"]["both"] == ["src/app.py"]
    assert "drift high: you and this run both changed src/app.py" in crew.run("review", "R-1").stdout
    assert len(told(crew)) == 1, "looking tells nobody"


def told(crew: Hermetic) -> list[dict[str, object]]:
    lines = crew.look("events", "--kinds", "drift.detected", "--json").stdout.splitlines()
    return [json.loads(line)["data"] for line in lines]
