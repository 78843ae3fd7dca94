"""What the documents say is what the program does: commands exist, links lead somewhere, examples parse."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nightcrew.plan.tasksfile import parse_tasks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "AGENTS.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
)


def test_the_generated_pages_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page, known_commands):
    for line in page.read_text(encoding="utf-8").splitlines():
        found = re.match(r"^\$ nightcrew ((?:[a-z-]+)(?: [a-z-]+)?)", line)
        if found:
            words = found.group(1).split()
            assert words[0] in known_commands, line
            inner = known_commands[words[0]]
            if inner and len(words) > 1:
                assert words[1] in inner, line


@pytest.fixture(scope="session")
def known_commands():
    import click

    from nightcrew.cli.app import app as root

    context = click.Context(root)
    known = {}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        known[name] = set(command.list_commands(context)) if isinstance(command, click.Group) else set()
    return known


def test_the_tasks_of_the_first_night_parse():
    text = (ROOT / "docs" / "guides" / "first-night.md").read_text(encoding="utf-8")
    example = re.search(r"```markdown\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert [task.id for task in parse_tasks(example.group(1), "tasks.md")] == ["T01", "T02"]


def test_the_architecture_is_short_enough_to_be_read():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 200
    assert len((ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_every_folder_of_the_code_stands_in_the_code_map():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for folder in (ROOT / "src" / "nightcrew").iterdir():
        if folder.is_dir() and folder.name not in {"__pycache__", "testing"}:
            assert f"`{folder.name}/`" in text, folder.name


# The named presets of the network: places that a task may reach by one word. A preset that names no host is of no use.
PRESETS = "src/nightcrew/policy/presets.toml"


def test_no_page_and_no_source_names_a_package_registry():
    hosts = re.compile("pypi" + r"\.org|python" + r"hosted|registry\.np" + r"mjs|deb\.deb" + r"ian")
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        path = ROOT / name
        if (
            name != PRESETS
            and path.is_file()
            and path.suffix in {".md", ".py", ".toml", ".yaml", ".yml", ".json", ""}
        ):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="replace")), name
