"""Taking one task out of what a run would land, all of it or in part, and putting it back."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

PLAN = """# Four things
- [ ] 1. ground
  - Run: mkdir lib && seq 1 20 > lib/numbers.txt && echo ground > lib/ground.txt
  - Accept: test -f lib/numbers.txt
- [ ] 2. middle
  - Run: sed -i s/one/ONE/ src/data.txt && echo two > two.txt
  - Accept: grep -q ONE src/data.txt
- [ ] 3. top
  - Depends: 1
  - Run: sed -i s/^3$/three/ lib/numbers.txt
  - Accept: grep -q three lib/numbers.txt
- [ ] 4. beside
  - Run: echo four >> src/data.txt
  - Accept: grep -q four src/data.txt
"""


def composed(crew: Hermetic, run: str = "R-1") -> str:
    return crew.look("diff", run, "--json").json["tree"]


def test_a_task_is_taken_out_and_put_back(crew: Hermetic) -> None:
    done = crew.run_tasks(PLAN)
    assert done.code == 0, done
    crew.run("accept", "R-1")
    whole = composed(crew)
    # As a rehearsal: who depends on it, who is next to it, and what is left holds.
    dry = crew.run("rollback", "R-1/T01", "--dry-run", "--json")
    assert dry.code == 0, dry
    view = dry.json
    assert view["before_tree"] == whole
    assert view["tasks"] == ["R-1/T02", "R-1/T04"]
    assert [(each["id"], each["why"], each["held"]) for each in view["neighbours"]] == [
        ("R-1/T03", "plan", True)
    ]
    assert {path["path"] for path in view["paths"]} == {"lib/numbers.txt", "lib/ground.txt"}
    assert {each["task"] for each in view["proof"]} == {"R-1/T02", "R-1/T04"}
    assert all(each["passed"] for each in view["proof"])
    assert composed(crew) == whole, "a rehearsal changed something"
    beside = crew.run("rollback", "R-1/T02", "--dry-run", "--unproven", "--json").json
    assert [(e["id"], e["why"], e["paths"]) for e in beside["neighbours"]] == [
        ("R-1/T04", "hunks", ["src/data.txt"])
    ]
    # For real: it is rejected, what depends on it is held, and the rest can go.
    assert crew.run("rollback", "R-1/T01").code == 5, "nobody said yes"
    applied = crew.run("rollback", "R-1/T01", "--yes", "--json")
    assert applied.code == 0, applied
    assert applied.json["tree"] == view["tree"] == composed(crew)
    tasks = crew.show_tasks("R-1")
    assert (tasks["T01"]["verdict"], tasks["T03"]["verdict"]) == ("rejected", "accepted")
    plan = crew.run("promote", "R-1", "--dry-run", "--json").json
    assert plan["tasks"] == ["R-1/T02", "R-1/T04"]
    assert [held["id"] for held in plan["held"]] == ["R-1/T03"]
    assert plan["tree"] == view["tree"], "what lands is what was shown and proven"
    again = crew.run("rollback", "R-1/T01", "--yes")
    assert (again.code, "nothing of R-1/T01" in again.stderr) == (7, True), again
    # What is held is not called green, and says for want of what.
    review = {task["name"]: task for task in crew.run("review", "R-1", "--json").json["tasks"]}
    assert (review["T03"]["green"], review["T02"]["green"]) == (False, True)
    assert [each["text"] for each in review["T03"]["concerns"] if each["kind"] == "held"] == [
        "needs T01, rejected: it cannot go without"
    ]
    left = {each["id"]: each["why"] for each in crew.run("accept", "R-1", "--json").json["left_out"]}
    assert "(needs T01, rejected: it cannot go without)" in left["R-1/T03"], left
    # Back: the same verdicts, the same tree.
    undone = crew.run("rollback", "R-1/T01", "--undo", "--json")
    assert (undone.code, undone.json["verdict"]) == (0, "accepted"), undone
    assert composed(crew) == whole
    assert len(crew.run("promote", "R-1", "--dry-run", "--json").json["tasks"]) == 4
    assert crew.run("rollback", "R-1/T01", "--undo").code == 7, "there is nothing more to undo"


def test_a_part_of_a_task_is_taken_out_and_what_was_built_on_it_is_stale(crew: Hermetic) -> None:
    assert crew.run_tasks(PLAN).code == 0
    crew.run("accept", "R-1")
    whole = composed(crew)
    applied = crew.run("rollback", "R-1/T01", "--files", "lib/numbers.txt", "--yes", "--json")
    assert applied.code == 0, applied
    view = applied.json
    assert {path["path"] for path in view["paths"]} >= {"lib/ground.txt"}
    assert view["stale"] == {"R-1/T03": ["T01"]}
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the acceptance")
    assert crew.show("R-1/T01")["verified"] == "verified"
    paths = {path["path"] for path in crew.look("diff", "R-1/T01", "--json").json["paths"]}
    assert paths == {"lib/numbers.txt"}
    assert "it is stale" in crew.look("why", "R-1/T03").stdout
    # A stale result is shown, refused, and let go by name only.
    assert "built on another T01" in crew.run("review", "R-1").stdout
    stale = next(task for task in crew.run("review", "R-1", "--json").json["tasks"] if task["name"] == "T03")
    assert [concern["kind"] for concern in stale["concerns"]].count("stale") == 1
    assert not stale["green"]
    crew.run("accept", "R-1/T01", "R-1/T03")
    refused = crew.run("promote", "R-1", "T03", "--dry-run")
    assert (refused.code, "built on another T01" in refused.stderr) == (7, True), refused
    waived = crew.run("promote", "R-1", "--waive", "T03", "--dry-run", "--json")
    assert waived.json["tasks"] == ["R-1/T01", "R-1/T02", "R-1/T03", "R-1/T04"], waived
    # Undone, the result is to the byte what it was, and nothing is stale any more.
    assert crew.run("rollback", "R-1/T01", "--undo").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the acceptance")
    assert composed(crew) == whole
    to = crew.run("rollback", "R-1/T01", "--to", view["checkpoint"], "--dry-run", "--unproven", "--json")
    assert (to.code, to.json["tree"]) == (0, view["tree"]), to
    other = crew.show("R-1/T02")["checkpoint"]
    assert crew.run("rollback", "R-1/T01", "--to", other, "--yes").code == 2, "another task's checkpoint"
    assert not any(
        concern["kind"] == "stale"
        for task in crew.run("review", "R-1", "--json").json["tasks"]
        for concern in task["concerns"]
    )


def test_a_rehearsal_says_what_is_known_of_what_would_be_left(crew: Hermetic) -> None:
    text = (
        "- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -f a.txt\n"
        "- [ ] 2. b\n  - Depends: 1\n  - Run: echo b > b.txt\n  - Accept: test -f b.txt\n"
        "- [ ] 3. c\n  - Run: echo c > 'c d.txt'\n"
    )
    assert crew.run_tasks(text).code == 0
    ran = crew.run("rollback", "R-1/T02", "--dry-run")
    assert "Proven  1 acceptance command passed on " in ran.stderr, ran
    assert "nightcrew rollback R-1/T02\n" in ran.stderr
    assert (
        "Unproven  acceptance was not run on "
        in crew.run("rollback", "R-1/T02", "--dry-run", "--unproven").stderr
    )
    bare = crew.run("rollback", "R-1/T01", "--dry-run")
    assert "Unproven  no task that is left has an acceptance command" in bare.stderr, bare
    crew.run("reject", "R-1/T03", "-m", "no")
    assert "of the run is left" in crew.run("rollback", "R-1/T01", "--dry-run").stderr
    before = crew.run("rollback", "R-1/T02", "--dry-run")
    assert "Proving" not in before.stderr, "exactly this tree was proven"
    assert "1 acceptance command had passed on exactly " in before.stderr, before
    proven = crew.run("rollback", "R-1/T02", "--dry-run", "--json").json
    assert (proven["proof"], proven["proven_before"]) == (
        [],
        [{"task": "R-1/T01", "command": "test -f a.txt"}],
    )
    nobody = crew.run("rollback", "R-1/T02")
    assert (nobody.code, "1 task will be left" in nobody.stderr) == (5, True), nobody


def test_what_does_not_hold_without_a_task_is_not_applied(crew: Hermetic) -> None:
    text = (
        "- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -f a.txt\n"
        "- [ ] 2. b\n  - Run: echo b > b.txt; echo 'test -f a.txt || test ! -f README.md' > check.sh\n"
        "  - Accept: test -f a.txt || test ! -f c.txt\n- [ ] 3. c\n  - Run: echo c > c.txt\n  - Accept: test -f c.txt\n"
    )
    assert crew.run_tasks(text).code == 0
    before = crew.show("R-1")
    failed = crew.run("rollback", "R-1/T01", "--yes")
    assert failed.code == 7, failed
    assert "does not hold without T01" in failed.stderr
    assert "R-1/T02: acceptance" in failed.stderr
    assert crew.show("R-1") == before
    forced = crew.run("rollback", "R-1/T01", "--yes", "--unproven", "--json")
    assert (forced.code, forced.json["proof"]) == (0, "not run"), forced


def test_what_policy_lets_pass_is_kept_of_a_task(crew: Hermetic) -> None:
    """A file out of scope that a person let pass goes out of the composed result again; the rest of the task stays."""
    waiting = crew.run_tasks(
        "- [ ] 1. work\n  - Run: sed -i s/one/ONE/ src/data.txt && echo more > outside.txt\n  - Scope: src\n"
        "  - Accept: grep -q ONE src/data.txt\n"
    )
    assert waiting.code == 5, waiting
    assert crew.run("approve", "A-1").code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the acceptance")
    assert crew.run("accept", "R-1").code == 0
    whole = composed(crew)
    dry = crew.run("rollback", "R-1/T01", "--keep-valid", "--dry-run", "--json")
    assert dry.code == 0, dry
    assert [path["path"] for path in dry.json["paths"]] == ["outside.txt"]
    assert composed(crew) == whole, "a rehearsal changed something"
    done = crew.run("rollback", "R-1/T01", "--keep-valid", "--yes", "--json")
    assert done.code == 0, done
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the acceptance of what is left")
    changed = crew.look("diff", "R-1", "--json").json["paths"]
    assert [path["path"] for path in changed] == ["src/data.txt"]
    assert (crew.repo / "src/data.txt").read_text().startswith("one"), "the repository was touched"
