"""In which order results are put together, and which of them."""

from __future__ import annotations

from nightcrew.model.answers import choose_answers
from nightcrew.model.errors import Place
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import TaskRecord
from nightcrew.plan.order import find_included, order_results
from nightcrew.review.staleness import find_held, find_stale


def plan(**depends: str) -> Plan:
    tasks = (Task(name, name, name, Place("t", 1), depends=tuple(on.split())) for name, on in depends.items())
    return Plan("p", "t", "b", "d", tuple(tasks))


def task(name: str, tree: str = "", **fields) -> TaskRecord:
    state = "succeeded" if tree else "pending"
    position = int(name[1:3])
    return TaskRecord(
        f"R-1/{name}",
        "R-1",
        name,
        position,
        **{"state": state, "title": "", "agent": "", "tree": tree, **fields},
    )


def test_what_waited_for_another_comes_behind_it():
    p = plan(T01="", T02="", T03="T01")
    tasks = [task("T01", "a", built_on={"T02": "b"}), task("T02", "b"), task("T03", "c")]
    assert order_results(p, tasks) == ["T02", "T01", "T03"]


def test_results_that_were_built_on_each_other_are_taken_in_the_order_of_the_plan():
    tasks = [task("T01", "a", built_on={"T02": "b"}), task("T02", "b", built_on={"T01": "a"})]
    assert order_results(plan(T01="", T02=""), tasks) == ["T01", "T02"]


def test_what_has_no_ground_or_was_rejected_is_left_out():
    p = plan(T01="", T02="T01", T03="T02", T04="", T05="")
    tasks = [
        task("T01", "a", verdict="rejected", verdict_tree="a"),
        task("T02", "b"),
        task("T03", "c"),
        task("T04", "d", verdict="rejected", verdict_tree="an older one"),
        task("T05"),
    ]
    assert [each.name for each in find_included(p, tasks)] == ["T04"]


def test_what_needs_a_rejected_result_is_held_for_it():
    p = plan(T01="", T02="T01", T03="T02", T04="", T05="T04 T03")
    tasks = [
        task("T01", "a", verdict="rejected", verdict_tree="a"),
        task("T02", "b"),
        task("T03", "c"),
        task("T04", "d", verdict="rejected", verdict_tree="an older one"),
        task("T05", "e"),
    ]
    assert find_held(tasks, p) == {f"R-1/{name}": ("T01",) for name in ("T02", "T03", "T05")}
    tasks[2] = task("T03", "c", promoted="M-1")
    assert set(find_held(tasks, p)) == {"R-1/T02", "R-1/T05"}


def test_the_accepted_answer_stands_for_its_task():
    p = plan(T01="", T01F1="", T02="T01")
    tasks = [
        task("T01", "a"),
        task("T01F1", "f", verdict="accepted", verdict_tree="f"),
        task("T02", "b", built_on={"T01": "a"}),
    ]
    assert choose_answers(tasks)["T01"].name == "T01F1"
    assert [each.name for each in find_included(p, tasks)] == ["T01F1", "T02"]
    assert find_stale(tasks) == {"R-1/T02": ("T01",)}
    tasks[1] = task("T01F1", "f", verdict="accepted", verdict_tree="another")
    assert choose_answers(tasks)["T01"].name == "T01", "nobody accepted what the fork is now"
    assert find_stale(tasks) == {}


def test_a_result_is_stale_while_what_it_was_built_on_is_another_one():
    base = task("T02", "b", built_on={"T01": "a"})
    assert find_stale([task("T01", "a"), base]) == {}
    assert find_stale([task("T01", "x"), base]) == {"R-1/T02": ("T01",)}
    assert find_stale([task("T01"), base]) == {"R-1/T02": ("T01",)}, "it is being run again"
    assert find_stale([task("T01", "x"), task("T02", built_on={"T01": "a"})]) == {}, "there is no result"
