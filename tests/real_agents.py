"""The real coding agents at pinned versions: installed into a cache folder by the tests that drive them.

``NIGHTCREW_TEST_AGENTS`` says whether: not set, nothing is installed and these tests are skipped; ``1``, below the user's
cache; a folder, there. Two gigabytes in all. Where they come from is what npm and pip of the machine are configured for.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel

#: Agent → the package manager, the package, the version that all of this was seen to work with.
PACKAGES: Final = {
    "claude": ("npm", "@anthropic-ai/claude-code", "2.1.329"),
    "codex": ("npm", "@openai/codex", "0.169.0"),
    "gemini": ("npm", "@google/gemini-cli", "0.61.0"),
    "opencode": ("npm", "opencode-ai", "1.18.33"),
    "aider": ("pip", "aider-chat", "0.86.2"),
}
AGENTS: Final = tuple(PACKAGES)
SWITCH: Final = "NIGHTCREW_TEST_AGENTS"
KEY: Final = "sk-real-key-of-the-user"
#: Stands in the environment of everything that an agent of one test starts.
MARK: Final = "NIGHT_MARK"
MODELS: Final = {"anthropic": "scripted-1", "openai": "gpt-5.5", "gemini": "gemini-2.5-pro"}
_INSTALL_S: Final = 900
_DONE: Final = "installed"

#: Scenario → agents that cannot be put through it, and why.
_NOTHING_ASKED = "it asks for nothing while it runs: its change is judged as a whole"
_NO_COMMANDS = "it runs no commands by itself, and writes only below the repository"
NOT_POSSIBLE: Final[dict[str, dict[str, str]]] = {
    "deny": {"aider": _NOTHING_ASKED},
    "control": {"aider": _NOTHING_ASKED},
    "killed": {"aider": _NOTHING_ASKED},
    "resume": {"aider": _NOTHING_ASKED},
    "attack": {"aider": _NO_COMMANDS},
}
#: Scenario → agents that are put through a part of it, and what is left out.
IN_PART: Final[dict[str, dict[str, str]]] = {
    "six": {"aider": "without the denial, since it asks for nothing"},
    "settings": {
        "opencode": "without plugins: it runs those of a repository (`.opencode/plugin`) whatever it is told, inside the sandbox and unasked; the plan names them"
    },
}


def find_agents(scenario: str) -> list[str]:
    """Return the agents that can be put through a scenario."""
    return [agent for agent in AGENTS if agent not in NOT_POSSIBLE.get(scenario, {})]


def cache() -> Path | None:
    """Return where they are installed; None when nobody asked for them."""
    said = os.environ.get(SWITCH, "")
    if not said:
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "nightcrew-tests" / "agents" if said == "1" else Path(said)


def install(agent: str) -> Path:
    """Return the folder with an agent's program, installing it first; skips the test where that cannot be."""
    folder = cache()
    if folder is None:
        pytest.skip(f"{SWITCH} is not set: real agents are not installed")
    manager, package, version = PACKAGES[agent]
    if manager == "npm" and shutil.which("npm") is None:
        pytest.skip("npm is not here: this agent cannot be installed")
    place = folder / f"{agent}-{version}"
    with _alone(folder / f"{agent}.lock"):
        if not (place / _DONE).exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            for argv in _find_commands(manager, f"{package}@{version}", place):
                done = subprocess.run(argv, capture_output=True, timeout=_INSTALL_S, check=False, text=True)
                assert done.returncode == 0, f"{argv}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            (place / _DONE).touch()
    return place / "node_modules" / ".bin" if manager == "npm" else place / "bin"


def _find_commands(manager: str, package: str, place: Path) -> Sequence[Sequence[str]]:
    if manager == "npm":
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        return [("npm", "install", *quiet, "--prefix", str(place), package)]
    pip = (str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    return [(sys.executable, "-m", "venv", str(place)), (*pip, package.replace("@", "=="))]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def set_up(crew: Hermetic, model: ScriptedModel, agent: str, settings: str = "", policy: str = "") -> str:
    """Put an agent on PATH, name the scripted model as every provider; return the mark of what it starts."""
    programs = install(agent)
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    lines = [
        f"  {name}: {{url: '{model.url}', key: {{env: REAL_KEY}}, model: {each}}}"
        for name, each in MODELS.items()
    ]
    base = f"version: 1\npass_env: [LANG, LC_ALL, TERM, TZ, {MARK}]\nproviders:\n" + "\n".join(lines) + "\n"
    own.joinpath("config.yaml").write_text(base + settings)
    if policy:
        own.joinpath("policy.yaml").write_text(policy)
    mark = secrets.token_hex(8)
    crew.variables |= {"REAL_KEY": KEY, MARK: mark, "PATH": f"{crew.variables['PATH']}:{programs}"}
    node = shutil.which("node")
    if node is not None:
        crew.variables["PATH"] += f":{Path(node).parent}"
    return mark


def find_marked(mark: str) -> list[int]:
    """Return the ids of the live processes inside sandboxes that carry a mark."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_bytes().rpartition(b") ")[2][:1]
        except OSError:
            continue  # it ended while we looked
        if wanted in variables and b"HOME=/home/agent" in variables and state not in (b"Z", b"X"):
            found.append(int(entry.name))
    return found


def state_of(crew: Hermetic, task: str = "T01", run: str = "R-1") -> str:
    """Return the state of a task."""
    return str(crew.show_tasks(run)[task]["state"])


def wait_for(crew: Hermetic, *states: str, task: str = "T01", timeout_s: float = 180) -> dict[str, Any]:
    """Wait until a task is in one of these states and return it."""
    crew.wait_until(lambda: state_of(crew, task) in states, timeout_s=timeout_s, what=f"{task} in {states}")
    return crew.show_tasks("R-1")[task]


def read_transcripts(crew: Hermetic) -> str:
    """Return everything that agents said and were told."""
    return "".join(path.read_text() for path in sorted(crew.state.glob("*/runs/*/*/*.jsonl")))
