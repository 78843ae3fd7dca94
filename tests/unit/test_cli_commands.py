"""Every command has a help page with an example and its exit codes, and costs no more than it must."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from nightcrew.cli.app import COMMANDS, GROUPS, HIDDEN, app
from nightcrew.testing.hermetic import Hermetic


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), each)
            assert found is not None
            yield from walk(found, f"{name} {each}")
    else:
        yield name, command


ALL = dict(walk(app, "nightcrew"))


@pytest.mark.parametrize("name", sorted(ALL))
def test_help_has_purpose_example_and_exit_codes(name: str) -> None:
    page = ALL[name].get_help(click.Context(ALL[name], info_name=name))
    assert "Example:" in page
    assert "nightcrew " in page.partition("Example:")[2]
    assert "Exit codes: 0 ok" in page
    assert "--json" in page
    assert "-C DIR" in page
    assert (ALL[name].help or "").strip()


def test_every_command_stands_in_one_group_and_can_be_imported() -> None:
    listed = [name for group in GROUPS.values() for name in group]
    assert len(listed) == len(set(listed))
    for name in COMMANDS:
        found = app.get_command(click.Context(app), name)
        assert found is not None
        assert found.name == name


def test_hidden_commands_are_not_shown() -> None:
    page = app.get_help(click.Context(app, info_name="nightcrew"))
    for name in HIDDEN:
        assert f"\n  {name} " not in page


def loaded_by(*arguments: str, env: dict[str, str]) -> set[str]:
    script = (
        "import sys\n"
        "from nightcrew.__main__ import main\n"
        "sys.argv = ['nightcrew', *sys.argv[1:]]\n"
        "main()\n"
        "sys.stderr.write('\\n'.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stderr.splitlines())


def test_version_needs_neither_click_nor_the_runtime(tmp_path) -> None:
    modules = loaded_by("--version", env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert "click" not in modules
    assert not {name for name in modules if name.startswith("nightcrew.")} - {"nightcrew.__main__"}


def test_looking_at_runs_does_not_load_the_engine(crew: Hermetic) -> None:
    modules = loaded_by("ps", "--all", env=crew.variables)
    assert "dbos" not in modules
    assert "rich" not in modules


def test_version(crew: Hermetic) -> None:
    from nightcrew import __version__

    for option in ("--version", "-V"):
        assert crew.run(option).stdout == f"nightcrew {__version__}\n"


def test_an_unknown_command_suggests_a_near_one(crew: Hermetic) -> None:
    done = crew.run("aprove")
    assert done.code == 2
    assert "Did you mean `nightcrew approve`?" in done.stderr


def test_json_and_directory_may_stand_before_the_command(crew: Hermetic) -> None:
    assert crew.run("--json", "ps").json == []
    done = crew.run("-C", str(crew.root / "missing"), "ps")
    assert done.code == 2
    assert "there is no directory" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(crew: Hermetic, shell: str) -> None:
    done = crew.run("completion", shell)
    assert done.code == 0
    assert "_NIGHTCREW_COMPLETE" in done.stdout


def test_completion_knows_the_commands(crew: Hermetic) -> None:
    done = crew.run(
        extra={"_NIGHTCREW_COMPLETE": "bash_complete", "COMP_WORDS": "nightcrew chec", "COMP_CWORD": "1"}
    )
    assert "checkpoint" in done.stdout
