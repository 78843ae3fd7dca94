"""Requests that go through, prices, budgets, errors of providers, bodies on their way."""

from __future__ import annotations

import gzip
import itertools
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model.usage import (
    Budget,
    Price,
    Spent,
    Tokens,
    Wire,
    describe_spent,
    parse_budget,
)
from nightcrew.policy.prices import Prices, make_price, read_prices, shipped_prices
from nightcrew.sandbox.gateway import wires
from nightcrew.sandbox.gateway.faults import classify, pick_kind
from nightcrew.sandbox.gateway.streams import Scrubber, Unpacker, Unreadable

# -- requests -----------------------------------------------------------------------------------------------------------

BODY = json.dumps({"model": "m-1", "stream": True}).encode()
THROUGH: list[tuple[Wire, str, str]] = [
    ("anthropic", "POST", "/v1/messages?beta=true"),
    ("openai", "POST", "/v1/chat/completions"),
    ("openai", "POST", "/v1/responses"),
    ("openai", "POST", "/v1/embeddings"),
    ("gemini", "POST", "/v1beta/models/m-1:generateContent"),
    ("gemini", "POST", "/v1beta/models/m-1:streamGenerateContent?alt=sse"),
]
REFUSED: list[tuple[Wire, str, str]] = [
    ("anthropic", "POST", "/v1/messages/batches"),
    ("anthropic", "POST", "/v1/files"),
    ("anthropic", "GET", "/v1/messages"),
    ("anthropic", "POST", "/v1/messages/"),
    ("anthropic", "POST", "//v1/messages"),
    ("anthropic", "POST", "/v1/messages%2f..%2fbatches"),
    ("anthropic", "DELETE", "/v1/models/m"),
    ("openai", "POST", "/v1/batches"),
    ("openai", "POST", "/v1/fine_tuning/jobs"),
    ("openai", "POST", "/v1/images/generations"),
    ("openai", "GET", "/v1/responses/resp_1"),
    ("openai", "GET", "/v1/organization/usage/completions"),
    ("openai", "POST", "http://example.org/v1/responses"),
    ("gemini", "POST", "/v1beta/models/../cachedContents:generateContent"),
    ("gemini", "POST", "/v1beta/cachedContents"),
    ("gemini", "POST", "/v1beta/models/m:batchGenerateContent"),
    ("gemini", "POST", "/upload/v1beta/files"),
]


@pytest.mark.parametrize(("wire", "method", "target"), THROUGH)
def test_what_can_be_metered_goes_through(wire: Wire, method: str, target: str) -> None:
    ask = wires.read_ask(wire, method, target, BODY)
    assert (ask.purpose, ask.model, ask.target) == ("answer", "m-1", target)


@pytest.mark.parametrize(("wire", "method", "target"), REFUSED)
def test_what_would_be_paid_without_being_counted_does_not(wire: Wire, method: str, target: str) -> None:
    with pytest.raises(wires.Unusable):
        wires.read_ask(wire, method, target, BODY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"model": 3}',
        b'{"model": ""}',
        b'{"model": "a\\nb"}',
        b'{"model": "' + b"x" * 201 + b'"}',
        b"{" * 100_000,
        b'{"model": "m", "background": true}',
    ],
)
def test_a_question_that_cannot_be_understood_does_not(body: bytes) -> None:
    with pytest.raises(wires.Unusable):
        wires.read_ask("openai", "POST", "/v1/responses", body)


def test_a_streamed_chat_is_made_to_tell_what_it_took() -> None:
    ask = wires.read_ask(
        "openai",
        "POST",
        "/v1/chat/completions",
        b'{"model": "m", "stream": true, "stream_options": {"a": 1}}',
    )
    assert json.loads(ask.body) == {
        "model": "m",
        "stream": True,
        "stream_options": {"a": 1, "include_usage": True},
    }
    assert ask.hide_usage
    told = b'{"model": "m", "stream": true, "stream_options": {"include_usage": true}}'
    asked = wires.read_ask("openai", "POST", "/v1/chat/completions", told)
    assert (json.loads(asked.body), asked.hide_usage) == (json.loads(told), False)


