"""What the user does to the repository while a run goes on is told with its severity, and stops the run where wanted."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

PLAN = (
    "- [ ] 1. one\n  - Run: echo mine >> src/app.py\n"
    "- [ ] 2. two\n  - Depends: 1\n  - Run: sleep {wait}.{token}; echo two > two.txt\n"
)


def settings(crew: Hermetic, more: str) -> None:
    crew.write({".nightcrew/config.yaml": f"version: 1\ndrift:\n  every: 1s\n  after_tasks: 1\n{more}"})
    crew.commit("settings")


def begin(crew: Hermetic, token: str, wait: int) -> None:
    plan = crew.write_plan(PLAN.format(token=token, wait=wait))
    crew.start("run", "-f", str(plan), "--yes", log=crew.root / "run.log")
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the second task")


def test_severity_and_its_end_are_told(crew: Hermetic, token: str) -> None:
    settings(crew, "")
    begin(crew, token, 60)
    assert crew.show("R-1")["drift"] == {}
    crew.write({"notes.txt": "untracked"})
    found = crew.wait_until(lambda: crew.show("R-1")["drift"], what="drift")
    assert (found["severity"], found["other"]) == ("low", ["notes.txt"])
    crew.write({"package.json": "{}", "src/app.py": "print('yours')\n"})
    crew.wait_until(lambda: crew.show("R-1")["drift"]["severity"] == "high", what="high drift")
    found = crew.show("R-1")["drift"]
    assert (found["both"], found["critical"], found["tasks"]) == (
        ["src/app.py"],
        ["package.json"],
        ["R-1/T01"],
    )
    assert "drift: high" in crew.look("ps").stdout
    assert "drift high: you and this run both changed src/app.py" in crew.look("show", "R-1").stdout
    before = crew.git("status", "--porcelain")
    crew.git("checkout", "-q", "--", "src/app.py")
    (crew.repo / "package.json").unlink()
    (crew.repo / "notes.txt").unlink()
    crew.wait_until(lambda: not crew.show("R-1")["drift"], what="the end of the drift")
    assert "src/app.py" in before
    crew.run("cancel", "R-1")


def test_a_question_pauses_the_run_and_a_yes_lets_it_go_on(crew: Hermetic, token: str) -> None:
    settings(crew, "  on_high: ask\n")
    begin(crew, token, 8)
    crew.write({"src/app.py": "print('yours')\n"})
    [item] = crew.wait_until(lambda: crew.look("inbox", "--json").json, what="the question")
    assert (item["kind"], item["run"], item["risk"]) == ("drift", "R-1", "high")
    assert "src/app.py" in item["action"]
    crew.wait_until(lambda: by_name(crew.show("R-1"))["T02"]["state"] == "paused", what="the pause")
    assert crew.show("R-1")["state"] == "paused"
    why = crew.look("why", "R-1").stdout
    assert "drift (high)" in why
    assert "nightcrew resume R-1" in why
    assert "drift of R-1" in crew.look("why", item["id"]).stdout
    approved = crew.run("approve", item["id"])
    assert approved.code == 0, approved
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", timeout_s=60, what="the end of the run")
    assert by_name(crew.show("R-1"))["T02"]["state"] == "succeeded"
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code != 0, "promotion overwrote the user's edit"
    assert (crew.repo / "src/app.py").read_text() == "print('yours')\n"
