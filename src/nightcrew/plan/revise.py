"""What differs between a task that a person has approved and what a planner says of it while the run goes on. Pure.

An approved task may become less by itself: fewer paths, fewer places to go to, another order. Whatever could make it more, and
whatever could make its proof weaker, is named here in words, and waits for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from nightcrew.model.plans import Task
from nightcrew.plan.goals import lies_within

#: What an approval stands for word by word.
_SAME: Final = (
    "title",
    "prompt",
    "description",
    "run",
    "script",
    "steps",
    "agent",
    "role",
    "model",
    "budget",
    "fallback",
    "timeout_s",
    "persona",
)
#: What it says that it will do to files; without any of them it says nothing.
_LISTED: Final = ("creates", "modifies", "deletes")
#: What a planner has no words for: it stays as it was approved.
_KEPT: Final = ("role", "role_place", "brief", "model", "budget", "fallback", "fallback_place", "timeout_s")
_AGENT: Final = (
    "agent",
    "agent_place",
    "run",
    "run_place",
    "script",
    "script_place",
    "steps",
    "route",
    "persona",
)
_WORDS: Final = ("title", "prompt", "description")
#: What decides whether two tasks are the same one, places in files left aside.
_COMPARED: Final = (*_SAME, *_LISTED, "depends", "scope", "accept", "install", "network")


def revise(old: Task, said: Task, *, agent_named: bool) -> Task:
    """Return what an approved task becomes: what the planner says of it, and the approved rest.

    Args:
        said: the task as it was read from the answer. agent_named: the answer names an agent for it.
    """
    kept = {name: getattr(old, name) for name in _KEPT}
    if not agent_named or said.agent == old.agent:
        kept |= {name: getattr(old, name) for name in _AGENT}
    told_nothing = bool(kept.get("run") or kept.get("script"))
    if told_nothing or _words(said) == _words(old):
        kept |= {name: getattr(old, name) for name in _WORDS}
    if set(said.accept) == set(old.accept):
        kept |= {"accept": old.accept, "accept_places": old.accept_places}
    made = replace(said, **kept)
    return old if all(getattr(made, name) == getattr(old, name) for name in _COMPARED) else made


def find_growth(old: Task, new: Task) -> list[str]:
    """Return in which ways a task may do more than was approved, or is proven by less; empty when in none."""
    found = [
        f"{new.id}: {name} {' '.join(more)}"
        for name in ("network", "install")
        if (more := [each for each in getattr(new, name) if each not in getattr(old, name)])
    ]
    if set(new.accept) != set(old.accept):
        found.append(f"{new.id}: other acceptance commands")
    if not narrows(new.scope, old.scope):
        found.append(f"{new.id}: another scope: {' '.join(new.scope) or 'anywhere'}")
    if unlisted := _find_unlisted(old, new):
        found.append(f"{new.id}: {unlisted}")
    # What it does out there is not in the result that a person looks at: it was approved for after these.
    if new.network and (sooner := [each for each in old.depends if each not in new.depends]):
        found.append(f"{new.id}: goes to the network without waiting for {' '.join(sooner)}")
    return found + [f"{new.id}: another {name}" for name in _SAME if getattr(new, name) != getattr(old, name)]


def _find_unlisted(old: Task, new: Task) -> str:
    """Return what a new version lists of files that the approved one does not; empty when nothing."""
    if not any(getattr(old, name) for name in _LISTED):
        return ""
    if not any(getattr(new, name) for name in _LISTED):
        return "no list of files any more"
    more = [each for name in _LISTED for each in getattr(new, name) if each not in getattr(old, name)]
    return f"may do to more files: {' '.join(more)}" if more else ""


def narrows(new: Sequence[str], old: Sequence[str]) -> bool:
    """Tell whether a scope certainly allows nothing that another does not."""
    if tuple(new) == tuple(old) or not old:
        return True
    if not new or not (_excludes_last(new) and _excludes_last(old)):
        return False
    wanted = [glob for glob in new if not glob.startswith("!")]
    allowed = [glob for glob in old if not glob.startswith("!")]
    excluded = {glob for glob in old if glob.startswith("!")}
    return bool(wanted) and excluded <= set(new) and all(lies_within(glob, allowed) for glob in wanted)


def _excludes_last(scope: Sequence[str]) -> bool:
    """Tell whether all exclusions stand behind all that is allowed: the last match counts."""
    flags = [glob.startswith("!") for glob in scope]
    return flags == sorted(flags)


def _words(task: Task) -> str:
    """Return what a task tells its agent, whether or not its title stands before it."""
    title = " ".join(task.title.split())
    said = " ".join((task.prompt or task.description).split())
    while title and said.startswith(title):
        said = said.removeprefix(title).strip()
    return f"{title}\n{said}"
