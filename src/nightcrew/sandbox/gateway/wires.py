"""What agents may ask of a provider, per wire format, and how a request is made ready for metering. Pure.

Only what can be metered goes through: an answer whose cost is told in the answer itself, and questions that are free.
Batches, files, background answers and whatever else a provider offers would be paid without being counted, so the
gateway does not know them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode

from nightcrew.model.usage import Wire
from nightcrew.sandbox.gateway.reach import fetches, searches, take_out

#: What a request is for: an answer that costs, or something free.
Purpose = Literal["answer", "free"]

#: Of a model in a body: it is written down with what was spent.
_NAME: Final = re.compile(r"[\x21-\x7e]{1,200}")
_MODEL: Final = r"[A-Za-z0-9._:@-]{1,200}"
_ROUTES: Final[Mapping[Wire, tuple[tuple[str, re.Pattern[str], Purpose], ...]]] = {
    "anthropic": (
        ("POST", re.compile(r"/v1/messages\Z"), "answer"),
        ("POST", re.compile(r"/v1/messages/count_tokens\Z"), "free"),
        ("GET", re.compile(rf"/v1/models(?:/{_MODEL})?\Z"), "free"),
    ),
    "openai": (
        ("POST", re.compile(r"/v1/(?:chat/completions|responses|embeddings)\Z"), "answer"),
        ("GET", re.compile(rf"/v1/models(?:/{_MODEL})?\Z"), "free"),
    ),
    "gemini": (
        (
            "POST",
            re.compile(rf"/v1(?:beta|alpha)?/models/(?P<model>{_MODEL}):(?:stream)?[gG]enerateContent\Z"),
            "answer",
        ),
        ("POST", re.compile(rf"/v1(?:beta|alpha)?/models/{_MODEL}:countTokens\Z"), "free"),
        ("GET", re.compile(rf"/v1(?:beta|alpha)?/models(?:/{_MODEL})?\Z"), "free"),
    ),
}
#: Headers of a request in which a key may stand; none of them goes out.
CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"api-key", b"cookie"})
#: Parameters of a query in which a key may stand.
_QUERY_KEYS: Final = frozenset({"key", "api_key", "access_token"})
#: Those that go on. Others could have an answer leave out what it took (``fields``), or a question be taken for another one.
_PARAMETERS: Final = frozenset(
    {
        "after", "after_id", "alt", "api-version", "before_id", "beta", "client_version", "limit", "order", "pageSize",
        "pageToken",
    }
)  # fmt: skip
#: Forms of an answer that can be read here.
_FORMS: Final = frozenset({"json", "sse"})
#: Lists and objects of a question, and what stands in them. Each takes some seventy bytes of memory once it is read; a
#: conversation of a million tokens has a tenth of it.
_MOST_PARTS: Final = 2_000_000


class Unusable(ValueError):
    """A request that cannot be let through; says why in words, without digits."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the gateway understands it.

    Attributes:
        purpose: see Purpose.
        target: path and query to send upstream, without any key.
        model: as asked for; empty for what is about no model.
        body: to be sent upstream.
        hide_usage: the client has not asked for the message that tells what the answer took, and does not get it.
        size: bytes of what is to be read by the model, for an estimate.
        removed: tools of the provider's own that were taken out, see ``reach``.
        most_output: tokens that the answer may have at most; 0 when it does not say.
    """

    purpose: Purpose
    target: str
    model: str = ""
    body: bytes = b""
    hide_usage: bool = False
    size: int = 0
    removed: tuple[str, ...] = ()
    most_output: int = 0


def read_ask(wire: Wire, method: str, target: str, body: bytes, *, reaches_out: bool = False) -> Ask:
    """Understand a request, and make it tell its cost.

    Args:
        wire: its format. method, target, body: of the request.
        reaches_out: the provider may use tools of its own, and fetch what it is given the address of.

    Raises:
        Unusable: it is none of those that go through.
    """
    path, _, query = target.partition("?")
    purpose, named = _find_route(wire, method, path)
    kept = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name in _PARAMETERS and (name != "alt" or value in _FORMS)
    ]
    out = f"{path}?{urlencode(kept)}" if kept else path
    if method == "GET":
        return Ask(purpose, out)
    asked = _read_body(body)
    removed = () if reaches_out else _keep_inside(wire, asked)
    if purpose == "free":
        return Ask(purpose, out, body=_write_body(asked), removed=removed)
    model = named or asked.get("model")
    if not isinstance(model, str) or not _NAME.fullmatch(model):
        raise Unusable("the request names no model")
    if searches(model) and not reaches_out:
        raise Unusable("this model searches the web by itself")
    hidden = _make_metered(path, asked)
    most = _find_most(asked)
    return Ask(purpose, out, model, _write_body(asked), hidden, len(body), removed, most)


def _find_most(asked: Mapping[str, Any]) -> int:
    """Return how many tokens an answer may have at most, as far as the question says."""
    config = asked.get("generationConfig")
    config = config if isinstance(config, Mapping) else {}
    given = [asked.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
    given += [config.get("maxOutputTokens"), config.get("max_output_tokens")]
    counts = [each for each in given if isinstance(each, int) and not isinstance(each, bool) and each > 0]
    return min(counts, default=0)


def _keep_inside(wire: Wire, asked: dict[str, Any]) -> tuple[str, ...]:
    """Take out what the provider would reach for the agent, and return its names.

    Raises:
        Unusable: it cannot be taken out.
    """
    if fetches(asked):
        raise Unusable("it holds content that the provider would fetch from elsewhere")
    inner = asked.get("generateContentRequest")
    return take_out(wire, asked) + (take_out(wire, inner) if isinstance(inner, dict) else ())


def _find_route(wire: Wire, method: str, path: str) -> tuple[Purpose, str]:
    """Return what a path is for, and the model it names."""
    for known, pattern, purpose in _ROUTES[wire]:
        found = pattern.match(path) if method == known else None
        if found is not None:
            return purpose, found.groupdict().get("model") or ""
    raise Unusable(f"the gateway does not let this through: {method} {path[:100]}")


def _read_body(body: bytes) -> dict[str, Any]:
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_PARTS:
        raise Unusable("the body has too many parts")
    try:
        asked = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Unusable("the body is not JSON") from None
    if not isinstance(asked, dict):
        raise Unusable("the body is not a JSON object")
    return asked


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _write_body(asked: Mapping[str, Any]) -> bytes:
    """Return a body written anew from what was understood: a name that stands there twice means one thing to everybody."""
    try:
        return json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return json.dumps(asked, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise Unusable("the body holds a number that is none") from None


def _make_metered(path: str, asked: dict[str, Any]) -> bool:
    """Have a streamed chat tell what it took; return whether the client did not want to know.

    Raises:
        Unusable: it would be paid without telling.
    """
    if asked.get("background"):
        raise Unusable("background answers cannot be metered; ask without `background`")
    if not path.endswith("/chat/completions") or not asked.get("stream"):
        return False
    options = asked.get("stream_options")
    options = dict(options) if isinstance(options, dict) else {}
    if options.get("include_usage") is True:
        return False
    asked["stream_options"] = {**options, "include_usage": True}
    return True


def sign(wire: Wire, key: str) -> list[tuple[bytes, bytes]]:
    """Return the headers that carry a real key; none for a provider that needs none."""
    if not key:
        return []
    secret = key.encode("latin-1", "strict")
    match wire:
        case "anthropic":
            return [(b"x-api-key", secret)]
        case "openai":
            return [(b"authorization", b"Bearer " + secret)]
        case "gemini":
            return [(b"x-goog-api-key", secret)]


def find_tokens(headers: Mapping[bytes, bytes], target: str) -> list[str]:
    """Return whatever a request presents as its key."""
    found = [value.decode("latin-1") for name, value in headers.items() if name in CREDENTIALS]
    found = [each[7:] if each[:7].lower() == "bearer " else each for each in found]
    query = target.partition("?")[2]
    return found + [value for name, value in parse_qsl(query) if name in _QUERY_KEYS]


def make_error(wire: Wire, status: int, kind: str, said: str) -> bytes:
    """Return the body of an error of ours as the client of a wire format expects one."""
    shown: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": said}}
    if wire == "openai":
        shown = {"error": {"message": said, "type": kind, "param": None, "code": kind}}
    elif wire == "gemini":
        shown = {"error": {"code": status, "message": said, "status": kind.upper()}}
    return json.dumps(shown).encode()
