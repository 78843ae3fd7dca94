"""Rows: the way out of a sandbox, beside the same exchange on the machine's own loopback without anything between."""

from __future__ import annotations

import json
import queue
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ground import ENV, Ground
from rows import Row

from nightcrew.model.isolation import Process
from nightcrew.model.network import Internal, NetLimits, NetRequest, Ruling, Tally
from nightcrew.sandbox.egress.egress import Egress
from nightcrew.sandbox.loop import Loop

BULK_MIB = 256
REQUESTS = 50
HOST, PORT = "bench.test", 9000

SERVER = """
import socket, threading
listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print(listener.getsockname()[1], flush=True)
zeros = memoryview(bytes(1 << 20))
def serve(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while word := connection.recv(16):
            if word[:1] == b"q":
                connection.sendall(b"a" * 512)
            else:
                for _ in range(int(word[1:])):
                    connection.sendall(zeros)
                return
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# argv: host, port, target of a tunnel or nothing. One line in, one line of milliseconds out.
CLIENT = """
import json, socket, sys, time
host, port, target = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""
def connect():
    made = socket.create_connection((host, port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if target:
        made.sendall(f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n".encode())
        head = b""
        while not head.endswith(b"\\r\\n\\r\\n"):
            head += made.recv(4096)
        assert head.startswith(b"HTTP/1.1 200"), head
    return made
def take(made, count):
    while count > 0:
        count -= len(made.recv(1 << 18))
for line in sys.stdin:
    what, number = line.split()
    number = int(number)
    if what == "fresh":
        begun = time.perf_counter()
        for _ in range(number):
            with connect() as made:
                made.sendall(b"q"); take(made, 512)
        took = (time.perf_counter() - begun) / number
    else:
        with connect() as made:
            if what == "open":
                begun = time.perf_counter()
                for _ in range(number):
                    made.sendall(b"q"); take(made, 512)
                took = (time.perf_counter() - begun) / number
            else:
                begun = time.perf_counter()
                made.sendall(b"b%d" % number); take(made, number << 20)
                took = time.perf_counter() - begun
    print(json.dumps(took * 1000), flush=True)
"""


class Inside:
    """A client in a sandbox that is told what to do through its input."""

    def __init__(self) -> None:
        self.answers: queue.Queue[float] = queue.Queue()
        self.ready = threading.Event()
        self._process: Process | None = None
        self._rest = b""

    def started(self, process: Process) -> None:
        self._process = process
        self.ready.set()

    def feed(self, stream: str, data: bytes) -> None:
        if stream == "stderr":
            raise SystemExit(data.decode(errors="replace"))
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.answers.put(json.loads(line))

    def ask(self, words: str) -> float:
        assert self._process is not None
        self._process.write(f"{words}\n".encode())
        return self.answers.get(timeout=60)

    def end(self) -> None:
        assert self._process is not None
        self._process.close_stdin()


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    """A request on a connection of its own, one on an open connection, and a large answer."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, env=ENV)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    loop = Loop()
    try:
        yield from _compare(ground, loop, port, rounds)
    finally:
        server.kill()
        server.wait()
        loop.close()


def _compare(ground: Ground, loop: Loop, port: int, rounds: int) -> Iterator[Row]:
    where = Internal(HOST, PORT, "127.0.0.1", port)

    def rule(_: NetRequest) -> Ruling:
        return Ruling("allow", internal=where)

    limits = NetLimits(rate_per_minute=0, total_bytes=0)
    egress = Egress(loop, rule, known=lambda _: True, tell=_forget, limits=limits)
    shadow = ground.shadows.open("network", ground.base)
    argv = ["/usr/bin/python3", "-I", "-S", "-c", CLIENT, "127.0.0.1", "3128", f"{HOST}:{PORT}"]
    spec = replace(ground.spec(argv, shadow), exits=egress.exits)
    inside = Inside()
    run = threading.Thread(
        target=lambda: ground.launcher.run(spec, inside, cancel=threading.Event(), serve=egress.serve)
    )
    run.start()
    inside.ready.wait(15)
    direct = subprocess.Popen(
        [*argv[:5], "127.0.0.1", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENV
    )
    assert direct.stdin is not None
    assert direct.stdout is not None
    for what, words, goal in (
        ("request on a new connection through the proxy", f"fresh {REQUESTS}", 3.0),
        ("request on an open connection through the proxy", f"open {REQUESTS}", 3.0),
        (f"{BULK_MIB} MiB through the proxy", f"bulk {BULK_MIB}", 3.0),
    ):
        ours, yardstick = [], []
        for _ in range(rounds + 1):
            ours.append(inside.ask(words))
            direct.stdin.write(f"{words}\n".encode())
            direct.stdin.flush()
            yardstick.append(json.loads(direct.stdout.readline()))
        # The first of each finds nothing warm.
        yield Row(
            what, 0, statistics.median(ours[1:]), "direct loopback", statistics.median(yardstick[1:]), goal
        )
    direct.stdin.close()
    direct.wait()
    inside.end()
    run.join()
    ground.shadows.discard(shadow)


def _forget(_: Sequence[Tally]) -> None:
    """Nobody is told."""
