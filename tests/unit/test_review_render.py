"""The review as plain text: counts, order, every planted defect on the first screen of its task, nothing raw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.model.actions import Change, Evidence, Finding, PathChange, Verdict
from nightcrew.model.errors import Place
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord, RunRecord, TaskRecord
from nightcrew.model.text import find_hidden, measure
from nightcrew.review.dossier import Dossier, build_dossier
from nightcrew.review.render import MAX_FILES, render_diff_stat, render_review

RUN = RunRecord(
    "R-7", "in_review", "Add \x1b[31mlimits", "/r", "k", "0c1d" * 10, "aa" * 20, 1, "d", "p", "user1", "t"
)
TREE = "77ab" * 10
FILE = PathChange("src/a.py", "modified", 0o100644, 0o100644, "a", "b", 10, 5, 2)
PROOF = Evidence("pytest -q", True, 0, 1.25, "", TREE, "S3")
DEFECTS = (
    FILE,
    PathChange("src/cli/env.py", "added", 0, 0o100755, "", "b", 10, 5, 0),
    PathChange("tests/test_x.py", "deleted", 0o100644, 0, "a", "", 0, 0, 40),
    PathChange("evil\u202etxt.py", "added", 0, 0o100644, "", "x", 3, 1, 0),
    PathChange("l", "added", 0, 0o120000, "", "x", 3, 1, 0, link_target="../../etc"),
    PathChange("sub", "added", 0, 0o160000, "", "x", 0, 0, 0),
    PathChange(".github/workflows/ci.yml", "modified", 0o100644, 0o100644, "a", "b", 5, 1, 1),
    PathChange("img.png", "added", 0, 0o100644, "", "q", 1234, 0, 0, binary=True),
    PathChange("__pycache__/x.pyc", "added", 0, 0o100644, "", "q", 1234, 0, 0, binary=True, ignored=True),
)


def dossier(
    name: str, *paths: PathChange, state: str = "succeeded", verified: str = "verified", **more: object
) -> Dossier:
    record = TaskRecord(
        f"R-7/{name}", "R-7", name, int(name[1:]), state, f"title of {name}", "command",
        verified=verified, isolation="S3", tree=TREE, base_tree="0c1d" * 10, reason=str(more.get("reason", "")),
    )  # fmt: skip
    accept = ("pytest -q",) if verified else ()
    spec = Task(
        name,
        name[1:],
        "t",
        Place("t.md", 1),
        scope=("src/**",),
        accept=accept,
        depends=more.get("depends", ()),
    )  # type: ignore[arg-type]
    evidence = more.get("evidence", (PROOF,) if verified == "verified" else ())
    change = Change("b", TREE, paths, ("pipe: a FIFO",) if len(paths) > 2 else ())
    return build_dossier(record, spec, change, evidence, more.get("findings", ()), more.get("attempts", ()))  # type: ignore[arg-type]


FAILED = dossier(
    "T03", FILE, state="failed", verified="failed", reason="acceptance failed",
    evidence=(replace(PROOF, passed=False, exit_code=1, tail="first\nE501 \x1b[2J too long\n"),),
    attempts=(AttemptRecord("R-7/T03/1", "R-7", "R-7/T03", 1, "failed", "command", "n", "t", ending="exited", exit_code=1),),
)  # fmt: skip
ALL = [
    dossier("T01", FILE),
    dossier("T02", *DEFECTS, depends=("T01",), findings=(Finding("limits", Verdict.ASK, "limits.soft", "p.yaml:3", "21 files"),)),
    FAILED,
    dossier("T04", FILE, verified="unverified"),
    dossier("T05", state="blocked", verified="", depends=("T03",)),
]  # fmt: skip


def test_header_counts_groups() -> None:
    page = render_review(RUN, ALL)
    assert page.startswith(
        "R-7 review   5 tasks   1 green   2 look   1 failed   1 not finished   base 0c1d..1d\n"
    )
    assert '"Add <U+001B>[31mlimits"' in page


def test_queue_is_in_the_order_of_attention() -> None:
    queue = render_review(RUN, ALL).split("\n-- ")[0]
    marks = [line[:12].split() for line in queue.split("\n") if line[1:5] in ("look", "FAIL", "open", "gree")]
    assert marks == [["look", "T02"], ["look", "T04"], ["FAIL", "T03"], ["open", "T05"], ["green", "T01"]]


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_lines_fit_and_nothing_is_raw(width: int) -> None:
    for page in (
        render_review(RUN, ALL, width=width),
        render_diff_stat(Change("b", TREE, DEFECTS, ("p: a FIFO",)), width),
    ):
        assert max(measure(line) for line in page.split("\n")) <= width
        assert find_hidden(page.replace("\n", "")) == ()
        assert not set(page) & set("│┃─━┌┐└┘├┤╭╮╰╯")


def test_every_planted_defect_is_said_of_its_task() -> None:
    section = next(s for s in render_review(RUN, ALL, width=160).split("\n-- ") if s.startswith("R-7/T02"))
    for words in (
        "! outside the task's scope: tests/test_x.py, evil<U+202E>txt.py, l, sub, .github/workflows/ci.yml, img.png",
        "! test deleted: tests/test_x.py",
        "! symbolic link: l",
        "! submodule: sub",
        "! becomes executable: src/cli/env.py",
        "! continuous integration or repository automation executes it by itself (ci)",
        "! binary: img.png",
        "! cannot be kept and was left out: pipe: a FIFO",
        "! 21 files",
        "finding  ask: 21 files (limits.soft, p.yaml:3)",
        "ignored by the base's .gitignore and left out: __pycache__/x.pyc",
        "symbolic link, points to ../../etc",
        "tree 77ab..ab   base 0c1d..1d",
        "needs T01",
    ):
        assert words in section, words


def test_a_failed_task_shows_its_proof_and_attempts_and_cannot_be_accepted() -> None:
    section = next(s for s in render_review(RUN, ALL).split("\n-- ") if s.startswith("R-7/T03"))
    assert "failed, acceptance failed" in section
    assert "FAILED   pytest -q" in section
    assert "| E501 <U+001B>[2J too long" in section
    assert "attempt 1 failed (exited, exit code 1)" in section
    assert "needed by T05" in section
    assert "nightcrew accept" not in section


def test_unverified_is_said_and_never_green() -> None:
    section = next(s for s in render_review(RUN, ALL).split("\n-- ") if s.startswith("R-7/T04"))
    assert "succeeded, unverified" in section
    assert "! no acceptance command of ours proved it" in section
    assert "not run  pytest -q" in section


def test_last_lines_are_the_commands() -> None:
    lines = render_review(RUN, ALL).split("\n")
    assert lines[-3:] == [
        " accept all green (1): nightcrew accept R-7",
        " diff of everything: nightcrew diff R-7",
        " publish what is accepted: nightcrew promote R-7",
    ]
    assert "accept all green" not in render_review(RUN, ALL[1:])
    said = [replace(each, verdict="rejected") if each.green else each for each in ALL]
    assert "accept all green" not in render_review(RUN, said), "somebody has decided about it"


def test_many_files_are_counted_but_special_ones_always_shown() -> None:
    paths = [replace(FILE, path=f"src/{n:03d}.py") for n in range(MAX_FILES + 30)]
    paths.append(PathChange("src/zzz.sh", "added", 0, 0o100755, "", "b", 1, 1, 0))
    page = render_review(RUN, [dossier("T01", *paths)])
    assert "src/zzz.sh   +1 -0   becomes executable" in page
    assert "and 30 more: nightcrew diff R-7/T01 --stat" in page


def test_diff_stat() -> None:
    text = render_diff_stat(Change("b", TREE, (FILE, *DEFECTS[-2:])))
    assert text == (
        "   M  src/a.py   +5 -2\n"
        "   A  img.png   1234 bytes   binary\n"
        "   A  __pycache__/x.pyc   1234 bytes   binary, ignored, will not be promoted\n"
        " 2 files +5 -2, 1 ignored file left out"
    )


def test_a_run_without_tasks() -> None:
    assert "0 tasks   0 green" in render_review(RUN, [])
