"""Ticking boxes touches one character per task and nothing else."""

from __future__ import annotations

from nightcrew.plan.tick import tick

TEXT = "\ufeff# T\r\n- [ ] 1. a\r\n\t* [ ] 2.1: b <!-- x -->  \r\n```\n- [ ] 1. in a block\n```\n- [x] 3 c\n- [ ] 10 d"


def test_ticks_by_number_and_by_name() -> None:
    ticked = tick(TEXT, ["1", "T02.1", "T10"])
    assert ticked == TEXT.replace("[ ] 1. a", "[x] 1. a").replace("[ ] 2.1", "[x] 2.1").replace(
        "[ ] 10", "[x] 10"
    )


def test_the_rest_of_the_file_stays() -> None:
    assert tick(TEXT, []) == TEXT
    assert tick(TEXT, ["3", "99", "nonsense"]) == TEXT
    assert tick("", ["1"]) == ""
