"""Which agents there are: what tasks can name, and which coding agents are installed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NightcrewError

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: Coding agents people have; the name is the program.
KNOWN: Final = ("claude", "codex", "gemini", "opencode", "aider")
_PROBE_S: Final = 10.0


def list_agents(parts: Parts, rules: Rules) -> list[dict[str, Any]]:
    """Return what ``Agent:`` can name here, then the coding agents found on PATH."""
    return [*_usable(rules), *_installed(parts, rules)]


def _usable(rules: Rules) -> list[dict[str, Any]]:
    from nightcrew.agents.adapters import ADAPTERS, find_adapter, find_setting
    from nightcrew.model import canonical

    found = []
    for name in (*ADAPTERS, *sorted(rules.settings.agents)):
        setting = find_setting(name, rules.settings.agents)
        adapter = find_adapter(setting)
        found.append(
            {
                "name": name,
                "adapter": setting.adapter,
                "usable": True,
                "program": setting.argv[0] if setting.argv else "",
                "version": "",
                "text": " ".join(setting.argv) or adapter.capabilities.note,
                "capabilities": canonical.to_plain(adapter.capabilities),
            }
        )
    return found


def _installed(parts: Parts, rules: Rules) -> list[dict[str, Any]]:
    named = {setting.argv[0] for setting in rules.settings.agents.values() if setting.argv}
    found: list[dict[str, Any]] = []
    for name in KNOWN:
        path = shutil.which(name, path=parts.env.path)
        if path is None:
            continue
        version = probe_version(parts, path)
        text = f"{version}; no adapter of its own yet: use `Agent: command`, or name it in config.yaml with adapter: command"
        if name in named:
            text = f"{version}; named in config.yaml"
        found.append(
            {
                "name": name,
                "adapter": "-",
                "usable": False,
                "program": path,
                "version": version,
                "text": text,
                "capabilities": {},
            }
        )
    return found


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
