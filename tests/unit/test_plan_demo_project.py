"""The shipped demo project: its manifest is complete, its tasks load, and its parts do what the demo says of them."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

from nightcrew.plan.check import waves
from nightcrew.plan.script import parse_script
from nightcrew.runtime.showing.demo_project import ASKS, FAILS, TASKS_FILE, read_demo_files
from plan_loading import load_tasks

AGENTS = ("command", "script")


def unpack(root: Path) -> None:
    for path, data in read_demo_files().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def run_tests(root: Path, *names: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "unittest", *names], cwd=root, capture_output=True, timeout=60, check=False
    )
    return done.returncode == 0


def test_the_manifest_names_every_stored_file() -> None:
    folder = Path(str(files("nightcrew.runtime.showing.demo_project"))) / "files"
    stored = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    import json

    manifest = json.loads((folder.parent / "manifest.json").read_text())
    assert set(manifest["files"].values()) == stored
    assert not [name for name in stored if name.endswith(".py") or "/." in f"/{name}"]


def test_the_tasks_are_as_the_demo_tells() -> None:
    shipped = read_demo_files()
    tasks = load_tasks(shipped[TASKS_FILE], TASKS_FILE, agents=AGENTS).tasks
    assert waves(tasks) == (("T01", "T02", "T04", "T05"), ("T03",))
    assert tasks[2].depends == ("T01", "T02")
    assert all(task.accept and task.scope for task in tasks)
    assert {ASKS, FAILS} <= {task.id for task in tasks}
    for task in tasks:
        if task.script:
            assert parse_script(shipped[task.script].decode(), task.script)


def test_the_project_has_one_failing_test_and_lacks_a_feature_and_a_page(tmp_path: Path) -> None:
    unpack(tmp_path)
    assert not run_tests(tmp_path)
    assert not run_tests(tmp_path, "tests.test_amounts.AmountsTest.test_thousands")
    assert run_tests(tmp_path, "tests.test_totals", "tests.test_report")
    assert "report_by_month" not in (tmp_path / "ledger/report.py").read_text()
    assert not (tmp_path / "docs").exists()


def test_the_scripts_do_their_work_and_the_last_one_fails(tmp_path: Path) -> None:
    unpack(tmp_path)
    tasks = load_tasks((tmp_path / TASKS_FILE).read_bytes(), TASKS_FILE, agents=AGENTS).tasks
    for task in tasks:
        if task.run:
            subprocess.run(
                ["bash", "-c", task.run], cwd=tmp_path, check=True, timeout=60, capture_output=True
            )
        for step in parse_script((tmp_path / task.script).read_text(), task.script) if task.script else ():
            if step.do in ("write", "append"):
                with (tmp_path / step.path).open("w" if step.do == "write" else "a") as file:
                    file.write(step.text)
        accepted = [
            subprocess.run(
                ["bash", "-c", line], cwd=tmp_path, capture_output=True, timeout=60, check=False
            ).returncode
            == 0
            for line in task.accept
        ]
        assert all(accepted) == (task.id != FAILS), task.title
