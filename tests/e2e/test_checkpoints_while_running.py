"""Checkpoints while an agent works: after its actions, by time, by number; what they cost; kill -9 goes on from the last."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns


def begin(crew: Hermetic, plan: str, script: str = "") -> subprocess.Popen[bytes]:
    path = crew.write_plan(plan, scripts={"a.yaml": script})
    log = (crew.root / "run.log").open("wb")
    return subprocess.Popen(
        [*crew.program, "run", "-f", str(path), "--yes"],
        cwd=crew.repo,
        env=crew.variables,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def listed(crew: Hermetic) -> list[dict[str, object]]:
    found: list[dict[str, object]] = crew.look("checkpoint", "list", "R-1/T01", "--json").json
    return found


def settle(crew: Hermetic, text: str) -> None:
    crew.write({".nightcrew/config.yaml": f"version: 1\ncheckpoints:\n{text}"})
    crew.commit("settings")


def test_each_action_has_a_checkpoint_of_its_own(crew: Hermetic) -> None:
    script = "- write: a.txt\n  content: a\n- say: nothing changes\n- run: echo b > b.txt\n- run: 'true'\n"
    done = crew.run_tasks(
        "- [ ] 1. steps\n  - Agent: script\n  - Script: a.yaml\n", scripts={"a.yaml": script}
    )
    assert done.code == 0, done
    found = listed(crew)
    assert [(each["why"], each["paths"]) for each in found] == [
        ("after write a.txt", 1),
        ("after echo b > b.txt", 2),
        ("the agent ended", 2),
    ]
    assert [each["progress"] for each in found] == [{"step": 1}, {"step": 3}, {"step": 4}]
    assert all(each["between"] and each["event"] and each["took_ms"] for each in found)
    assert [bool(each["frozen_ms"]) for each in found] == [True, True, False]
    assert found[1]["parent"] == found[0]["id"]
    stats = crew.look("stats", "R-1", "--json").json
    assert (stats["checkpoints"], stats["running"], stats["failed"]) == (3, 2, 0)
    assert {name: figures["count"] for name, figures in stats["latency_ms"].items()} == {
        "checkpoint": 3, "freeze": 2, "capture": 3, "validation": 3,
    }  # fmt: skip
    assert stats["latency_ms"]["freeze"]["max"] < 1000
    assert stats["disk"][0]["checkpoint_bytes"] > 0
    assert "P99" in crew.look("stats").stdout
    assert crew.look("stats", "R-9").code == 3


def test_an_agent_that_says_nothing_is_watched(crew: Hermetic) -> None:
    settle(crew, "  every: 1s\n  after_paths: 6\n  debounce: 0s\n")
    line = "echo 1 > slow; sleep 4; for i in $(seq 8); do echo $i > f$i; done; sleep 4; echo end > last"
    done = crew.run_tasks(f"- [ ] 1. quiet\n  - Run: {line}\n")
    assert done.code == 0, done
    whys = [str(each["why"]) for each in listed(crew)]
    assert whys[0] == "1 s after a change", whys
    assert any(why.endswith("paths changed") for why in whys), whys
    assert whys[-1] == "the agent ended"
    assert len(whys) <= 5, "a checkpoint although nothing had changed"


def test_what_is_written_without_a_pause_is_captured_all_the_same(crew: Hermetic) -> None:
    settle(crew, "  every: 500ms\n")
    line = "for i in $(seq 8); do (for j in $(seq 40000); do echo $j >> busy.$i; done) & done; wait; for i in $(seq 8); do echo $i > busy.$i; done"
    done = crew.run_tasks(f"- [ ] 1. busy\n  - Run: {line}\n  - Timeout: 60s\n", timeout_s=120)
    assert done.code == 0, done
    *while_running, last = listed(crew)
    assert while_running, "the agent never stopped writing, and there was no checkpoint"
    assert last["paths"] == 8
    assert "busy.1" in crew.look("checkpoint", "diff", str(last["id"]), "--stat").stdout


def test_after_kill_9_finished_steps_are_not_run_again(crew: Hermetic, token: str) -> None:
    script = (
        "- run: date +%N > one.txt; cp one.txt first.txt\n- run: date +%N > two.txt\n"
        f"- run: sleep 3.{token}; echo three > three.txt\n"
    )
    runtime = begin(crew, "- [ ] 1. steps\n  - Agent: script\n  - Script: a.yaml\n", script)
    crew.wait_until(lambda: crew.find_commands(token), timeout_s=60, what="the third step")
    crew.wait_until(lambda: len(listed(crew)) == 2, what="the checkpoint of the second step")
    before = [each["tree"] for each in listed(crew)]
    os.kill(runtime.pid, signal.SIGKILL)
    runtime.wait(10)
    done = crew.run("resume", "R-1", "--json")
    assert done.code == 0, done
    task = by_name(done.json)["T01"]
    assert (task["state"], task["attempts"]) == ("succeeded", 2)
    kept = crew.look("checkpoint", "diff", "C-2", str(task["checkpoint"]), "--json").json
    assert [path["path"] for path in kept["paths"]] == ["three.txt"], "a finished step ran again"
    assert [each["tree"] for each in listed(crew)][:2] == before


def test_killed_while_a_checkpoint_is_recorded(crew: Hermetic) -> None:
    script = "- run: echo 1 >> log.txt\n- run: echo 2 >> log.txt\n- run: echo 3 >> log.txt\n"
    plan = "- [ ] 1. steps\n  - Agent: script\n  - Script: a.yaml\n"
    for hit in (1, 2, 3):
        number = hit
        killed = crew.run_tasks(
            plan, scripts={"a.yaml": script}, extra={"NIGHTCREW_CRASH_AT": f"engine.checkpoint.written:{hit}"}
        )
        assert killed.code not in (0, 10), killed
        done = crew.run("resume", f"R-{number}", "--json")
        assert done.code == 0, done
        text = crew.look("diff", f"R-{number}/T01").stdout
        assert "+1\n+2\n+3\n" in text, text
        assert crew.look("audit", "verify").code == 0
