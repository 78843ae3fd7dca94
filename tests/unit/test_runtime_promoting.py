"""What is promoted, what is held and why; what the journal says afterwards."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.host.clock import SystemClock
from nightcrew.journal.journal import Journal
from nightcrew.model.errors import NotFound, Place, StaleError
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import PromotionRecord, RunRecord, TaskRecord
from nightcrew.runtime.landing.choosing import Landed, select
from nightcrew.runtime.landing.shaping import write_message
from nightcrew.runtime.settling import settle_published

RUN = RunRecord(
    id="R-1",
    state="in_review",
    title="all of it",
    repo_path="/r",
    repo_key="r",
    base_commit="b",
    base_tree="t",
    plan_version=1,
    plan_digest="d",
    policy_digest="p",
    requester="me",
    created_at="",
)
PLAN = Plan(
    title="all of it",
    source="tasks.md",
    base_commit="b",
    policy_digest="p",
    tasks=(
        Task("T01", "1", "one", Place("t", 1), run="x"),
        Task("T02", "2", "two", Place("t", 2), run="x", depends=("T01",)),
        Task("T03", "3", "three", Place("t", 3), run="x", depends=("T02",)),
        Task("T04", "4", "four", Place("t", 4), run="x"),
    ),
)


def task(number: int, **changes) -> TaskRecord:
    accepted = {
        "state": "succeeded",
        "tree": f"t{number}",
        "verdict": "accepted",
        "verdict_tree": f"t{number}",
    }
    made = TaskRecord(
        id=f"R-1/T0{number}",
        run="R-1",
        name=f"T0{number}",
        position=number,
        state="pending",
        title=f"task {number}",
        agent="command",
    )
    return replace(made, **{**accepted, **changes})


def names(tasks) -> list[str]:
    return [each.name for each in tasks]


def test_everything_accepted_goes_in_dependency_order() -> None:
    found = select(RUN, PLAN, [task(n) for n in (1, 2, 3, 4)], [])
    order = names(found.tasks)
    assert set(order) == {"T01", "T02", "T03", "T04"}
    assert order.index("T01") < order.index("T02") < order.index("T03")
    assert found.held == ()


def test_a_task_without_what_it_needs_is_held_with_all_behind_it() -> None:
    found = select(RUN, PLAN, [task(1, verdict="rejected"), task(2), task(3), task(4)], [])
    assert names(found.tasks) == ["T04"]
    assert dict(found.held) == {
        "R-1/T02": "it needs T01, which is not accepted",
        "R-1/T03": "it needs T02, which is held too",
    }


def test_what_is_skipped_or_promoted_already_counts_as_there() -> None:
    done = task(1, state="skipped", tree="", verdict="", verdict_tree="")
    assert names(select(RUN, PLAN, [done, task(2), task(3), task(4)], []).tasks) != []
    promoted = task(1, promoted="M-1")
    found = select(RUN, PLAN, [promoted, task(2), task(3, verdict=""), task(4, verdict="")], [])
    assert names(found.tasks) == ["T02"]
    assert names(found.promoted) == ["T01"]


def test_what_went_to_another_branch_is_not_taken_for_there() -> None:
    tasks = [task(1, promoted="M-1"), task(2), task(3), task(4)]
    away = {"R-1/T01": Landed("M-1", "night", there=False)}
    found = select(RUN, PLAN, tasks, [], (), away)
    assert (names(found.tasks), found.promoted) == (["T04"], ())
    assert "on night by M-1" in dict(found.held)["R-1/T02"]
    waived = select(RUN, PLAN, tasks, [], ("T02",), away)
    assert (set(names(waived.tasks)), waived.held) == ({"T02", "T03", "T04"}, ())
    there = {"R-1/T01": Landed("M-1", "main")}
    assert names(select(RUN, PLAN, tasks, [], (), there).promoted) == ["T01"]


def test_nothing_left_says_what_went_where() -> None:
    went = {1: Landed("M-1", "night", there=False), 2: Landed("M-2", "main"), 4: Landed("M-2", "main")}
    landed = {f"R-1/T0{number}": each for number, each in went.items()}
    tasks = [task(n, promoted=each.by) for n, each in went.items()] + [task(3, state="skipped", verdict="")]
    with pytest.raises(StaleError, match="all of R-1 is promoted already") as caught:
        select(RUN, PLAN, tasks, [], (), landed)
    assert caught.value.where[0] == "R-1/T01: it is promoted already by M-1, to night"
    assert "nightcrew undo M-1" in caught.value.hint
    with pytest.raises(StaleError, match="no other task is accepted") as caught:
        select(RUN, PLAN, [*tasks[:2], task(3, verdict=""), task(4, verdict="")], [], (), landed)
    assert len(caught.value.where) == 2


def test_an_acceptance_of_another_tree_does_not_count() -> None:
    with pytest.raises(StaleError, match="no task is accepted"):
        select(RUN, PLAN, [task(n, verdict_tree="older") for n in (1, 2, 3, 4)], [])


def test_what_is_named_must_be_promotable() -> None:
    tasks = [task(1, verdict=""), task(2), task(3), task(4)]
    assert names(select(RUN, PLAN, tasks, ["R-1/T04"]).tasks) == ["T04"]
    with pytest.raises(StaleError) as caught:
        select(RUN, PLAN, tasks, ["R-1/T02", "R-1/T01"])
    assert len(caught.value.where) == 2
    with pytest.raises(NotFound):
        select(RUN, PLAN, tasks, ["R-1/T09"])


def test_only_what_is_named_goes_and_its_needs_are_not_pulled_in() -> None:
    with pytest.raises(StaleError, match="not everything you named"):
        select(RUN, PLAN, [task(n) for n in (1, 2, 3, 4)], ["R-1/T02"])


def test_the_message_leads_back_to_the_run() -> None:
    one = write_message(RUN, [task(1)])
    assert one == "task 1\n\nNightcrew-Run: R-1\nNightcrew-Task: R-1/T01\n"
    two = write_message(RUN, [task(1), task(2)])
    assert two.startswith("all of it\n\n- T01 task 1\n- T02 task 2\n\nNightcrew-Run: R-1\n")
    long = write_message(replace(RUN, title="x" * 200), [task(1), task(2)])
    assert len(long.splitlines()[0]) <= 72


@pytest.fixture
def journal(tmp_path) -> Journal:
    made = Journal.open(f"sqlite:///{tmp_path}/j.db", clock=SystemClock())
    with made.write() as tx:
        tx.add(RUN, "run.created")
        for number in (1, 2):
            tx.add(task(number), "task.created")
    return made


def publish(journal: Journal, name: str, tasks: tuple[str, ...], undo_of: str = "") -> None:
    record = PromotionRecord(
        id=name,
        run="R-1",
        state="prepared",
        tasks=tasks,
        branch="refs/heads/main",
        old_commit="a",
        new_commit="b",
        tree="t",
        paths=("x",),
        actor="me",
        created_at="",
        undo_of=undo_of,
    )
    with journal.write() as tx:
        tx.add(record, "promotion.prepared")
    settle_published(journal, SystemClock(), name)


def state(journal: Journal) -> tuple[str, dict[str, str], list[str]]:
    with journal.read() as tx:
        promotions = {each.id: each.state for each in tx.find(PromotionRecord)}
        return tx.need(RunRecord, "R-1").state, promotions, [each.promoted for each in tx.find(TaskRecord)]


def test_publishing_undoing_and_undoing_the_undo(journal: Journal) -> None:
    both = ("R-1/T01", "R-1/T02")
    publish(journal, "M-1", both[:1])
    assert state(journal) == ("partially_promoted", {"M-1": "published"}, ["M-1", ""])
    publish(journal, "M-2", both[1:])
    assert state(journal)[0] == "promoted"
    publish(journal, "M-3", both[1:], undo_of="M-2")
    assert state(journal) == (
        "partially_promoted",
        {"M-1": "published", "M-2": "undone", "M-3": "published"},
        ["M-1", ""],
    )
    publish(journal, "M-4", both[1:], undo_of="M-3")
    assert state(journal)[1] == {"M-1": "published", "M-2": "published", "M-3": "undone", "M-4": "published"}
    assert state(journal)[2] == ["M-1", "M-2"]
    publish(journal, "M-5", both[1:], undo_of="M-4")
    assert state(journal)[1]["M-2"] == "undone"
    assert state(journal)[2] == ["M-1", ""]
