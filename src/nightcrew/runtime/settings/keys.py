"""The user's own keys: found where their settings say, kept in memory only, taken out of everything that is written.

A key is read when a run is planned (so that a night does not fail for one in its first minute) and when a host begins to
use it. It is never in the environment of an agent, in a file of ours, or on a command line.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from nightcrew.model.errors import NotAuthenticated, NotFound
from nightcrew.model.plans import Plan
from nightcrew.model.settings import Settings
from nightcrew.model.usage import KeySource, Provider

#: What programs that keep keys may take; some ask their user for a password first.
COMMAND_S: Final = 60.0
_MAX_BYTES: Final = 64 << 10
_USABLE: Final = re.compile(r"[\x21-\x7e]{1,4096}\Z")
#: A shorter one stands in too many places by chance to be taken out.
_SHORTEST: Final = 8
_SHOWN: Final = "[key of {name}]"
#: So many texts without a secret, of at most so many characters, are not searched again.
_REMEMBERED: Final = 4096
_REMEMBERED_LENGTH: Final = 200
#: Every key that this process has read, and what is shown in its place; of the process and not of a ring, because what
#: tells of an error may have no ring at hand.
_KNOWN: Final[dict[str, str]] = {}


def hide_known_keys(text: str) -> str:
    """Return ``text`` without any key that this process has read."""
    for key, shown in tuple(_KNOWN.items()):
        if key in text:
            text = text.replace(key, shown)
    return text


class Keyring:
    """The keys of one process; safe to use from any thread.

    Args:
        variables: the environment of the process.
        home: home directory of the user, for ``~/``.
        redact: takes out what looks like a secret.
    """

    def __init__(self, variables: Mapping[str, str], home: Path, redact: Callable[[str], str]) -> None:
        self._variables = variables
        self._home = home
        self._redact = redact
        self._lock = threading.Lock()
        self._honest: set[str] = set()

    def read(self, provider: Provider) -> str:
        """Return the key of a provider; empty for one that needs none.

        Raises:
            NotAuthenticated: it is not where the settings say, or not fit to be used; never shows any of it.
        """
        if provider.key is None:
            return ""
        with self._lock:
            found = {"env": self._read_variable, "file": self._read_file, "command": self._run_command}[
                provider.key.kind
            ](provider)
            if not _USABLE.match(found):
                raise self._missing(provider, f"what {provider.key.describe()} gives is not a key")
            if len(found) >= _SHORTEST:
                _KNOWN[found] = _SHOWN.format(name=provider.name)
            return found

    def redact(self, text: str) -> str:
        """Return ``text`` without any key that was read, and without what looks like a secret."""
        text = hide_known_keys(text)
        if text in self._honest:
            return text
        found = self._redact(text)
        if found == text and len(text) <= _REMEMBERED_LENGTH:
            # Events name the same paths, rules and states again and again.
            if len(self._honest) >= _REMEMBERED:
                self._honest.clear()
            self._honest.add(text)
        return found

    def _read_variable(self, provider: Provider) -> str:
        name = provider.key.value[0] if provider.key else ""
        found = self._variables.get(name, "").strip()
        if not found:
            raise self._missing(provider, f"${name} is not set")
        return found

    def _read_file(self, provider: Provider) -> str:
        named = provider.key.value[0] if provider.key else ""
        path = self._home / named[2:] if named.startswith("~/") else Path(named)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
                    raise self._missing(provider, f"{named} is not a file of yours")
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise self._missing(provider, f"others can read {named}", f"chmod 600 {named}")
                data = file.read(_MAX_BYTES)
        except OSError as problem:
            raise self._missing(provider, f"cannot read {named}: {problem.strerror}") from None
        return data.decode("latin-1").strip()

    def _run_command(self, provider: Provider) -> str:
        from nightcrew.host.procs import run

        argv = list(provider.key.value) if provider.key else []
        try:
            done = run(argv, env=self._variables, timeout_s=COMMAND_S, max_output_bytes=_MAX_BYTES)
        except NotFound:
            raise self._missing(provider, f"there is no program {argv[0]}") from None
        if not done.ok:
            why = "took too long" if done.timed_out else f"ended with exit code {done.code}"
            raise self._missing(provider, f"`{' '.join(argv)}` {why}")
        return done.stdout.decode("latin-1").strip()

    def _missing(self, provider: Provider, said: str, hint: str = "") -> NotAuthenticated:
        if provider.name.startswith("network."):
            return NotAuthenticated(
                f"there is no login for {provider.name}: {said}",
                code="key.missing",
                where=["nothing was sent"],
                hint=hint
                or "put user:password there, or say where it is: network.upstream_login in config.yaml",
            )
        return NotAuthenticated(
            f"there is no key for the provider {provider.name}: {said}",
            code="key.missing",
            where=["nothing was asked of any model"],
            hint=hint or "put it there, or say in config.yaml where it is: nightcrew keys list",
        )


def keepers_of(settings: Settings) -> list[Provider]:
    """Return whose secrets are kept from agents: all providers, the proxy that this machine goes out through, the webhook
    that answers questions, and the token that somebody decides with."""
    upstream, webhook = settings.upstream_proxy, settings.webhook
    hook = [Provider("approvals.webhook", "openai", webhook.url, webhook.secret)] if webhook else []
    token = Provider("token", "openai", "", KeySource("env", ("NIGHTCREW_TOKEN",)))
    return [*settings.providers.values(), *([upstream.keeper] if upstream else []), *hook, token]


def hide_keys(
    variables: Mapping[str, str], providers: Iterable[Provider], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables that an agent may have: none in which a key of a provider is kept, or one that was read
    from elsewhere, under whatever name.

    Args:
        variables: what it would get.
        providers: of the user's settings.
        given: the environment of this process.
    """
    names = {each.key.value[0] for each in providers if each.key is not None and each.key.kind == "env"}
    values = {given[name] for name in names if given.get(name)} | set(_KNOWN)
    return {
        name: value
        for name, value in variables.items()
        if name not in names and not any(secret in value for secret in values if len(secret) >= _SHORTEST)
    }


def check_keys(keys: Keyring, plan: Plan, settings: Settings) -> None:
    """See that every provider that the tasks of a plan get exists, and that its key can be read; and the login of the proxy
    that they would go out through.

    Raises:
        UsageError: there is no such provider.
        NotAuthenticated: there is no key.
    """
    from nightcrew.agents.adapters import find_adapter, find_setting
    from nightcrew.engine.work.gateway import choose_providers

    names: dict[str, None] = {}
    for agent in dict.fromkeys(task.agent for task in plan.tasks if not task.done):
        setting = find_setting(agent, settings.agents)
        needs_model = find_adapter(setting).capabilities.needs_network
        names |= dict.fromkeys(choose_providers(setting, settings.providers, needs_model=needs_model))
    for name in names:
        keys.read(settings.providers[name])
    goes_out = names or any(task.network for task in plan.tasks if not task.done)
    if settings.upstream_proxy is not None and goes_out:
        keys.read(settings.upstream_proxy.keeper)
