"""One real file of each class of those that run by themselves: named in words at review, and stopped at promotion, one by one."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

#: class → file that an agent makes, and a word of what a person is told.
CLASSES = {
    "git": (".gitattributes", "git"),
    "shell": (".zshenv", "the shell"),
    "direnv": (".envrc", "enters the folder"),
    "editor": (".vscode/tasks.json", "the editor"),
    "packages": ("package.json", "package manager"),
    "ci": (".github/workflows/x.yml", "build servers"),
    "tests": ("conftest.py", "test runner"),
    "build": ("Makefile", "build tool"),
    "checks": (".pylintrc", "linter"),
    "container": ("Dockerfile", "container"),
    "infrastructure": ("main.tf", "infrastructure tool"),
    "agent": ("CLAUDE.md", "coding agent"),
    "environment": ("sitecustomize.py", "interpreters load it"),
    "settings": (".curlrc", "command-line tool"),
    "executable": ("src/tool", "executable"),
}
#: Named by the user's own git, whatever they are called.
BY_GIT = ("tools/hooks/pre-commit", "tools/clean.sh", "shared.gitconfig", "scripts/check.sh")
AGENT = """
import os, pathlib, sys
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed\\n")
os.chmod("src/tool", 0o755)
"""


def set_up_git(crew: Hermetic) -> None:
    for path in BY_GIT:
        crew.write({path: "#!/bin/sh\n"})
        (crew.repo / path).chmod(0o755)
    crew.write({"agent.py": AGENT})
    crew.commit("what git runs")
    crew.git("config", "core.hooksPath", "tools/hooks")
    crew.git("config", "filter.big.clean", "./tools/clean.sh %f")
    crew.git("config", "include.path", "../shared.gitconfig")
    # The hooks of the user's own folder call a script of the tree.
    crew.write({"tools/hooks/pre-push": "#!/bin/sh\nexec scripts/check.sh\n"})
    (crew.repo / "tools/hooks/pre-push").chmod(0o755)
    crew.commit("a hook")


def test_each_class_needs_a_yes_of_its_own(crew: Hermetic) -> None:
    (crew.repo / "shared.gitconfig").write_text("")
    set_up_git(crew)
    names = [*(path for path, _ in CLASSES.values()), *BY_GIT]
    done = crew.run_tasks(f"- [ ] 1. all of them\n  - Run: python3 agent.py {' '.join(names)}\n")
    assert done.code in (0, 5), done
    for item in crew.run("inbox", "--json").json:
        assert crew.run("approve", item["id"]).code == 0
    crew.wait_until(lambda: crew.show_tasks("R-1")["T01"]["state"] == "succeeded", what="the task")
    review = " ".join(crew.run("review", "R-1").stdout.replace("…", "").split())
    for path, words in CLASSES.values():
        assert path in review, path
        assert words in review, words
    for path in BY_GIT:
        assert f"{path} +1 -1 read by git" in review, path
    assert crew.run("accept", "R-1/T01").code == 0
    before = crew.git("rev-parse", "HEAD")
    said: list[str] = []
    for left in range(len(CLASSES), 0, -1):
        refused = crew.run("promote", "R-1", "--yes", *said, "--json")
        assert refused.code == 5, refused
        where = [line.split(": ")[0] for line in refused.json["error"]["where"]]
        kinds = list(CLASSES)[len(CLASSES) - left :]
        expected = {CLASSES[kind][0] for kind in kinds} | (set(BY_GIT) if "git" in kinds else set())
        assert set(where) == expected
        assert crew.git("rev-parse", "HEAD") == before
        said += ["--allow-handoff", kinds[0]]
    assert crew.run("promote", "R-1", "--yes", *said).code == 0
    assert crew.git("rev-parse", "HEAD") != before


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("ln -s /etc/passwd out", "leaves the tree"),
        ("ln -s ../.. src/deep; ln -s src/deep/../secret out", "goes up again behind a name"),
        ("ln -s .git/hooks/pre-commit hook", "leads into git's own directory"),
    ],
)
def test_a_link_with_a_way_out_is_refused_and_told(crew: Hermetic, made: str, said: str) -> None:
    """Two links that stay inside, each by itself, may make one that does not."""
    done = crew.run_tasks(f"- [ ] 1. link\n  - Run: mkdir -p src; {made}\n")
    assert done.code in (6, 10), done
    assert crew.show_tasks("R-1")["T01"]["state"] == "failed"
    assert said in " ".join(crew.run("why", "R-1/T01").stdout.replace("…", "").split())
    assert crew.run("accept", "R-1/T01").code != 0
    assert crew.git("status", "--porcelain") == ""
