"""What a confined agent finds inside beside the system: an interpreter, a PATH, the variables it may have."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from nightcrew.model.isolation import Bind
from nightcrew.model.settings import Settings
from nightcrew.runtime.settings.environment import Environment
from nightcrew.runtime.settings.keys import hide_keys, keepers_of

#: What the sandbox shows of the host by itself (see sandbox): no bind is needed for what lies below.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt")
_PATH: Final = ("/usr/local/bin", "/usr/bin", "/bin")


def find_python() -> str:
    """Return the interpreter we run under, without the link of a virtual environment in between."""
    return str(Path(sys.executable).resolve())


def find_binds(root: str) -> tuple[Bind, ...]:
    """Return the read-only binds that make our interpreter and its environment exist inside.

    Args:
        root: the repository; what lies in it is there anyway, copy-on-write.
    """
    found: list[str] = []
    for prefix in (sys.base_prefix, str(Path(sys.base_prefix).resolve()), sys.prefix):
        if _is_below(prefix, (*SYSTEM, root, *found)) or _is_below(root, (prefix,)):
            continue
        found.append(prefix)
    return tuple(Bind(prefix, prefix) for prefix in found)


def find_path(env: Environment, root: str, binds: Sequence[Bind]) -> str:
    """Return PATH inside: the repository's own environment, then those directories of ours that exist inside."""
    visible = (*SYSTEM, root, *(bind.target for bind in binds))
    own = [str(Path(root, name, "bin")) for name in (".venv", "venv") if Path(root, name, "bin").is_dir()]
    ours = [each for each in env.path.split(":") if each.startswith("/") and _is_below(each, visible)]
    rest = [*_PATH, str(Path(sys.base_prefix) / "bin")]
    return ":".join(dict.fromkeys([*own, *ours, *rest]))


def find_variables(
    env: Environment, settings: Settings, root: str, binds: Sequence[Bind]
) -> Mapping[str, str]:
    """Return the variables every agent gets: PATH, and those of ``pass_env`` that are set; never the user's keys."""
    passed = {name: env.variables[name] for name in settings.pass_env if name in env.variables}
    passed = hide_keys(passed, keepers_of(settings), env.variables)
    return {**passed, "PATH": find_path(env, root, binds)}


def _is_below(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
