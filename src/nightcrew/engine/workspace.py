"""What an attempt works with: the parts of one repository under the settings and policy its run was planned with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightcrew.agents.adapter import Program
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind, Confinement
from nightcrew.model.settings import Settings
from nightcrew.model.usage import Provider
from nightcrew.policy.prices import Prices, shipped_prices

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.host.git import Git
    from nightcrew.policy.rules import Policy
    from nightcrew.shadow.shadows import Shadows


def keep(text: str) -> str:
    """Return the text as it is: the redaction of a caller that has none."""
    return text


def find_nothing(name: str) -> Program | None:
    """Find no program: the search of a caller that has none."""
    return None


def refuse_room() -> bool:
    """Give up nothing: the collector of a caller that has none."""
    return False


def refuse_key(provider: Provider) -> str:
    """Have no key: the key ring of a caller that has none."""
    raise UsageError(f"there is no key for {provider.name} here", code="key.missing")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Everything one run needs, opened from its record by the runtime.

    Attributes:
        root: absolute path of the user's working tree; inside the sandbox the shadow is mounted right there.
        shadows, store: of that repository.
        policy, settings: as stored with the plan, never read again from disk.
        roles: name of a role → the policy under it.
        parse_shell: the shell parser that policy uses.
        agent_binds: read-only host paths that every agent sees beside the curated system (an interpreter's prefix).
        transcripts: folder of raw output; ``<run>/<task>/<attempt>.jsonl`` below it.
        python: interpreter that exists inside through ``agent_binds``.
        env: variables every agent gets: those of ``settings.pass_env`` that are set, as the runtime read them.
        redact: applied to every transcript and every piece of evidence before it is written.
        git: git on the user's own repository, to look at what changes there; None where nobody wants to know.
        canary_key: what planted credentials are made of; empty where none are planted.
        find_program: looks up an agent's own program, by the name or path that its adapter gives.
        read_key: gives the key of a provider of models, from where its settings say.
        prices: of models.
        confinement: what builds the sandboxes of this run.
        make_room: gives up old checkpoints when they take all that they may; tells whether there is room again.
    """

    root: str
    shadows: Shadows
    store: Store
    policy: Policy
    settings: Settings
    parse_shell: Callable[[str], Mapping[str, Any]]
    agent_binds: tuple[Bind, ...]
    transcripts: Path
    python: str
    env: Mapping[str, str] = field(default_factory=dict)
    redact: Callable[[str], str] = keep
    git: Git | None = None
    canary_key: bytes = b""
    find_program: Callable[[str], Program | None] = find_nothing
    read_key: Callable[[Provider], str] = refuse_key
    prices: Prices = field(default_factory=lambda: Prices(shipped_prices(), {}))
    make_room: Callable[[], bool] = refuse_room
    confinement: Confinement = Confinement()
    roles: Mapping[str, Policy] = field(default_factory=dict)

    def under(self, role: str) -> Workspace:
        """Return the same for a task of a role.

        Raises:
            UsageError: the run was planned without that role.
        """
        if not role:
            return self
        if role not in self.roles:
            raise UsageError(f"the rules of this run have no role {role!r}", code="role.unknown")
        return replace(self, policy=self.roles[role])
