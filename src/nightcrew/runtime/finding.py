"""Which agents there are: what tasks can name, and which coding agents are installed and could work here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NightcrewError

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Capabilities
    from nightcrew.model.settings import AgentSetting
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: Coding agents people have: program → the providers of models it can use, and where it keeps a sign-in below home.
KNOWN: Final = {
    "claude": (("anthropic",), (".claude/.credentials.json", ".claude.json")),
    "codex": (("openai",), (".codex/auth.json",)),
    "gemini": (("gemini",), (".gemini/oauth_creds.json", ".gemini/google_accounts.json")),
    "opencode": (("openai",), (".local/share/opencode/auth.json",)),
    "aider": ((), ()),
    "goose": ((), ()),
    "mini": ((), ()),
}
_PROBE_S: Final = 10.0


def list_agents(parts: Parts, rules: Rules) -> list[dict[str, Any]]:
    """Return what ``Agent:`` can name here; an agent whose program is not installed is named and not usable."""
    from nightcrew.agents.adapters import ADAPTERS, find_adapter, find_setting
    from nightcrew.model import canonical

    found = []
    for name in dict.fromkeys((*ADAPTERS, *sorted(rules.settings.agents))):
        setting = find_setting(name, rules.settings.agents)
        adapter = find_adapter(setting)
        program = adapter.find_program(setting)
        path = _find_path(parts, rules, program)
        missing = _find_missing(name, setting, rules, program, path)
        found.append(
            {
                "name": name,
                "adapter": setting.adapter,
                "usable": not missing,
                "program": path or program,
                "version": "",
                "asks": _describe_asking(adapter.capabilities),
                "text": missing or " ".join(setting.argv) or adapter.capabilities.note,
                "capabilities": canonical.to_plain(adapter.capabilities),
            }
        )
    return found


def detect_agents(parts: Parts, rules: Rules) -> list[dict[str, Any]]:
    """Return the coding agents found on PATH, with version, sign-in, and what is missing to use each."""
    found: list[dict[str, Any]] = []
    for name, (providers, sign_ins) in KNOWN.items():
        path = shutil.which(name, path=parts.env.path)
        if path is None:
            continue
        signed_in = any((Path(parts.env.home) / each).exists() for each in sign_ins)
        found.append(
            {
                "name": name,
                "program": path,
                "version": probe_version(parts, path),
                "signed_in": signed_in if sign_ins else None,
                "adapter": name if providers else "command",
                "text": _advise(name, providers, rules),
            }
        )
    return found


def _find_path(parts: Parts, rules: Rules, program: str) -> str:
    from nightcrew.runtime.programs import find_program

    found = find_program(program, path=parts.env.path, root=rules.root or "/nonexistent") if program else None
    return found.path if found else ""


def _find_missing(name: str, setting: AgentSetting, rules: Rules, program: str, path: str) -> str:
    """Return why an agent cannot be used here, in words; empty when it can."""
    if name == "acp":
        return "not by itself: name an agent with adapter: acp in config.yaml"
    if program and not path and not program.startswith("/"):
        return f"{program} is not installed"
    providers = KNOWN.get(setting.adapter, ((), ()))[0]
    if providers and not setting.env and not any(each in rules.settings.providers for each in providers):
        return f"no key: name the provider {providers[0]} in your own config.yaml (providers:)"
    return ""


def _advise(name: str, providers: tuple[str, ...], rules: Rules) -> str:
    if not providers:
        return "no protocol of its own: name it in config.yaml with adapter: command (nightcrew agent add)"
    if any(each in rules.settings.providers for each in providers):
        return f"ready: Agent: {name}"
    return f"needs a key: name the provider {providers[0]} in your own config.yaml; its own sign-in stays outside"


def _describe_asking(capabilities: Capabilities) -> str:
    words = {"all": "every action", "risky": "what it finds risky", "none": "nothing"}
    return words[capabilities.approvals]


def probe_version(parts: Parts, path: str) -> str:
    """Return the first line that ``path --version`` prints, or what went wrong with it."""
    from nightcrew.host.procs import run

    try:
        done = run([path, "--version"], env=parts.env.variables, timeout_s=_PROBE_S, max_output_bytes=4096)
    except NightcrewError as error:
        return f"does not start ({error.message})"
    lines = (done.stdout or done.stderr).decode("utf-8", "replace").strip().splitlines()
    if done.timed_out:
        return "does not answer --version"
    return lines[0][:80] if lines else "version unknown"
