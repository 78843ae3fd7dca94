"""config.yaml → Settings. Format and every default: docs/formats/config.md; shape: config.schema.json beside this file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.resources import files
from typing import Any

from nightcrew.model.errors import Problem
from nightcrew.model.isolation import Confinement, Level, Limits
from nightcrew.model.routes import ANY
from nightcrew.model.settings import (
    AgentSetting,
    Checkpoints,
    DriftChecks,
    Planning,
    Replanning,
    Retries,
    Routing,
    Settings,
)
from nightcrew.model.units import parse_duration, parse_size
from nightcrew.model.yamltext import (
    Document,
    YamlPath,
    check_shape,
    name_path,
    read_document,
    refuse_problems,
)
from nightcrew.policy.places import read_item
from nightcrew.runtime.settings.hooks import read_webhook
from nightcrew.runtime.settings.limits import read_breaker, read_limits, read_names
from nightcrew.runtime.settings.models import read_prices, read_providers, refuse_personal
from nightcrew.runtime.settings.network import read_upstream
from nightcrew.runtime.settings.roles import read_roles


@cache
def config_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of config.yaml, as shipped in the package for editors."""
    schema: Mapping[str, Any] = json.loads(
        files("nightcrew.runtime.settings").joinpath("config.schema.json").read_text("utf-8")
    )
    return schema


def parse_settings(
    text: str, source: str, *, over: Settings | None = None, repository: bool = False
) -> Settings:
    """Read a config.yaml.

    Args:
        text: content; empty means that ``over`` holds as it is.
        source: file name for messages.
        over: settings that hold where this text says nothing; the built-in defaults when None. A person's own file
            is read first, the repository's over it.
        repository: it is a repository's, which may not choose what confines the agents that work on it, nor where the
            keys of its user go, nor which of their variables agents see.

    Raises:
        InvalidInput: with all problems, each at file:line:column.
    """
    problems: list[Problem] = []
    document = read_document(text, source, problems)
    if document is not None:
        check_shape(document, config_schema(), problems)
    settings = over or Settings()
    if document is not None and isinstance(document.value, dict):
        settings = _Reading(document, problems, repository).read(settings)
    refuse_problems(problems, source)
    return settings


