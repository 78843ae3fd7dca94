"""Whether a task is the work of a role: told in the plan, never a reason to allow anything. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Final

from nightcrew.model.plans import Task
from nightcrew.model.text import shown
from nightcrew.policy.globs import Globs
from nightcrew.policy.roles.role import Role

_TABLE: Final = "competencies.toml"


@dataclass(frozen=True, slots=True)
class Competency:
    """What a competency is recognised by: beginnings of words, and globs on paths."""

    words: tuple[str, ...]
    paths: tuple[str, ...] = ()


@cache
def known_competencies() -> Mapping[str, Competency]:
    """Return the table that is shipped."""
    rows = tomllib.loads(files("nightcrew.policy.roles").joinpath(_TABLE).read_text("utf-8"))
    return {name: Competency(tuple(row["words"]), tuple(row["paths"])) for name, row in rows.items()}


def find_misfits(task: Task, role: Role) -> Iterator[tuple[str, str]]:
    """Yield why a task does not look like the work of a role: in words, and the ``file:line`` that makes it one."""
    agents = [placed.value for placed in role.agents]
    if agents and not any(fnmatchcase(task.agent, glob) for glob in agents):
        said = f"the role {role.name} is for {', '.join(agents)}, and the task has {shown(task.agent)}"
        yield said, role.agents[0].source
    if role.competencies and not any(_fits(task, placed.value) for placed in role.competencies):
        listed = ", ".join(placed.value for placed in role.competencies)
        yield (
            f"it does not look like {listed}, which is what the role {role.name} is good at",
            role.competencies[0].source,
        )


def _fits(task: Task, name: str) -> bool:
    known = known_competencies().get(name.lower(), Competency((name,)))
    text = f"{task.title}\n{task.description}\n{task.prompt}\n{task.run}".lower()
    if any(re.search(rf"\b{re.escape(word.lower())}", text) for word in known.words):
        return True
    scope = [glob for glob in task.scope if not glob.startswith("!")]
    globs = Globs(known.paths) if known.paths else None
    return bool(scope) and globs is not None and all(globs.matches(_sample(glob)) for glob in scope)


def _sample(glob: str) -> str:
    """Return a path that a glob of a scope stands for."""
    return glob.strip("/").replace("**", "x").replace("*", "x").replace("?", "x")
