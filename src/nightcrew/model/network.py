"""The network as values: what a program asks for, and what a task may ask for without a question."""

from __future__ import annotations

from dataclasses import dataclass, field

from nightcrew.model.actions import Action
from nightcrew.model.usage import KeySource, Provider

#: Ports of a place that is named without one.
USUAL_PORTS = (443, 80)


@dataclass(frozen=True, slots=True)
class NetRequest:
    """One thing a program wants from the network.

    Attributes:
        method: ``CONNECT`` for a tunnel (TLS, mostly), else the method of a plain HTTP request; capital letters.
        host: a name in small letters without a dot at its end, or an address in its one usual notation.
        port: 1..65535.
    """

    method: str
    host: str
    port: int

    @property
    def target(self) -> str:
        """``host:port``, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def action(self) -> Action:
        """The action it is for policy and for a person; the path of a plain request is no part of it."""
        what = self.target if self.method == "CONNECT" else f"http://{self.target}"
        return Action(kind="net", detail=f"{self.method} {what}")


@dataclass(frozen=True, slots=True)
class Place:
    """Hosts that may be reached without a question.

    Attributes:
        host: a name, or ``*.`` and a name for all names below it.
        ports: empty for USUAL_PORTS.
        why: who said so, in words: ``Network: of the task``, ``preset pypi``.
    """

    host: str
    ports: tuple[int, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class AllowList:
    """What one phase of one task may reach.

    Attributes:
        places: without a question.
        asks: there is a network although ``places`` may be empty: whatever is not known is a question.
    """

    places: tuple[Place, ...] = ()
    asks: bool = False

    @property
    def any(self) -> bool:
        """Tell whether there is a network at all."""
        return bool(self.places) or self.asks


@dataclass(frozen=True, slots=True)
class Internal:
    """A host of the user's own network that may be reached by its name, at this address and nowhere else.

    Attributes:
        host, port: what is asked for.
        address: where it is; ``address_port`` its port there.
        reason: in words.
    """

    host: str
    port: int
    address: str
    address_port: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamProxy:
    """The proxy through which this machine reaches the internet, of a person's own settings.

    Attributes:
        host, port: where it is.
        login: where ``user:password`` for it is kept; None when it wants none.
    """

    host: str
    port: int
    login: KeySource | None = None

    @property
    def keeper(self) -> Provider:
        """What a keyring is asked with: it keeps this login as it keeps the keys of providers."""
        return Provider("network.upstream_proxy", "openai", f"http://{self.host}:{self.port}", self.login)


@dataclass(frozen=True, slots=True)
class NetLimits:
    """What the programs of one sandbox may take of the network.

    Attributes:
        rate_per_minute: requests to one host; a little more at once is spread out in time, much more is refused.
        total_bytes: to and from all hosts together; 0 for no limit.
        connections: open at the same time.
        connect_s: until a server must have answered.
        idle_s: a connection over which nothing goes is closed after this.
    """

    rate_per_minute: int = 60
    total_bytes: int = 2 << 30
    connections: int = 64
    connect_s: float = 10.0
    idle_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What went to one place, as it is written into the journal.

    Attributes:
        request: the first of them.
        verdict: ``allow``, ``ask``, ``deny``, or ``failed`` when it was allowed and could not be done.
        requests: how many.
        sent_bytes, received_bytes: as seen from inside.
        reason: of the last one that was not let through, or failed.
    """

    request: NetRequest
    verdict: str
    requests: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer to one request.

    Attributes:
        verdict: ``allow``, ``ask`` (a person must decide; the tree will be ended) or ``deny``.
        reason: in words, told to the program.
        internal: where the host is, if it is one of the user's own network.
    """

    verdict: str
    reason: str = ""
    internal: Internal | None = field(default=None)
