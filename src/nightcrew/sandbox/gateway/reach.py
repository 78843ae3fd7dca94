"""What a provider would reach on behalf of an agent: its own tools, and content that it fetches. Pure.

A sandbox without a network has one all the same when its model's provider searches the web, calls somebody's tool server or
fetches a picture by its address: whatever stands in such an address has left. So a provider's own tools are taken out of a
question (an agent whose model has not heard of a tool does without it), and a question that holds content by address is
refused. Known by what is allowed, not by what is forbidden: tools that the agent itself carries out stay.
"""

from __future__ import annotations

import re
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
#: Parts of a question that are no content of a message: what a tool was called with or is called like. Beside the
#: ``response`` of a function there may be content (``functionResponse.parts``).
_NO_CONTENT: Final = frozenset({"tools", "args", "response", "metadata"})
#: What has a provider search or call others without being a tool; the last two are of routers that speak OpenAI's format.
_REACHING: Final = ("mcp_servers", "web_search_options", "plugins", "search_parameters")
#: Models that search by themselves, whatever tools they are given.
_SEARCHING: Final = re.compile(r"-search-(?:preview|api)|:online\b", re.IGNORECASE)


def take_out(wire: Wire, asked: dict[str, Any]) -> tuple[str, ...]:
    """Take the provider's own tools out of a question, and return their names; nothing changes when there are none."""
    removed: list[str] = []
    for name in _REACHING:
        if asked.get(name):
            removed.append(name)
            del asked[name]
    _filter_tools(wire, asked, removed)
    if wire == "openai" and isinstance(asked.get("input"), list):
        # A search for tools that the agent carries out gives its result as a part of the conversation.
        for item in asked["input"]:
            if isinstance(item, dict):
                _filter_tools(wire, item, removed)
    if removed and not asked.get("tools"):
        for name in ("tools", "tool_choice", "toolConfig", "tool_config"):
            asked.pop(name, None)
    return tuple(dict.fromkeys(removed))


def _filter_tools(wire: Wire, holder: dict[str, Any], removed: list[str]) -> None:
    """Take out of ``tools`` what is not carried out by the agent; its form stays as it is where nothing is."""
    tools = holder.get("tools")
    if tools is None:
        return
    before = len(removed)
    # One provider takes a single object for a list of one.
    listed = tools if isinstance(tools, list) else [tools]
    kept = [each for tool in listed if (each := _KEEPERS[wire](tool, removed)) is not None]
    if len(removed) > before:
        holder["tools"] = kept


def searches(model: str) -> bool:
    """Tell whether a model searches the web by itself, as far as its name says so."""
    return _SEARCHING.search(model) is not None


def _keep_anthropic(tool: Any, removed: list[str]) -> Any:
    kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
    if kind in (None, "custom") or (isinstance(kind, str) and kind.startswith(_ANTHROPIC)):
        return tool
    removed.append(str(kind)[:60])
    return None


def _keep_openai(tool: Any, removed: list[str], *, inner: bool = False) -> Any:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    # Within a namespace there is no other one: how deep it goes is not up to the agent.
    if not isinstance(kind, str) or kind not in _OPENAI or (inner and "tools" in tool):
        removed.append(str(kind)[:60])
        return None
    if "tools" not in tool:
        return tool
    held = tool["tools"] if isinstance(tool["tools"], list) else [tool["tools"]]
    kept = [each for one in held if (each := _keep_openai(one, removed, inner=True)) is not None]
    return {**tool, "tools": kept}


def _keep_gemini(tool: Any, removed: list[str]) -> Any:
    if not isinstance(tool, Mapping):
        removed.append(type(tool).__name__)
        return None
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
    # Whatever the part calls itself: one provider takes pictures under a name more than the others.
    source, image = part.get("source"), part.get("image_url")
    if isinstance(source, Mapping) and source.get("type") == "url":
        return True
    address = image.get("url") if isinstance(image, Mapping) else image
    if isinstance(address, str) and address and not address.startswith("data:"):
        return True
    if part.get("file_url"):
        return True
    return "fileData" in part or ("file_data" in part and isinstance(part["file_data"], Mapping))
