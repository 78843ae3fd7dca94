"""What a planner is told. Text from outside stands between marks and is said to be data. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.plan.goals import Bounds, goal_schema
from nightcrew.policy.suspicion import mark

#: Paths of the repository that are listed; of a larger one its folders.
_PATHS: Final = 400
#: Characters of one context file that are told.
_CONTEXT: Final = 40_000

RULES: Final = """You make a plan for coding agents that work at night, each in a copy of this repository, and you do nothing else.
Read whatever you need here. Change nothing: whatever you write is thrown away, and nobody answers questions.

Cut the goal into tasks so that
- each task is one result that can be reviewed and taken back by itself, and has a number ("1", "2", or "2.1");
- `depends` names the tasks whose results it needs; tasks that do not depend on each other run side by side, so they must not
  change the same files;
- `scope` holds gitignore-style globs, relative to the root, of the only paths it may change: as narrow as you can;
- `accept` holds at least one command that proves the task. It is run afterwards, in a fresh copy with the result of this task and
  of what it depends on, without a network. It must fail before the task and pass after it, where that is possible;
- `description` tells an agent who has seen nothing of this all it needs: what is wanted, where, how it is told that it is done;
- `files` lists what will be created, modified and deleted, as paths or globs (leave it out when you cannot know: where it is
  there, the result is held against it, and what it does not list may have to wait for the person);
- `agent` is one of those offered, or `any`; leave it out when it does not matter;
- `network` and `install` are left out unless a task cannot be done without them (a person is asked about them).
`complexity` of the whole: SIMPLE (one or two small tasks), MEDIUM, COMPLEX (several parts depend on each other), or CRITICAL
(data, security, money or public interfaces are at stake). `gaps` names what is missing for the goal: knowledge, access, an agent
with a skill that none of those offered has, a decision that only the person can take. An empty list when there is none.

Answer with one JSON object of exactly this shape (JSON Schema), as the last thing you say, and nothing after it:
"""


@dataclass(frozen=True, slots=True)
class Brief:
    """All that a planner is told beside the rules.

    Attributes:
        goal: in the person's own words.
        crew: agents that may be named: name and what they are.
        paths: of the repository. context: path → text of files that the person points to.
        rejections: what a person rejected before in this repository, and why.
        current: the plan that is there, as a tasks file. comments: task name (empty for the whole) and what the person wants.
        fixed: names of tasks that must stay as they are. news: what has happened since the plan was made.
        occasion: why the plan is made anew, when no person wants it; in our words.
    """

    goal: str
    crew: Sequence[tuple[str, str]] = ()
    paths: Sequence[str] = ()
    context: Mapping[str, str] | None = None
    rejections: Sequence[str] = ()
    current: str = ""
    comments: Sequence[tuple[str, str]] = ()
    fixed: Sequence[str] = ()
    news: Sequence[str] = ()
    occasion: str = ""


def write_brief(brief: Brief, bounds: Bounds) -> str:
    """Return the first thing a planner is told."""
    parts = [
        RULES + json.dumps(goal_schema(), separators=(",", ":")),
        f"The goal, from the person you work for:\n{brief.goal}",
    ]
    if brief.crew:
        lines = "\n".join(f"- {name}: {about}" for name, about in brief.crew)
        parts.append(mark(lines, "agents that a task may name"))
    if bounds.within:
        parts.append(f"All scopes must lie within: {' '.join(bounds.within)}")
    if bounds.never:
        parts.append(f"No task may change: {' '.join(bounds.never)}")
    if brief.paths:
        parts.append(mark("\n".join(_shorten_paths(brief.paths)), "paths of the repository"))
    for path, text in (brief.context or {}).items():
        more = "\n(cut off here; read the file for the rest)" if len(text) > _CONTEXT else ""
        parts.append(mark(text[:_CONTEXT] + more, f"the file {path}, which the person points to"))
    if brief.rejections:
        lines = "\n".join(f"- {each}" for each in brief.rejections)
        parts.append(
            mark(
                lines,
                "results of earlier tasks here that were rejected, and why; plan so that it does not happen again",
            )
        )
    return "\n\n".join([*parts, *_tell_current(brief)])


def _tell_current(brief: Brief) -> list[str]:
    if not brief.current:
        return []
    parts = [
        mark(brief.current, "the plan as it is now, as a tasks file; its Prompt is what you call description")
    ]
    if brief.news:
        parts.append(mark("\n".join(f"- {each}" for each in brief.news), "what has happened since"))
    if brief.occasion:
        parts.append(
            f"You are asked because {brief.occasion}. Plan anew what has not begun, as far as that makes the goal more likely; what "
            "is still right stays word for word as it is. Do not make the proof of a task weaker to have it pass."
        )
    if brief.comments:
        lines = "\n".join(
            f"- {f'on task {name}' if name else 'on the whole plan'}: {said}" for name, said in brief.comments
        )
        parts.append(f"The person says:\n{lines}")
    if brief.fixed:
        parts.append(
            "Answer with the whole plan anew. These tasks stay exactly as they are, with their numbers (leave them out of your "
            f"answer: they are put back): {', '.join(brief.fixed)}. Others may depend on them."
        )
    else:
        parts.append("Answer with the whole plan anew.")
    return parts


def write_repair(brief: str, answer: str, problems: Sequence[str]) -> str:
    """Return what a planner is told whose answer cannot be taken."""
    lines = "\n".join(f"- {each}" for each in problems)
    said = mark(answer[-60_000:], "your last answer")
    # The problems quote the answer, through which what it had read may speak.
    wrong = mark(lines, "what is wrong with it, in words of that answer too")
    return f"{brief}\n\n{said}\n\nThat answer cannot be taken. {wrong}\nAnswer again, with the whole object, all of this mended."


def _shorten_paths(paths: Sequence[str]) -> list[str]:
    """Return paths, or of too many of them the folders with their numbers of files."""
    if len(paths) <= _PATHS:
        return list(paths)
    depth, folders = 3, dict[str, int]()
    while depth:
        folders = {}
        for path in paths:
            top = "/".join(path.split("/")[:-1][:depth])
            folders[top] = folders.get(top, 0) + 1
        if len(folders) <= _PATHS:
            break
        depth -= 1
    lines = [f"{folder or '.'}/ ({number} files)" for folder, number in sorted(folders.items())]
    return [*lines[:_PATHS], *(["and more"] if len(lines) > _PATHS else [])]
