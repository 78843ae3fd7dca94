"""Files of the working tree that the user's git starts or obeys because the user's own settings or hooks name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.promote.programs import find_started, read_commands

PATHS = ["a.txt", "tools/run.sh", "tools", "other/run.sh", "shared.gitconfig", "run.sh", "store", "status"]
PATHS += ["tools/lint.py", "main.py", "tools/check/__main__.py"]


def find(tmp_path: Path, settings: dict[str, str], hook: str = "") -> tuple[str, ...]:
    root, hooks = tmp_path / "repo", tmp_path / "hooks"
    root.mkdir(exist_ok=True)
    hooks.mkdir()
    (hooks / "pre-commit.sample").write_text("a.txt\n")
    if hook:
        (hooks / "pre-push").write_text(hook)
        (hooks / "pre-push").chmod(0o755)
    commands = read_commands(settings)
    return find_started(str(root), str(root / ".git"), str(tmp_path), commands, hooks, PATHS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("filter.big.clean", "./tools/run.sh %f"),
        ("filter.big.process", "python3 tools/run.sh"),
        ("core.fsmonitor", "tools/run.sh"),
        ("diff.words.textconv", "'tools/run.sh'"),
        ("merge.ours.driver", "tools/../tools/run.sh %A %O"),
        ("alias.go", "!f() { ./tools/run.sh; }; f"),
        ("credential.helper", "!tools/run.sh"),
        ("gpg.ssh.program", "~/repo/tools/run.sh"),
        ("include.path", "../tools/run.sh"),
        ("includeIf.gitdir:~/x/.path", "../tools/run.sh"),
        ("core.attributesfile", "tools/run.sh"),
        ("submodule.x.update", "!tools/run.sh"),
    ],
)
def test_what_settings_name(tmp_path: Path, key: str, value: str) -> None:
    """With it the folders above, which may become a link to another one."""
    assert find(tmp_path, {key: value}) == ("tools/run.sh", "tools")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("user.name", "a.txt"),
        ("credential.helper", "store"),
        ("alias.st", "status"),
        ("core.editor", "vim"),
        ("branch.main.merge", "refs/heads/a.txt"),
        ("core.pager", "/usr/bin/run.sh"),
    ],
)
def test_what_they_do_not(tmp_path: Path, key: str, value: str) -> None:
    assert find(tmp_path, {key: value}) == ()


def test_what_a_hook_calls(tmp_path: Path) -> None:
    assert find(tmp_path, {}, '#!/bin/sh\nexec "$PWD"/x || ./tools/run.sh "$@"\n') == (
        "tools/run.sh",
        "tools",
    )


@pytest.mark.parametrize(
    ("hook", "named"),
    [
        ('exec "$(git rev-parse --show-toplevel)/tools/run.sh"', ["tools/run.sh", "tools"]),
        ('ROOT=$(pwd)\n"${ROOT}/tools/run.sh" "$@"', ["tools/run.sh", "tools"]),
        ('"$(dirname "$0")/../repo/tools/run.sh"', ["tools/run.sh", "tools"]),
        ("cd tools && ./run.sh", ["tools/run.sh", "tools", "run.sh"]),
        ("python3 -m tools.lint --all main", ["tools", "tools/lint.py"]),
        ("python3 -m tools.check", ["tools", "tools/check/__main__.py"]),
        ("exec /usr/bin/run.sh", []),
    ],
)
def test_however_a_hook_spells_it(tmp_path: Path, hook: str, named: list[str]) -> None:
    (tmp_path / "repo/tools").mkdir(parents=True)
    assert list(find(tmp_path, {}, f"#!/bin/sh\n{hook}\n")) == named


def test_behind_a_link_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "repo/other/run.sh")
    (tmp_path / "repo/other").mkdir(parents=True)
    (tmp_path / "repo/other/run.sh").touch()
    commands = read_commands({"core.sshcommand": str(tmp_path / "link")})
    root = str(tmp_path / "repo")
    assert find_started(root, f"{root}/.git", "", commands, tmp_path / "none", PATHS) == ("other/run.sh",)
