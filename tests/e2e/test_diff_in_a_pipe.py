"""A diff in a pipe is what git would write there: bytes as they are, that ``git apply`` reads; JSON holds no control character."""

from __future__ import annotations

import subprocess

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

WRITE = "open('src/data.txt', 'ab').write(b'\\\\x1b[31mred\\\\x07 caf\\\\xc3\\\\xa9\\\\r\\\\n')"


def test_git_applies_it_as_it_comes(crew: Hermetic) -> None:
    crew.write({"agent.py": WRITE.replace("\\\\", "\\")})
    crew.commit("agent")
    assert crew.run_tasks("- [ ] 1. change\n  - Run: python3 agent.py\n  - Accept: true\n").code == 0
    patch = subprocess.run(
        [*crew.program, "diff", "R-1/T01"], cwd=crew.repo, env=crew.variables, capture_output=True, check=True
    ).stdout
    assert b"+\x1b[31mred\x07 caf\xc3\xa9\r\n" in patch
    subprocess.run(["git", "apply"], cwd=crew.repo, env=crew.variables, input=patch, check=True)
    assert (crew.repo / "src/data.txt").read_bytes().endswith(b"\x1b[31mred\x07 caf\xc3\xa9\r\n")
    plain = crew.run("diff", "R-1/T01", "--json").stdout
    assert not any(ord(c) < 32 and c != "\n" for c in plain)
    assert "into a pipe or file they go as they are" in " ".join(crew.look("diff", "--help").stdout.split())