def test_what_goes_on_is_what_was_understood() -> None:
    twice = (
        b'{"model": "cheap", "tools": [{"type": "web_search"}], "tools": [], "model": "dear", "x": "\\ud83d"}'
    )
    ask = wires.read_ask("openai", "POST", "/v1/responses", twice)
    assert (ask.model, json.loads(ask.body)) == ("dear", {"model": "dear", "tools": [], "x": "\ud83d"})
    for odd in (b'{"model": "m", "x": NaN}', b'{"model": "m", "x": 1e999}', b'\xff{"model": "m"}'):
        with pytest.raises(wires.Unusable):
            wires.read_ask("openai", "POST", "/v1/responses", odd)


FUNCTION = {"type": "function", "name": "f", "parameters": {"image_url": "http://in.a.schema"}}
TOOLS: list[tuple[Wire, dict, dict, tuple[str, ...]]] = [
    (
        "anthropic",
        {
            "tools": [
                {"name": "a", "input_schema": {}},
                {"type": "web_search_20250305", "name": "w"},
                {"type": "bash_20250124"},
            ],
            "mcp_servers": [{"type": "url", "url": "https://evil.example.org"}],
        },
        {"tools": [{"name": "a", "input_schema": {}}, {"type": "bash_20250124"}]},
        ("mcp_servers", "web_search_20250305"),
    ),
    (
        "openai",
        {
            "tools": [
                FUNCTION,
                {"type": "web_search", "external_web_access": False},
                {"type": "mcp", "server_url": "https://evil.example.org"},
                {"type": "code_interpreter"},
                {"type": "shell", "environment": {"type": "container_auto"}},
                {"type": "namespace", "tools": [FUNCTION, {"type": "mcp"}]},
                "mcp",
            ],
            "web_search_options": {"x": 1},
        },
        {"tools": [FUNCTION, {"type": "namespace", "tools": [FUNCTION]}]},
        ("web_search_options", "web_search", "mcp", "code_interpreter", "shell", "None"),
    ),
    ("openai", {"tools": [{"type": "web_search"}], "tool_choice": "required"}, {}, ("web_search",)),
    (
        "gemini",
        {"tools": [{"googleSearch": {}}, {"functionDeclarations": [], "urlContext": {}}]},
        {"tools": [{"functionDeclarations": []}]},
        ("googleSearch", "urlContext"),
    ),
    ("anthropic", {"tools": [{"type": "custom"}]}, {"tools": [{"type": "custom"}]}, ()),
    # A single object stands for a list of one; a result of a search for tools brings tools; routers have their own ways.
    ("gemini", {"tools": {"googleSearch": {}}}, {}, ("googleSearch",)),
    ("gemini", {"tools": {"functionDeclarations": []}}, {"tools": {"functionDeclarations": []}}, ()),
    ("gemini", {"tools": ["googleSearch"]}, {}, ("str",)),
    (
        "openai",
        {
            "input": [{"type": "tool_search_output", "tools": [FUNCTION, {"type": "mcp"}]}],
            "tools": [FUNCTION],
        },
        {"input": [{"type": "tool_search_output", "tools": [FUNCTION]}], "tools": [FUNCTION]},
        ("mcp",),
    ),
    (
        "openai",
        {"plugins": [{"id": "web"}], "search_parameters": {"mode": "on"}},
        {},
        ("plugins", "search_parameters"),
    ),
    ("openai", {"tools": [{"type": ["function"]}]}, {}, ("['function']",)),
    (
        "openai",
        {"tools": [{"type": "namespace", "tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]}]},
        {"tools": [{"type": "namespace", "tools": []}]},
        ("namespace",),
    ),
]


@pytest.mark.parametrize(("wire", "asked", "sent", "removed"), TOOLS)
def test_a_provider_reaches_nothing_for_an_agent(
    wire: Wire, asked: dict, sent: dict, removed: tuple[str, ...]
) -> None:
    target = {
        "anthropic": "/v1/messages",
        "openai": "/v1/responses",
        "gemini": "/v1beta/models/m:generateContent",
    }[wire]
    body = json.dumps({**asked, "model": "m"}).encode()
    ask = wires.read_ask(wire, "POST", target, body)
    assert (json.loads(ask.body), ask.removed) == ({**sent, "model": "m"}, removed)
    let = wires.read_ask(wire, "POST", target, body, reaches_out=True)
    assert (json.loads(let.body), let.removed) == ({**asked, "model": "m"}, ())


FETCHED = [
    {"type": "image", "source": {"type": "url", "url": "https://evil.example.org/?leak"}},
    {"type": "document", "source": {"type": "url", "url": "https://evil.example.org"}},
    {"type": "image_url", "image_url": {"url": "https://evil.example.org"}},
    {"type": "input_image", "image_url": "https://evil.example.org"},
    {"type": "input_file", "file_url": "https://evil.example.org"},
    {"fileData": {"fileUri": "https://evil.example.org"}},
    {"file_data": {"file_uri": "https://evil.example.org"}},
    {"type": "computer_screenshot", "image_url": "https://evil.example.org"},
    {"functionResponse": {"response": {}, "parts": [{"fileData": {"fileUri": "https://evil.example.org"}}]}},
]
INSIDE = [
    {"type": "image", "source": {"type": "base64", "data": "aaaa"}},
    {"type": "input_image", "image_url": "data:image/png;base64,aaaa"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
    {"type": "input_file", "file_data": "data:application/pdf;base64,aaaa"},
    {"type": "tool_use", "input": {"type": "image_url", "image_url": "https://x.example.org"}},
    {"functionCall": {"args": {"fileData": 1}}},
    {"functionResponse": {"response": {"fileData": 1, "image_url": "https://x.example.org"}}},
    {"type": "text", "text": "see https://x.example.org"},
]


@pytest.mark.parametrize("part", FETCHED)
def test_content_by_address_is_refused(part: dict) -> None:
    for deep in (part, {"content": [part]}, {"content": [{"type": "tool_result", "content": [part]}]}):
        with pytest.raises(wires.Unusable, match="fetch from elsewhere"):
            wires.read_ask(
                "anthropic", "POST", "/v1/messages", json.dumps({"model": "m", "messages": [deep]}).encode()
            )


@pytest.mark.parametrize("part", INSIDE)
def test_content_that_is_there_is_not(part: dict) -> None:
    body = json.dumps({"model": "m", "messages": [{"content": [part]}]}).encode()
    assert json.loads(wires.read_ask("anthropic", "POST", "/v1/messages", body).body) == json.loads(body)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("?alt=sse&fields=candidates", "?alt=sse"),
        ("?alt=proto&$alt=proto&%24fields=x&prettyPrint=1", ""),
        ("?alt=json&$httpMethod=DELETE&upload_protocol=raw", "?alt=json"),
    ],
)
def test_nothing_in_a_query_hides_what_an_answer_took(target: str, sent: str) -> None:
    path = "/v1beta/models/m-1:generateContent"
    assert wires.read_ask("gemini", "POST", path + target, BODY).target == path + sent


@pytest.mark.parametrize(
    "model", ["gpt-4o-search-preview", "gpt-5-search-api-2025-10-14", "some/model:online"]
)
def test_a_model_that_searches_by_itself_is_not_asked(model: str) -> None:
    body = json.dumps({"model": model}).encode()
    with pytest.raises(wires.Unusable, match="searches the web"):
        wires.read_ask("openai", "POST", "/v1/chat/completions", body)
    assert wires.read_ask("openai", "POST", "/v1/chat/completions", body, reaches_out=True).model == model


def test_a_question_of_very_many_parts_is_not_read() -> None:
    body = b'{"model": "m", "x": [' + b"{}," * 1_100_000 + b"1]}"
    with pytest.raises(wires.Unusable, match="too many parts"):
        wires.read_ask("openai", "POST", "/v1/responses", body)


def test_no_key_in_a_query_goes_on_and_each_is_looked_at() -> None:
    ask = wires.read_ask("gemini", "GET", "/v1beta/models?key=abc&pageSize=5&access_token=x", b"")
    assert ask.target == "/v1beta/models?pageSize=5"
    headers = {
        b"authorization": b"Bearer one",
        b"x-api-key": b"two",
        b"x-goog-api-key": b"three",
        b"host": b"h",
    }
    assert set(wires.find_tokens(headers, "/x?key=four&q=5")) == {"one", "two", "three", "four"}


@pytest.mark.parametrize("wire", ["anthropic", "openai", "gemini"])
def test_our_own_errors_have_the_shape_of_the_format(wire: Wire) -> None:
    shown = json.loads(wires.make_error(wire, 403, "permission_error", "no"))
    assert shown["error"]["message"] == "no"


# -- prices and budgets -------------------------------------------------------------------------------------------------


def test_the_shipped_prices_hold_their_examples() -> None:
    table = shipped_prices()
    assert table.as_of
    assert len(table.prices) > 30


def test_a_price_is_that_of_a_name_and_its_versions_and_no_guess() -> None:
    prices = Prices(shipped_prices(), {"mine": Price(1, 2, 1, 1, 1)})
    plain = prices.find("anthropic", "claude-sonnet-4-5")
    assert plain is not None
    assert prices.find("anthropic", "claude-sonnet-4-5-20250929") == plain
    assert prices.find("gemini", "models/gemini-2.5-pro") == prices.find("gemini", "gemini-2.5-pro")
    assert prices.find("anthropic", "claude-sonnet-9") is None
    assert prices.find("anthropic", "claude-sonnet-4-5-turbo") is None
    assert prices.find("openai", "claude-sonnet-4-5") is None
    assert prices.find("gemini", "mine") == Price(1, 2, 1, 1, 1)


def test_a_long_prompt_is_charged_as_a_whole() -> None:
    price = Price(1, 10, 0.1, 1, 1, above=1000, long=Price(2, 20, 0.2, 2, 2))
    assert price.cost(Tokens(input=1000, output=100)) == pytest.approx(0.002)
    assert price.cost(Tokens(input=500, cached=501, output=100)) == pytest.approx((1000 + 100.2 + 2000) / 1e6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 1", "there are no examples"),
        ('[[price]]\nwire = "x"\nmodels = ["m"]\ninput = 1\noutput = 1', "no wire format"),
        ('[[price]]\nwire = "openai"\nmodels = ["m"]\ninput = -1\noutput = 1', "never negative"),
        ('[[price]]\nwire = "openai"\nmodels = ["m"]\noutput = 1', "`input` is missing"),
        ('[[price]]\nwire = "openai"\nmodels = ["m", "m"]\ninput = 1\noutput = 1', "there twice"),
        (
            (
                '[[price]]\nwire = "openai"\nmodels = ["m"]\ninput = 1\noutput = 1\n'
                '[[example]]\nwire = "openai"\nmodel = "m"\ntokens = { input = 1000000 }\nusd = 2.0'
            ),
            "example m: 1.0 and not 2.0",
        ),
    ],
)
def test_a_table_with_an_error_says_so(text: str, problem: str) -> None:
    problems: list = []
    read_prices(text, "t.toml", problems)
    assert any(problem in str(each) for each in problems)


def test_a_price_without_one_for_the_cache_is_not_too_low() -> None:
    assert make_price({"input": 3, "output": 4}) == Price(3, 4, 3, 3, 3)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("25usd", Budget(25)),
        ("$2.50", Budget(2.5)),
        ("25 USD", Budget(25)),
        ("2M", Budget(0, 2_000_000)),
        ("1.5M tokens", Budget(0, 1_500_000)),
        ("500k", Budget(0, 500_000)),
        ("25usd, 2M", Budget(25, 2_000_000)),
        ("2M tokens 25usd", Budget(25, 2_000_000)),
        ("none", Budget()),
    ],
)
def test_budgets_as_people_write_them(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert not budget or parse_budget(budget.describe()) == budget


@pytest.mark.parametrize(
    "text", ["", "25", "usd", "-1usd", "0usd", "25usd 3usd", "1e3usd", "infusd", "25eur", "٣usd"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a budget"):
        parse_budget(text)


def test_a_share_is_that_of_the_nearer_limit() -> None:
    spent = Spent(Tokens(input=900, output=100), 1, usd=1.0)
    assert Budget(4.0, 2000).share(spent) == 0.5
    assert Budget(1.0, 10**9).share(spent) == 1.0
    assert Budget().share(spent) == 0.0
    assert Budget(25, 0).narrow(Budget(10, 5)) == Budget(10, 5)


def test_what_has_no_known_price_is_said() -> None:
    assert describe_spent(Spent(Tokens(100), 1, unpriced=1)) == "100 tokens, price unknown"
    assert "1 of 2 answers without a known price" in describe_spent(Spent(Tokens(100), 2, 0.5, unpriced=1))


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 6), max_size=6))
def test_sums_survive_being_stored(rows: list[tuple[int, ...]]) -> None:
    total = sum((Spent(Tokens(*row), 1, 0.000001) for row in rows), Spent())
    assert Spent.from_plain(json.loads(json.dumps(total.to_plain()))) == total


