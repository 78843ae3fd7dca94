"""Attacks on the way out, for a task that has a network: past the proxy, and through it to where nobody may go.

Outside, the proxy is told to allow every name but those below ``evil.test``: what keeps these off is not a list.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable
from typing import Final

from nightcrew.sandbox.attacks.trying import Attack, Blocked, Facts

_PROXY: Final = ("127.0.0.1", 3128)
_PATIENCE_S: Final = 4.0
_OPEN: Final = (b" 200", b" 101")


def _say(data: bytes, place: tuple[str, int] = _PROXY) -> bytes:
    """Return what the proxy answers to these bytes; nothing when it hangs up."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE_S)
        client.connect(place)
        client.sendall(data)
        try:
            return client.recv(4096)
        except OSError:
            return b""


def _connect(target: str, host: str = "") -> bytes:
    return _say(f"CONNECT {target} HTTP/1.1\r\nHost: {host or target}\r\n\r\n".encode())


def _refuse_open(answers: Iterable[tuple[str, bytes]]) -> str:
    """Return the first that was let through.

    Raises:
        Blocked: none was.
    """
    tried = 0
    for what, answer in answers:
        tried += 1
        if answer[8:12] in _OPEN:
            return what
    raise Blocked(f"all of {tried} refused")


def proxy_inward(facts: Facts) -> str:
    """The host's loopback by every notation of it, and by a name that leads there."""
    port = facts["port"]
    hosts = (
        "127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "0.0.0.0", "127.0.0.1.", "inward.test", *facts["own_addresses"],  # noqa: S104 - connected to
    )  # fmt: skip
    return _refuse_open((host, _connect(f"{host}:{port}")) for host in hosts)


def proxy_private(_facts: Facts) -> str:
    targets = (
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "metadata.test:80",
        "10.0.0.1:443",
        "192.168.1.1:80",
        "[fe80::1]:80",
    )
    return _refuse_open((target, _connect(target)) for target in targets)


def proxy_unlisted(_facts: Facts) -> str:
    """Also the proof that there is a proxy to be attacked: it has to say so itself."""
    answer = _connect("evil.test:443")
    if b" 403" not in answer[:16]:
        return f"no word of a proxy: {answer[:40]!r}"
    return _refuse_open(
        [("evil.test", _connect("evil.test:443")), ("a.evil.test", _connect("a.evil.test:443"))]
    )


def proxy_mismatch(facts: Facts) -> str:
    """Say one host to the rules and another to the server, in one request or hidden in its body."""
    port = facts["port"]
    head = f"Host: 127.0.0.1:{port}\r\n"
    requests = {
        "CONNECT with another Host": f"CONNECT good.test:443 HTTP/1.1\r\n{head}\r\n",
        "GET with another Host": f"GET http://good.test/ HTTP/1.1\r\n{head}\r\n",
        "two Hosts": f"GET http://good.test/ HTTP/1.1\r\nHost: good.test\r\n{head}\r\n",
        "two lengths": "POST http://good.test/ HTTP/1.1\r\nHost: good.test\r\nContent-Length: 4\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a bare line feed": f"GET http://good.test/ HTTP/1.1\nHost: good.test\nX: y\n{head}\n",
        "a name with a user": f"CONNECT good.test:443@127.0.0.1:{port} HTTP/1.1\r\nHost: good.test\r\n\r\n",
    }
    return _refuse_open((what, _say(text.encode())) for what, text in requests.items())


def proxy_oddly(facts: Facts) -> str:
    """No method that a proxy need know, no file, no other protocol."""
    requests = (
        "GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET http://127.0.0.1:{facts['port']}/ HTTP/1.0\r\n\r\n",
        "TRACE http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "\x05\x01\x00",
        "\x16\x03\x01\x00\x05hello",
    )
    return _refuse_open((repr(text[:24]), _say(text.encode("latin-1"))) for text in requests)


def pass_by(facts: Facts) -> str:
    """Not through the proxy at all, now that there is one."""
    reached = []
    for host in ("127.0.0.1", "10.0.0.1", "8.8.8.8", "169.254.169.254", *facts["own_addresses"]):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            if client.connect_ex((host, facts["port"])) == 0:
                reached.append(host)
    if not reached:
        raise Blocked("no other way")
    return ", ".join(reached)


def ask_for_unlisted(_facts: Facts) -> str:
    """A name server that answers for every name is a way out of its own."""
    name = os.urandom(8).hex()
    labels = b"".join(bytes([len(part)]) + part for part in (name.encode(), b"evil", b"test"))
    question = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1.0)
        client.connect(("127.0.0.1", 53))
        client.send(question)
        answers = struct.unpack(">H", client.recv(512)[6:8])[0]
    if not answers:
        raise Blocked("it knows no such name")
    return f"{answers} addresses"


ATTACKS: Final[dict[str, Attack]] = {
    attack.__name__: attack
    for attack in (
        proxy_inward, proxy_private, proxy_unlisted, proxy_mismatch, proxy_oddly, pass_by, ask_for_unlisted,
    )
}  # fmt: skip