@dataclass
class _Reading:
    """Takes values out of a document whose shape may be wrong: what has the wrong type was reported and is skipped."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    repository: bool = False

    def read(self, old: Settings) -> Settings:
        self.check_folders()
        if self.repository:
            refuse_personal(self)
            self.check_loosened(old)
        return replace(
            old,
            **self.take({"max_parallel": ("max_parallel", int), "commit_author": ("commit_author", str)}),
            **self.take({"conflicts": ("conflicts", str), "canary": ("canary", str)}),
            **self.take({"require": ("require_isolation", Level)}, "isolation"),
            **self.take({"environment": ("environment", tuple), "pass_env": ("pass_env", tuple)}),
            **self.take({"timeout": ("approval_timeout_s", parse_duration)}, "approvals"),
            **self.take(
                {"require": ("require_approvals", partial(_pick_stronger, old.require_approvals))},
                "approvals",
            ),
            **self.take({"keep_days": ("transcript_days", int)}, "transcripts"),
            webhook=read_webhook(self, old.webhook, repository=self.repository),
            limits=self.read_limits(old.limits),
            retries=self.read_retries(old.retries),
            checkpoints=self.read_checkpoints(old.checkpoints),
            drift=self.read_drift(old.drift),
            planning=self.read_planning(old.planning),
            confinement=self.read_confinement(old.confinement),
            agents=self.read_agents(old.agents),
            routing=self.read_routing(old.routing),
            providers=read_providers(self, old.providers),
            prices=read_prices(self, old.prices),
            **read_limits(self, old, repository=self.repository),
            **read_roles(self, old),
            upstream_proxy=read_upstream(self, old.upstream_proxy, repository=self.repository),
        )

    def take(self, keys: Mapping[str, tuple[str, Callable[[Any], Any]]], *path: str) -> dict[str, Any]:
        """Return field → value for the keys that are there, turned by their functions."""
        block = self.at(path)
        taken: dict[str, Any] = {}
        for key, (name, turn) in keys.items():
            if isinstance(block, dict) and key in block:
                self.turn(taken, name, turn, (*path, key), block[key])
        return taken

    def turn(
        self, taken: dict[str, Any], name: str, turn: Callable[[Any], Any], path: YamlPath, value: Any
    ) -> None:
        try:
            taken[name] = turn(value)
        except ValueError as error:
            self.complain(path, str(error))
        except TypeError:
            # The value has the wrong type; the schema has said so at this place already.
            return

    def at(self, path: Sequence[str]) -> Any:
        value = self.document.value
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def complain(self, path: YamlPath, message: str, hint: str = "") -> None:
        place = self.document.place(*path)
        if not any(p.place == place for p in self.problems):
            self.problems.append(Problem(place, f"{name_path(path)}{message}", hint))

    def check_folders(self) -> None:
        folders = self.at(("environment",))
        for index, folder in enumerate(folders if isinstance(folders, list) else []):
            parts = str(folder).split("/")
            if str(folder).startswith("/") or ".." in parts:
                self.complain(
                    ("environment", index), "must be a folder inside the repository", "write it relative"
                )
            elif parts[0].lower() in (".git", ".nightcrew"):
                self.complain(("environment", index), f"{parts[0]} is never visible to a task")

    def check_loosened(self, old: Settings) -> None:
        """Complain about what a repository takes for itself of its user: variables that may hold anything, a tripwire."""
        names = self.at(("pass_env",))
        allowed = {*old.pass_env, *Settings().pass_env}
        for index, name in enumerate(names if isinstance(names, list) else []):
            if name not in allowed:
                self.complain(
                    ("pass_env", index),
                    f"a repository cannot have your variable {name}",
                    "name it in pass_env of your own config.yaml: ~/.config/nightcrew/config.yaml",
                )
        order = ("off", "file", "all")
        canary = self.at(("canary",))
        if canary in order and old.canary in order and order.index(canary) < order.index(old.canary):
            self.complain(
                ("canary",),
                "a repository cannot have less of it than you have",
                "write it into your own config.yaml: ~/.config/nightcrew/config.yaml",
            )

    def read_limits(self, old: Limits) -> Limits:
        sizes = {k: (f"{k}_bytes", parse_size) for k in ("memory", "file", "disk", "output")}
        counts: dict[str, tuple[str, Callable[[Any], Any]]] = {
            **{k: (k, int) for k in ("processes", "open_files", "inodes")},
            "cpus": ("cpus", float),
        }
        times = {k: (f"{k}_s", parse_duration) for k in ("spawn", "idle", "hard", "grace")}
        new = self.take({**sizes, **counts}, "limits") | self.take(times, "timeouts")
        for name in ("spawn", "hard"):
            if new.get(f"{name}_s") == 0:
                self.complain(
                    ("timeouts", name),
                    "cannot be without a limit",
                    "every process has a deadline; write a long one",
                )
        return replace(old, **new)

    def read_retries(self, old: Retries) -> Retries:
        return replace(
            old,
            breaker=read_breaker(self, old.breaker),
            **self.take(
                {
                    "attempts": ("attempts", int),
                    "first_wait": ("base_s", parse_duration),
                    "factor": ("factor", float),
                    "longest_wait": ("cap_s", parse_duration),
                    "jitter": ("jitter", float),
                    "fallback_from": ("fallback_from", str),
                    "provider_waits": ("provider_waits_s", lambda waits: tuple(map(parse_duration, waits))),
                },
                "retries",
            ),
        )

    def read_checkpoints(self, old: Checkpoints) -> Checkpoints:
        keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "every": ("every_s", parse_duration),
            "after_paths": ("after_paths", int),
            "debounce": ("debounce_s", parse_duration),
            "budget": ("target_s", parse_duration),
            "slow": ("slow_s", parse_duration),
            "max_file": ("max_file_bytes", parse_size),
            "disk": ("disk_bytes", parse_size),
        }
        new = replace(old, **self.take(keys, "checkpoints"))
        if new.slow_s < new.target_s:
            self.complain(("checkpoints", "slow"), "must not be below checkpoints.budget")
        return new

    def read_drift(self, old: DriftChecks) -> DriftChecks:
        keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "every": ("every_s", parse_duration),
            "after_tasks": ("after_tasks", int),
            **{name: (name, str) for name in ("on_high", "on_medium", "on_low")},
        }
        return replace(old, **self.take(keys, "drift"))

    def read_planning(self, old: Planning) -> Planning:
        keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "agent": ("agent", str),
            "model": ("model", str),
            "rounds": ("rounds", int),
            "timeout": ("hard_s", parse_duration),
            "examples": ("examples", int),
        }
        new = replace(old, **self.take(keys, "planner"), replan=self.read_replanning(old.replan))
        if self.repository and (new.agent, new.model) != (old.agent, old.model):
            self.complain(
                ("planner",),
                "a repository cannot choose who is asked for plans: that begins before anything is approved",
                "write it into your own config.yaml: ~/.config/nightcrew/config.yaml",
            )
        if new.hard_s <= 0:
            self.complain(("planner", "timeout"), "cannot be without a limit", "write a long one")
        return new

    def read_replanning(self, old: Replanning) -> Replanning:
        keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "after_tasks": ("after_tasks", int),
            "on_failure": ("on_failure", bool),
            "rounds": ("rounds", int),
        }
        return replace(old, **self.take(keys, "planner", "replan"))

    def read_confinement(self, old: Confinement) -> Confinement:
        taken = self.take({name: (name, str) for name in ("backend", "image", "profile")}, "isolation")
        for name in taken if self.repository else ():
            self.complain(
                ("isolation", name),
                "a repository cannot choose this",
                "write it into your own config.yaml: ~/.config/nightcrew/config.yaml",
            )
        return replace(old, **taken)

    def read_routing(self, old: Routing) -> Routing:
        texts = {"strategy": ("strategy", str), "order": ("order", tuple), "personas": ("personas", str)}
        new = replace(old, **self.take(texts, "routing"))
        if self.repository and new.personas == "all" != old.personas:
            self.complain(
                ("routing", "personas"),
                "a repository cannot have its own texts taken on unasked",
                "name them in tasks: `- Agent: @name`; or write it into your own config.yaml",
            )
        return new

    def read_agents(self, old: Mapping[str, AgentSetting]) -> Mapping[str, AgentSetting]:
        block = self.at(("agents",))
        agents = dict(old)
        for name in block if isinstance(block, dict) else ():
            agents[name] = self.read_agent(name)
        return agents

    def read_agent(self, name: str) -> AgentSetting:
        if name in ("command", "script", "acp", ANY):
            self.complain(
                ("agents", name), f"{name!r} is the name of a built-in agent", "choose another name"
            )
        texts: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "adapter": ("adapter", str),
            "prompt": ("prompt", str),
            "argv": ("argv", tuple),
            "providers": ("providers", tuple),
            "network": ("network", tuple),
            "fallback": ("fallback", read_names),
        }
        liking = {"priority": ("priority", int), "good_at": ("good_at", tuple), "cost": ("cost", float)}
        taken = self.take({**texts, **liking, "slots": ("slots", int), "env": ("env", dict)}, "agents", name)
        agent = AgentSetting(**({"adapter": "command"} | taken))
        self.check_argv(name, agent)
        self.check_prompt(name, agent)
        self.check_network(name, agent)
        return agent

    def check_argv(self, name: str, agent: AgentSetting) -> None:
        block = self.at(("agents", name))
        named = isinstance(block, dict) and "argv" in block
        if not named and agent.adapter in ("command", "acp"):
            self.complain(
                ("agents", name), f"'argv' is missing: adapter {agent.adapter} has no program of its own"
            )
        if named and agent.adapter == "api":
            self.complain(
                ("agents", name, "argv"), "adapter api has no program", "leave it out; env and providers hold"
            )
        if agent.adapter != "command" and agent.prompt != "argument":
            self.complain(("agents", name, "prompt"), f"adapter {agent.adapter} brings the prompt by itself")

    def check_network(self, name: str, agent: AgentSetting) -> None:
        for index, item in enumerate(agent.network):
            try:
                read_item(str(item))
            except ValueError as error:
                self.complain(("agents", name, "network", index), str(error))

    def check_prompt(self, name: str, agent: AgentSetting) -> None:
        words = " ".join(str(w) for w in agent.argv)
        if agent.prompt == "file" and "{prompt_file}" not in words:
            self.complain(("agents", name, "prompt"), "prompt: file needs {prompt_file} in argv")
        if agent.prompt != "file" and "{prompt_file}" in words:
            self.complain(("agents", name, "argv"), "{prompt_file} in argv needs prompt: file")


def _pick_stronger(old: str, new: str) -> str:
    """Return what asks for more: a repository may want more of an agent than its user does, never less."""
    order = ("none", "risky", "all")
    if new not in order:
        raise TypeError(new)
    return max(old, new, key=order.index)
