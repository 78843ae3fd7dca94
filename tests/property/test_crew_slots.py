"""Any plan, agents with slots of their own, any fate: no agent has more at once than it may, and none keeps another waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nightcrew.engine.course.schedule import Frontier, ready
from nightcrew.model.errors import Place
from nightcrew.model.plans import Plan, Task

FATES = ("succeeded", "failed", "awaiting_approval")


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = [f"T{number:02d}" for number in range(1, draw(st.integers(1, 12)) + 1)]
    tasks = []
    for at, name in enumerate(names):
        needs = draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=2)) if at else []
        agent = draw(st.sampled_from("abc"))
        tasks.append(Task(name, str(at + 1), name, Place("f", at + 1), agent=agent, depends=tuple(needs)))
    return Plan("t", "f", "c", "p", tuple(draw(st.permutations(tasks))))


@given(plans(), st.integers(1, 5), st.dictionaries(st.sampled_from("ab"), st.integers(1, 3)), st.data())
def test_slots_bound_each_agent_and_nobody_waits_for_another(
    plan: Plan, most: int, slots: dict[str, int], data: st.DataObject
) -> None:
    agents = {task.id: task.agent for task in plan.tasks}
    depends = {task.id: task.depends for task in plan.tasks}
    states = dict.fromkeys(agents, "pending")
    frontier = Frontier(plan, {}, most, slots)
    while not (moves := frontier.moves()).quiet:
        assert moves.start == ready(states, plan, most, slots).start
        for name, _ in moves.block:
            states[name] = "blocked"
            frontier.note(name, "blocked")
        for name in moves.start:
            states[name] = "running"
            frontier.note(name, "running")
        running = [name for name, state in states.items() if state == "running"]
        busy = {agent: sum(agents[name] == agent for name in running) for agent in "abc"}
        assert len(running) <= most
        assert all(busy[agent] <= limit for agent, limit in slots.items())
        if not moves.block and len(running) < most:
            left = [
                name
                for name, state in states.items()
                if state == "pending"
                and all(states[need] in ("succeeded", "skipped") for need in depends[name])
            ]
            assert all(busy[agents[name]] >= slots.get(agents[name], most + 1) for name in left)
        if running:
            name = data.draw(st.sampled_from(running))
            states[name] = data.draw(st.sampled_from(FATES))
            frontier.note(name, states[name])
    assert all(state != "running" for state in states.values())


@given(plans(), st.data())
def test_a_task_that_is_given_to_another_agent_waits_for_that_ones_slot(
    plan: Plan, data: st.DataObject
) -> None:
    frontier = Frontier(plan, {}, 99, {"a": 1, "b": 1})
    agents = {task.id: task.agent for task in plan.tasks}
    for name in data.draw(st.lists(st.sampled_from(sorted(agents)), max_size=6)):
        agents[name] = data.draw(st.sampled_from("abc"))
        frontier.reassign(name, agents[name])
    start = frontier.moves().start
    assert len(set(start)) == len(start)
    assert sum(agents[name] == "a" for name in start) <= 1
    assert sum(agents[name] == "b" for name in start) <= 1
    ready_now = {task.id for task in plan.tasks if not task.depends}
    assert {name for name in ready_now if agents[name] == "c"} <= set(start)