# -- errors of providers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [
        (401, "authentication_error", "auth"),
        (403, "permission_error", "auth"),
        (400, "invalid_api_key", "auth"),
        (429, "rate_limit_error", "rate_limit"),
        (429, "insufficient_quota", "quota"),
        (429, "", "rate_limit"),
        (402, "", "quota"),
        (529, "overloaded_error", "overloaded"),
        (503, "UNAVAILABLE", "overloaded"),
        (500, "", "overloaded"),
        (502, "", "overloaded"),
        (400, "invalid_request_error", "bad_request"),
        (404, "not_found_error", "bad_request"),
        (413, "", "bad_request"),
    ],
)
def test_errors_of_providers_are_classed(status: int, word: str, kind: str) -> None:
    assert pick_kind(status, word) == kind


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({b"retry-after": b"30"}, 30.0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"30"}, 0.25),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({b"retry-after": b"-5"}, 0.0),
        ({b"retry-after": b"9" * 400}, 0.0),
        ({}, 0.0),
    ],
)
def test_how_long_a_provider_asks_to_wait(headers: dict[bytes, bytes], wait_s: float) -> None:
    assert classify(429, headers, b"").wait_s == wait_s


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"type": "error", "error": {"type": "x", "message": "bad sk-secret-123 key"}}', "bad [key] key"),
        (b'{"error": {"message": "no", "type": "t", "code": null}}', "no"),
        (b'[{"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}]', "no"),
        (b'{"error": "plain"}', "plain"),
        (b"<html>", ""),
        (b"[]", ""),
        (b"null", ""),
    ],
)
def test_what_a_provider_says_is_shown_without_the_key(body: bytes, said: str) -> None:
    assert classify(400, {}, body, secret="sk-secret-123").said == said


