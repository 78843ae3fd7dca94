"""Which agents there are: what tasks can name, which coding agents are installed, which Markdown agents lie around."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NightcrewError, NotFound
from nightcrew.model.text import closest

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Capabilities
    from nightcrew.agents.markdown import MarkdownAgent
    from nightcrew.agents.match import Profile
    from nightcrew.model.settings import AgentSetting
    from nightcrew.runtime.crew.manifest import Manifest
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

_PROBE_S: Final = 10.0
#: Adapters that do what a line or a file says, and take no task in words.
WORDLESS: Final = ("command", "script")


@dataclass(frozen=True, slots=True)
class Listed:
    """An agent that ``Agent:`` can name.

    Attributes:
        name: as it is named. setting: what drives it. program: its program as it is looked up; empty for none.
        path: where that is; empty when it is not there. problem: why it cannot be used now; empty when it can.
        capabilities: of its adapter.
    """

    name: str
    setting: AgentSetting
    capabilities: Capabilities
    program: str = ""
    path: str = ""
    problem: str = ""

    @property
    def takes_words(self) -> bool:
        """Tell whether a task in words can be given to it."""
        return bool(self.setting.argv) or self.setting.adapter not in (*WORDLESS, "acp")


def find_listed(parts: Parts, rules: Rules) -> Iterator[Listed]:
    """Yield every agent that tasks can name, built in or configured; nothing is started for it."""
    from nightcrew.agents.adapters import ADAPTERS, find_adapter, find_setting

    for name in dict.fromkeys((*ADAPTERS, *sorted(rules.settings.agents))):
        setting = find_setting(name, rules.settings.agents)
        adapter = find_adapter(setting)
        program = adapter.find_program(setting)
        path = _find_path(parts, rules, program)
        problem = _find_missing(name, setting, rules, program, path)
        yield Listed(name, setting, adapter.capabilities, program, path, problem)


def list_agents(parts: Parts, rules: Rules, *, refresh: bool = False) -> list[dict[str, Any]]:
    """Return what ``Agent:`` can name here: programs with version and sign-in, then Markdown agents."""
    manifest = open_manifest(parts, refresh=refresh)
    found = [_view_program(parts, each, manifest) for each in find_listed(parts, rules)]
    found += [_view_markdown(each) for each in find_markdown(parts, rules, manifest)]
    manifest.keep()
    return found


def _view_program(parts: Parts, each: Listed, manifest: Manifest) -> dict[str, Any]:
    from nightcrew.model import canonical

    return {
        "name": each.name,
        "kind": "program",
        "adapter": each.setting.adapter,
        "usable": not each.problem,
        "quality": _judge_program(each),
        "program": each.path or each.program,
        "version": _find_version(parts, each, manifest),
        "login": _find_login(parts, each),
        "asks": _describe_asking(each.capabilities),
        "slots": each.setting.slots,
        "text": each.problem or " ".join(each.setting.argv) or each.capabilities.note,
        "capabilities": canonical.to_plain(each.capabilities),
    }


def _judge_program(each: Listed) -> str:
    """Return how far an agent can be given tasks to: none where it takes no words, less where it does not ask."""
    if not each.takes_words:
        return ""
    if each.problem:
        return "insufficient"
    return "excellent" if each.capabilities.approvals == "all" else "acceptable"


def _view_markdown(each: MarkdownAgent) -> dict[str, Any]:
    from nightcrew.agents.match import describe_quality

    return {
        "name": each.name,
        "kind": "markdown",
        "adapter": "",
        "usable": not each.problem,
        "quality": "insufficient" if each.problem else describe_quality(describe_markdown(each).fields),
        "program": "",
        "version": "",
        "login": "",
        "asks": "",
        "slots": 0,
        "text": each.problem or each.about,
        "source": each.source,
        "tool": each.tool,
        "own": each.own,
        "skills": list(each.skills),
        "ignored": list(each.ignored),
    }


def find_markdown(parts: Parts, rules: Rules, manifest: Manifest) -> list[MarkdownAgent]:
    """Return the Markdown agents, without their texts; of one name the first counts, and the person's own stand first."""
    from nightcrew.agents.discovery import find_files, list_folders, read_file

    kept: dict[str, MarkdownAgent] = {}
    root = Path(rules.root) if rules.root else None
    for folder in list_folders(parts.env.home, parts.env.config, root):
        for path, shown, found in find_files(folder):
            agent = manifest.agent(path, found, partial(read_file, path, shown, folder))
            if agent.name not in kept or (kept[agent.name].problem and kept[agent.name].own == agent.own):
                kept[agent.name] = agent
    return list(kept.values())


def read_markdown(parts: Parts, rules: Rules, name: str) -> MarkdownAgent | None:
    """Return a Markdown agent with its text, read just now; None when there is none of that name."""
    from nightcrew.agents.discovery import find_files, list_folders, read_file

    root = Path(rules.root) if rules.root else None
    broken = None
    for folder in list_folders(parts.env.home, parts.env.config, root):
        for path, shown, _ in find_files(folder):
            agent = read_file(path, shown, folder)
            if agent.name == name and not agent.problem:
                return agent if broken is None or broken.own == agent.own else broken
            broken = broken or (agent if agent.name == name else None)
    return broken


