"""Ids: pasteable, reversible, sortable."""

import pytest

from nightcrew.model import ids


@pytest.mark.parametrize(
    ("number", "name"),
    [("1", "T01"), ("12", "T12"), ("2.1", "T02.1"), ("1.0", "T01.0"), ("3.2.1", "T03.2.1"), ("123", "T123")],
)
def test_a_task_is_named_after_its_number(number, name):
    assert ids.name_task(number) == name


@pytest.mark.parametrize("number", ["", "a", "1.", ".1", "1.2.3.4", "1 2", "-1", "१"])
def test_what_is_not_a_number_is_refused(number):
    with pytest.raises(ValueError, match="not a task number"):
        ids.name_task(number)


def test_a_task_id_splits_into_run_and_name():
    assert ids.split_task(ids.join_task("R-7", "T02.1")) == ("R-7", "T02.1")
    with pytest.raises(ValueError, match="not a task id"):
        ids.split_task("R-7")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("R-1", "R"),
        ("A-19", "A"),
        ("R-1/T01", "T"),
        ("R-1/T01.2F3", "T"),
        ("R-0", ""),
        ("r-1", ""),
        ("C-01", ""),
        ("X-1", ""),
    ],
)
def test_the_kind_of_an_id(text, kind):
    assert ids.kind_of(text) == kind


def test_a_fork_is_named_after_what_it_answers():
    assert ids.name_fork("T02.1", 1) == "T02.1F1"
    assert ids.name_fork("T02.1F1", 2) == "T02.1F2"
    assert (ids.find_origin("T02F12"), ids.find_origin("T02")) == ("T02", "T02")
    names = ["R-1/T03", "R-1/T02F2", "R-1/T02F10", "R-1/T02"]
    assert sorted(names, key=ids.sort_key) == ["R-1/T02", "R-1/T02F2", "R-1/T02F10", "R-1/T03"]


def test_ids_sort_as_people_count():
    names = ["R-10/T01", "R-2/T10", "R-2/T02.1", "R-2/T02"]
    assert sorted(names, key=ids.sort_key) == ["R-2/T02", "R-2/T02.1", "R-2/T10", "R-10/T01"]
