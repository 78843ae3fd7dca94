"""What models cost: tokens as they are counted, prices, budgets, and where a provider is reached. Pure values.

Providers count differently: what one calls input holds the cached part, another keeps it apart; one counts what a model
thought as output, another beside it. Here every token is counted once: input anew, read from a cache, written to one,
and output, of which reasoning is a part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal, Self

#: Wire formats; also the names of the providers that need no ``url`` and no ``wire``.
Wire = Literal["anthropic", "openai", "gemini"]
WIRES: Final[tuple[Wire, ...]] = ("anthropic", "openai", "gemini")

#: Where the providers of these names are reached when nothing else is said.
URLS: Final[Mapping[str, str]] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com",
    "gemini": "https://generativelanguage.googleapis.com",
}

_MILLION: Final = 1_000_000
_AMOUNT: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([a-z]*)\Z")
_UNITS: Final[Mapping[str, tuple[str, float]]] = {
    **dict.fromkeys(("usd", "dollar", "dollars"), ("usd", 1.0)),
    **dict.fromkeys(("calls", "call"), ("calls", 1.0)),
    # Not `m`: that is a million tokens.
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), ("time_s", 1.0)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), ("time_s", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("time_s", 3600.0)),
    **dict.fromkeys(("d", "day", "days"), ("time_s", 86400.0)),
    **dict.fromkeys(("tokens", "token", "tok"), ("tokens", 1.0)),
    **{
        f"{prefix}{unit}": ("tokens", factor)
        for prefix, factor in (("k", 1e3), ("m", 1e6))
        for unit in ("", "tokens", "tok")
    },
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one or more answers, each counted once.

    Attributes:
        input: read anew. cached: read from the provider's cache. written: written to it for some minutes.
        kept: written to it for an hour.
        output: all that was made. reasoning: how much of the output was thought and not said.
    """

    input: int = 0
    cached: int = 0
    written: int = 0
    kept: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        """All that was read, from wherever."""
        return self.input + self.cached + self.written + self.kept

    @property
    def total(self) -> int:
        """What counts against a budget of tokens."""
        return self.prompt + self.output

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Tokens)))


