"""The wire formats of the big model providers, from the provider's side: read a request, write an answer.

How far a conversation is, is read from the request itself: the ids of our own calls carry the number of their turn. So
it survives that the agent is killed, its session taken up by another process, or this server started again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.testing.scenario import Turn
from nightcrew.testing.tools import Made

_ID: Final = re.compile(r"call_nc(\d+)x\d+")
#: How agents tell their model that a call was under way when they were stopped.
_ABORTED: Final = re.compile(r'"aborted"|Tool (?:execution|call) (?:was )?(?:aborted|interrupted)')
#: What agents put into their model's mouth: when a conversation is taken up, or files are shown to it.
_FILLERS: Final = ("No response requested.", '"Ok."', '"Ok, I will use', '"Ok, any changes I propose')
_CREATED: Final = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for.

    Attributes:
        wire: ``messages``, ``chat``, ``responses`` or ``generate``. model: as the client named it.
        stream: it wants server-sent events. tools: names of the tools it offers.
        turn: number of the turn that is due. usage_wanted: of ``chat`` streams, whether the last chunk tells tokens.
    """

    wire: str
    model: str
    stream: bool
    tools: frozenset[str]
    turn: int
    usage_wanted: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn in the words of one client: its text, its calls with their ids, its tokens."""

    request: Request
    turn: Turn
    calls: tuple[Made, ...]

    def id_of(self, index: int) -> str:
        """Return the id of a call; it says which turn it belongs to."""
        return f"call_nc{self.request.turn}x{index}"


def find_wire(path: str) -> str:
    """Return the wire format that a path belongs to; empty for none."""
    bare = path.partition("?")[0].rstrip("/")
    for end, wire in (("/messages", "messages"), ("/chat/completions", "chat"), ("/responses", "responses")):
        if bare.endswith(end):
            return wire
    return "generate" if bare.endswith((":generateContent", ":streamGenerateContent")) else ""


def read_request(wire: str, path: str, body: Mapping[str, Any]) -> Request:
    """Return what a request is for."""
    stream = "streamGenerateContent" in path if wire == "generate" else bool(body.get("stream"))
    model = str(body.get("model", ""))
    if wire == "generate":
        model = path.partition("?")[0].rpartition("/")[2].partition(":")[0]
    options = body.get("stream_options") or {}
    wanted = not stream or wire != "chat" or bool(options.get("include_usage"))
    return Request(wire, model, stream, frozenset(_tools(wire, body)), _turn(wire, body), wanted)


def _tools(wire: str, body: Mapping[str, Any]) -> Iterator[str]:
    for tool in body.get("tools") or ():
        if wire == "generate":
            yield from (str(each.get("name")) for each in tool.get("functionDeclarations") or ())
        else:
            yield str(tool.get("name") or (tool.get("function") or {}).get("name") or tool.get("type"))


_SPEAKERS: Final = {"messages": "messages", "chat": "messages", "responses": "input", "generate": "contents"}


def _turn(wire: str, body: Mapping[str, Any]) -> int:
    """Return the number of the turn that is due: one after the last call, and one more for each text after that."""
    said = body.get(_SPEAKERS[wire])
    due, texts = 0, 0
    for each in said if isinstance(said, list) else ():
        said_here = json.dumps(each)
        numbers = [int(number) for number in _ID.findall(said_here)]
        if numbers and _ABORTED.search(said_here):
            # Its agent was stopped before it was done: a model would want it again.
            due, texts = min(numbers), 0
        elif numbers:
            due, texts = max(due, max(numbers) + 1), 0
        elif each.get("role") in ("assistant", "model") and not any(map(said_here.__contains__, _FILLERS)):
            texts += 1
    return due + texts


# -- writing -----------------------------------------------------------------------------------------------------------


def write_json(answer: Answer) -> Mapping[str, Any]:
    """Return the answer as one JSON body."""
    return {"messages": _messages, "chat": _chat, "responses": _responses, "generate": _generate}[
        answer.request.wire
    ](answer)


def write_events(answer: Answer) -> list[tuple[str, Mapping[str, Any] | str]]:
    """Return the answer as server-sent events: name (may be empty) and data."""
    match answer.request.wire:
        case "messages":
            return [(str(data["type"]), data) for data in _message_events(answer)]
        case "responses":
            return [(str(data["type"]), data) for data in _response_events(answer)]
        case "chat":
            return [*(("", data) for data in _chat_chunks(answer)), ("", "[DONE]")]
        case _:
            return [("", data) for data in _generate_chunks(answer)]


def _messages(answer: Answer) -> Mapping[str, Any]:
    return {
        "id": f"msg_{answer.request.turn}",
        "type": "message",
        "role": "assistant",
        "model": answer.request.model,
        "content": _blocks(answer),
        "stop_reason": "tool_use" if answer.calls else "end_turn",
        "stop_sequence": None,
        "usage": _message_usage(answer),
    }


def _blocks(answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.turn.text or not answer.calls:
        blocks.append({"type": "text", "text": answer.turn.text})
    for index, call in enumerate(answer.calls):
        blocks.append(
            {"type": "tool_use", "id": answer.id_of(index), "name": call.name, "input": dict(call.arguments)}
        )
    return blocks


def _message_usage(answer: Answer) -> dict[str, int]:
    usage = answer.turn.usage
    return {
        "input_tokens": usage.input - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }


def _message_events(answer: Answer) -> Iterator[dict[str, Any]]:
    whole = dict(_messages(answer))
    # At its start a stream knows what it has read, and of what it will write only the first token.
    begun = {**_message_usage(answer), "output_tokens": 1}
    yield {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None, "usage": begun}}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(answer)):
        is_text = block["type"] == "text"
        empty: dict[str, Any] = {**block, ("text" if is_text else "input"): "" if is_text else {}}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for part in _pieces(block["text"] if is_text else json.dumps(block["input"])):
            delta = (
                {"type": "text_delta", "text": part}
                if is_text
                else {"type": "input_json_delta", "partial_json": part}
            )
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": whole["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": answer.turn.usage.output},
    }
    yield {"type": "message_stop"}


def _chat(answer: Answer) -> Mapping[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.turn.text or None}
    if answer.calls:
        message["tool_calls"] = _chat_calls(answer)
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "tool_calls" if answer.calls else "stop",
        "logprobs": None,
    }
    return {**_chat_head(answer, "chat.completion"), "choices": [choice], "usage": _chat_usage(answer)}


def _chat_head(answer: Answer, kind: str) -> dict[str, Any]:
    name = f"chatcmpl-{answer.request.turn}"
    return {"id": name, "object": kind, "created": _CREATED, "model": answer.request.model}


def _chat_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {
            "id": answer.id_of(index),
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
        }
        for index, call in enumerate(answer.calls)
    ]


def _chat_usage(answer: Answer) -> dict[str, Any]:
    usage = answer.turn.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _chat_chunks(answer: Answer) -> Iterator[Mapping[str, Any]]:
    head = _chat_head(answer, "chat.completion.chunk")

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    yield chunk({"role": "assistant", "content": ""})
    for part in _pieces(answer.turn.text):
        yield chunk({"content": part})
    for index, call in enumerate(_chat_calls(answer)):
        function = call["function"]
        opened = {**call, "index": index, "function": {**function, "arguments": ""}}
        yield chunk({"tool_calls": [opened]})
        for part in _pieces(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, "tool_calls" if answer.calls else "stop")
    if answer.request.usage_wanted:
        yield {**head, "choices": [], "usage": _chat_usage(answer)}


def _responses(answer: Answer) -> Mapping[str, Any]:
    usage = answer.turn.usage
    return {
        "id": f"resp_{answer.request.turn}",
        "object": "response",
        "created_at": _CREATED,
        "status": "completed",
        "model": answer.request.model,
        "output": _items(answer),
        "usage": {
            "input_tokens": usage.input,
            "input_tokens_details": {"cached_tokens": usage.cached},
            "output_tokens": usage.output,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.input + usage.output,
        },
    }


def _items(answer: Answer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if answer.turn.text or not answer.calls:
        content = [{"type": "output_text", "text": answer.turn.text, "annotations": []}]
        items.append(
            {
                "id": f"msg_{answer.request.turn}",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": content,
            }
        )
    for index, call in enumerate(answer.calls):
        same = {
            "id": f"item_{answer.request.turn}_{index}",
            "status": "completed",
            "call_id": answer.id_of(index),
        }
        if call.freeform:
            items.append({**same, "type": "custom_tool_call", "name": call.name, "input": call.freeform})
        else:
            arguments = json.dumps(dict(call.arguments))
            items.append({**same, "type": "function_call", "name": call.name, "arguments": arguments})
    return items


def _response_events(answer: Answer) -> Iterator[dict[str, Any]]:
    whole = dict(_responses(answer))
    yield {
        "type": "response.created",
        "response": {**whole, "status": "in_progress", "output": [], "usage": None},
    }
    for index, item in enumerate(whole["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        if item["type"] == "message":
            for part in _pieces(answer.turn.text):
                yield {
                    "type": "response.output_text.delta",
                    "item_id": item["id"],
                    "output_index": index,
                    "content_index": 0,
                    "delta": part,
                }
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": whole}


def _generate(answer: Answer) -> Mapping[str, Any]:
    return _candidate(answer, _parts(answer), last=True)


def _parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.turn.text or not answer.calls:
        parts.append({"text": answer.turn.text})
    for index, call in enumerate(answer.calls):
        made = {"id": answer.id_of(index), "name": call.name, "args": dict(call.arguments)}
        parts.append({"functionCall": made})
    return parts


def _candidate(answer: Answer, parts: Sequence[Mapping[str, Any]], *, last: bool) -> Mapping[str, Any]:
    usage = answer.turn.usage
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    # What it has written is told as it grows; only the last number counts.
    written = usage.output - usage.reasoning if last else 1
    tokens = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": written,
        "totalTokenCount": usage.input + written + usage.reasoning,
    }
    if usage.cached:
        tokens["cachedContentTokenCount"] = usage.cached
    if usage.reasoning:
        tokens["thoughtsTokenCount"] = usage.reasoning
    return {"candidates": [candidate], "usageMetadata": tokens, "modelVersion": answer.request.model}


def _generate_chunks(answer: Answer) -> Iterator[Mapping[str, Any]]:
    parts = _parts(answer)
    for index, part in enumerate(parts):
        yield _candidate(answer, [part], last=index == len(parts) - 1)


def _pieces(text: str) -> Iterator[str]:
    """Cut a text in two, so that every client has to join what it reads."""
    half = len(text) // 2
    yield from (part for part in (text[:half], text[half:]) if part)
