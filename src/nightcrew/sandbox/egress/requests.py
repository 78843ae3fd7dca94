"""What a program asks of the proxy, read strictly: the target of a tunnel, the URL of a plain request. Pure."""

from __future__ import annotations

import re
from typing import Final

import h11

from nightcrew.model.network import NetRequest
from nightcrew.policy.hosts import BadHost, read_host, read_port, split_port
from nightcrew.sandbox.http import BadMessage, find

_METHOD: Final = re.compile(r"[A-Z][A-Z-]{1,19}")
_SCHEME: Final = "http://"
_PLAIN_PORT: Final = 80


def read_tunnel(request: h11.Request) -> NetRequest:
    """Return what a CONNECT asks for.

    Raises:
        BadMessage: no host and port, or a ``Host`` field that names another one.
    """
    try:
        host, port = split_port(request.target.decode("ascii"))
        wanted = NetRequest("CONNECT", read_host(host), read_port(port))
    except BadHost as problem:
        raise BadMessage(str(problem)) from problem
    _check_host_field(request, wanted, port_needed=False)
    return wanted


def read_plain(request: h11.Request, *, inside_name: str = "") -> tuple[NetRequest, bytes]:
    """Return what a plain request asks for, and the target to send to its server.

    Args:
        request: as read.
        inside_name: the name that the connection was made to, where it was not made to a proxy: the request then
            names a path alone, and its ``Host`` field must be that name.

    Raises:
        BadMessage: an odd method, no URL, a name or a password in it, or a ``Host`` field that names another host.
    """
    method = request.method.decode("ascii")
    if not _METHOD.fullmatch(method):
        raise BadMessage("a method that nobody knows", 501)
    target = request.target.decode("ascii")
    if inside_name:
        if not target.startswith("/"):
            raise BadMessage("a path was expected")
        wanted = NetRequest(method, inside_name, _PLAIN_PORT)
        _check_host_field(request, wanted, port_needed=True)
        return wanted, request.target
    if not target.lower().startswith(_SCHEME):
        raise BadMessage("this is a proxy: it takes CONNECT host:port and http:// URLs")
    place, slash, path = target[len(_SCHEME) :].partition("/")
    place, question, query = place.partition("?")
    if "@" in place or "\\" in place or "#" in place:
        raise BadMessage("a URL with more than a host in the place of its host")
    try:
        host, port = split_port(place)
        wanted = NetRequest(method, read_host(host), read_port(port) if port else _PLAIN_PORT)
    except BadHost as problem:
        raise BadMessage(str(problem)) from problem
    _check_host_field(request, wanted, port_needed=True)
    return wanted, f"/{question}{query}{slash}{path}".encode() if question else f"/{path}".encode()


def _check_host_field(request: h11.Request, wanted: NetRequest, *, port_needed: bool) -> None:
    """Two places name the host; a server that believes the other one must not be asked."""
    field = find(request.headers, b"host").decode("ascii", "replace").strip()
    if not field and request.http_version == b"1.0":
        return
    try:
        host, port = split_port(field)
        same = read_host(host) == wanted.host
        number = read_port(port) if port else _PLAIN_PORT if port_needed else wanted.port
    except BadHost as problem:
        raise BadMessage(f"its Host field is wrong: {problem}") from problem
    if not same or number != wanted.port:
        raise BadMessage(f"it asks for {wanted.target} and its Host field says {field[:80]!r}")


def host_field(wanted: NetRequest) -> bytes:
    """Return the ``Host`` field for a server."""
    whole = wanted.target
    return (whole.removesuffix(f":{_PLAIN_PORT}") if wanted.port == _PLAIN_PORT else whole).encode()
