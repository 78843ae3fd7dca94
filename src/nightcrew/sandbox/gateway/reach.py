"""What a provider would reach on behalf of an agent: its own tools, and content that it fetches. Pure.

A sandbox without a network has one all the same when its model's provider searches the web, calls somebody's tool server or
fetches a picture by its address: whatever stands in such an address has left. So a provider's own tools are taken out of a
question (an agent whose model has not heard of a tool does without it), and a question that holds content by address is
refused. Known by what is allowed, not by what is forbidden: tools that the agent itself carries out stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from nightcrew.model.usage import Wire

#: Types of tools that the agent carries out itself. Anthropic dates its own by their ends.
_ANTHROPIC: Final = ("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
_OPENAI: Final = frozenset(
    {
        "function",
        "custom",
        "local_shell",
        "apply_patch",
        "computer",
        "computer_use_preview",
        "namespace",
        "tool_search",
    }
)
_GEMINI: Final = frozenset({"functionDeclarations", "function_declarations", "computerUse", "computer_use"})
#: Parts of a question that are no content of a message: what a tool was called with or is called like.
_NO_CONTENT: Final = frozenset(
    {
        "tools",
        "args",
        "response",
        "functionCall",
        "functionResponse",
        "function_call",
        "function_response",
        "metadata",
    }
)


def take_out(wire: Wire, asked: dict[str, Any]) -> tuple[str, ...]:
    """Take the provider's own tools out of a question, and return their names; nothing changes when there are none."""
    removed: list[str] = []
    for name in ("mcp_servers", "web_search_options"):
        if asked.get(name):
            removed.append(name)
            del asked[name]
    tools = asked.get("tools")
    if isinstance(tools, list):
        kept = [each for tool in tools if (each := _KEEPERS[wire](tool, removed)) is not None]
        if removed:
            asked["tools"] = kept
    if removed and not asked.get("tools"):
        for name in ("tools", "tool_choice", "toolConfig", "tool_config"):
            asked.pop(name, None)
    return tuple(dict.fromkeys(removed))


def _keep_anthropic(tool: Any, removed: list[str]) -> Any:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    if kind in (None, "custom") or (isinstance(kind, str) and kind.startswith(_ANTHROPIC)):
        return tool
    removed.append(str(kind)[:60])
    return None


def _keep_openai(tool: Any, removed: list[str]) -> Any:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    if kind not in _OPENAI:
        removed.append(str(kind)[:60])
        return None
    inner = tool.get("tools")
    if isinstance(inner, list):
        return {**tool, "tools": [each for one in inner if (each := _keep_openai(one, removed)) is not None]}
    return tool


def _keep_gemini(tool: Any, removed: list[str]) -> Any:
    if not isinstance(tool, Mapping):
        return tool
    removed += [str(name)[:60] for name in tool if name not in _GEMINI]
    kept = {name: value for name, value in tool.items() if name in _GEMINI}
    return kept or None


_KEEPERS: Final[Mapping[Wire, Callable[[Any, list[str]], Any]]] = {
    "anthropic": _keep_anthropic,
    "openai": _keep_openai,
    "gemini": _keep_gemini,
}


def fetches(asked: Mapping[str, Any]) -> bool:
    """Tell whether a question holds content that the provider would have to fetch."""
    return any(_is_remote(part) for part in _parts(asked))


def _parts(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every object of the messages; not recursive, because depth is up to the agent."""
    left: list[Any] = [asked]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left += each
        elif isinstance(each, Mapping):
            yield each
            called = each.get("type") in ("tool_use", "server_tool_use")
            left += [
                value
                for name, value in each.items()
                if name not in _NO_CONTENT and not (called and name == "input")
            ]


def _is_remote(part: Mapping[str, Any]) -> bool:
    source, kind = part.get("source"), part.get("type")
    if kind in ("image", "document") and isinstance(source, Mapping) and source.get("type") == "url":
        return True
    if kind in ("image_url", "input_image"):
        image = part.get("image_url")
        address = image.get("url") if isinstance(image, Mapping) else image
        return isinstance(address, str) and not address.startswith("data:")
    if kind in ("input_file", "file") and part.get("file_url"):
        return True
    return "fileData" in part or ("file_data" in part and isinstance(part["file_data"], Mapping))
