"""Conformance 29: a hung agent is shown as unhealthy, ended by the silence limit, and its task is recovered."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

CONFIG = """timeouts: {idle: 8s}
retries: {attempts: 2}
agents:
  hung: {argv: [sh, -c, "echo began; sleep SECONDS"], fallback: healthy}
  healthy: {argv: [sh, -c, "echo did it > done.txt"]}
"""
SECONDS = f"629.{os.getpid()}"
"""How long the agent hangs; no other process of this machine has the same."""
PLAN = "# Night\n\n- [ ] 1. Write done.txt\n  - Agent: hung\n  - Accept: `test -s done.txt`\n"


def test_29_a_hung_agent_is_shown_unhealthy_and_its_task_recovered(crew: Hermetic, tmp_path: Path) -> None:
    place = crew.root / "config" / "nightcrew"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yaml").write_text(CONFIG.replace("SECONDS", SECONDS))
    crew.start("run", "-f", str(crew.write_plan(PLAN)), "--yes", log=tmp_path / "log")

    def read_kinds() -> list[str]:
        lines = crew.look("events", "--json").stdout.splitlines()
        return [json.loads(line)["kind"] for line in lines]

    crew.wait_until(lambda: "agent.silent" in read_kinds(), timeout_s=60, what="the silence to be told")
    shown = crew.look("show", "R-1").stdout
    if "running" in shown:
        # It still hangs: whoever looks now sees it; the log and `why` say it later, too.
        assert "unhealthy: it has said nothing for" in shown
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=90, what="the run to be over")
    task = crew.show("R-1")["tasks"][0]
    assert (task["state"], task["agent"], task["planned_agent"]) == ("succeeded", "healthy", "hung")
    tries = crew.look("show", "R-1/T01", "--json").json["tries"]
    assert [(each["state"], each["failure"]) for each in tries] == [("timed_out", "idle"), ("succeeded", "")]
    assert "unhealthy" in (tmp_path / "log").read_text() + crew.look("log", "R-1").stdout
    assert crew.find_commands(f"sleep {SECONDS}") == []
