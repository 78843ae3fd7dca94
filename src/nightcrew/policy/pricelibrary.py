"""Prices of a maintained library, where it is installed: ``pip install 'nightcrew[prices]'`` brings genai-prices (MIT).

Its table comes with it, so nothing is asked of the network; a newer one comes with a newer version of it. It is imported with the
first model whose price is asked for, not before. Where it is not installed, or does not know a model, our own table holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from nightcrew.model.usage import Price

LOG: Final = logging.getLogger(__name__)
NAME: Final = "genai-prices"
#: Wire format → provider in its table, tried in this order.
_PROVIDERS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("anthropic",),
    "openai": ("openai",),
    "gemini": ("google",),
}

#: Given a wire format and a model, its price; None when it is not known.
Library = Callable[[str, str], Price | None]


def find_library(now: datetime) -> tuple[Library | None, str]:
    """Return the library's way to look a price up, and what it calls itself with its version; nothing where there is none.

    Args:
        now: the prices of this moment.
    """
    try:
        name = f"{NAME} {version(NAME)}"
    except PackageNotFoundError:
        return None, ""
    return cache(partial(_look_up, now)), name


def _look_up(now: datetime, wire: str, model: str) -> Price | None:
    from genai_prices.data_snapshot import get_snapshot

    for provider in _PROVIDERS.get(wire, ()):
        try:
            _, found = get_snapshot().find_provider_model(model, None, provider, None)
            return _convert(found.get_prices(now), wire)
        except LookupError:
            continue
        except (AttributeError, TypeError, ValueError) as problem:
            # Another version of it than we know: our own table is as good as it was.
            LOG.warning("%s cannot be read for %s: %s", NAME, model, problem)
    return None


def _convert(found: Any, wire: str) -> Price | None:
    """Return a price of the library as one of ours; None where it is not by the token."""
    start = _find_start(found)
    plain = _read_tier(found, wire, 0)
    if plain is None or not start:
        return plain
    long = _read_tier(found, wire, start + 1)
    return plain if long is None else replace(plain, above=start, long=long)


def _find_start(found: Any) -> int:
    """Return from how many tokens on a prompt costs more; 0 for never. Of several steps the first one holds."""
    tiers = getattr(getattr(found, "input_mtok", None), "tiers", None)
    return int(tiers[0].start) if tiers else 0


def _read_tier(found: Any, wire: str, tokens: int) -> Price | None:
    def read(name: str) -> float | None:
        value = getattr(found, name, None)
        if value is None:
            return None
        tiers = getattr(value, "tiers", None)
        if tiers is None:
            return float(value)
        passed = [tier.price for tier in tiers if tokens > tier.start]
        return float(passed[-1] if passed else value.base)

    plain, output = read("input_mtok"), read("output_mtok")
    if plain is None or output is None:
        return None
    cached, written = read("cache_read_mtok"), read("cache_write_mtok")
    kept = read("cache_write_1h_mtok")
    written = plain if written is None else written
    # What providers charge for an hour, where it does not say: as for some minutes, Anthropic twice the input.
    otherwise = 2 * plain if wire == "anthropic" else written
    return Price(
        plain, output, plain if cached is None else cached, written, otherwise if kept is None else kept
    )
