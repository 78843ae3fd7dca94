"""What an answer of a model costs: a table that is data (``prices.toml``), and the user's own prices over it. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final

from nightcrew.model.errors import Place, Problem
from nightcrew.model.usage import WIRES, Price, Tokens
from nightcrew.policy.pricelibrary import Library, find_library

TABLE: Final = "prices.toml"

#: What the providers charge for the cache where the table says nothing, as parts of the price of input.
_CACHE: Final[Mapping[str, tuple[float, float, float]]] = {
    "anthropic": (0.1, 1.25, 2.0),
    "openai": (1.0, 1.0, 1.0),
    "gemini": (1.0, 1.0, 1.0),
}
_VERSION: Final = re.compile(r"[-@](?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|latest)\Z")
_FIELDS: Final = ("input", "output", "cached", "written", "kept")
_SAME_USD: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Table:
    """The shipped prices.

    Attributes:
        as_of: date they were gathered; source: from where, in words.
        prices: (wire format, model) → price.
    """

    as_of: str
    source: str
    prices: Mapping[tuple[str, str], Price]


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices in force.

    Attributes:
        table: the shipped ones.
        own: model → price, as the user's settings say; they come first.
        library: of a maintained library where it is installed, before the shipped ones; ``library_name`` with its version.
    """

    table: Table
    own: Mapping[str, Price]
    library: Library | None = None
    library_name: str = ""

    def find(self, wire: str, model: str) -> Price | None:
        """Return the price of a model by the name it was asked for, or answered, with; None when nobody knows it."""
        return self.look_up(wire, model)[0]

    def look_up(self, wire: str, model: str) -> tuple[Price | None, str]:
        """Return the price of a model, and where it comes from in words; None and nothing when nobody knows it."""
        name = normalize_model(model)
        names = tuple(dict.fromkeys((model, name, _VERSION.sub("", name))))
        own = next((self.own[each] for each in names if each in self.own), None)
        if own is not None:
            return own, "your own `prices:`"
        found = self.library(wire, name) if self.library is not None else None
        if found is not None:
            return found, self.library_name
        tabled = (self.table.prices.get((wire, each)) for each in names)
        found = next((each for each in tabled if each is not None), None)
        return found, f"the shipped table of {self.table.as_of}" if found is not None else ""


def prices_in_force(own: Mapping[str, Price], now: datetime) -> Prices:
    """Return the prices that hold at a moment with these of the user's own."""
    library, name = find_library(now)
    return Prices(shipped_prices(), own, library, name)


def normalize_model(model: str) -> str:
    """Return the name without what a wire format puts before it (``models/``), in small letters."""
    return model.lower().removeprefix("models/")


@cache
def shipped_prices() -> Table:
    """Return the shipped table.

    Raises:
        ValueError: it has an error, or an example does not hold (found by our tests, never by a user).
    """
    problems: list[Problem] = []
    table = read_prices(files("nightcrew.policy").joinpath(TABLE).read_text("utf-8"), TABLE, problems)
    if problems:
        raise ValueError("; ".join(str(problem) for problem in problems))
    return table


def read_prices(text: str, source: str, problems: list[Problem]) -> Table:
    """Read a table; everything wrong with it is added to ``problems``."""
    body = tomllib.loads(text)
    prices: dict[tuple[str, str], Price] = {}
    for number, entry in enumerate(body.get("price", ()), 1):
        where = f"price {number}"
        try:
            price = make_price(entry, str(entry.get("wire", "")))
        except ValueError as error:
            problems.append(Problem(Place(source), f"{where}: {error}"))
            continue
        for model in entry.get("models", ()):
            key = (entry["wire"], model)
            if key in prices:
                problems.append(Problem(Place(source), f"{where}: {model} is there twice"))
            prices[key] = price
    table = Table(str(body.get("as_of", "")), str(body.get("source", "")), prices)
    problems += [Problem(Place(source), said) for said in _check_examples(table, body.get("example", ()))]
    return table


def make_price(entry: Mapping[str, Any], wire: str = "openai") -> Price:
    """Return the price that an entry of the table, or of the user's settings, stands for.

    Raises:
        ValueError: it has none, or a negative one, in words.
    """
    if wire not in WIRES:
        raise ValueError(f"{wire!r} is no wire format; there are {', '.join(WIRES)}")
    for name in ("input", "output"):
        if not isinstance(entry.get(name), int | float):
            raise ValueError(f"`{name}` is missing: US dollars per million tokens")
    if any(float(entry.get(name, 0)) < 0 for name in _FIELDS):
        raise ValueError("a price is never negative")
    cached, written, kept = _CACHE[wire]
    plain = float(entry["input"])
    long = entry.get("long")
    return Price(
        input=plain,
        output=float(entry["output"]),
        cached=float(entry.get("cached", plain * cached)),
        written=float(entry.get("written", plain * written)),
        kept=float(entry.get("kept", plain * kept)),
        above=int(entry.get("above", 0)),
        long=None if long is None else make_price(long, wire),
    )


def _check_examples(table: Table, examples: Sequence[Mapping[str, Any]]) -> list[str]:
    wrong = []
    prices = Prices(table, {})
    for example in examples:
        price = prices.find(example["wire"], example["model"])
        cost = None if price is None else price.cost(Tokens(**example["tokens"]))
        if cost is None or abs(cost - example["usd"]) > _SAME_USD:
            wrong.append(f"example {example['model']}: {cost} and not {example['usd']}")
    return wrong if examples else ["there are no examples"]
