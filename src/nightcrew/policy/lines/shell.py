"""The state of one shell of a line: its text, folder and variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

# Set by bash itself, whatever the line assigns.
_SPECIAL: Final = frozenset(
    {"RANDOM", "SECONDS", "LINENO", "UID", "EUID", "PPID", "BASHPID", "GROUPS", "_", "SHELLOPTS", "BASHOPTS"}
)


@dataclass
class Shell:
    """One shell of the line: its text, folder and variables. Made by the walker; a subshell is a copy."""

    text: str
    source: bytes
    folder: str | None = ""
    parameters: tuple[str, ...] | None = None
    values: dict[str, str] = field(default_factory=dict)
    certain: bool = True

    def copy(self) -> Shell:
        """Return a subshell: it sees everything, and what it changes is gone with it."""
        return replace(self, values=dict(self.values))

    def arguments(self) -> tuple[str, ...] | None:
        """Return ``$1``.. when they are known."""
        return self.parameters

    def is_assigned(self, name: str) -> bool:
        """Tell whether the text mentions the variable other than by ``$name``."""
        return self._mentions(name) > 0

    def lookup(self, name: str) -> str | None:
        """Return a value that the variable has for certain: assigned once, unconditionally, before."""
        if name == "IFS":
            return None if self.is_assigned("IFS") else " \t\n"
        if name not in self.values or name in _SPECIAL or self._mentions(name) != 1 or "IFS=" in self.text:
            return None
        return self.values[name]

    def _mentions(self, name: str) -> int:
        return len(re.findall(rf"(?<![A-Za-z0-9_$])(?<!\$\{{){re.escape(name)}(?![A-Za-z0-9_])", self.text))
