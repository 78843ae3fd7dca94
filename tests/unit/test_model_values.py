"""Digests bind what they say they bind; lifecycles allow only what their tables hold."""

from dataclasses import replace

import pytest

from nightcrew.model import canonical, lifecycle
from nightcrew.model.actions import Action, Verdict, strictest
from nightcrew.model.errors import Exit, InvalidInput, Place, Problem
from nightcrew.model.events import GENESIS, Event, compute_hash
from nightcrew.model.isolation import Level
from nightcrew.model.plans import Plan, Task


def make_plan() -> Plan:
    task = Task(id="T01", number="1", title="do it", place=Place("tasks.md", 3), run="make", accept=("true",))
    return Plan(title="t", source="tasks.md", base_commit="0" * 40, policy_digest="p", tasks=(task,))


@pytest.mark.parametrize(
    "change",
    [{"run": "make all"}, {"accept": ()}, {"scope": ("src/**",)}, {"agent": "script"}, {"timeout_s": 5.0}],
)
def test_the_plan_digest_covers_everything_that_is_approved(change):
    plan = make_plan()
    assert replace(plan, tasks=(replace(plan.tasks[0], **change),)).digest != plan.digest


def test_the_plan_digest_is_bound_to_base_and_policy():
    plan = make_plan()
    assert (
        len(
            {plan.digest, replace(plan, base_commit="1" * 40).digest, replace(plan, policy_digest="q").digest}
        )
        == 3
    )


def test_canonical_json_survives_undecodable_names():
    assert canonical.encode({"b": 1, "a": ("\udcff", frozenset({2, 1}))}) == '{"a":["\\udcff",[1,2]],"b":1}'


def test_an_action_digest_covers_command_and_content():
    action = Action(kind="exec", command="git push")
    assert action.digest != replace(action, command="git push -f").digest
    assert action.digest == Action(kind="exec", command="git push").digest


def test_the_event_hash_covers_every_field_but_itself():
    event = Event(1, "2026-01-01T00:00:00.000000Z", "run.created", "R-1", "", "", "engine", {"a": 1}, GENESIS)
    hashes = {compute_hash(event)}
    for change in (
        {"seq": 2},
        {"at": "x"},
        {"kind": "k"},
        {"data": {"a": 2}},
        {"prev": "1" * 64},
        {"actor": "u"},
    ):
        hashes.add(compute_hash(replace(event, **change)))
    assert len(hashes) == 7
    assert compute_hash(replace(event, hash="anything")) == compute_hash(event)


def test_deny_beats_ask_beats_allow():
    assert strictest(Verdict.ALLOW, Verdict.DENY, Verdict.ASK) is Verdict.DENY
    assert strictest(Verdict.ALLOW, Verdict.ASK) is Verdict.ASK


def test_a_level_satisfies_itself_and_weaker_ones():
    assert Level.S3.satisfies(Level.S2)
    assert Level.S2.satisfies(Level.S2)
    assert not Level.S0.satisfies(Level.S2)


@pytest.mark.parametrize("machine", sorted(lifecycle.TABLES))
def test_every_target_of_a_move_is_a_state(machine):
    table = lifecycle.TABLES[machine]
    assert {target for targets in table.values() for target in targets} <= set(table)


def test_an_illegal_move_names_machine_thing_and_states():
    with pytest.raises(lifecycle.IllegalMove, match=r"task R-1/T01: no move from 'succeeded' to 'running'"):
        lifecycle.check_move("task", "R-1/T01", "succeeded", "running")


def test_an_input_error_lists_every_problem_with_its_place():
    error = InvalidInput("bad", [Problem(Place("a.md", 3, 2), "x"), Problem(Place("a.md", 9), "y")])
    assert error.where == ("a.md:3:2: x", "a.md:9: y")
    assert error.exit is Exit.USAGE
