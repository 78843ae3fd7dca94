"""The command line of a container, recorded by a stand-in for docker: there is no daemon on the machines these run on."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.host import kernel
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Confinement, Level, Limits, SandboxSpec
from nightcrew.sandbox.containers import bound
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.ociprofile import all_but, make_profile
from nightcrew.sandbox.seccomp import REFUSED
from sandbox_world import Recorder, wait_until

# Writes down what it is told; `run` then starts the program that stands behind `sh -c ... sh`, outside of any container.
STAND_IN = """#!/bin/sh
{ printf '%s\\0' "$@"; echo; } | cat > "$LOG.args.$$"; cat "$LOG.args.$$" >> "$LOG.args"; rm "$LOG.args.$$"
case "$1" in
  image) [ "$5" = known ] || { echo "No such image: $5" >&2; exit 1; }; echo sha256:1 ;;
  inspect) cat "$LOG.state" ;;
  rm) : ;;
  run) while [ $# -gt 0 ]; do case "$1" in --env-file) cat "$2" > "$LOG.env" ;; --security-opt) case "$2" in seccomp=*) cat "${2#seccomp=}" > "$LOG.seccomp" ;; esac ;; esac
         last="$1"; shift; [ "$last" = sh ] && break; done
       exec "$@" ;;
esac
"""


class Docker:
    """A stand-in, and what it was told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.copy = place / "copy"
        self.copy.mkdir()
        (place / "docker").write_text(STAND_IN)
        (place / "docker").chmod(0o755)
        self.tell("2026-11-21 20:54:50 +0000 UTC false")
        self.variables = {
            "PATH": f"{place}:/usr/bin:/bin",
            "LOG": str(place / "log"),
            "DOCKER_HOST": "unix:///d.sock",
        }

    def tell(self, state: str) -> None:
        """Set what `inspect` says."""
        (self.place / "log.state").write_text(state + "\n")

    @property
    def calls(self) -> list[list[str]]:
        lines = (self.place / "log.args").read_text().split("\n")[:-1]
        return [line.split("\0")[:-1] for line in lines]

    def spec(self, *argv: str, **changes: object) -> SandboxSpec:
        limits = Limits(memory_bytes=1 << 30, processes=64, spawn_s=10, hard_s=20, grace_s=0.5, cpus=1.5)
        values: dict[str, object] = {
            "argv": argv,
            "cwd": "/a,repo",
            "env": {"PATH": "/usr/bin:/bin", "HOME": "/home/agent", "TOKEN": "hidden"},
            "binds": (Bind(str(self.copy), "/a,repo", writable=True), Bind("/usr/share/doc", "/docs")),
            "limits": limits,
            "level": Level.SX,
            "confinement": Confinement("docker", "known", "standard"),
        }
        return SandboxSpec(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def values(words: list[str], option: str) -> list[str]:
    return [words[n + 1] for n, word in enumerate(words) if word == option]


def test_everything_that_is_promised_stands_in_the_command(docker: Docker) -> None:
    session = Recorder(stdin=b"")
    with Launcher.start(scratch=docker.place / "scratch", variables=docker.variables) as launcher:
        outcome = launcher.run(
            docker.spec("bash", "-c", "echo out; exit 3"), session, cancel=threading.Event()
        )
    assert (outcome.ending, outcome.exit_code, bytes(session.out)) == ("exited", 3, b"out\n")
    inspected, ran, removed = (call for call in docker.calls if call[0] != "inspect")
    assert inspected[:2] == ["image", "inspect"]
    assert ran[0] == "run"
    for flag in ("--read-only", "--interactive"):
        assert flag in ran
    name = values(ran, "--name")[0]
    for option, wanted in (
        ("--cap-drop", ["all"]),
        ("--network", ["none"]),
        ("--pull", ["never"]),
        ("--memory", [str(1 << 30)]),
        ("--memory-swap", [str(1 << 30)]),
        ("--cpus", ["1.5"]),
        ("--pids-limit", ["64"]),
        ("--user", [f"{os.geteuid()}:{os.getegid()}"]),
        ("--workdir", ["/a,repo"]),
        ("--hostname", ["nightcrew"]),
    ):
        assert values(ran, option) == wanted, option
    assert values(ran, "--security-opt")[0] == "no-new-privileges"
    assert all("noexec,nosuid,nodev" in each for each in values(ran, "--tmpfs")[:2])
    assert values(ran, "--mount") == [
        f'type=bind,source={docker.copy},"target=/a,repo"',
        "type=bind,source=/usr/share/doc,target=/docs,readonly",
    ]
    assert removed == ["rm", "--force", name]
    assert not any("hidden" in word for call in docker.calls for word in call), (
        "seen by everyone in a list of processes"
    )
    assert "TOKEN=hidden\n" in (docker.place / "log.env").read_text()
    assert list((docker.place / "scratch").iterdir()) == []
    profile = json.loads((docker.place / "log.seccomp").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO", (
        "what a runtime's library has never heard of is closed"
    )
    allowed = {
        name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]
    }
    assert not set(REFUSED) & allowed
    assert {"read", "execve", "clone", "socket", "ioctl"} <= allowed
    assert profile == json.loads(make_profile(kernel.MACHINE))


def test_masks_match_all_numbers_but_those_that_are_left_out_once() -> None:
    values = (0x5412, 0x541C, 0x541D)
    masks = list(all_but(values))
    near = {value ^ 1 << bit for value in values for bit in range(32)} | {0, 2**32 - 1}
    for number in near | set(values):
        matching = [mask for mask, bits in masks if number & mask == bits]
        assert len(matching) == (number not in values), hex(number)


def test_profiles_only_make_less(docker: Docker) -> None:
    wide = Limits(memory_bytes=0, processes=0, cpus=0)
    assert bound(wide, "light") == (512 << 20, 1, 128)
    assert bound(wide, "standard") == (2 << 30, 2, 256)
    assert bound(wide, "heavy") == (4 << 30, 4, 512)
    assert bound(docker.spec("true").limits, "heavy") == (1 << 30, 1.5, 64)


def test_what_the_runtime_says_is_told_apart(docker: Docker) -> None:
    """A program that ends with 125, a container that never was, and one that the kernel has ended."""
    with Launcher.start(scratch=docker.place / "scratch", variables=docker.variables) as launcher:

        def code(number: int) -> tuple[str, int | None]:
            spec = docker.spec("bash", "-c", f"echo no room >&2; exit {number}")
            outcome = launcher.run(spec, Recorder(), cancel=threading.Event())
            return outcome.ending, outcome.exit_code

        assert code(125) == ("exited", 125)
        docker.tell("0001-01-01 00:00:00 +0000 UTC false")
        with pytest.raises(SandboxUnavailable, match="no container: no room") as refused:
            code(125)
        assert refused.value.exit == 11
        docker.tell("2026-11-21 20:54:50 +0000 UTC true")
        assert code(137) == ("memory", None)
        docker.tell("2026-11-21 20:54:50 +0000 UTC false")
        assert code(137) == ("exited", 137)


def test_what_a_container_cannot_take_is_refused(docker: Docker) -> None:
    with Launcher.start(scratch=docker.place / "scratch", variables=docker.variables) as launcher:
        for spec, kind, words in (
            (docker.spec("true", env={"A": "two\nlines"}), UsageError, "line break"),
            (docker.spec("true", binds=(Bind("/usr/share/doc", "/docs\n"),)), UsageError, "line break"),
            (
                docker.spec("true", confinement=Confinement("docker", "unknown")),
                SandboxUnavailable,
                "No such image",
            ),
            (docker.spec("true", confinement=Confinement("docker")), SandboxUnavailable, "needs an image"),
            (replace(docker.spec("true"), level=Level.S3), UsageError, "gives isolation SX"),
        ):
            with pytest.raises(kind, match=words):
                launcher.run(spec, Recorder(), cancel=threading.Event())
    assert all(call[0] != "run" for call in docker.calls)


def test_a_stopped_container_is_removed_by_name(docker: Docker) -> None:
    """The daemon's containers are not below us: they are ended by a command, in any case."""
    session = Recorder(on_data=lambda process, _: process.stop("enough"))
    with Launcher.start(scratch=docker.place / "scratch", variables=docker.variables) as launcher:
        spec = docker.spec("bash", "-c", "echo go; exec sleep 60")
        assert launcher.run(spec, session, cancel=threading.Event()).ending == "stopped"
    # It may have been asked for its memory before it was started.
    name = next(values(call, "--name")[0] for call in docker.calls if call[0] == "run")
    assert wait_until(lambda: ["rm", "--force", name] in docker.calls)
