"""Errors: words for a person, JSON for a script, the exit code of their kind, and a report when they are ours."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import click
import pytest

from nightcrew.cli.failure import describe_failure
from nightcrew.cli.screen import Screen, printable, table
from nightcrew.model.errors import (
    DeniedByPolicy,
    DriftError,
    EngineUnavailable,
    InvalidInput,
    JournalDamaged,
    LimitReached,
    NightcrewError,
    NotAuthenticated,
    NotFound,
    Place,
    Problem,
    SandboxUnavailable,
    StaleError,
    TasksFailed,
    UsageError,
    WaitingForHuman,
)

CODES = [
    (NightcrewError, 1),
    (UsageError, 2),
    (NotFound, 3),
    (NotAuthenticated, 4),
    (WaitingForHuman, 5),
    (DeniedByPolicy, 6),
    (StaleError, 7),
    (DriftError, 7),
    (LimitReached, 8),
    (EngineUnavailable, 9),
    (TasksFailed, 10),
    (SandboxUnavailable, 11),
    (JournalDamaged, 12),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize(("kind", "code"), CODES)
def test_the_kind_decides_the_exit_code(kind: type[NightcrewError], code: int, capsys) -> None:
    assert describe_failure(kind("it went wrong"), [], Screen()) == code
    assert f"exit {code}" in capsys.readouterr().err


def test_an_error_in_words(capsys) -> None:
    error = StaleError("it moved", code="drift.x", where=["a.py", "b.py"], hint="nightcrew show R-1")
    describe_failure(error, [], Screen())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "error: it moved",
        "  --> a.py",
        "  --> b.py",
        " hint: nightcrew show R-1",
        " code: drift.x   exit 7",
    ]


def test_an_error_as_json(capsys) -> None:
    error = InvalidInput("one problem", [Problem(Place("t.md", 3, 5), "unknown key", "did you mean Run?")])
    assert describe_failure(error, [], Screen(json=True)) == 2
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "ok": False,
        "error": {
            "code": "input.invalid",
            "message": "one problem",
            "where": ["t.md:3:5: unknown key"],
            "hint": "",
            "exit": 2,
            "problems": [
                {
                    "file": "t.md",
                    "line": 3,
                    "column": 5,
                    "message": "unknown key",
                    "hint": "did you mean Run?",
                }
            ],
        },
    }


def test_a_secret_in_an_error_is_blotted_out(capsys) -> None:
    key = "gh" + "p_kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAabcd"
    error = NightcrewError(
        f"no run {key}", where=[f"config.yaml:3: token: {key}"], hint=f"nightcrew show {key}"
    )
    for screen in (Screen(), Screen(json=True)):
        describe_failure(error, [], screen)
        said = "".join(capsys.readouterr())
        assert said.count("ghp_***cd") == 3
        assert key[4:12] not in said


def test_a_wrong_command_line_is_usage(capsys) -> None:
    assert describe_failure(click.NoSuchOption("--frce"), [], Screen()) == 2
    assert "--frce" in capsys.readouterr().err


def test_an_interrupt_is_130(capsys) -> None:
    assert describe_failure(KeyboardInterrupt(), [], Screen()) == 130
    assert describe_failure(click.Abort(), [], Screen()) == 130


def test_a_defect_writes_a_report_without_secrets(place: Path, capsys) -> None:
    secret = "ghp_" + "a1B2" * 9
    assert describe_failure(RuntimeError(f"token {secret}"), ["run", "-f", "tasks.md"], Screen()) == 70
    err = capsys.readouterr().err
    [report] = (place / "state" / "nightcrew" / "reports").iterdir()
    text = report.read_text()
    assert str(report) in err
    assert "RuntimeError" in text
    assert "command: run -f tasks.md" in text
    assert secret not in text
    assert report.stat().st_mode & 0o777 == 0o600
    assert report.parent.stat().st_mode & 0o777 == 0o700


def test_a_defect_without_a_place_for_its_report_still_speaks(monkeypatch, tmp_path, capsys) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    assert describe_failure(RuntimeError("boom"), [], Screen()) == 70
    assert "no report could be written" in capsys.readouterr().err


def test_a_full_disk_is_not_a_defect(place: Path, capsys) -> None:
    assert describe_failure(OSError(errno.ENOSPC, "No space left on device"), [], Screen()) == 1
    assert "the disk is full" in capsys.readouterr().err
    assert not (place / "state").exists()


def test_columns_line_up_whatever_their_colours() -> None:
    rows = [["a", "\x1b[31mred\x1b[0m", "x"], ["long", "b", "y"]]
    lines = table(rows, header=["N", "S", ""])
    assert lines[0] == "N     S"
    assert lines[1] == "a     \x1b[31mred\x1b[0m  x"
    assert lines[2] == "long  b    y"
    assert table([]) == []


def test_what_a_stream_cannot_encode_is_escaped() -> None:
    class Ascii:
        encoding = "ascii"

    assert printable("a\udcffé", Ascii()) == "a\\udcff\\xe9"  # type: ignore[arg-type]


def test_an_error_that_causes_itself_comes_to_an_end() -> None:
    """A helper that gives the cause back, raised again `from` what it caused, makes a ring."""
    from nightcrew.runtime.upkeep.reporting import is_disk_full

    cause, effect = OSError(2, "gone"), RuntimeError("over")
    effect.__cause__, cause.__cause__ = cause, effect
    assert not is_disk_full(effect)
    full = OSError(28, "full")
    effect.__cause__, full.__cause__ = full, effect
    assert is_disk_full(effect)
