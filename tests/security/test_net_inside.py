"""Attacks on the network from inside a sandbox, as a real process: whatever is tried, it ends at what was allowed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from net_world import HOST, LIMITS, Resolver, Rules, Upstream, hello, make_egress
from nightcrew.sandbox.egress.egress import EXITS
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.loop import Loop
from sandbox_world import LIMITS as SANDBOX
from sandbox_world import ORDINARY_UID, PRELUDE, PYTHON, Ran, Recorder, World, python_for, worlds

pytestmark = pytest.mark.needs_userns

TALK = """
import base64, struct, urllib.request
def tcp(place, data=b"", family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(3)
        try:
            s.connect(place)
            if data:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
            came = b""
            while piece := s.recv(65536):
                came += piece
            return came.decode("latin-1")
        except OSError as problem:
            return errno.errorcode.get(problem.errno, type(problem).__name__)
def udp(place, data, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(data, place)
            return s.recv(500).decode("latin-1")
        except OSError as problem:
            return errno.errorcode.get(problem.errno, type(problem).__name__)
def look_up(name):
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, 443, type=socket.SOCK_STREAM)})
    except OSError as problem:
        return type(problem).__name__
proxy = ("127.0.0.1", 3128)
def connect(target, rest=b""):
    return tcp(proxy, f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n".encode() + rest)[9:12]
"""

#: Of a connection that was closed: how it shows depends on what was under way.
GONE = ("", "ECONNRESET", "ENOTCONN", "EPIPE")


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher.start() as launcher:
        yield launcher


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    yield upstream
    upstream.close()


def attack(launcher: Launcher, world: World, loop: Loop, rules: Rules, code: str, **facts: object) -> Ran:
    """Run an attack inside with an egress that lets ``rules`` through."""
    resolver = Resolver(inward_test="127.0.0.1", metadata_test="169.254.169.254")
    egress = make_egress(loop, rules, limits=LIMITS, look_up=resolver)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(world.home), "FACTS": json.dumps(facts), **egress.env}
    spec = replace(
        world.spec(PYTHON, "-I", "-S", "-c", PRELUDE + TALK + code), env=env, exits=EXITS, limits=SANDBOX
    )
    session = Recorder()
    outcome = launcher.run(spec, session, cancel=threading.Event(), serve=egress.serve)
    return Ran(outcome, bytes(session.out), bytes(session.err))


def test_every_way_round_the_proxy_is_closed(
    launcher: Launcher, world: World, loop: Loop, upstream: Upstream
) -> None:
    own = [
        str(ip_address(found[4][0]))
        for found in socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
        if not str(found[4][0]).startswith(("127.", "::1", "fe80"))
    ]
    rules = Rules(upstream.port, outward=("inward.test", "metadata.test"))
    ran = attack(
        launcher, world, loop, rules,
        """
port = facts["port"]
tell(
    direct={place: tcp((place, port)) for place in ["127.0.0.1", "127.66.0.1", "10.0.0.1", "8.8.8.8", "169.254.169.254", *facts["own"]]},
    six=tcp(("::1", port), family=socket.AF_INET6),
    udp={place: udp((place, 53), b"x" * 20) for place in ["8.8.8.8", "127.0.0.1"]},
    proxied={target: connect(target) for target in facts["targets"]},
    names={name: look_up(name) for name in ["evil.test", "localhost.evil.test", "a" * 60 + ".evil.test", "inward.test"]},
    raw=attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)),
    packet=attempt(lambda: socket.socket(17, socket.SOCK_RAW, 3)),
    low=attempt(lambda: socket.create_server(("127.0.0.1", 3128))),
)
""",
        port=upstream.port, own=own,
        targets=[
            f"127.0.0.1:{upstream.port}", f"localhost:{upstream.port}", f"[::1]:{upstream.port}", f"2130706433:{upstream.port}",
            f"0x7f000001:{upstream.port}", f"0177.0.0.1:{upstream.port}", f"127.1:{upstream.port}", f"[::ffff:127.0.0.1]:{upstream.port}",
            f"inward.test:{upstream.port}", "metadata.test:80", "169.254.169.254:80", "evil.test:443", f"0.0.0.0:{upstream.port}",
            *(f"{address}:{upstream.port}" if ":" not in address else f"[{address}]:{upstream.port}" for address in own),
        ],
    )  # fmt: skip
    told = ran.told
    assert ran.outcome.exit_code == 0
    # A port of the sandbox's own loopback on which nobody listens, or no way there at all.
    assert set(told["direct"].values()) <= {"ECONNREFUSED", "ENETUNREACH"}, told
    assert told["six"] in ("ECONNREFUSED", "EADDRNOTAVAIL", "ENETUNREACH")
    assert told["udp"]["8.8.8.8"] == "ENETUNREACH"
    assert set(told["proxied"].values()) <= {"403", "400"}, told
    assert set(told["names"].values()) == {"gaierror"}, told
    assert told["raw"] != "OK"
    assert told["packet"] != "OK"
    assert told["low"] == "EADDRINUSE"
    assert upstream.heard == []


def test_what_is_allowed_works_with_and_without_the_proxy(
    launcher: Launcher, world: World, loop: Loop, upstream: Upstream
) -> None:
    web = Upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nthere", b"\r\n\r\n")
    rules = Rules(upstream.port)
    ran = attack(
        launcher, world, loop, rules,
        """