# -- bodies on their way ------------------------------------------------------------------------------------------------

SECRET = "sk-real-0123456789"


@given(
    st.lists(
        st.sampled_from(["sk-", "sk-real", "-01234", SECRET, SECRET[:-1], "x", "sk-sk-real-0123456789", " "]),
        max_size=8,
    ),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_a_secret_is_taken_out_wherever_it_is_cut(parts: list[str], cuts: list[int]) -> None:
    data = "".join(parts).encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    scrubber = Scrubber(SECRET, "[k]")
    out = b"".join(scrubber.feed(data[a:b]) for a, b in itertools.pairwise(places)) + scrubber.finish()
    assert SECRET.encode() not in out
    assert out == data.replace(SECRET.encode(), b"[k]")


def test_what_is_no_part_of_a_secret_is_not_held_back() -> None:
    scrubber = Scrubber(SECRET, "[k]")
    assert scrubber.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert Scrubber("short", "[k]").feed(b"short") == b"short"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_packed_bodies_are_unpacked_within_a_bound(coding: str) -> None:
    pack = gzip.compress if coding == "gzip" else zlib.compress
    data = pack(b"x" * 1000)
    unpacker = Unpacker(coding.encode(), 1000)
    assert unpacker.feed(data[:7]) + unpacker.feed(data[7:]) == b"x" * 1000
    with pytest.raises(Unreadable, match="too long"):
        Unpacker(coding.encode(), 1000).feed(pack(b"x" * 10_000_000))
    with pytest.raises(Unreadable, match="not packed"):
        Unpacker(coding.encode(), 1000).feed(b"hello, this is no such thing")


def test_what_cannot_be_looked_into_does_not_go_on() -> None:
    with pytest.raises(Unreadable):
        Unpacker(b"zstd")
    with pytest.raises(Unreadable):
        Unpacker(b"", 10).feed(b"x" * 11)
