"""From a tasks file to a recorded plan: flags, notes, what is forbidden, who approved it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.model.errors import InvalidInput, NotFound, StaleError, UsageError
from nightcrew.model.records import ApprovalRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.runtime.answers.deciding import decide, deny_plan
from nightcrew.runtime.answers.plans import Yes, approve_plan
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.people.saying import Said
from nightcrew.runtime.plans.planning import read_draft, record
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.runtime.views import show, view_inbox
from nightcrew.testing.hermetic import Hermetic

PLAN = """# Two things

- [ ] 1. first
  - Run: echo one > one.txt
  - Accept: test -f one.txt
  - Scope: one.txt
- [ ] 2. second
  - Run: curl https://example.org/x | sh
- [x] 3. third
  - Run: git push --force
"""


@pytest.fixture
def parts(crew: Hermetic) -> Parts:
    return Parts(read_environment(crew.variables), crew.repo)


def draft(parts: Parts, crew: Hermetic, text: str, **scripts: str):
    return read_draft(parts, str(crew.write_plan(text, scripts=scripts)))


def plan_run(parts: Parts, crew: Hermetic, text: str) -> str:
    return record(parts, draft(parts, crew, text), level="S3", max_parallel=None)


def test_flags_say_what_a_person_should_see(parts: Parts, crew: Hermetic) -> None:
    made = draft(parts, crew, PLAN)
    kinds = {(flag.task, flag.kind) for flag in made.flags}
    assert ("T02", "unverified") in kinds
    assert ("T02", "no_scope") in kinds
    assert {kind for task, kind in kinds if task == "T02"} & {"asks", "opaque"}
    assert not [flag for flag in made.flags if flag.task in ("T01", "T03")]
    assert made.plan.title == "Two things"
    assert made.plan.base_commit == crew.git("rev-parse", "HEAD").strip()


def test_what_was_done_before_is_skipped_and_not_judged(parts: Parts, crew: Hermetic) -> None:
    run = plan_run(parts, crew, PLAN)
    states = {task["name"]: task["state"] for task in show(parts, run)["tasks"]}
    assert states == {"T01": "pending", "T02": "pending", "T03": "skipped"}


def test_a_forbidden_line_is_named_by_place_and_rule(parts: Parts, crew: Hermetic) -> None:
    made = draft(parts, crew, "- [ ] 1. a\n  - Run: git push --force\n")
    [line] = made.forbidden
    assert "tasks.md:2: T01: git push --force" in line
    assert "rule git.force_push (defaults.yaml:" in line
    run = record(parts, made, level="S3", max_parallel=None)
    view = show(parts, run)
    assert view["state"] == "failed"
    assert [task["state"] for task in view["tasks"]] == ["cancelled"]


def test_steps_of_a_script_are_judged_and_bound(parts: Parts, crew: Hermetic) -> None:
    text = "- [ ] 1. a\n  - Script: a.yaml\n"
    first = draft(parts, crew, text, **{"a.yaml": "- run: git push --force\n"})
    assert first.forbidden
    second = draft(parts, crew, text, **{"a.yaml": "- run: echo hi\n"})
    assert not second.forbidden
    assert first.plan.digest != second.plan.digest


def test_acceptance_is_judged_too(parts: Parts, crew: Hermetic) -> None:
    assert draft(parts, crew, "- [ ] 1. a\n  - Run: echo\n  - Accept: git push --force\n").forbidden


def test_all_problems_come_at_once_and_nothing_is_recorded(parts: Parts, crew: Hermetic) -> None:
    text = "- [ ] 1. a\n  - Script: bad.yaml\n- [ ] 2. b\n  - Run: x\n  - Depends: 9\n"
    with pytest.raises(InvalidInput) as caught:
        draft(parts, crew, text, **{"bad.yaml": "- jump: high\n"})
    assert {problem.place.file.rpartition("/")[2] for problem in caught.value.problems} == {
        "bad.yaml",
        "tasks.md",
    }
    with parts.journal.read() as tx:
        assert tx.find(RunRecord) == []


def test_a_missing_file_is_not_found(parts: Parts) -> None:
    with pytest.raises(NotFound):
        read_draft(parts, "nowhere.md")


def test_notes_tell_what_is_not_part_of_the_base(parts: Parts, crew: Hermetic) -> None:
    crew.write({"README.md": "changed\n", ".nightcrew/policy.yaml": "version: 1\n"})
    notes = draft(parts, crew, PLAN).notes
    assert any("policy.yaml is not committed" in note for note in notes)
    assert any(note.startswith("1 uncommitted change is not part of the base") for note in notes)
    crew.commit("all")
    assert draft(Parts(parts.env, crew.repo), crew, PLAN).notes == ()


def test_the_record_holds_plan_rules_and_tasks(parts: Parts, crew: Hermetic) -> None:
    run = plan_run(parts, crew, PLAN)
    with parts.journal.read() as tx:
        plan = tx.need(PlanRecord, f"{run}/P1")
        tasks = tx.find(TaskRecord, run=run)
    assert plan.policies
    assert plan.digest == draft(parts, crew, PLAN).plan.digest
    assert [task.name for task in tasks] == ["T01", "T02", "T03"]


def test_the_plan_waits_in_the_inbox_until_it_is_answered(parts: Parts, crew: Hermetic) -> None:
    run = plan_run(parts, crew, PLAN)
    [item] = view_inbox(parts)
    assert (item["id"], item["kind"], item["state"]) == (run, "plan", "pending")
    with pytest.raises(StaleError, match="not how the digest"):
        approve_plan(parts, run, Yes("0000", via="test"))
    with pytest.raises(StaleError):
        approve_plan(parts, run, Yes("", via="test"))
    approve_plan(parts, run, Yes(item["digest"][:4], via="test"))
    assert view_inbox(parts) == []
    with pytest.raises(StaleError, match=f"approved by {parts.env.user} at"):
        approve_plan(parts, run, Yes(item["digest"], via="test"))


def test_a_denied_plan_is_over(parts: Parts, crew: Hermetic) -> None:
    run = plan_run(parts, crew, PLAN)
    with pytest.raises(UsageError):
        deny_plan(parts, run, reason="  ")
    deny_plan(parts, run, reason="too much")
    view = show(parts, run)
    assert view["state"] == "cancelled"
    assert "too much" in view["reason"]
    assert {task["state"] for task in view["tasks"]} == {"cancelled", "skipped"}
    with pytest.raises(StaleError):
        deny_plan(parts, run, reason="again")


def test_asks_can_be_decided_with_the_plan(parts: Parts, crew: Hermetic) -> None:
    run = plan_run(parts, crew, "- [ ] 1. a\n  - Run: git push origin topic\n")
    with parts.journal.read() as tx:
        digest = tx.need(RunRecord, run).plan_digest
    approve_plan(parts, run, Yes(digest, via="test", with_asks=True))
    with parts.journal.read() as tx:
        [grant] = tx.find(ApprovalRecord, run=run)
    assert (grant.state, grant.uses, grant.decided_via) == ("approved", 1, "plan")
    with pytest.raises(StaleError):
        decide(parts, grant.id, Said("approved"))


def test_a_plan_of_another_policy_has_another_digest(parts: Parts, crew: Hermetic) -> None:
    before = draft(parts, crew, PLAN).plan.digest
    crew.write({".nightcrew/policy.yaml": "version: 1\nlimits: {soft: {files: 3}}\n"})
    assert draft(parts, crew, PLAN).plan.digest != before


def test_the_tasks_file_may_be_named_from_a_subfolder(parts: Parts, crew: Hermetic) -> None:
    crew.write({"sub/tasks.md": PLAN})
    inside = Parts(parts.env, crew.repo / "sub")
    assert read_draft(inside, "tasks.md").repository.root == str(Path(crew.repo).resolve())


def test_absolute_paths_into_the_repository_are_the_tasks_own(parts: Parts, crew: Hermetic) -> None:
    plan = f"- [ ] 1. x\n  - Run: rm -rf {crew.repo}\n- [ ] 2. y\n  - Run: source {crew.repo}/env/activate\n"
    flags = {(flag.task, flag.kind) for flag in draft(parts, crew, plan).flags}
    assert ("T01", "forbidden") in flags
    assert not flags & {("T02", "opaque"), ("T02", "asks"), ("T02", "forbidden")}
