"""An egress on real sockets of this machine's loopback, a server to reach, and programs that try."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from nightcrew.model.network import Internal, NetLimits, NetRequest, Ruling, Tally
from nightcrew.policy.hosts import Address
from nightcrew.sandbox.egress.egress import Egress
from nightcrew.sandbox.loop import Loop

HOST = "upstream.test"


class Upstream:
    """A server: keeps what it was sent, and answers each connection with ``reply`` once ``until`` has come."""

    def __init__(self, reply: bytes = b"hello back", until: bytes = b"") -> None:
        self.reply, self.until = reply, until
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            number = len(self.heard)
            self.heard.append(b"")
            while piece := connection.recv(1 << 16):
                self.heard[number] += piece
                if self.until in self.heard[number]:
                    connection.sendall(self.reply)
                    if self.until:
                        return
                    while piece := connection.recv(1 << 16):
                        self.heard[number] += piece

    @property
    def all_heard(self) -> bytes:
        return b"".join(self.heard)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or a thread that waits in accept would go on
        self._listener.close()


@dataclass
class Rules:
    """Who decides in a test: hosts by name, everything else is denied; remembers what was asked and told."""

    port: int
    allowed: tuple[str, ...] = (HOST,)
    asks: tuple[str, ...] = ()
    outward: tuple[str, ...] = ()
    asked: list[NetRequest] = field(default_factory=list)
    told: list[Tally] = field(default_factory=list)

    def rule(self, request: NetRequest) -> Ruling:
        self.asked.append(request)
        if request.host in self.asks:
            return Ruling("ask", "a human must decide")
        if request.host in self.outward:
            return Ruling("allow")
        if request.host not in self.allowed:
            return Ruling("deny", f"{request.target} is not on the list")
        return Ruling("allow", internal=Internal(request.host, request.port, "127.0.0.1", self.port))

    def known(self, name: str) -> bool:
        return name in self.allowed

    def tell(self, tallies: Sequence[Tally]) -> None:
        self.told += tallies

    def sums(self) -> dict[tuple[str, str], int]:
        """How many requests of each action ended how."""
        found: dict[tuple[str, str], int] = {}
        for tally in self.told:
            key = (tally.request.action.detail, tally.verdict)
            found[key] = found.get(key, 0) + tally.requests
        return found


class Resolver:
    """Names and their addresses; counts how often it is asked."""

    def __init__(self, **names: str) -> None:
        self.names = {name.replace("_", "."): value.split() for name, value in names.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str, port: int) -> Sequence[Address]:
        del port
        self.asked.append(name)
        return [ip_address(text) for text in self.names.get(name, [])]


@dataclass
class Places:
    """Where the exits are in a test."""

    proxy: tuple[str, int]
    tls: int
    web: int
    names: tuple[str, int]


@contextlib.contextmanager
def serving(egress: Egress) -> Iterator[Places]:
    """Serve an egress at ports of this machine's own loopback."""
    sockets = {
        name: socket.create_server(("127.0.0.1" if name == "proxy" else "0.0.0.0", 0))
        for name in ("proxy", "tls", "web")
    }
    sockets["names"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sockets["names"].bind(("127.0.0.1", 0))
    for each in sockets.values():
        each.setblocking(False)
    ports = {name: int(each.getsockname()[1]) for name, each in sockets.items()}
    places = Places(("127.0.0.1", ports["proxy"]), ports["tls"], ports["web"], ("127.0.0.1", ports["names"]))
    try:
        with egress.serve(sockets):
            yield places
    finally:
        for each in sockets.values():
            each.close()


def make_egress(loop: Loop, rules: Rules, **more: object) -> Egress:
    return Egress(loop, rules.rule, known=rules.known, tell=rules.tell, **more)  # type: ignore[arg-type]


def hello(name: str | None) -> bytes:
    """Return the first message of a real TLS client that asks for ``name``."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def talk(
    place: tuple[str, int], *pieces: bytes, wait: Callable[[], None] | None = None, end: bool = False
) -> bytes:
    """Connect, send the pieces, and return all that comes until the other side closes."""
    with socket.create_connection(place, 5) as connection:
        connection.settimeout(8)
        came = b""
        try:
            for number, piece in enumerate(pieces):
                if number:
                    came += connection.recv(1 << 16)
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                came += piece
        except ConnectionError:
            came += b"(reset)"
        if wait is not None:
            wait()
        return came


LIMITS = NetLimits(rate_per_minute=6000, total_bytes=0, connections=16, connect_s=2.0, idle_s=5.0)