@dataclass(frozen=True, slots=True)
class Spent:
    """What one or more answers of one model, or of several, have taken.

    Attributes:
        tokens: see there.
        requests: answers counted.
        usd: what they cost, as far as the price is known.
        unpriced: how many of the answers are not in ``usd``, because nobody knows the price of their model.
        estimated: how many were cut off before the provider said what they took; their tokens are an estimate.
        seconds: how long agents worked for it; only counted where a budget in time holds.
    """

    tokens: Tokens = field(default_factory=Tokens)
    requests: int = 0
    usd: float = 0.0
    unpriced: int = 0
    estimated: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.tokens + other.tokens,
            self.requests + other.requests,
            round(self.usd + other.usd, 9),
            self.unpriced + other.unpriced,
            self.estimated + other.estimated,
            round(self.seconds + other.seconds, 3),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return it as one flat JSON object."""
        rest = {name: getattr(self, name) for name in ("requests", "usd", "unpriced", "estimated")}
        return {**asdict(self.tokens), **rest, **({"seconds": self.seconds} if self.seconds else {})}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what ``to_plain`` made."""
        tokens = Tokens(**{each.name: int(plain.get(each.name, 0)) for each in fields(Tokens)})
        counts = {name: int(plain.get(name, 0)) for name in ("requests", "unpriced", "estimated")}
        seconds = float(plain.get("seconds", 0.0))
        return cls(tokens, usd=float(plain.get("usd", 0.0)), seconds=seconds, **counts)


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens.

    Attributes:
        input, cached, written, kept, output: see Tokens.
        above: a longer prompt than so many tokens is charged by ``long`` as a whole; 0 for never.
        long: the price of such a one.
    """

    input: float
    output: float
    cached: float
    written: float
    kept: float
    above: int = 0
    long: Price | None = None

    def cost(self, tokens: Tokens) -> float:
        """Return what ``tokens`` of one answer cost, in US dollars."""
        if self.long is not None and self.above and tokens.prompt > self.above:
            return replace(self.long, above=0).cost(tokens)
        parts = (
            tokens.input * self.input,
            tokens.cached * self.cached,
            tokens.written * self.written,
            tokens.kept * self.kept,
            tokens.output * self.output,
        )
        return round(sum(parts) / _MILLION, 9)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; 0 is no limit of that kind.

    Attributes:
        usd: US dollars. tokens: of all kinds together. calls: answers of models. time_s: seconds that agents work, those of
            agents that work at the same time added up; waiting for a person is no work.
    """

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    time_s: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.usd or self.tokens or self.calls or self.time_s)

    def __add__(self, other: Budget) -> Budget:
        """Return this one with more of what it limits; what has no limit keeps none."""
        return Budget(
            self.usd and self.usd + other.usd,
            self.tokens and self.tokens + other.tokens,
            self.calls and self.calls + other.calls,
            self.time_s and self.time_s + other.time_s,
        )

    def share(self, spent: Spent) -> float:
        """Return how much of it is gone, 1.0 for all of it; of several limits the one that is nearest."""
        parts = [spent.usd / self.usd] if self.usd else []
        parts += [spent.tokens.total / self.tokens] if self.tokens else []
        parts += [spent.requests / self.calls] if self.calls else []
        parts += [spent.seconds / self.time_s] if self.time_s else []
        return max(parts, default=0.0)

    def narrow(self, other: Budget) -> Budget:
        """Return the smaller one of each kind."""
        return Budget(
            _smaller(self.usd, other.usd),
            int(_smaller(self.tokens, other.tokens)),
            int(_smaller(self.calls, other.calls)),
            _smaller(self.time_s, other.time_s),
        )

    def describe(self) -> str:
        """Return it as people write it: ``25usd 2000000tokens``; empty for none."""
        parts = [f"{self.usd:.6f}".rstrip("0").rstrip(".") + "usd"] if self.usd else []
        parts += [f"{self.tokens}tokens"] if self.tokens else []
        parts += [f"{self.calls}calls"] if self.calls else []
        return " ".join(parts + ([_spell_time(self.time_s)] if self.time_s else []))

    def to_plain(self) -> dict[str, Any]:
        """Return it for a record."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what ``to_plain`` made, now or when there were fewer kinds."""
        return cls(
            float(plain.get("usd", 0.0)),
            int(plain.get("tokens", 0)),
            int(plain.get("calls", 0)),
            float(plain.get("time_s", 0.0)),
        )


