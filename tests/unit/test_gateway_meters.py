"""What answers of each wire format took, whole and streamed, in whatever pieces they come."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.model.usage import Tokens, Wire
from nightcrew.sandbox.gateway import meters
from nightcrew.sandbox.gateway.meters import Meter


def events(*messages: dict[str, Any], done: bool = False) -> bytes:
    lines = [f"event: {m['type']}\n" if "type" in m else "" for m in messages]
    text = "".join(f"{line}data: {json.dumps(m)}\n\n" for line, m in zip(lines, messages, strict=True))
    return (text + ("data: [DONE]\n\n" if done else "")).encode()


ANTHROPIC = events(
    {
        "type": "message_start",
        "message": {
            "model": "claude-x",
            "usage": {
                "input_tokens": 12,
                "cache_creation_input_tokens": 300,
                "cache_read_input_tokens": 4000,
                "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100},
                "output_tokens": 1,
                "service_tier": "standard",
            },
        },
    },
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 77}},
    {"type": "message_stop"},
)
CHAT = events(
    {"model": "gpt-x", "choices": [{"delta": {"content": "hel"}}], "usage": None},
    {"model": "gpt-x", "choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}], "usage": None},
    {
        "model": "gpt-x",
        "choices": [],
        "usage": {
            "prompt_tokens": 1000,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 900},
            "completion_tokens_details": {"reasoning_tokens": 20},
        },
    },
    done=True,
)
RESPONSES = events(
    {"type": "response.created", "response": {"model": "gpt-x", "usage": None}},
    {"type": "response.output_text.delta", "delta": "hello"},
    {
        "type": "response.completed",
        "response": {
            "model": "gpt-x-2026-01-01",
            "output": [{"content": [{"text": "hello"}]}],
            "usage": {
                "input_tokens": 400,
                "output_tokens": 30,
                "input_tokens_details": {"cached_tokens": 128},
                "output_tokens_details": {"reasoning_tokens": 25},
            },
        },
    },
)
GEMINI = events(
    {"candidates": [{"content": {"parts": [{"text": "hel"}]}}], "usageMetadata": {"promptTokenCount": 500}},
    {
        "candidates": [{"content": {"parts": [{"text": "lo"}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": 500,
            "cachedContentTokenCount": 200,
            "candidatesTokenCount": 40,
            "thoughtsTokenCount": 60,
            "toolUsePromptTokenCount": 7,
        },
        "modelVersion": "gemini-x",
    },
)
STREAMS: list[tuple[str, Wire, bytes, str, Tokens]] = [
    ("anthropic", "anthropic", ANTHROPIC, "claude-x", Tokens(12, 4000, 200, 100, 77)),
    ("chat", "openai", CHAT, "gpt-x", Tokens(100, 900, output=50, reasoning=20)),
    ("responses", "openai", RESPONSES, "gpt-x-2026-01-01", Tokens(272, 128, output=30, reasoning=25)),
    ("gemini", "gemini", GEMINI, "gemini-x", Tokens(307, 200, output=100, reasoning=60)),
]


@pytest.mark.parametrize(
    ("wire", "stream", "model", "tokens"), [row[1:] for row in STREAMS], ids=[r[0] for r in STREAMS]
)
@given(cuts=st.lists(st.integers(0, 3000), max_size=12))
def test_a_stream_in_any_pieces_is_passed_on_unchanged_and_counted_exactly(
    wire: Wire, stream: bytes, model: str, tokens: Tokens, cuts: list[int]
) -> None:
    meter = Meter(wire, streamed=True)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    passed = b"".join(meter.feed(stream[a:b]) for a, b in itertools.pairwise(places)) + meter.finish()
    assert passed == stream
    assert meter.count(10) == (tokens, True)
    assert meter.tally.model == model


@given(cuts=st.lists(st.integers(0, 900), max_size=12))
def test_what_a_client_did_not_ask_for_it_does_not_get(cuts: list[int]) -> None:
    meter = Meter("openai", streamed=True, hide_usage=True)
    places = [0, *sorted(min(cut, len(CHAT)) for cut in cuts), len(CHAT)]
    passed = b"".join(meter.feed(CHAT[a:b]) for a, b in itertools.pairwise(places)) + meter.finish()
    assert passed == CHAT[: CHAT.index(b'data: {"model": "gpt-x", "choices": []')] + b"data: [DONE]\n\n"
    assert meter.count(10) == (Tokens(100, 900, output=50, reasoning=20), True)


WHOLE: list[tuple[Wire, Any, Tokens]] = [
    (
        "anthropic",
        {"type": "message", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 4}},
        Tokens(3, output=4),
    ),
    ("openai", {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}, Tokens(3, output=4)),
    ("openai", {"object": "response", "usage": {"input_tokens": 3, "output_tokens": 4}}, Tokens(3, output=4)),
    ("openai", {"object": "list", "usage": {"prompt_tokens": 9, "total_tokens": 9}}, Tokens(9)),
    ("gemini", {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}, Tokens(3, output=4)),
    # Streamed without server-sent events: one list, of which the last message counts.
    (
        "gemini",
        [
            {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}},
            {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 8}, "candidates": []},
        ],
        Tokens(3, output=8),
    ),
]


@pytest.mark.parametrize(("wire", "answer", "tokens"), WHOLE)
def test_a_whole_answer_is_counted(wire: Wire, answer: Any, tokens: Tokens) -> None:
    data = json.dumps(answer).encode()
    meter = Meter(wire, streamed=False)
    assert meter.feed(data[:9]) + meter.feed(data[9:]) + meter.finish() == data
    assert meter.count(10) == (tokens, True)


@pytest.mark.parametrize(("wire", "stream"), [row[1:3] for row in STREAMS], ids=[r[0] for r in STREAMS])
def test_what_is_cut_off_before_its_last_word_is_estimated_and_says_so(wire: Wire, stream: bytes) -> None:
    meter = Meter(wire, streamed=True)
    meter.feed(stream[: stream.index(b"hel") + 12].rpartition(b"\n")[0] + b"\n")
    meter.feed(b'data: {"delta": {"text": "' + b"x" * 400 + b'"}}\n\n')
    meter.finish()
    tokens, exact = meter.count(4000)
    assert not exact
    assert tokens.prompt > 0
    assert 100 <= tokens.output <= 105


@pytest.mark.parametrize("junk", [b"", b"<html>", b"{", b"[[[[", b'{"usage": 3}', b'"usage"', b"[" * 100_000])
def test_an_answer_that_says_nothing_is_estimated_by_the_question(junk: bytes) -> None:
    meter = Meter("anthropic", streamed=False)
    meter.feed(junk)
    meter.finish()
    assert meter.count(400) == (Tokens(input=100), False)


def test_a_message_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "MAX_MESSAGE_BYTES", 1000)
    meter = Meter("openai", streamed=True)
    piece = b"data: " + b"x" * 400
    assert [meter.feed(piece) for _ in range(5)] == [piece] * 5
    assert meter.finish() == b""
    assert meter.count(40) == (Tokens(input=10, output=508), False)


def test_negative_and_nested_figures_do_no_harm() -> None:
    meter = Meter("openai", streamed=False)
    meter.feed(
        b'{"usage": {"prompt_tokens": -5, "completion_tokens": true, "prompt_tokens_details": {"cached_tokens": 9}}}'
    )
    meter.finish()
    tokens, _ = meter.count(10)
    assert tokens == Tokens(0, 9)


def test_an_error_in_the_midst_of_a_stream_is_noticed() -> None:
    meter = Meter("anthropic", streamed=True)
    meter.feed(events({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}))
    assert meter.tally.fault == ("overloaded_error", "busy")
    meter = Meter("openai", streamed=True)
    meter.feed(
        events({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "oh"}}})
    )
    assert meter.tally.fault == ("server_error", "oh")


def test_a_plain_answer_that_was_cut_is_not_free() -> None:
    meter = Meter("openai", streamed=False)
    meter.feed(b'{"choices": [{"message": {"content": "' + b"x" * 4000)
    assert meter.count(40) == (Tokens(input=10, output=1010), False)
