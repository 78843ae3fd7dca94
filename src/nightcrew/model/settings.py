"""Settings of config.yaml as values. Every default stands here and is explained in docs/formats/config.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightcrew.model.isolation import Level, Limits


@dataclass(frozen=True, slots=True)
class Retries:
    """How failed attempts are repeated (only failure classes that can pass, see engine.retry).

    Attributes:
        attempts: attempts in all. base_s, factor, cap_s: exponential back-off. jitter: +- fraction.
    """

    attempts: int = 3
    base_s: float = 2.0
    factor: float = 2.0
    cap_s: float = 60.0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class AgentSetting:
    """A named agent of config.yaml.

    Attributes:
        adapter: ``command``. argv: template; ``{prompt}`` and ``{prompt_file}`` are replaced. prompt: ``argument``,
            ``stdin`` or ``file``. slots: attempts at once, 0 for no limit of its own. env: extra variables.
    """

    adapter: str
    argv: tuple[str, ...] = ()
    prompt: str = "argument"
    slots: int = 0
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """All of config.yaml.

    Attributes:
        max_parallel: tasks at once in one run.
        require_isolation: weakest level that may be used; starting below it is refused (exit 11).
        environment: ignored folders of the repository that are visible copy-on-write inside.
        pass_env: names of environment variables handed to agents.
        limits: per process tree.
        approval_timeout_s: 0 for none; on expiry the question is denied.
    """

    max_parallel: int = 4
    require_isolation: Level = Level.S2
    environment: tuple[str, ...] = ("node_modules", ".venv", "venv")
    pass_env: tuple[str, ...] = ("LANG", "LC_ALL", "TERM", "TZ")
    limits: Limits = Limits()
    retries: Retries = Retries()
    agents: Mapping[str, AgentSetting] = field(default_factory=dict)
    approval_timeout_s: float = 0.0
    commit_author: str = ""
    transcript_days: int = 30
