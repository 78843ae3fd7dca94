"""Every adapter there is, in one explicit dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from nightcrew.agents.acp import AcpAdapter
from nightcrew.agents.acp_flavours import ANY, GEMINI, OPENCODE
from nightcrew.agents.adapter import Adapter
from nightcrew.agents.api import ApiAdapter
from nightcrew.agents.claude import ClaudeAdapter
from nightcrew.agents.codex import CodexAdapter
from nightcrew.agents.command import CommandAdapter
from nightcrew.agents.presets import AIDER, MINI, PresetAdapter
from nightcrew.agents.script import ScriptAdapter
from nightcrew.model.errors import UsageError
from nightcrew.model.settings import AgentSetting

ADAPTERS: Final[Mapping[str, Adapter]] = {
    "command": CommandAdapter(),
    "script": ScriptAdapter(),
    "claude": ClaudeAdapter(),
    "codex": CodexAdapter(),
    "gemini": AcpAdapter(GEMINI),
    "opencode": AcpAdapter(OPENCODE),
    "acp": AcpAdapter(ANY),
    "api": ApiAdapter(),
    "aider": PresetAdapter(AIDER),
    "mini": PresetAdapter(MINI),
}


def find_setting(agent: str, configured: Mapping[str, AgentSetting]) -> AgentSetting:
    """Return the setting of the agent named in a task: configured, or a built-in adapter by its own name.

    Raises:
        UsageError: neither knows the name.
    """
    if agent in configured:
        return configured[agent]
    if agent in ADAPTERS:
        return AgentSetting(adapter=agent)
    known = ", ".join(sorted({*configured, *ADAPTERS}))
    raise UsageError(f"there is no agent called {agent!r}", hint=f"known agents: {known}")


def find_adapter(setting: AgentSetting) -> Adapter:
    """Return the adapter that a setting names.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        return ADAPTERS[setting.adapter]
    except KeyError:
        known = ", ".join(sorted(ADAPTERS))
        raise UsageError(f"there is no adapter called {setting.adapter!r}", hint=f"known: {known}") from None
