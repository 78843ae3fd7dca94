"""The parts of config.yaml about models: providers and where their keys are, prices, budgets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from nightcrew.model.usage import URLS, WIRES, KeySource, Price, Provider, Wire
from nightcrew.model.yamltext import YamlPath
from nightcrew.policy.prices import make_price, normalize_model

#: Variable in which the programs of these providers look for a key; ours does too, when nothing else is said.
VARIABLES: Final[Mapping[str, str]] = {
    "anthropic": "ANTHROPIC_API_KEY",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
#: Blocks that only a person's own file may have: a repository must not say where keys go, or what they cost.
PERSONAL: Final = ("providers", "prices")

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VERSION_PATH: Final = re.compile(r"/v1(?:beta|alpha)?\Z")


class Reading(Protocol):
    """A settings document that is being read; see ``runtime.config``."""

    def at(self, path: tuple[str, ...]) -> Any:
        """Return what stands there, None for nothing."""

    def complain(self, path: YamlPath, message: str, hint: str = "") -> None:
        """Note a problem at this place."""

    def take(self, keys: Mapping[str, tuple[str, Callable[[Any], Any]]], *path: str) -> dict[str, Any]:
        """Return field → value for the keys that are there."""


def refuse_personal(reading: Reading) -> None:
    """Complain about blocks that a repository's file must not have."""
    for name in PERSONAL:
        if reading.at((name,)) is not None:
            reading.complain(
                (name,),
                "a repository does not decide where your keys go, nor what that costs",
                "move it into config.yaml of your own configuration directory",
            )


def read_providers(reading: Reading, old: Mapping[str, Provider]) -> Mapping[str, Provider]:
    """Return the providers of ``old`` with those of the document over them."""
    block = reading.at(("providers",))
    found = dict(old)
    for name, entry in block.items() if isinstance(block, dict) else ():
        provider = _read_provider(reading, str(name), entry if isinstance(entry, dict) else {})
        if provider is not None:
            found[str(name)] = provider
    return found


def _read_provider(reading: Reading, name: str, entry: Mapping[str, Any]) -> Provider | None:
    wire = _find_wire(name, entry)
    if wire is None:
        said = f"needs `wire:`, the format it speaks: {', '.join(WIRES)}"
        reading.complain(("providers", name), said)
        return None
    url = entry.get("url", URLS.get(name, ""))
    if wrong := check_url(url):
        reading.complain(("providers", name, "url") if "url" in entry else ("providers", name), wrong)
        return None
    key = _read_key(reading, name, entry)
    reaches_out = entry.get("reaches_out") is True
    return Provider(name, wire, trim_url(str(url)), key, str(entry.get("model", "")), reaches_out)


def _find_wire(name: str, entry: Mapping[str, Any]) -> Wire | None:
    wanted = entry.get("wire", name)
    return next((wire for wire in WIRES if wire == wanted), None)


def check_url(url: object) -> str:
    """Say what is wrong with a provider's URL; empty when nothing is. What it holds is not repeated."""
    if not isinstance(url, str) or not url:
        return "needs `url:`, such as https://models.example.org"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not host or port == 0:
        return "is not a URL of the form https://host, or https://host/path"
    if parts.username is not None or parts.query or parts.fragment:
        return "must be host and path only: no user, no `?`, no `#`"
    if parts.scheme == "http" and not _is_loopback(host):
        return "must begin with https: your key would go out in clear (http is for addresses of this machine)"
    return ""


def trim_url(url: str) -> str:
    """Return a URL without what every client of its format appends anyway."""
    return _VERSION_PATH.sub("", url.rstrip("/")).rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_key(reading: Reading, name: str, entry: Mapping[str, Any]) -> KeySource | None:
    given = entry.get("key", {"env": VARIABLES[name]} if name in VARIABLES else "none")
    if given == "none":
        return None
    source = find_source(given)
    if source is None:
        # Somebody may have written the key itself here: it is not repeated.
        reading.complain(
            ("providers", name, "key"),
            "must say where the key is, not what it is",
            "key: {env: NAME}, or {file: ~/path}, or {command: [program, argument]}, or none",
        )
    return source


def find_source(given: object) -> KeySource | None:
    """Return where a key is, as settings say it; None when they say it otherwise."""
    """Return where something secret is kept, as a setting says; None when it says it in no known form."""
    if not isinstance(given, dict) or len(given) != 1:
        return None
    ((kind, value),) = given.items()
    if kind == "env" and isinstance(value, str) and _VARIABLE.match(value):
        return KeySource("env", (value,))
    if kind == "file" and isinstance(value, str) and value.startswith(("/", "~/")):
        return KeySource("file", (value,))
    if (
        kind == "command"
        and isinstance(value, list)
        and value
        and all(isinstance(word, str) for word in value)
    ):
        return KeySource("command", tuple(value))
    return None


def read_prices(reading: Reading, old: Mapping[str, Price]) -> Mapping[str, Price]:
    """Return the prices of ``old`` with those of the document over them."""
    block = reading.at(("prices",))
    found = dict(old)
    for model, entry in block.items() if isinstance(block, dict) else ():
        try:
            found[normalize_model(str(model))] = make_price(entry if isinstance(entry, dict) else {})
        except (ValueError, TypeError) as problem:
            reading.complain(("prices", str(model)), str(problem))
    return found