first = base64.b64decode(facts["hello"])
address = look_up(facts["host"])
tell(
    address=address,
    tunnel=tcp(proxy, f"CONNECT {facts['host']}:443 HTTP/1.1\\r\\nHost: {facts['host']}\\r\\n\\r\\n".encode() + first)[-10:],
    transparent=tcp((address[0], 443), first),
    other_name=tcp((address[0], 443), base64.b64decode(facts["other"])),
    nobody=tcp(("127.66.9.9", 443), first),
    fronted=tcp(("127.0.0.1", 443), first),
)
""",
        host=HOST, hello=_encode(hello(HOST)), other=_encode(hello("other.test")),
    )  # fmt: skip
    told = ran.told
    assert told["address"] == ["127.66.0.1"]
    assert told["tunnel"] == "hello back"
    assert told["transparent"] == "hello back"
    assert told["other_name"] in GONE
    assert told["nobody"] in GONE
    assert told["fronted"] in GONE
    assert upstream.all_heard == hello_of(upstream) * 2
    rules.port = web.port
    ran = attack(
        launcher, world, loop, rules,
        "with urllib.request.urlopen('http://upstream.test/x', timeout=5) as answer: tell(proxied=answer.read().decode(),"
        " direct=tcp((look_up('upstream.test')[0], 80), b'GET /y HTTP/1.1\\r\\nHost: upstream.test\\r\\nConnection: close\\r\\n\\r\\n')[-5:])",
    )  # fmt: skip
    web.close()
    assert ran.told == {"proxied": "there", "direct": "there"}
    assert [heard.split(b" ", 2)[1] for heard in web.heard] == [b"/x", b"/y"]


def hello_of(upstream: Upstream) -> bytes:
    """The first message as the server heard it first."""
    return upstream.heard[0]


def _encode(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_a_flood_of_connections_and_names_stays_bounded_and_ends_with_the_tree(
    launcher: Launcher, world: World, loop: Loop, upstream: Upstream
) -> None:
    rules = Rules(upstream.port)
    before = len(os.listdir("/proc/self/fd"))
    ran = attack(
        launcher, world, loop, rules,
        """
held = []
for _ in range(200):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(proxy)
    held.append(s)
for number in range(300):
    udp_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp_socket.sendto(struct.pack("!6H", 1, 256, 1, 0, 0, 0) + bytes([8]) + b"%08d" % number + b"\\x04evil\\x04test\\0\\0\\x01\\0\\x01", ("127.0.0.1", 53))
    udp_socket.close()
time.sleep(1)
tell(held=len(held))
""",
    )  # fmt: skip
    assert ran.told == {"held": 200}
    assert upstream.heard == []
    assert 200 < sum(rules.sums().values()) <= 300
    assert len({tally.request for tally in rules.told}) <= 201
    assert len(os.listdir("/proc/self/fd")) <= before + 2


ORDINARY = """
import sys, threading
sys.path[:0] = sys.argv[1:]
from net_world import HOST, LIMITS, Rules, Upstream, hello, make_egress
from sandbox_world import LIMITS as SANDBOX, Recorder
from nightcrew.model.isolation import SandboxSpec
from nightcrew.sandbox.egress.egress import EXITS
from nightcrew.sandbox.launcher import Launcher
from nightcrew.sandbox.loop import Loop

CODE = '''
import socket
def talk(place, data):
    with socket.create_connection(place, 3) as s:
        s.sendall(data); s.shutdown(socket.SHUT_WR)
        return s.makefile("rb").read()[-10:]
first = bytes.fromhex("%s")
print(talk(("127.0.0.1", 3128), b"CONNECT upstream.test:443 HTTP/1.1\\\\r\\\\nHost: upstream.test:443\\\\r\\\\n\\\\r\\\\n" + first),
      talk((socket.gethostbyname("upstream.test"), 443), first))
''' % hello(HOST).hex()
with Launcher.start() as launcher:
    upstream, loop = Upstream(), Loop()
    egress = make_egress(loop, Rules(upstream.port), limits=LIMITS)
    env = {"PATH": "/usr/bin:/bin", **egress.env}
    spec = SandboxSpec(("/usr/bin/python3", "-I", "-c", CODE), "/tmp", env, limits=SANDBOX, exits=EXITS)
    session = Recorder()
    outcome = launcher.run(spec, session, cancel=threading.Event(), serve=egress.serve)
    print(outcome.exit_code, bytes(session.out), bytes(session.err))
    loop.close()
"""


@pytest.mark.needs_root
def test_an_ordinary_user_has_the_same_way_out() -> None:
    interpreter = python_for(ORDINARY_UID)
    if not interpreter:
        pytest.skip("no interpreter that an ordinary user can start")
    tests = Path(__file__).resolve().parents[1]
    libraries = next(entry for entry in sys.path if entry.endswith("site-packages"))
    done = subprocess.run(
        [interpreter, "-c", ORDINARY, str(tests), str(tests.parent / "src"), libraries],
        capture_output=True, text=True, timeout=60, check=False, cwd="/", env={"PATH": "/usr/bin:/bin"},
        user=ORDINARY_UID, group=ORDINARY_UID, extra_groups=[],
    )  # fmt: skip
    if "No module named 'h11'" in done.stderr:
        pytest.skip("its interpreter cannot read our libraries")
    assert done.stdout.strip() == "0 b\"b'hello back' b'hello back'\\n\" b''", done
