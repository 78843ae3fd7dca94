"""What bash really starts, our reading has found or has called unknown: random lines run by a real bash.

The only programs within reach of these lines are a marker and a few that run others. A line after which the marker is
there started it; then our reading of the line must have found the marker, a part that is not known, or no bash at all.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from nightcrew.host.shell import ShellSyntaxError, parse
from nightcrew.policy.lines.walk import read_line

TOKENS = (
    ["planted"] * 9
    + [
        "coproc",
        "time",
        "time -p",
        "!",
        "{",
        "}",
        "(",
        ")",
        "$(",
        ")",
        "`",
        '"',
        "'",
        ";",
        "; ",
        "&",
        "&&",
        "||",
        "|",
        "|&",
        "\n",
    ]
    + [
        "x=",
        "x=planted",
        "$x",
        '"$x"',
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for x in a;",
        "for x in planted;",
        "do",
        "done",
    ]
    + [
        "case a in a)",
        "case a in",
        ";;",
        "esac",
        "eval",
        "${x:-",
        "}",
        "[[",
        "-n",
        "]]",
        "((",
        "))",
        "$((",
        "<<E\n",
        "\nE\n",
        "<<'E'\n",
    ]
    + [
        "<<<",
        "<(",
        ">(",
        "function g",
        "g()",
        "g",
        "declare",
        "export",
        "local",
        "readonly",
        "x=(",
        "let",
        "trap",
        "EXIT",
        "exec",
    ]
    + [
        "command",
        "builtin",
        "-c",
        "bash",
        "sh",
        "env",
        "xargs",
        "\\",
        "pl\\anted",
        "{planted,",
        "a}",
        "$'",
        "#",
        "\\\n",
        " ",
        "true",
    ]
    + [
        "cat",
        "select",
        "in",
        "then planted",
        "do planted; done",
        "fi;",
        "y=1",
        "[",
        "]",
        "~",
        "*",
        "?",
        "@(",
        "!(",
        "-",
        "--",
        "$",
        "''",
    ]
    + [
        "planted|sh",
        "echo planted|",
        "a[",
        "]=",
        "=",
        "+=",
        ">",
        "/dev/null",
        "2>&1",
        "$(<",
        "test",
        "-v",
        "printf",
        "%s",
    ]
)
REACHABLE = {
    "bash": "/bin/bash",
    "sh": "/bin/bash",
    "env": "/usr/bin/env",
    "xargs": "/usr/bin/xargs",
    "true": "/bin/true",
    "cat": "/bin/cat",
}
LINES = 1500


@pytest.fixture
def cage(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "bin/planted").write_text('#!/bin/bash\n: >> "$MARK"\n')
    (tmp_path / "bin/planted").chmod(0o755)
    for name, path in REACHABLE.items():
        (tmp_path / "bin" / name).symlink_to(path)
    return tmp_path


def starts_planted(cage: Path, line: str, number: int) -> bool:
    """Run the line; tell whether the marker was started. Each line has a mark of its own: some go on in the background."""
    mark = cage / f"mark{number}"
    env = {
        "PATH": str(cage / "bin"),
        "HOME": str(cage),
        "MARK": str(mark),
        "FUNCNEST": "4",
        "LC_ALL": "C.UTF-8",
    }
    process = subprocess.Popen(
        ["/bin/bash", "--norc", "-c", line],
        env=env,
        cwd=cage / "work",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(5)
    return mark.exists()


def is_understood(line: str) -> bool:
    """Tell whether our reading found the marker, or said that it does not know what runs."""
    try:
        found = read_line(line, parse=parse)
    except ShellSyntaxError:
        return True
    # `sh planted` runs the marker as a file of its own accord; which files a shell is given is not hidden.
    given = any(
        s.program in ("sh", "bash", "exec") and any("planted" in w.text for w in s.words[1:])
        for s in found.starts
    )
    return bool(found.opaque) or given or any(s.program == "planted" for s in found.starts)


def make_line(source: random.Random) -> str:
    separator = source.choice([" ", " ", " ", ""])
    tokens = source.choices(TOKENS, k=source.randint(2, 8))
    return "".join(t + (separator if source.random() < 0.85 else "") for t in tokens)


def test_what_bash_starts_is_found_or_called_unknown(cage: Path) -> None:
    source = random.Random(20261121)
    started = 0
    for number in range(LINES):
        line = make_line(source)
        if "planted" in line.replace("\\", "") and starts_planted(cage, line, number):
            started += 1
            assert is_understood(line), line
    assert started > LINES // 40, "too few lines did anything for this to mean much"


@pytest.mark.parametrize(
    "line",
    [
        "time -p -- $x planted",
        "let x|planted",
        "env = planted",
        "coproc planted | cat",
        "coproc x=1 planted | cat",
        "if true; then :; fi; if false; then :; else planted; fi",
        "echo ${x:$(planted)}",
        "declare $(planted)",
        "false && x=true; $x planted",
        "(x=true); $x planted",
        "x=true true; $x planted",
        "x='a[$(planted)]'; echo $((x))",
        "IFS=,; x=planted,a; $x",
        "shopt -s expand_aliases\nalias a=planted\na",
        "hash -p $PWD/../bin/planted a; a",
        "eval 'plan''ted'",
        "$'\\x70lanted'",
        "{planted,a}",
        "trap planted EXIT",
        'f() { "$@"; }; f planted',
        'set -- planted; "$@"',
        "x=(planted); ${x[@]}",
        "read x <<< planted; $x",
        "printf -v x planted; $x",
        "mapfile -t x <<< planted; ${x[0]}",
        "mapfile -C planted -c 1 x <<< a",
        "echo planted | sh",
        "sh <<< planted",
        "cat <<< planted | sh",
        "bash -c 'bash -c \"planted\"'",
        "bash -c '$0' planted",
        "bash -c '\"$@\"' a planted",
        "exec planted",
        "command -p planted",
        'PROMPT_COMMAND=planted; eval "$PROMPT_COMMAND"',
        "BASH_ENV=../bin/planted bash -c true",
        "echo a | xargs -I{} planted {}",
        "echo planted | xargs env",
        "echo planted | xargs -I% sh -c %",
        "coproc { planted; }",
        "[[ a =~ $(planted) ]]",
        "compgen -C planted a",
        "complete -C planted a; compgen -A function",
        "jobs -x planted",
        "x='$(planted)'; echo ${x@P}",
        "PS4='$(planted)'; set -x; true",
        "x=planted; ${x}",
        "x=a; ${x/a/planted}",
        "x='planted a'; $x",
        "a=plan b=ted; $a$b",
        "unset x; ${x:-planted}",
        "declare -n r=x; x=planted; $r",
        "x=y y=planted; ${!x}",
    ],
)
def test_known_tricks_are_understood(cage: Path, line: str) -> None:
    starts_planted(cage, line, 0)
    assert is_understood(line)
