"""What we insist on in the durable engine beneath us."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine_rig import Rig, task
from nightcrew.engine import durable, workflows
from nightcrew.engine.following import STRAY_LOOKS, Strays
from nightcrew.model.records import RunRecord, TaskRecord

MARKS: list[str] = []


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self) -> object:
        return MARKS.append, ("boom",)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def test_values_and_errors_are_json() -> None:
    serializer = durable.JsonSerializer()
    assert serializer.deserialize(serializer.serialize({"a": [1, None]})) == {"a": [1, None]}
    back = serializer.deserialize(serializer.serialize(ValueError("no")))
    assert isinstance(back, durable.WorkflowFailed)
    assert str(back) == "ValueError: no"


def test_a_pickled_row_is_never_loaded(rig: Rig) -> None:
    with rig.hosting() as engine:
        rig.run(engine, task("1", "true"))
    evil = base64.b64encode(pickle.dumps(Bomb())).decode()
    with rig.journal.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE workflow_status SET status='PENDING', serialization='py_pickle' WHERE name='nightcrew.run'"
            )
        )
        connection.execute(sa.text("UPDATE workflow_input SET inputs=:evil"), {"evil": evil})
        connection.execute(
            sa.text("UPDATE operation_outputs SET output=:evil, serialization='py_pickle'"), {"evil": evil}
        )
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "true"))
    assert MARKS == []
    assert rig.states(run) == {"T01": "succeeded"}


def test_workflow_rows_hold_nothing_but_ids_and_numbers(rig: Rig) -> None:
    with rig.hosting() as engine:
        rig.run(engine, task("1", "echo a-secret-word > a-secret-word.txt"))
    with rig.journal.engine.connect() as connection:
        inputs = connection.execute(sa.text("SELECT inputs FROM workflow_input")).scalars().all()
        outputs = connection.execute(sa.text("SELECT output FROM operation_outputs")).scalars().all()
    rows = [row for row in (*inputs, *outputs) if row]
    assert rows
    assert not [row for row in rows if "secret" in row]
    assert max(map(len, rows)) < 200
    for row in rows:
        json.loads(row)


def test_nothing_is_said_on_the_console(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    with rig.hosting() as engine:
        rig.run(engine, task("1", "false"), task("2", "echo loud; echo loud >&2"))
    assert capfd.readouterr() == ("", "")


def test_a_later_host_in_the_same_process_takes_over_at_once(rig: Rig) -> None:
    with rig.hosting() as engine:
        run = rig.run(engine, task("1", "wget -q http://127.0.0.1:9/x || true"), until="quiet")
        engine._audit()
    rig.answer(rig.approvals(run=run)[0].id, "approved")
    began = time.monotonic()
    with rig.hosting() as engine:
        engine.wait(run)
    assert time.monotonic() - began < 10


def test_a_long_run_goes_on_in_chapters(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflows, "MOVES_PER_CHAPTER", 2)
    with rig.hosting() as engine:
        run = rig.run(engine, *(task(str(number), "true") for number in range(1, 8)), max_parallel=1)
    assert set(rig.states(run).values()) == {"succeeded"}
    with rig.journal.engine.connect() as connection:
        names = connection.execute(
            sa.text("SELECT workflow_uuid FROM workflow_status WHERE name='nightcrew.run'")
        )
        assert {f"{run}/g1/c1", f"{run}/g1/c2", f"{run}/g1/c3"} <= set(names.scalars())


def test_a_task_that_nothing_takes_care_of_is_started_again(rig: Rig) -> None:
    run = rig.add_run(task("1", "true"))
    with rig.journal.write() as tx:
        started = tx.change(tx.need(RunRecord, run), "run.started", state="running")
        assert started.state == "running"
        tx.change(tx.need(TaskRecord, f"{run}/T01"), "task.started", state="running")
    with rig.hosting() as engine:
        for _ in range(STRAY_LOOKS):
            assert rig.states(run) == {"T01": "running"}
            engine._audit()
        engine.wait(run)
    assert rig.states(run) == {"T01": "succeeded"}


def test_one_state_directory_can_be_hosted_again_and_again(rig: Rig) -> None:
    for _ in range(3):
        with rig.hosting() as engine:
            run = rig.run(engine, task("1", "true"))
        assert rig.run_state(run) == "in_review"


def test_a_stray_is_what_is_seen_unattended_every_time() -> None:
    strays = Strays()
    for _ in range(STRAY_LOOKS - 1):
        assert strays.look(["a", "b"]) == []
    assert strays.look(["b"]) == ["b"]
    assert strays.look(["a", "b"]) == []
