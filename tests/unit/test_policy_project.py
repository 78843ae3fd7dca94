"""Names that stand for commands: scripts of package managers, aliases of git, escapes of database clients."""

from __future__ import annotations

import json

import pytest

from nightcrew.host.shell import parse
from nightcrew.policy.lines.project import Project
from nightcrew.policy.lines.walk import read_line

PACKAGE = json.dumps(
    {
        "scripts": {
            "build": "tsc -p .",
            "deploy": "git push --force origin main",
            "preship": "rm -rf /",
            "ship": "echo shipped",
            "test": "jest",
            "posttest": "curl example.org",
            "postinstall": "sh -c 'wget x'",
            "loop": "npm run loop && npm run loop",
            "number": 3,
        }
    }
)
FILES = {
    "package.json": PACKAGE,
    "web/package.json": json.dumps({"scripts": {"go": "ssh host"}}),
    "broken/package.json": "{",
    "composer.json": json.dumps(
        {"scripts": {"fix": ["php x", "git push -f"], "post-install-cmd": "dropdb prod"}}
    ),
    "pyproject.toml": '[tool.pdm.scripts]\nship = {shell = "git push -f"}\n[tool.poe.tasks]\nall = {sequence = ["ls", "dropdb a"]}\n',
}
ALIASES = {"pf": "push --force", "wipe": "!rm -rf /", "st": "status", "outer": "pf origin"}


def effective(line: str, *, project: bool = True) -> list[str]:
    known = Project(FILES.get, ALIASES) if project else None
    return [start.effective for start in read_line(line, parse=parse, project=known).starts]


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("npm run deploy", "git push --force origin main"),
        ("npm run-script --silent deploy", "git push --force origin main"),
        ("pnpm deploy", "git push --force origin main"),
        ("yarn deploy", "git push --force origin main"),
        ("yarn run deploy", "git push --force origin main"),
        ("npm run build -- --watch 'a b'", "tsc -p . --watch 'a b'"),
        ("npm run ship", "rm -rf /"),
        ("npm test", "curl example.org"),
        ("npm t -- x", "jest"),
        ("npm install", "wget x"),
        ("yarn", "wget x"),
        ("bun run deploy", "git push --force origin main"),
        ("cd web && npm run go", "ssh host"),
        ("npm --prefix web run go", "ssh host"),
        ("npm run go --prefix web", "ssh host --prefix web"),
        ("yarn --cwd=web go", "ssh host"),
        ("bash -c 'npm run deploy'", "git push --force origin main"),
        ("composer fix", "git push -f"),
        ("composer run-script fix", "git push -f"),
        ("composer install", "dropdb prod"),
        ("pdm run ship", "git push -f"),
        ("poe all", "dropdb a"),
        ("git pf origin x", "git push --force origin x"),
        ("git -C sub PF", "git push --force"),
        ("git wipe", "rm -rf /"),
        ("git outer", "git push --force origin"),
    ],
)
def test_a_name_stands_for_what_the_project_says(line: str, runs: str) -> None:
    assert runs in effective(line)


@pytest.mark.parametrize(
    "line",
    [
        "npm run number",
        "npm run nothing",
        "cd broken && npm run x",
        "cd / && npm run deploy",
        "npm --prefix ../x run deploy",
    ],
)
def test_what_is_not_there_runs_nothing_more(line: str) -> None:
    assert not any("push" in each for each in effective(line))


def test_a_script_that_calls_itself_comes_to_an_end() -> None:
    found = read_line("npm run loop", parse=parse, project=Project(FILES.get))
    assert any("nested too deep" in reason for reason in found.opaque)


@pytest.mark.parametrize(
    ("line", "opaque"),
    [
        ("git nosuch", True),
        ("git x push -f", True),
        ("git status", False),
        ("git --version", False),
        ("git -c alias.p=push p -f", False),
        ("git lfs ls-files", False),
        ("git st", True),
    ],
)
def test_a_command_that_git_does_not_have_is_not_known(line: str, opaque: bool) -> None:
    assert bool(read_line(line, parse=parse).opaque) is opaque


def test_an_alias_that_is_known_is_not_opaque() -> None:
    assert not read_line("git st", parse=parse, project=Project(FILES.get, ALIASES)).opaque


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        (r"psql -c '\! rm -rf /'", "rm -rf /"),
        ("sqlite3 a.db '.shell rm -rf /'", "rm -rf /"),
        ("sqlite3 a.db <<'E'\nselect 1;\n.system git push -f\nE", "git push -f"),
        ("mysql -e 'system git push -f'", "git push -f"),
        ("psql -c \"COPY x TO PROGRAM 'curl example.org'\"", "curl example.org"),
        (r"psql -c '\o | curl example.org'", "curl example.org"),
        ("printf '%s' 'select 1' | psql", "psql"),
    ],
)
def test_a_client_of_a_database_can_run_programs(line: str, runs: str) -> None:
    assert runs in effective(line, project=False)
