"""What a rehearsal plays: scenarios that the scripted model reads, and a tasks file that reads back as the same tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightcrew.model.errors import UsageError
from nightcrew.model.plans import Step
from nightcrew.plan.tasksfile import parse_tasks
from nightcrew.runtime.showing.playing import mark_task, play, read_fault, write_tasks
from nightcrew.testing.scenario import read_scenarios

FILE = """# Night

- [ ] 1. A title with `ticks` and "quotes"
  - Agent: claude
  - Scope: docs/**, `src/a b.py`, !docs/x.md
  - Accept: `test -e docs/a.md`
  - Install: `pip install x`
  - Network: pypi, install:npm
  - Timeout: 90s
  - Budget: 2usd
  - Prompt:
    ````
    Write this:
    ```
    code
    ```
    ````

- [ ] 2.1. Then
  - Depends: 1
  - Run:
    ```
    echo one
    echo two
    ```
  - Accept: `true`

- [x] 3. Done before
  - Agent: claude
"""


def test_a_tasks_file_reads_back() -> None:
    tasks = parse_tasks(FILE, "tasks.md")
    again = parse_tasks(write_tasks("Night", tasks, "codex"), "rehearsal.md")
    assert [task.agent for task in again[:2]] == ["codex", "command"]
    for old, new in zip(tasks, again, strict=True):
        same = ("number", "depends", "scope", "run", "install", "network", "timeout_s", "budget", "done")
        if not old.done:
            assert [getattr(old, name) for name in same] == [getattr(new, name) for name in same]
    assert again[0].accept == ()
    assert again[1].accept == ("true",)
    assert again[0].prompt.startswith("Write this:\n```\ncode\n```")
    assert mark_task(tasks[0]) in again[0].prompt


def test_a_scenario_is_one_that_the_model_reads(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a b.py").write_text("x\n")
    tasks = parse_tasks(FILE, "tasks.md")
    faults = [read_fault("529x3"), read_fault("cut@99")]
    (scenario,) = read_scenarios(json.dumps([play(tasks[0], tmp_path, ["git push"], faults)]), "made")
    commands = [call.command for turn in scenario.turns for call in turn.calls]
    assert commands == ["ls", "echo >> 'src/a b.py'", "test -e docs/a.md", "git push"]
    assert scenario.turns[0].fault is not None
    assert (scenario.turns[0].fault.status, scenario.turns[0].fault.times) == (529, 3)
    assert scenario.turns[-1].fault is not None
    assert scenario.when == mark_task(tasks[0])


def test_a_script_plays_its_own_steps(tmp_path: Path) -> None:
    (task,) = parse_tasks("# N\n\n- [ ] 1. Go\n  - Script: x.yaml\n", "tasks.md")
    steps = tuple(
        Step(do, path, text)
        for do, path, text in (
            ("write", "a", "x"), ("append", "a b", "y'"), ("delete", "c", ""), ("run", "", "make"), ("say", "", "hi"),
            ("chmod", "d", "755"), ("symlink", "e", "f"),
        )
    )  # fmt: skip
    made = play(
        task.__class__(**{**{n: getattr(task, n) for n in task.__slots__}, "steps": steps}), tmp_path, (), ()
    )
    calls = [call for turn in made["turns"] for call in turn.get("calls", ())]
    assert [call.get("command", call["tool"]) for call in calls] == [
        "write", "printf %s 'y'\"'\"'' >> 'a b'", "rm -r c", "make", "chmod 755 d", "ln -sfn f e",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("docs/**", "docs/rehearsal-t01.txt"),
        ("src/*.py", "src/rehearsal-t01.py"),
        ("a/new.md", "a/new.md"),
        ("", "rehearsal-t01.txt"),
        ("*.md", "rehearsal-t01.md"),
    ],
)
def test_the_change_lies_in_the_scope(tmp_path: Path, scope: str, path: str) -> None:
    line = f"  - Scope: {scope}\n" if scope else ""
    (task,) = parse_tasks(f"# N\n\n- [ ] 1. Go\n  - Agent: claude\n{line}", "tasks.md")
    made = play(task, tmp_path, (), ())
    assert made["turns"][1]["calls"][0]["path"] == path


@pytest.mark.parametrize("text", ["", "sneeze", "200", "529x", "cut@0", "cut@x", "601", "529x999"])
def test_what_is_no_fault(text: str) -> None:
    with pytest.raises(UsageError):
        read_fault(text)
