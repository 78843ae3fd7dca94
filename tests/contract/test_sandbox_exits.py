"""Exits of a sandbox: served before the program starts, the only way out, closed with the tree."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Level, Listen
from nightcrew.sandbox.joining import open_exits
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import PYTHON, Recorder, World, run, worlds

EXITS = (
    Listen("tcp", "127.0.0.1", 3128, "proxy"),
    Listen("tcp", "0.0.0.0", 443, "tls"),
    Listen("udp", "127.0.0.1", 53, "names"),
)
ASK = """
import json, socket
def ask(place):
    with socket.create_connection(place, 2) as s:
        s.sendall(b"hello")
        return s.recv(100).decode()
told = [ask(("127.0.0.1", 3128)), ask(("127.66.0.9", 443))]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.settimeout(2); s.sendto(b"name?", ("127.0.0.1", 53)); told.append(s.recv(100).decode())
for place in (("127.0.0.1", 80), ("10.0.0.1", 443), ("192.0.2.1", 443)):
    try:
        told.append(ask(place))
    except OSError as problem:
        told.append(type(problem).__name__)
told.append(open("/etc/resolv.conf").read())
print(json.dumps(told))
"""


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher.start() as launcher:
        yield launcher


class Answering:
    """Answers at every exit from threads of its own, and remembers what came."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.open = False
        self.sockets: Mapping[str, socket.socket] = {}

    @contextlib.contextmanager
    def serve(self, sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        self.open, self.sockets = True, sockets
        threads = [threading.Thread(target=self._answer, args=pair) for pair in sockets.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.open = False
            for thread in threads:
                thread.join()

    def _answer(self, name: str, listener: socket.socket) -> None:
        listener.settimeout(0.05)
        while self.open:
            with contextlib.suppress(TimeoutError):
                if listener.type == socket.SOCK_DGRAM:
                    _, sender = listener.recvfrom(100)
                    listener.sendto(b"127.66.0.9", sender)
                else:
                    client, _ = listener.accept()
                    with client:
                        self.heard.append(f"{name} {client.recv(100).decode()} {client.getsockname()[0]}")
                        client.sendall(name.encode())


def test_a_program_reaches_its_exits_and_nothing_else(launcher: Launcher, world: World) -> None:
    answering = Answering()
    spec = replace(world.spec(PYTHON, "-I", "-S", "-c", ASK), exits=EXITS)
    session = Recorder()
    outcome = launcher.run(spec, session, cancel=threading.Event(), serve=answering.serve)
    assert outcome.exit_code == 0, session.err.decode()
    assert bytes(session.out).decode().strip() == (
        '["proxy", "tls", "127.66.0.9", "ConnectionRefusedError", "OSError", "OSError", "nameserver 127.0.0.1\\n"]'
    )
    assert answering.heard == ["proxy hello 127.0.0.1", "tls hello 127.66.0.9"]
    assert not answering.open
    assert [each.fileno() for each in answering.sockets.values()] == [-1, -1, -1]


def test_without_somebody_who_serves_nothing_starts(launcher: Launcher, world: World) -> None:
    spec = replace(world.spec("touch", "started"), exits=EXITS)
    with pytest.raises(UsageError):
        run(launcher, spec)

    @contextlib.contextmanager
    def broken(_: Mapping[str, socket.socket]) -> Iterator[None]:
        raise RuntimeError("no thread is left")
        yield

    with pytest.raises(RuntimeError):
        launcher.run(spec, Recorder(), cancel=threading.Event(), serve=broken)
    assert not (world.upper / "started").exists()


def test_an_exit_that_cannot_be_is_refused(launcher: Launcher, world: World) -> None:
    serve = Answering().serve
    for bad in (
        Listen("tcp", "192.0.2.1", 80, "a"),
        Listen("tcp", "127.0.0.1", 0, "a"),
        Listen("tcp", "x", 80, "a"),
    ):
        with pytest.raises(UsageError):
            launcher.run(
                replace(world.spec("true"), exits=(bad,)), Recorder(), cancel=threading.Event(), serve=serve
            )
    twice = (Listen("tcp", "127.0.0.1", 80, "a"), Listen("tcp", "127.0.0.1", 80, "b"))
    with pytest.raises(SandboxUnavailable, match="the exits of its network"):
        launcher.run(
            replace(world.spec("true"), exits=twice), Recorder(), cancel=threading.Event(), serve=serve
        )
    plain = world.spec("true", level=Level.S0)
    with pytest.raises(UsageError, match="without a sandbox"):
        launcher.run(replace(plain, exits=EXITS), Recorder(), cancel=threading.Event(), serve=serve)


def test_a_service_that_fails_at_its_end_leaves_nothing_open(launcher: Launcher, world: World) -> None:
    @contextlib.contextmanager
    def fails(_: Mapping[str, socket.socket]) -> Iterator[None]:
        yield
        raise RuntimeError("the last sums cannot be written")

    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeError, match="last sums"):
        launcher.run(
            replace(world.spec("true"), exits=EXITS), Recorder(), cancel=threading.Event(), serve=fails
        )
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_network_that_is_gone_is_told_as_no_sandbox() -> None:
    """A program that another one confines may end before anybody has joined it; that is no defect of ours."""
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    with pytest.raises(SandboxUnavailable, match="exits of its network cannot be made"):
        open_exits(child, EXITS)
