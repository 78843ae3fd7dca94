"""Another answer to a task: from a checkpoint, beside the original, and only one of them lands."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = """# Two things
- [ ] 1. a
  - Run: echo one > a.txt; echo first > note.txt
  - Accept: test -s a.txt
- [ ] 2. b
  - Depends: 1
  - Run: cat a.txt > b.txt
  - Accept: test -s b.txt
"""


def rest(crew: Hermetic) -> dict:
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run")
    return crew.show_tasks("R-1")


def paths(crew: Hermetic, name: str) -> set[str]:
    return {path["path"] for path in crew.look("diff", name, "--json").json["paths"]}


def test_a_fork_goes_on_from_a_checkpoint_and_one_answer_lands(crew: Hermetic) -> None:
    assert crew.run_tasks(PLAN).code == 0
    first = crew.show("R-1/T01")["checkpoint"]
    digest = crew.show("R-1")["plan"]["digest"]
    dry = crew.run(
        "checkpoint", "fork", first, "--run", "echo two >> a.txt; rm note.txt", "--dry-run", "--json"
    )
    assert (dry.code, dry.json["task"], dry.json["accept"]) == (0, "R-1/T01F1", ["test -s a.txt"]), dry
    assert crew.show("R-1")["plan"]["digest"] == digest, "a rehearsal changed the plan"
    # All that a recording would do is shown before the yes to it.
    crew.write({"other.yaml": "- write: a.txt\n  content: other\n- run: rm note.txt\n"})
    played = crew.run("checkpoint", "fork", first, "--agent", "script", "--script", "other.yaml", "--dry-run")
    assert [line.strip() for line in played.stderr.splitlines() if line.strip().startswith("- ")] == [
        "- write a.txt (5 bytes)",
        "- run rm note.txt",
    ]
    (crew.repo / "other.yaml").unlink()
    done = crew.run("checkpoint", "fork", first, "--run", "echo two >> a.txt; rm note.txt", "--yes", "--json")
    assert done.code == 0, done
    tasks = rest(crew)
    assert list(tasks) == ["T01", "T01F1", "T02"], "a fork stands beside what it answers"
    assert (tasks["T01F1"]["state"], tasks["T01F1"]["verified"]) == ("succeeded", "verified")
    view = crew.show("R-1")["plan"]
    assert (view["version"], view["digest"]) == (2, dry.json["digest"])
    # It began with what the checkpoint held, and its change is measured against what the original started on.
    patch = crew.look("diff", "R-1/T01F1").stdout
    assert "+one" in patch
    assert "+two" in patch
    assert (paths(crew, "R-1/T01"), paths(crew, "R-1/T01F1")) == ({"a.txt", "note.txt"}, {"a.txt"})
    review = {task["name"]: task for task in crew.run("review", "R-1", "--json").json["tasks"]}
    assert {name: review[name]["green"] for name in review} == {"T01": False, "T01F1": False, "T02": True}
    # All that is green: not the two answers, between which nobody has chosen.
    accepted = crew.run("accept", "R-1", "--json").json
    assert [task["id"] for task in accepted["accepted"]] == ["R-1/T02"]
    assert {left["id"] for left in accepted["left_out"]} == {"R-1/T01", "R-1/T01F1"}
    assert crew.run("accept", "r-1/t01f1").code == 0
    both = crew.run("accept", "R-1/T01")
    assert (both.code, "only one of them can go" in both.stderr) == (7, True), both
    # What was built on the other answer is stale; run again, it stands on the chosen one.
    plan = crew.run("promote", "R-1", "--dry-run", "--json").json
    assert (plan["tasks"], [held["id"] for held in plan["held"]]) == (["R-1/T01F1"], ["R-1/T02"])
    assert crew.run("retry", "R-1/T02").code == 0
    rest(crew)
    assert crew.run("accept", "R-1/T02").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0
    assert (crew.repo / "b.txt").read_text() == "one\ntwo\n"
    assert not (crew.repo / "note.txt").exists()


def test_a_fork_joins_a_run_that_is_going_on(crew: Hermetic, token: str) -> None:
    text = f"- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -s a.txt\n- [ ] 2. slow\n  - Run: sleep {token}\n"
    crew.start("run", "-f", str(crew.write_plan(text)), "--yes", log=crew.root / "log")
    crew.wait_until(lambda: crew.find_commands(token), what="the slow agent")
    crew.wait_until(lambda: crew.show("R-1/T01")["state"] == "succeeded", what="the first task")
    first = crew.show("R-1/T01")["checkpoint"]
    done = crew.run("checkpoint", "fork", first, "--run", "cp a.txt c.txt", "--yes", "--json")
    assert (done.code, done.json["engine"]) == (0, "woken"), done
    crew.wait_until(lambda: crew.show("R-1/T01F1")["state"] == "succeeded", what="the fork")
    assert crew.show("R-1/T02")["state"] == "running", "what ran was disturbed"
    assert len(crew.show("R-1/T02")["tries"]) == 1
    assert paths(crew, "R-1/T01F1") == {"a.txt", "c.txt"}
    assert crew.run("cancel", "R-1").code == 0


def test_a_fork_that_cannot_be_is_refused_and_changes_nothing(crew: Hermetic) -> None:
    assert crew.run_tasks(PLAN).code == 0
    before = crew.show("R-1")
    first = crew.show("R-1/T01")["checkpoint"]
    unknown = crew.run("checkpoint", "fork", first, "--agent", "nobody", "--yes")
    assert (unknown.code, "nobody" in unknown.stderr) == (2, True), unknown
    forbidden = crew.run("checkpoint", "fork", first, "--run", "sudo rm -rf /", "--yes")
    assert forbidden.code == 6, forbidden
    asked = crew.run("checkpoint", "fork", first, "--run", "true")
    assert (asked.code, "--yes" in asked.stderr) == (5, True), asked
    assert crew.show("R-1") == before
