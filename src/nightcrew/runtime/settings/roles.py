"""The block ``roles`` of config.yaml: which role tasks have that name none, and whether each must have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from nightcrew.model.settings import Settings
from nightcrew.model.yamltext import YamlPath


class Reading(Protocol):
    """A config.yaml as it is read."""

    repository: bool

    def at(self, path: Sequence[str]) -> Any:
        """Return the value at a path."""

    def complain(self, path: YamlPath, message: str, hint: str = "") -> None:
        """Note a problem."""


def read_roles(reading: Reading, old: Settings) -> dict[str, Any]:
    """Return the settings about roles; a repository may add to what its user wants, and takes nothing from it."""
    block = reading.at(("roles",))
    if not isinstance(block, dict):
        return {"role": old.role, "require_role": old.require_role}
    name, required = block.get("default", old.role), block.get("required", old.require_role)
    if reading.repository and old.role and name != old.role:
        said = f"a repository cannot choose another role than your own default, {old.role}"
        reading.complain(("roles", "default"), said, "name the role in the tasks file: - Role: …")
    if reading.repository and old.require_role and required is False:
        said = "a repository cannot do without the role that you require"
        reading.complain(("roles", "required"), said, "change it in ~/.config/nightcrew/config.yaml")
    return {
        "role": name if isinstance(name, str) else old.role,
        "require_role": old.require_role or required is True,
    }
