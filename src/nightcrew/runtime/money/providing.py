"""The providers of models of a user, as shown: where they are, where their keys are, whether these work, what models cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightcrew.model.errors import NotAuthenticated, NotFound
from nightcrew.model.usage import WIRES, Price, Provider

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules
    from nightcrew.sandbox.egress.relaying import Relay


def list_providers(parts: Parts, rules: Rules, *, ask_programs: bool = True) -> list[dict[str, Any]]:
    """Return every provider of the settings, with what is wrong with its key; no key is shown.

    Args:
        ask_programs: run those that keep keys, which may ask their user for a password; else they are believed.
    """
    return [_view(parts, each, ask_programs=ask_programs) for each in rules.settings.providers.values()]


def _view(parts: Parts, provider: Provider, *, ask_programs: bool = True) -> dict[str, Any]:
    problem = ""
    try:
        if ask_programs or provider.key is None or provider.key.kind != "command":
            parts.keyring.read(provider)
    except NotAuthenticated as error:
        problem = error.message
    return {
        "name": provider.name,
        "wire": provider.wire,
        "url": provider.url,
        "key": provider.key.describe() if provider.key else "none",
        "model": provider.model,
        "ready": not problem,
        "problem": problem,
    }


def check_providers(parts: Parts, rules: Rules, name: str = "") -> list[dict[str, Any]]:
    """Ask each provider, or the one of this name, something free with its key; ``class`` and ``problem`` say what is wrong.

    Raises:
        NotFound: there is no such provider.
    """
    from nightcrew.sandbox.gateway.trial import try_key
    from nightcrew.sandbox.gateway.upstream import Upstream

    known = rules.settings.providers
    if name and name not in known:
        raise NotFound(
            f"there is no provider {name!r} in your config.yaml",
            code="provider.unknown",
            hint="nightcrew keys list",
        )
    found = []
    for provider in [known[name]] if name else known.values():
        view = {**_view(parts, provider), "class": "auth"}
        if view["ready"]:
            fault = try_key(Upstream(provider, parts.keyring.read(provider), _find_relay(parts, rules)))
            view["class"] = fault.kind if fault else ""
            view["problem"] = f"{provider.name} {fault.describe()}" if fault else ""
        found.append({**view, "ok": not view["problem"]})
    return found


def _find_relay(parts: Parts, rules: Rules) -> Relay | None:
    from nightcrew.sandbox.egress.relaying import Relay

    found = rules.settings.upstream_proxy
    return Relay(found.host, found.port, parts.keyring.read(found.keeper)) if found is not None else None


def list_prices(rules: Rules, model: str = "") -> dict[str, Any]:
    """Return the prices in force, or that of one model under every format that has it: ``own`` ones come first.

    Raises:
        NotFound: nobody knows the price of this model.
    """
    from nightcrew.host.clock import SystemClock
    from nightcrew.policy.prices import prices_in_force

    prices = prices_in_force(rules.settings.prices, SystemClock().now())
    table = prices.table
    if model:
        looked = [(wire, *prices.look_up(wire, model)) for wire in WIRES]
        found = [(wire, price) for wire, price, _ in looked if price is not None]
        if not found:
            raise NotFound(
                f"the price of {model} is not known: its tokens are counted, money is not",
                code="price.unknown",
                hint="name it in `prices:` of your config.yaml",
            )
        # A price of the user's own holds whatever the format.
        wire = "own" if found[0][1] in prices.own.values() else found[0][0]
        source = next(said for _, price, said in looked if price is not None)
        rows = [{**_view_price(wire, model, found[0][1]), "from": source}]
    else:
        rows = [_view_price("own", name, price) for name, price in prices.own.items()]
        rows += [_view_price(wire, name, price) for (wire, name), price in table.prices.items()]
    return {"as_of": table.as_of, "source": table.source, "library": prices.library_name, "prices": rows}


def _view_price(wire: str, model: str, price: Price) -> dict[str, Any]:
    names = ("input", "cached", "written", "kept", "output")
    view: dict[str, Any] = {"wire": wire, "model": model}
    view |= {name: round(getattr(price, name), 6) for name in names}
    if price.long is not None:
        view["above"] = price.above
        view["long"] = {name: round(getattr(price.long, name), 6) for name in names}
    return view
