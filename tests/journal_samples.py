"""A clock that ticks, one record of each kind, and short ways to make runs and tasks, for the tests of the journal."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from nightcrew.model.records import (
    ApprovalRecord,
    AttemptRecord,
    CheckpointRecord,
    PlanRecord,
    PromotionRecord,
    RunRecord,
    TaskRecord,
)


class Ticking:
    """A clock that goes on by one second with every look at it; sleeping moves it too."""

    def __init__(self):
        self.seconds = 0.0

    def now(self):
        self.seconds += 1
        return datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


def a_run(run_id="R-1", **fields):
    start = RunRecord(run_id, "draft", "t", "/r", "key", "c", "t", 1, "d", "p", "user:u", "2025")
    return replace(start, **fields)


def a_task(task_id, **fields):
    run, name = task_id.split("/")
    return replace(TaskRecord(task_id, run, name, 0, "pending", "t", "command"), **fields)


ODD = os.fsdecode(b"caf\xe9\n")

ONE_OF_EACH = [
    a_run(settings={"a": [1, None, {"b": 1.5}], "π": "✓"}, title=ODD),
    PlanRecord("R-1/P1", "R-1", 1, "d", {"tasks": [{"id": "T01"}]}, flags=({"task": "T01"},), policies=()),
    a_task("R-1/T01", findings=({"path": ODD}, {"n": None}), evidence=({"passed": True, "exit_code": None},)),
    AttemptRecord("R-1/T01/1", "R-1", "R-1/T01", 1, "starting", "a", "n", "2025", progress={"steps": [1, 2]}),
    ApprovalRecord(
        "A-1",
        "action",
        "pending",
        "R-1",
        "R-1/T01",
        "d",
        {"kind": "exec"},
        "s",
        "r",
        "f:1",
        "why",
        "low",
        "q",
        "2025",
    ),
    CheckpointRecord(
        "C-1", "R-1", "R-1/T01", "R-1/T01/1", "", "b", "t", "c", "end", "2025", refused=("fifo: FIFO", ODD)
    ),
    PromotionRecord(
        "M-1", "R-1", "prepared", ("R-1/T01",), "refs/heads/main", "o", "n", "t", (ODD, "b"), "user:u", "2025"
    ),
]
