"""Files of the working tree that the user's git starts or obeys because the user's own settings or hooks name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nightcrew.promote.calls import WORDS
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
    return tuple(find_started(str(root), str(root / ".git"), str(tmp_path), commands, hooks, PATHS))


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
    assert find_started(root, f"{root}/.git", "", commands, tmp_path / "none", PATHS) == {"other/run.sh": ""}


def lead(tmp_path: Path, files: dict[str, str], hook: str, paths: list[str]) -> dict[str, str]:
    root, hooks = tmp_path / "repo", tmp_path / "hooks"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    hooks.mkdir()
    (hooks / "pre-commit").write_text(hook)
    (hooks / "pre-commit").chmod(0o755)
    return find_started(str(root), str(root / ".git"), str(tmp_path), (), hooks, paths)


@pytest.mark.parametrize(
    "line",
    [
        "./tools/second.sh",
        ". tools/second.sh",
        "source second.sh",
        'source "$(dirname "$0")/second.sh"',
        'here=$(pwd); bash -e "$here/tools/second.sh"',
        "if true; then exec sh tools/second.sh; fi",
        'bash "${HERE}/second.sh" --fast',
    ],
)
def test_what_a_script_of_a_hook_starts(tmp_path: Path, line: str) -> None:
    files = {"tools/first.sh": f"#!/bin/sh\n{line}\n", "tools/second.sh": "echo\n"}
    found = lead(tmp_path, files, "#!/bin/sh\ntools/first.sh\n", ["tools/second.sh", "src/a.txt"])
    assert found == {"tools/second.sh": "tools/first.sh starts tools/second.sh"}


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python3 -u lib/two.py", "lib/two.py"),
        ("python -m lib.two", "lib/two.py"),
        ("node lib/two.js", "lib/two.js"),
        ("make -s lint", "Makefile"),
        ("npm run lint", "package.json"),
    ],
)
def test_what_is_started_by_another_program(tmp_path: Path, line: str, name: str) -> None:
    files = {"one.sh": f"{line}\n", name: "x\n"}
    assert lead(tmp_path, files, "./one.sh\n", [name]) == {name: f"one.sh starts {name}"}


def test_calls_are_followed_to_a_bounded_depth_and_said_as_a_chain(tmp_path: Path) -> None:
    files = {f"s{n}.sh": f"./s{n + 1}.sh\n./s{n}.sh\n./s1.sh\n" for n in range(1, 8)}
    found = lead(tmp_path, files, "./s1.sh\n", sorted(files))
    assert found == {
        "s1.sh": "",
        "s2.sh": "s1.sh starts s2.sh",
        "s3.sh": "s1.sh starts s2.sh, which starts s3.sh",
        "s4.sh": "s1.sh starts s2.sh, which starts s3.sh, which starts s4.sh",
    }


def test_a_build_that_a_hook_starts_is_read_too(tmp_path: Path) -> None:
    files = {"Makefile": "lint:\n\t@sh tools/lint.sh src/a.txt\n", "tools/lint.sh": "echo\n", "src/a.txt": ""}
    found = lead(tmp_path, files, "make lint\n", ["tools/lint.sh", "src/a.txt"])
    assert found == {"tools/lint.sh": "Makefile starts tools/lint.sh"}


def test_what_a_script_only_mentions_is_not_started(tmp_path: Path) -> None:
    files = {"one.sh": "cat src/a.txt src/b.c > c.txt; echo notes.md\n", "src/a.txt": "", "src/b.c": ""}
    assert lead(tmp_path, files, "./one.sh\n", ["src/a.txt", "src/b.c", "c.txt", "notes.md"]) == {}


def test_one_that_comes_with_the_change_is_reached_before_it_is_there(tmp_path: Path) -> None:
    found = lead(tmp_path, {"one.sh": "[ -e x.sh ] && . ./x.sh\n"}, "./one.sh\n", ["x.sh"])
    assert found == {"x.sh": "one.sh starts x.sh"}


def test_links_in_a_circle_and_what_is_no_text_end_it(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "loop").symlink_to("loop")
    (root / "two.sh").write_bytes(b"\0./three.sh\n")
    assert lead(tmp_path, {"one.sh": ". ./loop; ./two.sh\n"}, "./one.sh\n", ["three.sh"]) == {}


def test_of_a_script_that_is_nothing_but_names_so_many_are_looked_up_and_what_it_starts_first(
    tmp_path: Path,
) -> None:
    names = "".join(f"a/{number}.sh\n" for number in range(WORDS))
    files = {"one.sh": f"{names}b/last.sh\n", "two.sh": f"{names}. b/first.sh\n"}
    found = lead(tmp_path, files, "./one.sh; ./two.sh\n", ["b/last.sh", "b/first.sh"])
    assert found == {"b/first.sh": "two.sh starts b/first.sh"}
