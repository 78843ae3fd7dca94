"""What a plan says that a task does to which files is held against what the task did."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic
from planning_peers import configure, install_planner, plan, task

pytestmark = pytest.mark.needs_userns

PLAN = (
    "# Night\n\n- [ ] 1. Write it\n  - Run: `{run}`\n  - Creates: new.txt, docs/*.md\n  - Modifies: kept.txt\n{more}"
    "  - Accept: `test -s new.txt`\n"
)
GOAL = "Add login rate limiting and document it"


@pytest.fixture(autouse=True)
def files(crew: Hermetic) -> None:
    for name in ("old.txt", "kept.txt"):
        (crew.repo / name).write_text("there\n")
    crew.git("add", "old.txt", "kept.txt")
    crew.git("commit", "-qm", "files")


def run(crew: Hermetic, line: str, more: str = "") -> Any:
    return crew.run("run", "-f", str(crew.write_plan(PLAN.format(run=line, more=more))), "--yes", "--json")


def findings(crew: Hermetic) -> dict[str, tuple[str, str]]:
    found = crew.run("show", "R-1/T01", "--json").json["findings"]
    return {each["path"]: (each["verdict"], each["rule"]) for each in found if each["check"] == "contract"}


def write_policy(crew: Hermetic, text: str) -> None:
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    own.joinpath("policy.yaml").write_text("version: 1\n" + text)


def test_what_it_lists_is_no_finding(crew: Hermetic) -> None:
    line = "mkdir -p docs && echo a > new.txt && echo b > docs/a.md && echo c > kept.txt"
    assert run(crew, line).code == 0
    assert findings(crew) == {}


def test_a_removed_file_that_is_not_listed_waits_for_a_yes(crew: Hermetic) -> None:
    ran = run(crew, "rm old.txt; echo a > new.txt; echo b > other.txt")
    assert ran.code == 5, ran
    (item,) = crew.run("inbox", "--json").json
    shown = crew.run("show", item["id"]).stdout
    assert "old.txt was deleted, and its task does not list it under Deletes:" in shown
    assert crew.run("approve", item["id"]).code == 0
    crew.wait_until(lambda: crew.show("R-1")["state"] == "in_review", what="the end of the run", timeout_s=60)
    assert findings(crew) == {
        "old.txt": ("ask", "safety.unplanned_delete"),
        "other.txt": ("allow", "safety.unplanned_change"),
    }


def test_it_fails_where_the_policy_says_so(crew: Hermetic) -> None:
    write_policy(crew, "safety: {unplanned_delete: deny}\n")
    ran = run(crew, "rm old.txt; echo a > new.txt")
    assert ran.code == 10, ran
    assert "safety.unplanned_delete" in crew.show("R-1/T01")["reason"]


def test_a_listed_removal_and_a_task_that_lists_nothing_go_on(crew: Hermetic) -> None:
    assert run(crew, "rm old.txt; echo a > new.txt", "  - Deletes: old.txt\n").code == 0
    bare = "# Night\n\n- [ ] 1. Write it\n  - Run: `rm old.txt; echo a > new.txt`\n  - Accept: `test -s new.txt`\n"
    assert crew.run("run", "-f", str(crew.write_plan(bare)), "--yes").code == 0


def test_bad_lists_are_refused_with_their_place(crew: Hermetic) -> None:
    ran = crew.run(
        "plan", "-f", str(crew.write_plan(PLAN.format(run="true", more="  - Deletes: ../x, !y\n")))
    )
    assert ran.code == 2, ran
    assert "tasks.md:7" in ran.stderr
    assert "`../x` in `Deletes:`" in ran.stderr


def test_what_a_planner_lists_is_in_the_plan_and_held_against_the_result(crew: Hermetic) -> None:
    told = task(
        "1",
        "Limit the rate",
        description="RUN: mkdir -p part1 && echo 1 > part1/done.txt && rm old.txt",
        scope=["part1/**", "*.txt"],
        files={"create": ["part1/done.txt"]},
    )
    install_planner(crew, "claude", first=plan(told))
    configure(crew)
    assert crew.run("run", GOAL).code == 5
    shown = crew.run("plan", "R-1").stdout
    assert "creates part1/done.txt" in " ".join(shown.split())
    assert "  - Creates: part1/done.txt" in crew.run("plan", "R-1", "export").stdout
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: bool(crew.run("inbox", "--json").json), what="the question", timeout_s=60)
    (item,) = crew.run("inbox", "--json").json
    assert "safety.unplanned_delete" in json.dumps(crew.run("show", item["id"], "--json").json)


def test_a_forbidden_path_is_found_in_the_result(crew: Hermetic) -> None:
    told = task(
        "1",
        "Limit the rate",
        description="RUN: mkdir -p part1/keep && echo 1 > part1/done.txt && echo 2 > part1/keep/x.txt",
    )
    install_planner(crew, "claude", first=plan(told))
    configure(crew)
    assert crew.run("run", GOAL, "--within", "part1/**", "--never", "part1/keep/**").code == 5
    assert crew.run("approve", "R-1").code == 0
    crew.wait_until(lambda: bool(crew.run("inbox", "--json").json), what="the question", timeout_s=60)
    (item,) = crew.run("inbox", "--json").json
    assert "part1/keep/x.txt was added outside the task's scope" in crew.run("show", item["id"]).stdout


@pytest.mark.parametrize("line", ["mv d e", "rm -r d; ln -s /tmp d", "rm -r d; echo x > d", "mv d D"])
def test_what_is_gone_by_another_way_than_rm_is_gone(crew: Hermetic, line: str) -> None:
    crew.write({"d/a.txt": "a\n"})
    crew.commit("a folder")
    ran = run(crew, f"{line}; echo a > new.txt")
    assert ran.code in (5, 10), ran
    assert "d/a.txt was deleted, and its task does not list it under Deletes:" in "".join(
        crew.run("show", each["id"]).stdout for each in crew.run("inbox", "--json").json
    ) + str(crew.show("R-1/T01"))
