"""A look from a loaded process is the same as the installed command: words, exit code, environment, folder, deadline."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

RUN = "- [ ] 1. writes\n  - Run: echo done > done.txt\n  - Accept: test -s done.txt\n"
COMMANDS = [
    ["show", "R-1"],
    ["show", "R-1/T01", "--json"],
    ["show", "R-7"],
    ["show"],
    ["shaw", "R-1"],
    ["ps", "--all"],
    ["inbox", "--json"],
    ["log", "R-1"],
    ["events", "--json"],
    ["why", "R-1/T01"],
    ["diff", "R-1/T01"],
    ["audit", "verify"],
    ["audit", "query", "--kind", "run"],
    ["stats", "R-1"],
    ["blame", "README.md"],
    ["budget", "show"],
    ["budget", "history"],
    ["checkpoint", "list", "R-1"],
    ["checkpoint", "diff", "C-1"],
    ["plan", "R-1"],
    ["policy", "explain", "--", "make", "deploy"],
    ["policy", "check"],
    ["role", "list"],
    ["agent", "list", "--json"],
    ["auth", "whoami"],
    ["keys", "list"],
    ["--version"],
    [],
]


@pytest.mark.needs_userns
def test_a_look_says_what_the_command_says(crew: Hermetic) -> None:
    assert crew.run_tasks(RUN).code == 0
    said = [crew.run(*args) for args in COMMANDS]
    for _ in range(2):  # the second time with all of it loaded
        assert [crew.look(*args) for args in COMMANDS] == said


def test_a_look_has_its_own_environment_and_folder(crew: Hermetic) -> None:
    narrow = {"COLUMNS": "60", "XDG_STATE_HOME": str(crew.root / "other")}
    assert crew.look("ps", extra=narrow) == crew.run("ps", extra=narrow)
    assert crew.look("--help", extra=narrow) == crew.run("--help", extra=narrow)
    outside = crew.look("why", "R-1", cwd=crew.home)
    assert outside == crew.run("why", "R-1", cwd=crew.home)
    assert crew.look("ps").code == 0


def test_a_look_ends_at_its_deadline_and_the_next_one_is_answered(crew: Hermetic) -> None:
    late = crew.look("events", "--follow", timeout_s=0.5)
    assert late.timed_out, late
    assert crew.look("--version").code == 0
