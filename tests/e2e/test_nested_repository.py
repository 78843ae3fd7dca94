"""A repository that an agent makes inside its shadow has somebody to commit as: whoever the shadow's own git names, no more."""

from __future__ import annotations

import shutil

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

NESTED = """
import subprocess, pathlib
def git(*words):
    return subprocess.run(["git", "-C", "sub", *words], check=True, capture_output=True, text=True).stdout
pathlib.Path("sub").mkdir()
git("init", "-q")
git("commit", "-q", "--allow-empty", "-m", "one")
told = git("log", "-1", "--format=%an <%ae> %cn <%ce>")
git("config", "--global", "user.name", "Another")
git("commit", "-q", "--allow-empty", "-m", "two")
told += git("log", "-1", "--format=%an <%ae>")
git("config", "user.email", "sub@example.org")
git("commit", "-q", "--allow-empty", "-m", "three")
told += git("log", "-1", "--format=%an <%ae>")
pathlib.Path("who.txt").write_text(told)
pathlib.Path("settings.txt").write_text(git("config", "--list", "--show-scope"))
"""
TASK = "- [ ] 1. nest\n  - Run: python3 nested.py; rm -rf sub\n  - Accept: test -s who.txt\n"
BACKENDS = ("nightcrew, require: S3", "bwrap, require: S3", "landlock, require: S1")


def run_nested(crew: Hermetic) -> None:
    crew.write({"nested.py": NESTED})
    crew.commit("nested")
    done = crew.run_tasks(TASK)
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_the_users_identity_and_the_weakest_setting(crew: Hermetic, backend: str) -> None:
    if backend.startswith("bwrap") and shutil.which("bwrap") is None:
        pytest.skip("needs bwrap: apt install bubblewrap")
    folder = crew.root / "config" / "nightcrew"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"version: 1\nisolation: {{backend: {backend}}}\n")
    crew.git("config", "--global", "http.extraHeader", "AUTHORIZATION: mine")
    crew.git("config", "--global", "user.signingKey", "MY-KEY")
    run_nested(crew)
    me = "Hermetic <hermetic@example.org>"
    assert (crew.repo / "who.txt").read_text().splitlines() == [
        f"{me} {me}",
        "Another <hermetic@example.org>",
        "Another <sub@example.org>",
    ]
    lines = (crew.repo / "settings.txt").read_text().lower().splitlines()
    assert [line for line in lines if line.startswith("system")] == [
        "system\tuser.name=hermetic",
        "system\tuser.email=hermetic@example.org",
    ]
    assert not any("signingkey" in line or "extraheader" in line for line in lines)


def test_where_the_user_has_none_it_is_the_agents(crew: Hermetic) -> None:
    (crew.home / ".gitconfig").write_text("")
    for key in ("AUTHOR", "COMMITTER"):
        crew.variables[f"GIT_{key}_NAME"] = crew.variables[f"GIT_{key}_EMAIL"] = "outside"
    run_nested(crew)
    told = (crew.repo / "who.txt").read_text().splitlines()[0]
    assert told == "nightcrew agent <agent@localhost> nightcrew agent <agent@localhost>"
