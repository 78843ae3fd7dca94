"""Whole runs on a real engine: order, parallel work, approvals, failures, acceptance, cancelling."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import QUICK, Rig, task
from nightcrew.engine import client
from nightcrew.model.errors import EngineUnavailable, StaleError
from nightcrew.model.isolation import Limits
from nightcrew.model.settings import AgentSetting, Retries

ASKS = "wget -q http://127.0.0.1:9/x"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_results_of_dependencies_are_there_and_acceptance_runs_on_the_result(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", "echo one > one.txt", accept="grep -q one one.txt"),
            task("2", "echo two > two.txt"),
            task("3", "cat one.txt two.txt > both.txt", depends=["T01", "T02"], accept="test -s both.txt"),
        )
    assert rig.run_state(run) == "in_review"
    assert rig.read(f"{run}/T03", "both.txt") == "one\ntwo\n"
    assert [(each.state, each.verified, each.attempts) for each in rig.tasks(run)] == [
        ("succeeded", "verified", 1), ("succeeded", "unverified", 1), ("succeeded", "verified", 1)
    ]  # fmt: skip
    assert (rig.repo / "a.txt").read_text() == "hello\n"
    assert sorted(path.name for path in rig.repo.iterdir()) == [".git", ".gitignore", "a.txt", "leak.sh"]
    assert rig.shadows_left() == []
    assert rig.journal.verify().ok


def test_independent_tasks_run_at_the_same_time(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, *(task(str(number), "sleep 0.8") for number in range(1, 5)))
    times = [
        (attempt.started_at, attempt.ended_at) for each in rig.tasks(run) for attempt in rig.attempts(each.id)
    ]
    assert max(start for start, _ in times) < min(end for _, end in times)


def test_slots_of_the_run_and_of_an_agent_are_kept(rig: Rig) -> None:
    one = AgentSetting("command", argv=("bash", "-c", "sleep 0.2"), slots=1)
    rig.settings = replace(QUICK, agents={"single": one})
    with rig.hosting() as engine:
        narrow = rig.run(engine, *(task(str(n), "sleep 0.1") for n in (1, 2, 3)), max_parallel=1)
        queued = rig.run(engine, *(task(str(n), agent="single") for n in (1, 2, 3)))
    for run in (narrow, queued):
        spans = sorted((a.started_at, a.ended_at) for each in rig.tasks(run) for a in rig.attempts(each.id))
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
        assert set(rig.states(run).values()) == {"succeeded"}


def test_a_failure_blocks_its_dependents_only(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", "exit 3"),
            task("2", "true", depends="T01"),
            task("3", "true", depends="T02"),
            task("4", "true"),
        )
    assert rig.states(run) == {"T01": "failed", "T02": "blocked", "T03": "blocked", "T04": "succeeded"}
    assert rig.task(f"{run}/T02").reason == "T01, which it depends on, is failed"
    assert rig.task(f"{run}/T01").attempts == QUICK.retries.attempts
    assert rig.attempts(f"{run}/T01")[0].exit_code == 3
    assert rig.run_state(run) == "in_review"


def test_done_tasks_are_satisfied_and_alone_make_an_empty_run(rig: Rig) -> None:
    with rig.hosting() as engine:
        some = rig.run(engine, task("1", done=True), task("2", "true", depends="T01"))
        none = rig.run(engine, task("1", done=True))
    assert rig.states(some) == {"T01": "skipped", "T02": "succeeded"}
    assert rig.run_state(none) == "completed_empty"


def test_a_failed_acceptance_is_never_a_success_and_shows_its_output(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "echo x > x", accept=["cat x", "echo it is wrong; exit 4"]))
    failed = rig.task(f"{run}/T01")
    assert (failed.state, failed.verified, failed.attempts) == ("failed", "failed", 1)
    assert [(each["passed"], each["exit_code"]) for each in failed.evidence] == [(True, 0), (False, 4)]
    assert "it is wrong" in failed.evidence[1]["tail"]
    assert failed.checkpoint == "C-1"


def test_acceptance_commands_cannot_prepare_the_ground_for_each_other(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "true", accept=["touch made", "test ! -e made"]))
    assert rig.states(run) == {"T01": "succeeded"}


def test_acceptance_sees_what_would_land_and_not_what_git_ignores(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", "mkdir ignored; touch ignored/x; touch y", accept=["test -e y", "test ! -e ignored/x"]),
        )
    assert rig.states(run) == {"T01": "succeeded"}


def test_a_denied_line_fails_the_task_before_anything_starts(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine, task("1", "git push --force origin main"), task("2", "true", accept="git push --force")
        )
    for each in rig.tasks(run):
        assert each.state == "failed"
        assert each.reason.startswith("denied by policy: git push --force")
        assert each.checkpoint == ""
    kinds = rig.kinds(run)
    assert "policy.decided" in kinds
    assert "attempt.running" not in kinds


def test_a_protected_path_in_the_change_fails_the_task(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "sh leak.sh; git add -f -A; git commit -q -m x"))
    failed = rig.task(f"{run}/T01")
    assert failed.state == "failed"
    assert ".env" in failed.reason
    assert failed.findings[0]["path"] == ".env"


def test_an_approval_parks_the_task_and_its_answer_wakes_it_at_once(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", f"{ASKS} || echo asked > x", accept="grep asked x"),
            task("2", "true"),
            until="quiet",
        )
        (question,) = rig.approvals(run=run)
        waiting = rig.task(f"{run}/T01")
        assert (waiting.state, waiting.waiting_for) == ("awaiting_approval", question.id)
        assert (question.state, question.kind) == ("pending", "action")
        # The record is there first; the workflow that waits follows it by a moment.
        began = time.monotonic()
        while not engine.is_idle():
            assert time.monotonic() - began < 5.0
            time.sleep(0.01)
        rig.answer(question.id, "approved")
        began = time.monotonic()
        while rig.task(f"{run}/T01").state == "awaiting_approval":
            assert time.monotonic() - began < 1.0
            time.sleep(0.01)
        engine.wait(run)
    assert rig.states(run) == {"T01": "succeeded", "T02": "succeeded"}
    assert [each.uses for each in rig.approvals(run=run)] == [0]
    kinds = rig.kinds(run)
    assert kinds.index("approval.opened") < kinds.index("approval.decided") < kinds.index("approval.used")


def test_a_denied_approval_fails_the_task_with_the_persons_reason(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", ASKS), task("2", "true", depends="T01"), until="quiet")
        rig.answer(rig.approvals(run=run)[0].id, "denied", "not tonight")
        engine.wait(run)
    assert rig.states(run) == {"T01": "failed", "T02": "blocked"}
    assert "not tonight" in rig.task(f"{run}/T01").reason


def test_an_answer_given_while_nobody_hosts_still_counts(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", f"{ASKS} || true"), until="quiet")
    rig.answer(rig.approvals(run=run)[0].id, "approved")
    client.wake(rig.journal, run)
    assert rig.states(run) == {"T01": "pending"}
    assert "run.interrupted" not in rig.kinds(run)
    with rig.hosting() as engine:
        engine.wait(run)
    assert rig.states(run) == {"T01": "succeeded"}


def test_a_script_goes_on_at_the_step_that_asked_in_the_same_shadow(rig: Rig) -> None:
    steps = [
        ("write", "log", "1\n"),
        ("append", "log", "2\n"),
        ("run", "", f"{ASKS} || echo 3 >> log"),
        ("append", "log", "4\n"),
    ]
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", steps=steps), until="quiet")
        assert rig.task(f"{run}/T01").checkpoint == "C-3"
        assert rig.approvals(run=run)[0].checkpoint == "C-3"
    with rig.hosting() as engine:
        rig.answer(rig.approvals(run=run)[0].id, "approved")
        engine.wait(run)
    assert rig.read(f"{run}/T01", "log") == "1\n2\n3\n4\n"
    assert [attempt.state for attempt in rig.attempts(f"{run}/T01")] == ["parked", "succeeded"]


def test_a_script_is_told_of_a_denial_and_may_go_on(rig: Rig) -> None:
    denied = ("run", "", "git push --force")
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", steps=[(*denied, "continue"), ("write", "x", "x")]),
            task("2", steps=[denied, ("write", "x", "x")]),
        )
    assert rig.states(run) == {"T01": "succeeded", "T02": "failed"}
    assert "denied by policy" in rig.task(f"{run}/T02").reason


def test_a_change_over_a_soft_limit_waits_for_a_human_bound_to_its_tree(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "seq 1500 > long.txt", accept="test -s long.txt"), until="quiet")
        (question,) = rig.approvals(run=run)
        assert question.kind == "change"
        rig.answer(question.id, "approved")
        engine.wait(run)
    done = rig.task(f"{run}/T01")
    assert (done.state, done.verified, done.checkpoint) == ("succeeded", "verified", "C-1")
    assert done.tree in question.action["detail"]


def test_results_that_conflict_block_the_task_that_needs_both(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(
            engine,
            task("1", "echo one > a.txt"),
            task("2", "echo two > a.txt"),
            task("3", "true", depends=["T01", "T02"]),
        )
    blocked = rig.task(f"{run}/T03")
    assert blocked.state == "blocked"
    assert "a.txt" in blocked.reason


@pytest.mark.parametrize(
    ("limits", "line", "kind", "state"),
    [
        (Limits(hard_s=0.5), "sleep 30 & sleep 30", "hard", "timed_out"),
        (Limits(idle_s=0.5), "echo a; sleep 30", "idle", "timed_out"),
        (Limits(memory_bytes=64 << 20), "head -c 200m /dev/zero | tail", "memory", "killed"),
    ],
)
def test_a_limit_ends_the_attempt_and_is_not_tried_again(
    rig: Rig, limits: Limits, line: str, kind: str, state: str
) -> None:
    rig.settings = replace(QUICK, limits=replace(limits, grace_s=0.2))
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", line))
    (attempt,) = rig.attempts(f"{run}/T01")
    assert (attempt.failure, attempt.state) == (kind, state)
    assert rig.states(run) == {"T01": "failed"}


def test_a_tasks_own_timeout_holds(rig: Rig) -> None:
    with rig.hosting() as engine:
        began = time.monotonic()
        run = rig.run(engine, task("1", "sleep 60", timeout_s=0.5))
    assert time.monotonic() - began < 10
    assert rig.attempts(f"{run}/T01")[0].failure == "hard"


def test_a_lot_of_output_in_one_line_does_no_harm(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "head -c 300000 /dev/zero | tr '\\0' x; touch y"))
    assert rig.states(run) == {"T01": "succeeded"}


def test_cancelling_a_run_kills_its_agents_and_closes_its_questions(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.add_run(
            task("1", "sleep 60"), task("2", ASKS), task("3", "true", depends="T01"), task("4", "true")
        )
        engine.submit(run)
        while rig.states(run)["T04"] != "succeeded" or not rig.approvals(run=run):
            time.sleep(0.02)
        cancelled = client.cancel(rig.journal, run, actor="user:me", reason="enough", state_dir=rig.state)
        assert engine.is_idle()
    assert cancelled == (f"{run}/T01", f"{run}/T02", f"{run}/T03")
    assert rig.run_state(run) == "cancelled"
    assert rig.states(run)["T04"] == "succeeded"
    assert rig.task(f"{run}/T01").reason == "cancelled by me: enough"
    assert [each.state for each in rig.approvals(run=run)] == ["cancelled"]


def test_cancelling_one_task_lets_the_others_go_on(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.add_run(task("1", "sleep 60"), task("2", "sleep 1"), task("3", "true", depends="T01"))
        engine.submit(run)
        client.cancel(rig.journal, f"{run}/T01", actor="user:me", state_dir=rig.state)
        engine.wait(run)
    assert rig.states(run) == {"T01": "cancelled", "T02": "succeeded", "T03": "blocked"}
    assert rig.run_state(run) == "in_review"
    with pytest.raises(StaleError):
        client.cancel(rig.journal, run, actor="user:me", state_dir=rig.state)


def test_cancelling_without_a_host_is_done_at_once(rig: Rig) -> None:
    run = rig.add_run(task("1", "true"))
    assert client.cancel(rig.journal, run, actor="user:me", state_dir=rig.state) == (f"{run}/T01",)
    assert rig.run_state(run) == "cancelled"


def test_a_task_can_be_run_again_with_what_it_blocked(rig: Rig) -> None:
    flag = rig.root / "flag"
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", f"test -e {flag.name}"), task("2", "true", depends="T01"))
        assert rig.states(run) == {"T01": "failed", "T02": "blocked"}
        assert client.retry(rig.journal, f"{run}/T01", actor="user:me") == (f"{run}/T01", f"{run}/T02")
        engine.submit(run)
        engine.wait(run)
    assert rig.states(run) == {"T01": "failed", "T02": "blocked"}
    assert rig.task(f"{run}/T01").attempts == 2 * QUICK.retries.attempts
    assert rig.task(f"{run}/T01").generation == 2


def test_one_engine_per_state_directory_and_the_holder_is_named(rig: Rig) -> None:
    with rig.hosting(), pytest.raises(EngineUnavailable, match=r"process [0-9]+ hosts"):
        rig.engine().launch()


def test_a_run_approved_by_another_process_is_taken_up(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.add_run(task("1", "true"))
        deadline = time.monotonic() + 30
        while rig.run_state(run) != "in_review":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        while not engine.is_idle():
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_run_whose_workspace_cannot_be_opened_fails_with_the_reason(rig: Rig) -> None:
    def refuse(_run: object) -> None:
        raise StaleError("the repository is gone")

    engine = rig.engine()
    engine._opened._open_workspace = refuse  # type: ignore[assignment]
    engine.launch()
    try:
        run = rig.run(engine, task("1", "true"))
    finally:
        engine.close()
    assert rig.run_state(run) == "failed"
    assert "the repository is gone" in rig.task(f"{run}/T01").reason


def test_isolation_that_cannot_be_had_is_a_failure_and_never_less(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "touch x"), level="SX")
    assert rig.states(run) == {"T01": "failed"}
    assert [attempt.failure for attempt in rig.attempts(f"{run}/T01")] == ["isolation"]
    assert "podman" in rig.task(f"{run}/T01").reason


def test_one_no_closes_the_other_questions_of_the_task(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", f"{ASKS} a", accept=f"{ASKS} b"), until="quiet")
        first, second = rig.approvals(run=run)
        rig.answer(second.id, "denied", "no")
        engine.wait(run)
    assert rig.states(run) == {"T01": "failed"}
    assert [each.state for each in rig.approvals(run=run)] == ["cancelled", "denied"]
    assert first.state == "pending"


def test_interrupting_ends_agents_now_and_the_next_host_goes_on(rig: Rig) -> None:
    engine = rig.engine()
    engine.launch()
    run = rig.add_run(
        task("1", "touch done"), task("2", "test -e second || sleep 3; touch x"), task("3", ASKS)
    )
    engine.submit(run)
    while rig.states(run) != {"T01": "succeeded", "T02": "running", "T03": "awaiting_approval"}:
        time.sleep(0.02)
    began = time.monotonic()
    engine.interrupt()
    # Not a speed test: whoever is not told to stop is waited for ten seconds.
    assert time.monotonic() - began < 3
    assert "run.interrupted" in rig.kinds(run)
    assert [attempt.state for attempt in rig.attempts(f"{run}/T02")] == ["lost"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dbos")]
    with rig.hosting() as engine:
        engine.wait(run, until="quiet")
    assert rig.states(run) == {"T01": "succeeded", "T02": "succeeded", "T03": "awaiting_approval"}
    assert rig.task(f"{run}/T01").attempts == 1


def test_interrupting_an_acceptance_keeps_the_work_it_judges(rig: Rig) -> None:
    engine = rig.engine()
    engine.launch()
    run = rig.add_run(task("1", "date +%N > when", accept="sleep 1.5"))
    engine.submit(run)
    while not rig.task(f"{run}/T01").checkpoint:
        time.sleep(0.02)
    time.sleep(0.3)
    engine.interrupt()
    assert rig.shadows_left() == []
    with rig.hosting() as engine:
        engine.wait(run)
    assert rig.states(run) == {"T01": "succeeded"}
    assert [attempt.state for attempt in rig.attempts(f"{run}/T01")] == ["succeeded"]


def test_an_approval_that_expires_denies(rig: Rig) -> None:
    rig.settings = replace(QUICK, approval_timeout_s=0.4)
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", ASKS))
    assert rig.states(run) == {"T01": "failed"}
    assert [each.state for each in rig.approvals(run=run)] == ["expired"]
    assert "expired" in rig.task(f"{run}/T01").reason


def test_four_instant_tasks_take_seconds(rig: Rig) -> None:
    began = time.monotonic()
    with rig.hosting() as engine:
        run = rig.run(engine, *(task(str(number), "true") for number in range(1, 5)))
    # A guard against seconds of polling, not a benchmark: the budget for all of it is 5 s on an idle machine.
    assert time.monotonic() - began < 15
    assert set(rig.states(run).values()) == {"succeeded"}


def test_retries_are_new_attempts_from_the_start(rig: Rig) -> None:
    rig.settings = replace(QUICK, retries=Retries(attempts=3, base_s=0.05))
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "echo x >> log; test $(wc -l < log) -gt 1"))
    assert [attempt.failure for attempt in rig.attempts(f"{run}/T01")] == ["agent"] * 3


def test_a_grant_of_a_failed_attempt_is_good_for_the_next_one_and_no_further(rig: Rig) -> None:
    rig.settings = replace(QUICK, retries=Retries(attempts=2, base_s=0.05))
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", f"{ASKS} || exit 3"), until="quiet")
        rig.answer(rig.approvals(run=run)[0].id, "approved")
        engine.wait(run)
        name = f"{run}/T01"
        assert [attempt.state for attempt in rig.attempts(name)] == ["parked", "failed", "failed"]
        [approval] = rig.approvals(run=run)
        assert approval.uses == 0, "it is used up when nothing follows any more"
        client.retry(rig.journal, name, actor="user:tester")
        engine.submit(run)
        engine.wait(run, until="quiet")
        assert rig.task(name).state == "awaiting_approval", "a person who starts it again is asked again"
    assert rig.kinds(run).count("approval.returned") == 1


def test_paused_between_attempts_and_before_the_first(rig: Rig) -> None:
    rig.settings = replace(QUICK, retries=Retries(attempts=2, base_s=3.0, cap_s=3.0))
    with rig.hosting() as engine:
        run = rig.add_run(task("1", "false"), task("2", "touch x", depends="T01"), task("3", "true"))
        engine.submit(run)
        while len(rig.attempts(f"{run}/T01")) < 1 or rig.attempts(f"{run}/T01")[0].state != "failed":
            time.sleep(0.05)
        for name in ("T01", "T02"):
            assert client.pause(rig.journal, f"{run}/{name}", actor="user:tester", state_dir=rig.state) == (
                f"{run}/{name}",
            )
        engine.wait(run, until="quiet")
        assert rig.states(run) == {"T01": "paused", "T02": "paused", "T03": "succeeded"}
        time.sleep(3.5)  # the wait before the second attempt is over by now
        assert rig.states(run)["T01"] == "paused"
        for name in ("T01", "T02"):
            client.resume(rig.journal, f"{run}/{name}", actor="user:tester")
        engine.wait(run)
    assert rig.states(run) == {"T01": "failed", "T02": "blocked", "T03": "succeeded"}


def test_a_paused_task_whose_dependency_failed_meanwhile_is_blocked_when_it_goes_on(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.add_run(task("1", "sleep 0.5; false"), task("2", "touch x", depends="T01"))
        engine.submit(run)
        while rig.states(run)["T01"] != "running":
            time.sleep(0.02)
        client.pause(rig.journal, f"{run}/T02", actor="user:tester", state_dir=rig.state)
        engine.wait(run, until="quiet")
        assert rig.states(run) == {"T01": "failed", "T02": "paused"}
        client.resume(rig.journal, f"{run}/T02", actor="user:tester")
        rig.wait_for(lambda: rig.run_state(run) == "in_review", run)
    assert rig.states(run) == {"T01": "failed", "T02": "blocked"}
    assert rig.task(f"{run}/T02").reason == "T01, which it depends on, is failed"
