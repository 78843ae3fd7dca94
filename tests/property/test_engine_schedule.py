"""Any plan, any fate of its tasks: order, slots, blocking and the end hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nightcrew.engine.course.schedule import Frontier, order_dependencies, ready
from nightcrew.model.errors import Place
from nightcrew.model.plans import Plan, Task

FATES = ("succeeded", "failed", "cancelled", "awaiting_approval")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    count = draw(st.integers(1, 12))
    names = [f"T{number:02d}" for number in range(1, count + 1)]
    tasks = []
    for at, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=3)) if at else []
        tasks.append(Task(name, str(at + 1), name, Place("f", at + 1), depends=tuple(needs)))
    order = draw(st.permutations(tasks))
    return Plan("t", "f", "c", "p", tuple(order))


@given(plans(), st.integers(1, 4), st.data())
def test_a_run_comes_to_rest_with_every_task_accounted_for(
    plan: Plan, slots: int, data: st.DataObject
) -> None:
    depends = {task.id: task.depends for task in plan.tasks}
    states = dict.fromkeys(depends, "pending")
    frontier = Frontier(plan, {}, slots)
    while not (moves := frontier.moves()).quiet:
        anew = ready(states, plan, slots)
        assert (moves.start, moves.final) == (anew.start, anew.final)
        # Which of several failed dependencies is named depends on the order in which they failed.
        assert dict(moves.block).keys() == dict(anew.block).keys()
        for name, cause in moves.block:
            assert cause in depends[name]
            assert states[cause] not in ("succeeded", "pending", "running")
            states[name] = "blocked"
            frontier.note(name, "blocked")
        for name in moves.start:
            assert all(states[need] == "succeeded" for need in depends[name])
            states[name] = "running"
            frontier.note(name, "running")
        running = [name for name, state in states.items() if state == "running"]
        assert len(running) <= slots
        if running:
            name = data.draw(st.sampled_from(running))
            states[name] = data.draw(st.sampled_from(FATES))
            frontier.note(name, states[name])
    waiting = {name for name, state in states.items() if state == "awaiting_approval"}
    for name, state in states.items():
        needs = set(order_dependencies(plan, name))
        if state == "pending":
            assert needs & waiting
        if state == "blocked":
            assert any(states[need] in ("failed", "cancelled") for need in needs)
    assert frontier.moves().final == all(s not in ("pending", "awaiting_approval") for s in states.values())


@given(plans(), st.integers(1, 4), st.data())
def test_whoever_was_paused_and_goes_on_all_are_settled_in_the_end(
    plan: Plan, slots: int, data: st.DataObject
) -> None:
    names = sorted(task.id for task in plan.tasks)
    paused = data.draw(st.sets(st.sampled_from(names)))
    states = {name: "paused" if name in paused else "pending" for name in names}
    frontier = Frontier(plan, states, slots)

    def note(name: str, state: str) -> None:
        states[name] = state
        frontier.note(name, state)

    while not (moves := frontier.moves()).final:
        for name, _ in moves.block:
            note(name, "blocked")
        for name in moves.start:
            note(name, "running")
        may_move = sorted(name for name in names if states[name] in ("running", "paused"))
        assert may_move or moves.block, states
        if may_move:
            name = data.draw(st.sampled_from(may_move))
            note(name, "pending" if states[name] == "paused" else data.draw(st.sampled_from(FATES[:3])))
