"""Random stacks of tasks: without one of them, what is left is what all others make in order; undone, it is what it was."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nightcrew.model import canonical
from nightcrew.model.errors import Place, StaleError
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Entry
from nightcrew.plan.order import find_included
from nightcrew.runtime.landing.rolling import Reach, Removal, undo_rollback
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.results.composing import cut_piece
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.runtime.views import tasks_of
from nightcrew.testing.hermetic import Hermetic

LINES = [f"{n}\n" for n in range(30)]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["a.txt", "b.txt", "new.txt"]),
        st.integers(0, 29),
        st.sampled_from(["x\n", "y\n", ""]),
    ),
    min_size=1,
    max_size=3,
)
STACKS = st.lists(st.tuples(st.sets(st.integers(0, 4), max_size=2), EDITS), min_size=2, max_size=4)


@pytest.fixture(scope="module")
def parts():
    with tempfile.TemporaryDirectory() as place:
        crew = Hermetic(Path(place))
        crew.make_repository({"a.txt": "".join(LINES), "b.txt": "".join(LINES)})
        parts = Parts(read_environment(crew.variables), crew.repo)
        yield parts
        parts.close()


def edited(store, tree: str, edits) -> str:
    """Return the tree with lines of some files replaced or, by an empty text, taken out."""
    with tempfile.TemporaryDirectory() as place:
        entries = {}
        for path, line, text in edits:
            file = Path(place) / path
            data = file.read_text() if file.exists() else (store.read(tree, path) or b"").decode()
            lines = data.splitlines(keepends=True)
            file.write_text("".join([*lines[:line], text, *lines[line + 1 :]]))
            entries[path] = Entry(path, "file", str(file), 0o100644)
        return store.capture(tree, entries.values()).tree


def record(parts: Parts, stack) -> tuple[RunRecord, Plan]:
    """Write a run whose tasks are all done and accepted; those that fit with nothing are left out of the stack."""
    repository = parts.repository
    store = parts.store(repository)
    base = store.tree_of(repository.head)
    tasks: dict[str, tuple[Task, TaskRecord]] = {}
    with parts.journal.write() as tx:
        run = tx.next_id("R")
    for number, (depends, edits) in enumerate(stack, 1):
        name = f"T{number:02d}"
        below = [f"T{each + 1:02d}" for each in sorted(depends) if f"T{each + 1:02d}" in tasks]
        closed = [each for each in tasks if each in below or any(each in tasks[b][1].built_on for b in below)]
        ground = store.compose(base, [cut_piece(store, tasks[each][1]) for each in closed])
        if ground.conflicts:
            continue
        made = TaskRecord(
            f"{run}/{name}", run, name, number, "succeeded", name, "command",
            verdict="accepted", base_tree=ground.tree, tree=edited(store, ground.tree, edits),
            built_on={each: tasks[each][1].tree for each in closed},
        )  # fmt: skip
        made = replace(made, verdict_tree=made.tree)
        whole = store.compose(base, [cut_piece(store, each) for _, each in [*tasks.values(), (None, made)]])
        if not whole.conflicts:
            spec = Task(name, str(number), name, Place("t", number), run="true", depends=tuple(below))
            tasks[name] = spec, made
    plan = Plan("stack", "t", repository.head, "p", tuple(spec for spec, _ in tasks.values()))
    with parts.journal.write() as tx:
        row = RunRecord(
            run, "in_review", "stack", repository.root, repository.key, repository.head, base, 1,
            plan.digest, "p", "me", "",
        )  # fmt: skip
        tx.add(row, "run.created")
        tx.add(PlanRecord(f"{run}/P1", run, 1, plan.digest, canonical.to_plain(plan)), "plan.proposed")
        for _, task in tasks.values():
            tx.add(task, "task.created")
    return row, plan


def composed(parts: Parts, run: RunRecord, plan: Plan) -> str:
    store = parts.store(parts.repository)
    with parts.journal.read() as tx:
        found = find_included(plan, tasks_of(tx, run.id))
    return store.compose(run.base_tree, [cut_piece(store, task) for task in found]).tree


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stack=STACKS, data=st.data())
def test_without_a_task_there_is_what_all_others_make(parts, stack, data):
    run, plan = record(parts, stack)
    assume(len(plan.tasks) > 1)
    store = parts.store(parts.repository)
    with parts.journal.read() as tx:
        tasks = {task.name: task for task in tasks_of(tx, run.id)}
    gone = data.draw(st.sampled_from(sorted(tasks)))
    left = [task for task in tasks.values() if task.name != gone and gone not in task.built_on]
    model = store.compose(run.base_tree, [cut_piece(store, task) for task in left])
    before = composed(parts, run, plan)
    removal = Removal(parts, f"{run.id}/{gone}", Reach())
    assert (removal.view["tree"], removal.view["before_tree"]) == (model.tree, before)
    held = {each["id"] for each in removal.view["neighbours"] if each["held"]}
    assert held == {task.id for task in tasks.values() if gone in task.built_on}
    # Of a part that is kept, everything else goes; what was built on the task cannot stay as it is.
    start, end = tasks[gone].base_tree, tasks[gone].tree
    mine = [hunk for hunk in store.hunks(start, end) if hunk.path == "a.txt"]
    part = store.take_hunks(start, mine)
    if part != end:
        pieces = [cut_piece(store, replace(t, tree=part) if t.name == gone else t) for t in tasks.values()]
        kept = [piece for piece in pieces if gone not in tasks[piece[0]].built_on]
        reach = Reach(files=("a.txt",))
        assert (
            Removal(parts, f"{run.id}/{gone}", reach).view["tree"] == store.compose(run.base_tree, kept).tree
        )
    removal.apply()
    assert composed(parts, run, plan) == model.tree
    with pytest.raises(StaleError):
        Removal(parts, f"{run.id}/{gone}", Reach())
    assert undo_rollback(parts, f"{run.id}/{gone}")["verdict"] == "accepted"
    assert composed(parts, run, plan) == before
