"""What single agents that speak ACP need beside the protocol: their settings, their key, their quirks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nightcrew.agents.adapter import INSIDE, TALKING, Capabilities, Job
from nightcrew.agents.launching import find_model, need_model
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind

_GEMINI_SETTINGS: Final = "gemini-settings.json"
_GEMINI_POLICY: Final = "gemini-policy.toml"
#: Without it commands that it takes for safe (``cat``, ``ls``) are run unasked; a rule about the arguments stands above that.
_GEMINI_RULES: Final = b"""[[rule]]
toolName = "run_shell_command"
argsPattern = "."
decision = "ask_user"
priority = 999
"""


@dataclass(frozen=True, slots=True)
class Equipment:
    """What is added to a launch: words of the command line, variables, files and where they are seen."""

    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flavour:
    """One agent.

    Attributes:
        name: of its adapter. argv: its command line, empty where a setting must name it.
        capabilities: seen with the real program. resumes: its own conversation can be taken up.
        equip: job and memory folder inside → what it needs beside.
    """

    name: str
    argv: tuple[str, ...]
    capabilities: Capabilities
    resumes: bool
    equip: Callable[[Job, str], Equipment]


def _equip_any(job: Job, memory: str) -> Equipment:
    """Keep what it stores in the task's memory; everything else is said in its setting."""
    return Equipment(env={"XDG_DATA_HOME": f"{memory}/data"} if memory else {})


def _equip_gemini(job: Job, memory: str) -> Equipment:
    access = need_model(job, "gemini", "GEMINI_API_KEY")
    settings = {
        # The system's settings win over the user's and the repository's.
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"enableAutoUpdate": False},
        "ide": {"enabled": False},
        # Programs that a repository names here would run without a question.
        "mcp": {"allowed": []},
        "hooksConfig": {"enabled": False},
    }
    path, binds = _place(job, _GEMINI_SETTINGS)
    # Not trusted: the repository's own settings, rules, hooks, tool servers and skills for it are not read.
    env = {
        "GEMINI_CLI_NO_RELAUNCH": "true",
        "GEMINI_CLI_SYSTEM_SETTINGS_PATH": path,
        "GEMINI_CLI_TRUST_WORKSPACE": "false",
    }
    if access is not None:
        env |= {"GEMINI_API_KEY": access.token, "GOOGLE_GEMINI_BASE_URL": access.base_urls["gemini"]}
    model = find_model(job, "gemini")
    rules, rules_bind = _place(job, _GEMINI_POLICY)
    words = ("--admin-policy", rules, *(("-m", model) if model else ()))
    files = {_GEMINI_SETTINGS: json.dumps(settings).encode("ascii"), _GEMINI_POLICY: _GEMINI_RULES}
    return Equipment(words, env, (*binds, *rules_bind), files)


def _equip_opencode(job: Job, memory: str) -> Equipment:
    access = need_model(job, "openai", "OPENCODE_CONFIG_CONTENT")
    switches = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "PROJECT_CONFIG")
    env = {f"OPENCODE_DISABLE_{name}": "1" for name in switches}
    # Plugins of the repository are programs that nobody was asked about, and no part of its configuration.
    env["OPENCODE_PURE"] = "1"
    if memory:
        env["XDG_DATA_HOME"] = f"{memory}/data"
    if access is not None:
        model = find_model(job, "openai")
        if not model:
            raise UsageError(
                f"opencode must be told which model to use for task {job.task.number}",
                where=[str(job.task.place)],
                hint="add a `Model:` line to the task, or name one for the provider openai in your own config.yaml",
            )
        config = _configure_opencode(model, f"{access.base_urls['openai']}/v1", access.token)
        env["OPENCODE_CONFIG_CONTENT"] = json.dumps(config)
    return Equipment(env=env)


def _configure_opencode(model: str, url: str, token: str) -> Mapping[str, Any]:
    name = f"gateway/{model}"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "gateway",
        "options": {"baseURL": url, "apiKey": token},
        "models": {model: {"name": model, "limit": {"context": 200_000, "output": 32_000}}},
    }
    return {
        "provider": {"gateway": provider},
        "enabled_providers": ["gateway"],
        "model": name,
        "small_model": name,
        "autoupdate": False,
        "share": "disabled",
        "permission": {"edit": "ask", "bash": "ask", "webfetch": "ask", "external_directory": "ask"},
        # Without it a denial ends the turn.
        "experimental": {"continue_loop_on_deny": True},
    }


def _place(job: Job, name: str) -> tuple[str, tuple[Bind, ...]]:
    """Return where one of ``Launch.files`` is seen by the agent, and its bind."""
    outside = str(job.private / name)
    if not job.mounted:
        return outside, ()
    return f"{INSIDE}/{name}", (Bind(outside, f"{INSIDE}/{name}"),)


ANY: Final = Flavour(
    name="acp",
    argv=(),
    capabilities=replace(
        TALKING,
        approvals="risky",
        note="any agent that speaks the Agent Client Protocol (argv in config.yaml): it decides itself what it asks for",
        asks_person=True,
    ),
    resumes=True,
    equip=_equip_any,
)
GEMINI: Final = Flavour(
    name="gemini",
    argv=("gemini", "--acp"),
    capabilities=replace(
        TALKING,
        resume="none",
        note="Gemini CLI over ACP: every edit and command is asked for; after a park it begins anew, told what was done",
        soft_interrupt=True,
        usage="tokens",
        structured_output="prompt",
    ),
    resumes=False,
    equip=_equip_gemini,
)
OPENCODE: Final = Flavour(
    name="opencode",
    argv=("opencode", "acp"),
    capabilities=replace(
        TALKING,
        note="opencode over ACP: every edit and command is asked for",
        soft_interrupt=True,
        usage="cost",
        structured_output="prompt",
    ),
    resumes=True,
    equip=_equip_opencode,
)
