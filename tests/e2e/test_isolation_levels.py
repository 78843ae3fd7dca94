"""Levels as a user meets them: on a machine that refuses user namespaces, with a back end of their choice, and too weak."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

#: What default Docker and recent Ubuntu do to a program: not one more user namespace.
REFUSED = ("unshare", "-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh")
PLAN = """
- [ ] 1. one
  - Run: echo changed >> src/data.txt; cat {secret} > stolen.txt; chmod 777 {secret}; pwd > where.txt; git status --short > status.txt
  - Accept: grep -q changed src/data.txt
  - Accept: test -s where.txt
"""


def choose(crew: Hermetic, text: str) -> None:
    folder = crew.root / "config" / "nightcrew"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"version: 1\nisolation: {{{text}}}\n")


@pytest.fixture
def secret(crew: Hermetic) -> Path:
    place = crew.home / "secret.txt"
    place.write_text("my key\n")
    place.chmod(0o600)
    return place


def test_without_user_namespaces(crew: Hermetic, secret: Path) -> None:
    """Nothing weaker is taken in silence; once S1 is accepted, the whole way works with it and says so everywhere."""
    crew.program = (*REFUSED, *crew.program)
    text = PLAN.format(secret=secret)
    refused = crew.run_tasks(text)
    assert refused.code == 11
    for words in (
        "this machine gives isolation S1, S2 is required; nothing was started",
        "missing: the host's processes are not visible",
        "max_user_namespaces",
        "isolation: {require: S1}",
    ):
        assert words in refused.stdout, refused
    assert crew.look("ps", "--all", "--json").json == []
    doctor = crew.run("doctor")
    assert doctor.code == 11
    assert "S1" in doctor.stdout
    choose(crew, "require: S1")
    assert crew.run_tasks(text).code == 0
    view = crew.show("R-1")
    assert (view["isolation"], view["confined"]["backend"]) == ("S1", "landlock")
    [task] = view["tasks"]
    assert (task["state"], task["verified"], task["isolation"]) == ("succeeded", "verified", "S1")
    told = {command: crew.run(command, "R-1").stdout for command in ("plan", "show", "review")}
    assert [command for command, text in told.items() if "S1" not in text] == []
    assert "landlock" in told["plan"]
    assert "ran with weak or unknown isolation (S1)" in told["review"]
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("my key\n", 0o600)
    assert crew.run("accept", "R-1/T01").code == 0
    done = crew.run("promote", "R-1", "--yes", "--json")
    assert done.code == 0, done
    assert done.json["isolation"].startswith("S1 (Landlock")
    assert crew.git("show", "HEAD:stolen.txt") == "", "it had nothing to write into it"
    assert crew.git("show", "HEAD:where.txt").startswith(str(crew.state))
    assert crew.git("show", "HEAD:status.txt").split() == [
        "M",
        "src/data.txt",
        "??",
        "status.txt",
        "??",
        "stolen.txt",
        "??",
        "where.txt",
    ]


def test_the_hosts_bubblewrap(crew: Hermetic, secret: Path) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("needs bwrap: apt install bubblewrap")
    choose(crew, "backend: bwrap, require: S3")
    done = crew.run_tasks(PLAN.format(secret=secret))
    assert done.code == 0, done
    assert crew.show("R-1")["confined"]["text"] == "S3 (namespaces, by bwrap)"
    assert crew.show_tasks("R-1")["T01"]["verified"] == "verified"
    where = crew.look("diff", "R-1/T01").stdout
    assert f"+{crew.repo}" in where, "the copy was seen at the repository's own path"
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("missing", ["bwrap", "docker"])
def test_a_back_end_that_is_not_there(crew: Hermetic, missing: str) -> None:
    choose(crew, f"backend: {missing}, require: S1")
    programs = crew.root / "programs"
    programs.mkdir()
    for name in ("git", "bash", "sh", "cat"):
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    refused = crew.run_tasks("- [ ] 1. one\n  - Run: true\n", extra={"PATH": str(programs)})
    assert refused.code == 11
    assert f"the back end {missing} can confine nothing here (isolation S0), S1 is required" in refused.stdout
    assert f"there is no {missing} on this machine" in refused.stdout
    assert "install" in refused.stdout, "how to mend it"


def test_nothing_at_all_only_by_name(crew: Hermetic) -> None:
    choose(crew, "backend: none, require: S0")
    refused = crew.run_tasks("- [ ] 1. one\n  - Run: echo x > made\n  - Accept: test -s made\n")
    assert refused.code == 11
    assert "--allow-unsandboxed" in refused.stdout
    done = crew.run_tasks(
        "- [ ] 1. one\n  - Run: echo x > made\n  - Accept: test -s made\n", "--allow-unsandboxed"
    )
    assert done.code == 0, done
    assert crew.show("R-1")["confined"]["text"] == "S0 (no confinement)"


def test_a_repository_does_not_choose_its_walls(crew: Hermetic) -> None:
    crew.write(
        {
            ".nightcrew/config.yaml": "version: 1\nisolation:\n  require: S1\n  backend: landlock\n  image: evil\n"
        }
    )
    crew.commit("settings")
    refused = crew.run_tasks("- [ ] 1. one\n  - Run: true\n")
    assert refused.code == 2
    assert ".nightcrew/config.yaml" in refused.stdout
    assert "a repository cannot choose this" in refused.stdout
    assert os.path.exists(crew.repo)
