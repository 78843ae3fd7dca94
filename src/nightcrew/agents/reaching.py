"""The way to a model as environment variables, under the names that programs of each wire format look for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nightcrew.agents.adapter import ModelAccess

#: Provider → variables of its base URL (with what is appended to it), and of its key.
_NAMES: Final[Mapping[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]]] = {
    "anthropic": ((("ANTHROPIC_BASE_URL", ""), ("ANTHROPIC_API_BASE", "")), ("ANTHROPIC_API_KEY",)),
    "openai": ((("OPENAI_BASE_URL", "/v1"), ("OPENAI_API_BASE", "/v1")), ("OPENAI_API_KEY",)),
    "gemini": ((("GOOGLE_GEMINI_BASE_URL", ""),), ("GEMINI_API_KEY",)),
}


def describe_access(access: ModelAccess | None) -> dict[str, str]:
    """Return the variables that tell a program how to reach its models; the key is the placeholder.

    A provider of another name is told as ``NIGHTCREW_<NAME>_URL``, all of them share ``NIGHTCREW_MODEL_KEY``.
    """
    if access is None:
        return {}
    found = {"NIGHTCREW_MODEL_KEY": access.token}
    for name, url in access.base_urls.items():
        urls, keys = _NAMES.get(name, ((), ()))
        found[f"NIGHTCREW_{name.upper().replace('-', '_')}_URL"] = url
        found |= {variable: url + path for variable, path in urls} | dict.fromkeys(keys, access.token)
    return found
