"""Reading out of an answer what it took, per wire format, while it goes by. Pure.

The provider's own figures count. Each format tells them elsewhere: at the beginning and corrected at the end, in the
last message only, or again in every message. What is told twice is counted once, and an answer that is cut off before
its last word is estimated, and marked as that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.model.usage import Tokens, Wire

#: More of one message, or of a whole answer that is not streamed, is not looked into; its cost is estimated.
MAX_MESSAGE_BYTES: Final = 32 << 20
#: Of English text and code, roughly; only for what was cut off.
_BYTES_PER_TOKEN: Final = 4
#: Where the text of an answer stands, whatever the format.
_TEXTS: Final = frozenset(
    {"text", "thinking", "partial_json", "content", "arguments", "reasoning_content", "reasoning", "delta"}
)
#: Where what a tool is called with stands.
_CALLED: Final = frozenset({"input", "args", "arguments"})
#: What tells two answers apart that say the same.
_NEW_EACH_TIME: Final = frozenset(
    {
        "id",
        "call_id",
        "item_id",
        "tool_call_id",
        "created",
        "created_at",
        "obfuscation",
        "usage",
        "response",
        "signature",
    }
)


@dataclass(slots=True)
class Tally:
    """What an answer has said of itself so far.

    Attributes:
        model: that answers, as it calls itself.
        counts: the provider's own figures, by its own names.
        final: it has said its last word on what it took.
        characters: of text that came by, for an estimate.
        fault: an error in the midst of a stream: its type and message.
    """

    model: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    final: bool = False
    characters: int = 0
    fault: tuple[str, str] | None = None

    def merge(self, usage: object) -> None:
        """Take over figures; a later one stands for an earlier one of the same name."""
        for name, value in _flatten(usage):
            self.counts[name] = value


def _flatten(usage: object, prefix: str = "") -> list[tuple[str, int]]:
    if not isinstance(usage, Mapping):
        return []
    found: list[tuple[str, int]] = []
    for name, value in usage.items():
        if isinstance(value, int) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", max(0, value)))
        elif isinstance(value, Mapping):
            found += _flatten(value, f"{prefix}{name}.")
    return found


# -- reading one message ------------------------------------------------------------------------------------------------


def _see_anthropic(tally: Tally, message: Mapping[str, Any]) -> None:
    kind = message.get("type")
    body = message.get("message") if kind == "message_start" else message
    if kind in ("message", "message_start", "message_delta") and isinstance(body, Mapping):
        tally.model = str(body.get("model") or tally.model)
        tally.merge(body.get("usage"))
    tally.final = tally.final or (kind in ("message", "message_stop") and bool(tally.counts))


def _see_openai(tally: Tally, message: Mapping[str, Any]) -> None:
    answer = message.get("response")
    body = answer if isinstance(answer, Mapping) else message
    tally.model = str(body.get("model") or tally.model)
    if isinstance(body.get("usage"), Mapping):
        tally.merge(body["usage"])
        tally.final = True
    problem = body.get("error") if message.get("type") == "response.failed" else None
    if isinstance(problem, Mapping):
        tally.fault = (str(problem.get("code") or ""), str(problem.get("message") or ""))


def _see_gemini(tally: Tally, message: Mapping[str, Any]) -> None:
    tally.model = str(message.get("modelVersion") or tally.model)
    tally.merge(message.get("usageMetadata"))
    candidates = message.get("candidates")
    over = isinstance(candidates, list) and any(
        isinstance(each, Mapping) and each.get("finishReason") for each in candidates
    )
    blocked = isinstance(message.get("promptFeedback"), Mapping) and message["promptFeedback"].get(
        "blockReason"
    )
    tally.final = tally.final or bool((over or blocked) and tally.counts)


_SEERS: Final[Mapping[Wire, Callable[[Tally, Mapping[str, Any]], None]]] = {
    "anthropic": _see_anthropic,
    "openai": _see_openai,
    "gemini": _see_gemini,
}


def read_error(message: object) -> tuple[str, str] | None:
    """Return type and message of an error body of any of the formats; None when it is none."""
    if isinstance(message, list):
        message = message[0] if message else None
    if not isinstance(message, Mapping):
        return None
    error = message.get("error")
    if message.get("type") == "error" and not isinstance(error, Mapping):
        error = message
    if isinstance(error, str):
        return "", error
    if not isinstance(error, Mapping):
        return None
    kind = error.get("code") if isinstance(error.get("code"), str) else None
    return str(kind or error.get("type") or error.get("status") or ""), str(error.get("message") or "")


# -- counting -----------------------------------------------------------------------------------------------------------


def _count_anthropic(counts: Mapping[str, int]) -> Tokens:
    kept = counts.get("cache_creation.ephemeral_1h_input_tokens", 0)
    written = counts.get("cache_creation_input_tokens", 0)
    return Tokens(
        input=counts.get("input_tokens", 0),
        cached=counts.get("cache_read_input_tokens", 0),
        written=max(0, written - kept),
        kept=kept,
        output=counts.get("output_tokens", 0),
        reasoning=counts.get("output_tokens_details.thinking_tokens", 0),
    )


def _count_openai(counts: Mapping[str, int]) -> Tokens:
    chat = "prompt_tokens" in counts
    ins, outs = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    cached = counts.get(f"{ins}_details.cached_tokens", 0)
    return Tokens(
        input=max(0, counts.get(ins, 0) - cached),
        cached=cached,
        output=counts.get(outs, 0),
        reasoning=counts.get(f"{outs}_details.reasoning_tokens", 0),
    )


def _count_gemini(counts: Mapping[str, int]) -> Tokens:
    cached = counts.get("cachedContentTokenCount", 0)
    thought = counts.get("thoughtsTokenCount", 0)
    prompt = counts.get("promptTokenCount", 0) + counts.get("toolUsePromptTokenCount", 0)
    return Tokens(
        input=max(0, prompt - cached),
        cached=cached,
        output=counts.get("candidatesTokenCount", 0) + thought,
        reasoning=thought,
    )


_COUNTERS: Final[Mapping[Wire, Callable[[Mapping[str, int]], Tokens]]] = {
    "anthropic": _count_anthropic,
    "openai": _count_openai,
    "gemini": _count_gemini,
}


class Meter:
    """Watches one answer go by.

    Args:
        wire: its format.
        streamed: it comes as server-sent events.
        hide_usage: leave out of a streamed chat the message that only tells what it took.
    """

    def __init__(self, wire: Wire, *, streamed: bool, hide_usage: bool = False) -> None:
        self._wire = wire
        self._streamed = streamed
        self._hide = hide_usage and streamed
        self._pending = bytearray()
        self._too_long = False
        self._unseen = 0
        self._skipping_blank = False
        self._said = hashlib.sha256()
        self.tally = Tally()

    @property
    def fingerprint(self) -> str:
        """A digest of what the answer says and calls, without names that are new each time; to tell the same one again."""
        return self._said.hexdigest()

    def feed(self, data: bytes) -> bytes:
        """Look at the next piece and return what the client gets of it."""
        if self._too_long:
            self._unseen += len(data)
            return data
        self._pending += data
        if not self._streamed:
            self._give_up_when_long()
            return data
        out = self._take_lines(data)
        self._give_up_when_long()
        return out

    def finish(self) -> bytes:
        """The answer is over; return what the client still gets."""
        rest = bytes(self._pending)
        self._pending.clear()
        if self._too_long:
            return b""
        if self._streamed:
            kept = self._see_line(rest)
            return rest if self._hide and kept else b""
        self._see_whole(rest)
        return b""

    def count(self, asked_bytes: int) -> tuple[Tokens, bool]:
        """Return what the answer took, and whether that is the provider's own figure.

        Args:
            asked_bytes: size of the question, for an estimate.
        """
        tokens = _COUNTERS[self._wire](self.tally.counts)
        if self.tally.final and not self._too_long:
            return tokens, True
        # What was not looked into, or not yet, counts as text: an estimate is not to be low because an answer was cut.
        said = -(-(self.tally.characters + self._unseen + len(self._pending)) // _BYTES_PER_TOKEN)
        read = 0 if tokens.prompt else asked_bytes // _BYTES_PER_TOKEN
        more = Tokens(input=read, output=max(0, said - tokens.output))
        return tokens + more, False

    def _give_up_when_long(self) -> None:
        if len(self._pending) > MAX_MESSAGE_BYTES:
            self._too_long = True
            self._unseen += len(self._pending)
            self._pending.clear()

    def _take_lines(self, data: bytes) -> bytes:
        """Read whole lines; where something is to be hidden only whole lines go on, else the piece as it came."""
        end = self._pending.rfind(b"\n") + 1
        if not end:
            return b"" if self._hide else data
        lines = bytes(self._pending[:end]).splitlines(keepends=True)
        del self._pending[:end]
        kept = [line for line in lines if self._see_line(line)]
        return b"".join(kept) if self._hide else data

    def _see_line(self, line: bytes) -> bool:
        """Look at one line of a stream; return whether the client gets it."""
        if self._skipping_blank and not line.strip():
            self._skipping_blank = False
            return False
        self._skipping_blank = False
        if not line.startswith(b"data:"):
            return True
        message = _parse(line[5:])
        if not isinstance(message, Mapping):
            return True
        self._see(message)
        if self._hide and message.get("choices") == [] and isinstance(message.get("usage"), Mapping):
            self._skipping_blank = True
            return False
        return True

    def _see_whole(self, data: bytes) -> None:
        message = _parse(data)
        # Gemini streams without server-sent events as one JSON list.
        for each in message if isinstance(message, list) else [message]:
            if isinstance(each, Mapping):
                self._see(each)
        self.tally.final = self.tally.final or bool(self.tally.counts)

    def _see(self, message: Mapping[str, Any]) -> None:
        self.tally.characters += _measure_text(message)
        for part in _find_said(message):
            self._said.update(part.encode("utf-8", "replace"))
        _SEERS[self._wire](self.tally, message)
        self.tally.fault = read_error(message) or self.tally.fault


def _find_said(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield what an answer says and calls: texts, names of tools, what they are called with; however deep it goes."""
    left: list[tuple[object, bool]] = [(message, False)]
    while left:
        value, said = left.pop()
        if isinstance(value, str):
            if said:
                yield value
        elif isinstance(value, list):
            left += [(each, said) for each in value]
        elif isinstance(value, Mapping):
            # At its end an answer may repeat itself as a whole, under this name.
            left += [
                (each, said or name in _CALLED or name in _TEXTS or name == "name")
                for name, each in value.items()
                if name not in _NEW_EACH_TIME
            ]
        elif said:
            yield str(value)


def _parse(data: bytes) -> object:
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        # `[DONE]`, a comment, or what no client could read either.
        return None
    return found


def _measure_text(value: object, *, counts: bool = False) -> int:
    """Return how much text stands in a message, outside of what it repeats at its end."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "replace")) if counts else 0
    if isinstance(value, list):
        return sum(_measure_text(each, counts=counts) for each in value)
    if isinstance(value, Mapping) and not isinstance(value.get("usage"), Mapping):
        return sum(
            _measure_text(each, counts=name in _TEXTS) for name, each in value.items() if name != "response"
        )
    return 0