def detect_agents(parts: Parts, rules: Rules) -> list[dict[str, Any]]:
    """Return the coding agents found on PATH, with version, sign-in, and what is missing to use each."""
    from nightcrew.agents.discovery import PROGRAMS, find_login

    manifest = open_manifest(parts, refresh=True)
    found: list[dict[str, Any]] = []
    for name, known in PROGRAMS.items():
        path = shutil.which(name, path=parts.env.path)
        if path is None or not _find_path(parts, rules, name):
            continue
        login = find_login(known, parts.env.home, parts.env.variables)
        found.append(
            {
                "name": name,
                "program": path,
                "version": manifest.version(path, partial(probe_version, parts)),
                "login": login,
                "signed_in": {"present": True, "absent": False, "unknown": None}[login],
                "adapter": known.adapter,
                "text": _advise(name, known.adapter, known.providers, rules),
            }
        )
    manifest.keep()
    return found


def show_agent(parts: Parts, rules: Rules, name: str) -> dict[str, Any]:
    """Return all that is known of one agent, a Markdown agent with its text.

    Raises:
        NotFound: there is none of that name.
    """
    known = list_agents(parts, rules)
    wanted = name.removeprefix("@").lower()
    for each in known:
        if each["name"] == wanted:
            markdown = read_markdown(parts, rules, wanted) if each["kind"] == "markdown" else None
            return {**each, "persona": markdown.text if markdown else ""}
    near = closest(wanted, [each["name"] for each in known])
    raise NotFound(
        f"there is no agent called {name!r}",
        code="agent.unknown",
        hint=f"did you mean {near}?" if near else "nightcrew agent list",
    )


def describe_program(each: Listed) -> Profile:
    """Return what is said of an agent with a program, for matching: what its person wrote down."""
    from nightcrew.agents.match import Profile

    said = {"name": each.name, "good_at": " ".join(each.setting.good_at)}
    return Profile(each.name, {field: text for field, text in said.items() if text}, general=True)


def describe_markdown(each: MarkdownAgent) -> Profile:
    """Return what is said of a Markdown agent, for matching."""
    from nightcrew.agents.match import Profile

    texts = {
        "role": each.role,
        "when_to_use": each.when_to_use,
        "description": each.description,
        "goal": each.goal,
        "category": each.category,
        "skills": " ".join(each.skills),
        "examples": " ".join(each.examples),
    }
    return Profile(each.name, {"name": each.name.replace("-", " "), **{k: v for k, v in texts.items() if v}})


def open_manifest(parts: Parts, *, refresh: bool = False) -> Manifest:
    """Return what was found out before."""
    from nightcrew.runtime.crew.manifest import Manifest

    return Manifest(parts.env.state, parts.clock, refresh=refresh)


def _find_version(parts: Parts, each: Listed, manifest: Manifest) -> str:
    """Return the version of a coding agent that people have; nothing else is started because a file names it."""
    from nightcrew.agents.discovery import PROGRAMS

    known = each.path and Path(each.program).name in PROGRAMS
    return manifest.version(each.path, partial(probe_version, parts)) if known else ""


def _find_login(parts: Parts, each: Listed) -> str:
    from nightcrew.agents.discovery import PROGRAMS, find_login

    known = PROGRAMS.get(Path(each.program).name) or PROGRAMS.get(each.setting.adapter)
    return find_login(known, parts.env.home, parts.env.variables) if known is not None else ""


def _find_path(parts: Parts, rules: Rules, program: str) -> str:
    from nightcrew.runtime.crew.programs import find_program

    found = find_program(program, path=parts.env.path, root=rules.root or "/nonexistent") if program else None
    return found.path if found else ""


def _find_missing(name: str, setting: AgentSetting, rules: Rules, program: str, path: str) -> str:
    """Return why an agent cannot be used here, in words; empty when it can."""
    from nightcrew.agents.api import PROVIDERS as API_PROVIDERS
    from nightcrew.agents.discovery import PROGRAMS

    if name == "acp":
        return "not by itself: name an agent with adapter: acp in config.yaml"
    if program and not path and not program.startswith("/"):
        return f"{program} is not installed"
    if setting.adapter == "api" and (lacking := _find_missing_library()):
        return lacking
    known = PROGRAMS.get(setting.adapter)
    providers = known.providers if known is not None else ()
    if setting.adapter == "api" and not set(API_PROVIDERS) & set(rules.settings.providers):
        return f"no key: name one of the providers {', '.join(API_PROVIDERS)} in your own config.yaml (providers:)"
    if providers and not setting.env and not any(each in rules.settings.providers for each in providers):
        return f"no key: name the provider {providers[0]} in your own config.yaml (providers:)"
    return ""


def _find_missing_library() -> str:
    from nightcrew.agents.api import INSTALL, find_packages

    return "" if find_packages() else f"the extra `api` is not installed: {INSTALL}"


def _advise(name: str, adapter: str, providers: tuple[str, ...], rules: Rules) -> str:
    if adapter == "command":
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
