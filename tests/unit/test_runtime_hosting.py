"""Which isolation a run gets, whether it can go on, and what a person is told about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nightcrew.model.errors import NotFound, SandboxUnavailable, StaleError
from nightcrew.model.isolation import IsolationReport, Level
from nightcrew.model.records import ApprovalRecord, RunRecord, TaskRecord
from nightcrew.runtime.answers.plans import Yes, approve_plan
from nightcrew.runtime.hosting import choose_level, going_runs, nudge
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.plans.planning import read_draft, record
from nightcrew.runtime.resting import find_rest
from nightcrew.runtime.rulebook.explaining import why
from nightcrew.runtime.rules import read_rules
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.runtime.views import list_runs, show
from nightcrew.runtime.watching import find_resumable
from nightcrew.testing.hermetic import Hermetic

PLAN = "- [ ] 1. one\n  - Run: true\n- [ ] 2. two\n  - Run: true\n  - Depends: 1\n"


@pytest.fixture
def parts(crew: Hermetic) -> Parts:
    return Parts(read_environment(crew.variables), crew.repo)


@pytest.fixture
def run(parts: Parts, crew: Hermetic) -> str:
    return record(parts, read_draft(parts, str(crew.write_plan(PLAN))), level="S3", max_parallel=None)


def pretend(parts: Parts, level: Level, *missing: str) -> None:
    parts.__dict__["isolation"] = IsolationReport(level, missing=missing, fixes=("sysctl x=1",))


def approve(parts: Parts, run: str) -> None:
    with parts.journal.read() as tx:
        digest = tx.need(RunRecord, run).plan_digest
    approve_plan(parts, run, Yes(digest, via="test"))


def change(parts: Parts, cls, name: str, **changes) -> None:
    with parts.journal.write() as tx:
        tx.change(tx.need(cls, name), "test.changed", **changes)


def rest(parts: Parts, run: str) -> str:
    with parts.journal.read() as tx:
        return find_rest(tx, tx.need(RunRecord, run))


@pytest.mark.parametrize("level", [Level.S3, Level.S2])
def test_the_strongest_level_is_used(parts: Parts, level: Level) -> None:
    pretend(parts, level)
    assert choose_level(parts, read_rules(parts.env, None), unsandboxed=False) is level


def test_too_weak_is_refused_with_what_is_missing(parts: Parts) -> None:
    pretend(parts, Level.S0, "no user namespaces")
    with pytest.raises(SandboxUnavailable) as caught:
        choose_level(parts, read_rules(parts.env, None), unsandboxed=False)
    assert caught.value.exit == 11
    assert caught.value.where == ("missing: no user namespaces", "fix: sysctl x=1")


def test_no_confinement_only_when_asked_for_by_name(parts: Parts, crew: Hermetic) -> None:
    pretend(parts, Level.S0)
    parts.env.config.mkdir(parents=True, exist_ok=True)
    (parts.env.config / "config.yaml").write_text("version: 1\nisolation: {require: S0}\n")
    rules = read_rules(parts.env, crew.repo)
    with pytest.raises(SandboxUnavailable):
        choose_level(parts, rules, unsandboxed=False)
    assert choose_level(parts, rules, unsandboxed=True) is Level.S0


def test_the_flag_does_not_weaken_a_machine_that_can_confine(parts: Parts) -> None:
    pretend(parts, Level.S3)
    assert choose_level(parts, read_rules(parts.env, None), unsandboxed=True) is Level.S3


def test_a_stronger_requirement_is_kept(parts: Parts, crew: Hermetic) -> None:
    pretend(parts, Level.S2)
    crew.write({".nightcrew/config.yaml": "version: 1\nisolation: {require: S3}\n"})
    with pytest.raises(SandboxUnavailable):
        choose_level(parts, read_rules(parts.env, Path(crew.repo)), unsandboxed=False)


def test_how_a_run_rests(parts: Parts, run: str) -> None:
    assert rest(parts, run) == "waiting"
    approve(parts, run)
    assert rest(parts, run) == "going"
    assert going_runs(parts) == [run]
    change(parts, RunRecord, run, state="running")
    assert show(parts, run)["state"] == "interrupted"
    task = f"{run}/T01"
    question = ApprovalRecord(
        id="A-1",
        kind="action",
        state="pending",
        run=run,
        task=task,
        digest="d" * 64,
        action={"kind": "exec", "command": "x"},
        shown="x",
        rule="r",
        source="p:1",
        reason="because",
        risk="low",
        requester="agent:command",
        requested_at="",
    )
    with parts.journal.write() as tx:
        tx.add(question, "approval.opened")
    change(parts, TaskRecord, task, state="awaiting_approval", waiting_for="A-1")
    assert rest(parts, run) == "waiting"
    assert show(parts, run)["state"] == "running"
    assert show(parts, run)["approvals"] == ["A-1"]
    assert list_runs(parts, everything=False)[0]["waiting"] == 1
    with parts.journal.write() as tx:
        tx.change(tx.need(ApprovalRecord, "A-1"), "approval.decided", state="approved")
    assert rest(parts, run) == "going"
    change(parts, TaskRecord, task, state="cancelled")
    change(parts, TaskRecord, f"{run}/T02", state="cancelled")
    change(parts, RunRecord, run, state="in_review")
    assert rest(parts, run) == "final"


def test_a_decision_without_anything_to_do_is_only_recorded(parts: Parts, run: str) -> None:
    assert nudge(parts, run, start=True) == "recorded"
    approve(parts, run)
    assert nudge(parts, run, start=False) == "recorded"


def test_what_can_be_resumed(parts: Parts, run: str) -> None:
    with pytest.raises(StaleError, match="not approved yet"):
        find_resumable(parts, run)
    with pytest.raises(NotFound):
        find_resumable(parts, "")
    approve(parts, run)
    assert find_resumable(parts, "") == run
    change(parts, RunRecord, run, state="cancelled")
    with pytest.raises(StaleError, match="is cancelled"):
        find_resumable(parts, run)


def test_why_tells_state_cause_and_what_to_do(parts: Parts, run: str) -> None:
    plan = why(parts, run)
    assert plan["state"] == "awaiting_approval"
    assert f"nightcrew approve {run}" in plan["next"]
    assert [event["kind"] for event in plan["history"]][:1] == ["run.created"]
    change(parts, TaskRecord, f"{run}/T01", state="failed", reason="it broke")
    task = why(parts, f"{run}/T01")
    assert "it broke" in task["because"]
    assert f"nightcrew retry {run}/T01" in task["next"]
    event = why(parts, "E-1")
    assert event["state"] == "run.created"
    assert event["next"] == [f"nightcrew why {run}"]
    with pytest.raises(NotFound):
        why(parts, "E-999")


def test_a_changed_record_keeps_its_plan(parts: Parts, run: str, crew: Hermetic) -> None:
    before = show(parts, run)["plan"]["digest"]
    crew.write({"README.md": "edited after planning\n"})
    crew.commit("later")
    again = replace(parts.env)
    assert show(Parts(again, crew.repo), run)["plan"]["digest"] == before
