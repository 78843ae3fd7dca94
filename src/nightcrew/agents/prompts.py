"""What an agent is told: its task, and where it stands in it when it did not begin just now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from nightcrew.agents.adapter import Job
from nightcrew.agents.lines import items, text
from nightcrew.model.text import shown
from nightcrew.policy.suspicion import mark

#: Finished actions that a new conversation is told of; older ones are only counted.
TOLD: Final = 40

RULES: Final = (
    "You work alone at night. What only the person you work for can decide, ask them, if you have a tool for that: once, "
    "clearly, with all they need to know; your work waits until they answer. Everything else decide by yourself. Every command and every change of a file is decided by the "
    "rules of the person you work for. When one is denied, you are told why: find another way, and do not try the same "
    "thing in disguise. Work only in the current directory. Do not commit: what you leave in the files is the result."
)


def read_prompt(job: Job) -> str:
    """Return the text of the task: ``Prompt:``, else title and description; below who does it and in what role."""
    said = [job.task.prompt] if job.task.prompt else [job.task.title, job.task.description]
    parts = (*_tell_persona(job), job.task.brief, *said, *_tell_taken_over(job))
    return "\n\n".join(part for part in parts if part)


def write_prompt(job: Job) -> str:
    """Return what an agent with a new conversation is told."""
    parts = [read_prompt(job)]
    if job.task.scope:
        parts.append(f"Change only files that match: {' '.join(job.task.scope)}")
    if job.task.accept:
        lines = "\n".join(f"- {line}" for line in job.task.accept)
        parts.append(
            f"The work counts as done when these commands succeed; they are run afterwards:\n{lines}"
        )
    done = [each for each in items(job.progress, "done") if isinstance(each, str)]
    if done:
        parts.append(_tell_done(done))
    if answers := _read_answers(job):
        parts.append(
            f"The person you work for was asked about this task, and has answered.\n{_tell(answers)}"
        )
    if wanted := text(job.progress, "asked"):
        parts.append(f"You were stopped before this was done, and may do it now: {wanted}")
    parts.append(RULES)
    return "\n\n".join(parts)


def write_continuation(job: Job) -> str:
    """Return what an agent is told that takes up its own conversation."""
    wanted = text(job.progress, "asked")
    fresh = [each for each in _read_answers(job) if each.get("fresh") is True]
    if fresh:
        told = f"You asked the person you work for, and they have answered.\n{_tell(fresh)}"
        return f"{told}\nThe files are as you left them. Go on with the task."
    if wanted:
        return (
            f"You were stopped before this was done: {wanted}\n"
            "You may do it now. The files are as you left them. Do exactly what you wanted to, and go on with the task."
        )
    return "You were paused. The files are as you left them. Go on with the task where you were."


def write_denials(reasons: Sequence[str]) -> str:
    """Return what an agent is told about denials whose reasons its protocol had no place for."""
    lines = "\n".join(f"- {reason}" for reason in reasons)
    return (
        f"These actions were denied:\n{lines}\n"
        "If something of the task is still to be done, do it in another way that these rules allow. Otherwise say what is left."
    )


def _tell_persona(job: Job) -> list[str]:
    persona = job.task.persona
    if persona is None:
        return []
    if persona.own:
        return [f"For this task you are {persona.name}.\n{persona.text}"]
    # It came with the repository: nobody who wrote it may give orders here, not by its name either.
    said = mark(f"{persona.name}\n{persona.text}", "a role as a file of the repository describes it")
    return [f"Take on this role as far as the task below needs it. {said}"]


def _tell_taken_over(job: Job) -> list[str]:
    """Return what an agent is told that another one was at its task before; the names and reasons are anybody's words."""
    told = job.progress.get("taken_over")
    if not isinstance(told, Mapping):
        return []
    left, paths, more = text(told, "checkpoint"), items(told, "paths"), told.get("more")
    known = [
        f"agent: {shown(text(told, 'agent'))}",
        f"why it ended: {shown(text(told, 'why')) or 'not known'}",
    ]
    named = ", ".join(shown(each) for each in paths if isinstance(each, str)) or "nothing"
    known.append(f"files it had changed: {named}{f' and {more} more' if more else ''}")
    if told.get("kept") is True:
        where = f"You go on with its files as it left them (checkpoint {left}): look at them before you change anything."
    elif left:
        where = f"You begin with the files as they were before it; what it did is kept aside (checkpoint {left}) and is not here."
    else:
        where = "It left nothing: you begin with the files as they were before it."
    said = mark("\n".join(known), "what is known of the agent that was at this task before")
    return [
        f"Another agent was at this task before you and did not finish it. {where} Do not repeat what failed. {said}"
    ]


def _read_answers(job: Job) -> list[Mapping[str, Any]]:
    return [each for each in items(job.progress, "answers") if isinstance(each, dict)]


def _tell(answers: Sequence[Mapping[str, Any]]) -> str:
    """Return questions with their answers: an agent's own words are data, those of the person are not."""
    asked = [
        f"{mark(text(each, 'question'), 'a question as an agent wrote it')}\nAnswer of the person: {text(each, 'answer')}"
        for each in answers
    ]
    return "\n".join(asked)


def _tell_done(done: Sequence[str]) -> str:
    lines = "\n".join(f"- {each}" for each in done[-TOLD:])
    more = f" (the last {TOLD} of {len(done)})" if len(done) > TOLD else ""
    # An agent's own words: what it had read then may speak through them now.
    said = mark(lines, "commands and changes as an agent wrote them")
    return f"Part of this was done before in these same files, by you{more}. {said}\nGo on from there."
