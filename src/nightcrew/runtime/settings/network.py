"""The part of config.yaml about the way this machine reaches the internet: a proxy of its own network."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from nightcrew.model.network import UpstreamProxy
from nightcrew.runtime.settings.models import Reading, find_source

_BLOCK: Final = "network"
_URL: Final = (_BLOCK, "upstream_proxy")
_LOGIN: Final = (_BLOCK, "upstream_login")
_PORT: Final = 3128
"""What proxies listen at when nobody says otherwise."""


def read_upstream(reading: Reading, old: UpstreamProxy | None, *, repository: bool) -> UpstreamProxy | None:
    """Return the proxy of the document, ``old`` where it names none.

    Args:
        repository: it is a repository's file, which does not decide where what its user sends goes.
    """
    block = reading.at((_BLOCK,))
    if repository and block is not None:
        reading.complain(
            (_BLOCK,),
            "a repository does not decide which proxy your traffic goes through",
            "write it into your own config.yaml: ~/.config/nightcrew/config.yaml",
        )
        return old
    if not isinstance(block, dict) or not block:
        return old
    url, login = block.get("upstream_proxy"), block.get("upstream_login", "none")
    if url is None:
        reading.complain(_LOGIN, "is for a proxy, and none is named", "upstream_proxy: http://HOST:PORT")
        return old
    if url == "none":
        return None
    if wrong := check_proxy(url):
        # Somebody may have written a password into it: it is not repeated.
        reading.complain(_URL, wrong, "http://HOST:PORT; with upstream_login: {env: NAME} for user:password")
        return old
    parts = urlsplit(url)
    source = None if login == "none" else find_source(login)
    if source is None and login != "none":
        reading.complain(
            _LOGIN,
            "must say where user:password is kept, not what it is",
            "{env: NAME}, or {file: ~/path}, or {command: [program, argument]}, or none",
        )
    return UpstreamProxy(parts.hostname or "", parts.port or _PORT, source)


def check_proxy(url: Any) -> str:
    """Say what is wrong with the URL of a proxy; empty when nothing is."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme == "https":
        return "must begin with http: the way to the proxy itself is not encrypted (what goes through it is)"
    if parts.scheme != "http" or not host or port == 0:
        return "is not a URL of the form http://host:port"
    if parts.username is not None:
        return "must not hold a user or a password"
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return "must be host and port only"
    return ""