def _spell_time(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def parse_budget(text: str | float) -> Budget:
    """Return the budget in ``25usd``, ``$25``, ``2M`` (tokens), ``500ktokens``, ``300calls``, ``8h``, ``30min``, or several of
    them: ``25usd 2M 8h``; ``none`` is none.

    Raises:
        ValueError: it is none, in words for a person.
    """
    wrong = ValueError(
        f"{text!r} is not a budget; write for example 25usd, 2M tokens, 300calls, 8h, 30min, or 25usd 2M"
    )
    plain = re.sub(
        r"(?<=[0-9km])\s+(?=(?:tok|usd|dollar|call|sec|min|hour|day|[kmshd]\b))",
        "",
        str(text).strip().lower(),
    )
    if plain in ("none", "never"):
        return Budget()
    found: dict[str, float] = {}
    for word in re.split(r"[\s,;+]+", plain):
        amount = _AMOUNT.match(f"{word[1:]}usd" if word.startswith("$") else word)
        kind, factor = _UNITS.get(amount[2], ("", 0.0)) if amount else ("", 0.0)
        if amount is None or not kind or kind in found:
            raise wrong
        found[kind] = float(amount[1]) * factor
    budget = Budget(
        found.get("usd", 0.0),
        int(found.get("tokens", 0)),
        int(found.get("calls", 0)),
        found.get("time_s", 0.0),
    )
    if not budget:
        raise wrong
    return budget


def describe_usd(usd: float) -> str:
    """Return money for a person to read: ``$12.40``, ``$0.0031``."""
    return f"${usd:.2f}" if usd >= 0.1 or not usd else f"${usd:.4f}"


def describe_count(number: int) -> str:
    """Return a number of tokens for a person to read: ``950``, ``12.4k``, ``3.1M``."""
    for factor, unit in ((1_000_000, "M"), (1000, "k")):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return str(number)


def describe_spent(spent: Spent) -> str:
    """Return what was spent in words: ``$0.42, 31.2k tokens``; what has no known price is said."""
    if not spent.requests:
        return ""
    said = f"{describe_count(spent.tokens.total)} tokens"
    if spent.unpriced == spent.requests:
        return f"{said}, price unknown"
    more = f" ({spent.unpriced} of {spent.requests} answers without a known price)" if spent.unpriced else ""
    return f"{describe_usd(spent.usd)}, {said}{more}"


def describe_against(spent: Spent, budget: Budget) -> str:
    """Return what was spent in the kinds that a budget limits: ``$0.42, 31.2k tokens, 12 calls, 41 min of work``."""
    said = [describe_spent(spent)] if spent.requests else []
    said += [f"{spent.requests} calls"] if budget.calls else []
    said += [f"{describe_minutes(spent.seconds)} of work"] if budget.time_s else []
    return ", ".join(said) or "nothing"


def describe_minutes(seconds: float) -> str:
    """Return a time for a person to read: ``41 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 120 else f"{minutes} min"


def _smaller(one: float, other: float) -> float:
    return min(one, other) if one and other else one or other


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the user keeps a key; never the key itself.

    Attributes:
        kind: ``env`` (name of a variable), ``file`` (a path, readable by its owner alone) or ``command`` (its output).
        value: the name, the path, or program and arguments.
    """

    kind: Literal["env", "file", "command"]
    value: tuple[str, ...]

    def describe(self) -> str:
        """Return where it is, in words."""
        said = {"env": f"${self.value[0]}", "file": self.value[0], "command": f"`{' '.join(self.value)}`"}
        return said[self.kind]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of models as the user's own settings name it.

    Attributes:
        name: as in ``providers:``. wire: the format it speaks.
        url: where it is, without a path of the format's own (``/v1``) and without a slash at its end.
        key: where its key is; None for one that needs none.
        model: to be used by agents that leave the choice to us; may be empty.
        reaches_out: it may search, fetch and call others for an agent, which is a way past the sandbox's network.
    """

    name: str
    wire: Wire
    url: str
    key: KeySource | None = None
    model: str = ""
    reaches_out: bool = False


#: Class of a provider's error. ``auth``: the key is not taken. ``quota``: nothing is left to spend there.
#: ``rate_limit``: too much at once. ``overloaded``: it cannot at the moment. ``bad_request``: it will never.
#: ``network``: it was not reached, or the connection broke.
FaultKind = Literal["auth", "quota", "rate_limit", "overloaded", "bad_request", "network"]

#: Classes that pass by themselves.
PASSING: Final[frozenset[FaultKind]] = frozenset({"rate_limit", "overloaded", "network"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider answered instead of an answer.

    Attributes:
        kind: its class. status: of HTTP, 0 when there was none. said: in its own words, cut.
        wait_s: how long it asks to wait; 0 when it does not say.
    """

    kind: FaultKind
    status: int = 0
    said: str = ""
    wait_s: float = 0.0

    def describe(self) -> str:
        """Return it in words."""
        names = {
            "auth": "does not take the key",
            "quota": "has nothing left to spend",
            "rate_limit": "says it is too much at once",
            "overloaded": "cannot answer at the moment",
            "bad_request": "does not take the request",
            "network": "cannot be reached",
        }
        status = f" (HTTP {self.status})" if self.status else ""
        return names[self.kind] + status + (f": {self.said}" if self.said else "")
