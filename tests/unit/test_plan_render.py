"""The plan as a person sees it before approving: complete, fitting, with nothing raw in it."""

from __future__ import annotations

import pytest

from nightcrew.model.plans import Flag, Plan, Step, Task
from nightcrew.model.text import find_hidden, measure
from nightcrew.plan.flags import flag_tasks
from nightcrew.plan.render import render_plan
from nightcrew.plan.tasksfile import parse_tasks

TEXT = """# Ready \u202e for 1.1
- [ ] 1. Read amounts with thousands separators, which has a long title that must be cut
  - Run: `python3 -c 'print("a very long command that does not fit into one line of a hundred columns")' && echo end`
  - Scope: src/**
  - Accept: pytest -q
- [ ] 2. Colours
  - Run:
    ```
    set -e
    printf '\x1b[31m'
    ```
- [x] 3. Done before
- [ ] 4. Publish
  - Depends: 1, 2
  - Run: git push origin main
  - Timeout: 10m
"""


def make_plan(text: str = TEXT) -> Plan:
    return Plan("Ready \u202e for 1.1", "tasks.md", "0c1d" * 10, "p", parse_tasks(text, "tasks.md"))


def render(plan: Plan, *flags: Flag, run_id: str = "R-7", width: int = 100) -> str:
    return render_plan(
        plan, [*flags, *flag_tasks(plan.tasks)], run_id=run_id, isolation="S3: no network", width=width
    )


def unfold(page: str) -> str:
    """Join lines that were folded: the mark begins with blanks and an ellipsis."""
    lines: list[str] = []
    for line in page.split("\n"):
        if line.lstrip(" ").startswith("… ") and lines:
            lines[-1] += line.lstrip(" ")[2:]
        else:
            lines.append(line)
    return "\n".join(lines)


def test_header_names_what_is_approved() -> None:
    plan = make_plan()
    page = render(plan)
    assert page.startswith('R-7 "Ready <U+202E> for 1.1"\n 3 tasks  2 waves  base 0c1d..1d')
    assert f"digest {plan.digest[:6]}..{plan.digest[-2:]} (type {plan.digest[:4]})" in page
    assert "isolation S3: no network" in page
    assert "done already: T03" in page


def test_one_table_per_wave() -> None:
    page = render(make_plan())
    assert "wave 1: 2 tasks side by side\n task  title" in page
    assert "wave 2: 1 task\n task  title" in page
    row = next(line for line in page.split("\n") if line.startswith(" T04"))
    assert "T01 T02" in row
    assert "unverified, no scope" in row


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_lines_fit_and_nothing_is_raw(width: int) -> None:
    page = render(make_plan(), width=width)
    assert max(measure(line) for line in page.split("\n")) <= width
    assert find_hidden(page.replace("\n", "")) == ()
    assert not set(page) & set("│┃─━┌┐└┘├┤╭╮╰╯")


@pytest.mark.parametrize("width", [60, 100])
def test_no_command_is_shortened(width: int) -> None:
    page = unfold(render(make_plan(), width=width))
    assert (
        'print("a very long command that does not fit into one line of a hundred columns")\' && echo end'
        in page
    )
    assert "T02 run  set -e\n          printf '<U+001B>[31m'" in page
    assert "T01 accept  pytest -q" in page
    assert "T04 with  timeout 600 s" in page


def test_flags_are_listed_with_rule_and_place() -> None:
    long = "git push " + "x" * 150
    asks = Flag(
        "T04", "asks", "tasks.md:15: history leaves this machine", "git.push", "defaults.yaml:41", long
    )
    page = unfold(render(make_plan(), asks))
    assert "forbidden: 0  asks: 1  unverified: 2" in page
    assert f"T04  {long}" in page
    assert "rule git.push (defaults.yaml:41): tasks.md:15: history leaves this machine" in page
    assert "unverified: no acceptance: T02 T04" in page
    assert "invisible characters" in page


def test_last_line_says_how_to_approve() -> None:
    assert render(make_plan()).split("\n")[-1] == " nightcrew approve R-7 | nightcrew deny R-7 -m why"
    assert "nightcrew approve" not in render(make_plan(), run_id="")
    forbidden = render(make_plan(), Flag("T04", "forbidden", "no", "x.y", "p.yaml:1", "rm -rf /"))
    assert "nightcrew approve" not in forbidden
    assert "a forbidden command stops the whole plan" in forbidden


def test_scripts_show_every_step() -> None:
    steps = (
        Step("write", "a.py", "xy\n"),
        Step("run", "", "make all", "continue"),
        Step("symlink", "l", "../../etc"),
    )
    task = Task(
        "T01",
        "1",
        "t",
        make_plan().tasks[0].place,
        agent="script",
        script="s.yaml",
        steps=steps,
        accept=("true",),
    )
    page = render_plan(Plan("t", "tasks.md", "b", "p", (task,)), (), run_id="R-1", isolation="S3")
    assert "- write a.py (3 bytes)" in page
    assert "- run make all (goes on when denied)" in page
    assert "- symlink l ../../etc" in page


def test_flags_that_need_no_policy() -> None:
    kinds = [(flag.task, flag.kind) for flag in flag_tasks(make_plan().tasks)]
    assert kinds == [
        ("T02", "unverified"),
        ("T02", "no_scope"),
        ("T02", "hidden"),
        ("T04", "unverified"),
        ("T04", "no_scope"),
    ]


def test_a_plan_without_open_tasks_renders() -> None:
    page = render(make_plan("- [x] 1. a\n"))
    assert "0 tasks  0 waves" in page
