"""How ``why`` tells events: one table. A new kind of event that explains something is one line here.

An event explains its task, or its run when it has no task; the approval, checkpoint or promotion that its data names
(``id``, ``approval`` or ``promotion``); and, when it belongs to no run at all, every task of the agent that its data names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model.events import Event

_MOST: Final = 8
"""Lines of one reason: the last ones."""


@dataclass(frozen=True, slots=True)
class Reason:
    """How one kind of event is told.

    Attributes:
        kind: of the event.
        words: the line. ``{name}`` is a value of the event's data (or ``{run}``, ``{task}``, ``{attempt}``, ``{actor}``,
            ``{at}``); a part in ``[...]`` is left out when a value in it is missing or empty.
        next: commands that a person may go on with, in the same form.
        every: tell each of these events; otherwise the last one that says the same thing.
        until: kinds of later events after which it no longer holds.
    """

    kind: str
    words: str
    next: tuple[str, ...] = ()
    every: bool = False
    until: tuple[str, ...] = ()


REASONS: Final[tuple[Reason, ...]] = (
    Reason("run.recovered", "went on after an interruption[; lost: {lost}]"),
    Reason("run.interrupted", "interrupted[: {reason}]", until=("run.resumed", "run.recovered")),
    Reason(
        "plan.refused",
        "an answer of the planner was sent back[: {problems}]",
        every=True,
        until=("plan.proposed", "plan.replanned"),
    ),
    Reason(
        "plan.failed",
        "no plan was made[: {reason}]",
        next=("nightcrew run -f tasks.md",),
        until=("plan.proposed", "plan.replanned"),
    ),
    Reason(
        "plan.offered",
        "P{version} of its plan waits for a yes[: {more}]",
        next=("nightcrew plan {run}",),
        until=("plan.in_force", "plan.offer_denied"),
    ),
    Reason(
        "plan.replan_begun",
        "{agent} is asked to plan anew what has not begun: {why} (round {round} of {of})",
        every=True,
    ),
    Reason(
        "plan.replan_failed", "was not planned anew, and goes on as it was planned[: {reason}]", every=True
    ),
    Reason("plan.offer_denied", "P{version} of its plan was denied[: {reason}][ (by {actor})]", every=True),
    Reason("plan.kept", "its planner changed nothing[: {why}]", every=True),
    Reason("plan.in_force", "goes on with P{version} of its plan: {why}[ (by {actor})]", every=True),
    Reason(
        "plan.voted",
        "{by} has said yes to its plan: {votes} of {quorum} that must",
        until=("plan.approved", "plan.offer_approved", "plan.proposed", "plan.unapproved"),
    ),
    Reason("plan.unapproved", "its approval was taken back[ by {actor}]", until=("plan.approved",)),
    Reason("run.paused", "paused[: {reason}]", until=("run.resumed", "run.recovered")),
    Reason("run.stopped", "[{reason}][ (condition: {condition})]", until=("run.resumed",)),
    Reason("run.until_set", "works until {said}[ by {actor}]"),
    Reason("run.finished", "every task is over", until=("run.resumed",)),
    Reason("budget.warned", "budget warning[: {said}]", until=("budget.extended",)),
    Reason("budget.steep", "money went much faster[: {said}]"),
    Reason("budget.degraded", "given to the cheaper {to}: {reason}", every=True),
    Reason("task.rerouted", "{kind}: {to} in place of {from}[: {why}]", every=True),
    Reason("task.held", "waits: {reason}", until=("task.started",)),
    Reason("agent.silent", "{agent}: {reason}", until=("agent.heard", "task.retried", "task.succeeded")),
    Reason(
        "breaker.opened",
        "{agent}: circuit breaker opened[ after {failures} failures][ until {until}][: {reason}]",
        next=("nightcrew agent list", "nightcrew agent reset {agent}"),
        until=("breaker.closed",),
    ),
    Reason(
        "breaker.half_opened",
        "{agent} is tried once[ with {task}]",
        until=("breaker.closed", "breaker.opened"),
    ),
    Reason("breaker.closed", "{agent} works again"),
    Reason(
        "budget.reached",
        "stopped by its budget[: {said}]",
        next=("{extend}",),
        until=("budget.extended",),
    ),
    Reason("budget.extended", "budget extended[ to {budget}][ by {actor}]"),
    Reason(
        "agent.routed",
        "{agent} does it: {quality} by {strategy}, confidence {confidence}: {reason}[; in the role {role}][; instead of: {alternatives}][; gap: {gap}]",
    ),
    Reason("question.delivered", "its agent was told your answer ({how}): {ids}", every=True),
    Reason(
        "task.waiting",
        "waits {reason}[ (rule: {source})]",
        until=("task.hours_began", "task.started", "task.retried", "task.cancelled"),
    ),
    Reason("task.hours_began", "its working hours began[ (role {role})]"),
    Reason("task.retried", "run again[: {reason}][ by {actor}]"),
    Reason("task.returned", "began again[: {reason}]"),
    Reason("checkpoint.spaced_out", "checkpoints are spaced out[: at least {spacing_s} s between them]"),
    Reason("canary.left", "a planted credential was on its way out[: {action}]"),
    Reason("model.failed", "the model of {provider} did not answer[: {said}]", every=True),
    Reason("drift.detected", "the repository moved on[: {said}]", until=("drift.gone",)),
    Reason(
        "promotion.refused",
        "{promotion} was refused[: {reason}][; secrets: {secrets}][; runs by itself: {handoff}][; planted credentials in: {planted}]",
        every=True,
    ),
    Reason("approval.voted", "{by} said yes, {votes} of {quorum}[: {reason}]", every=True),
    Reason("approval.refused", "an answer of {by} was refused: {said}", every=True),
    Reason("approval.left", "left to a person by the {via}: {reason}", every=True),
    Reason(
        "approval.reminded",
        "{percent} % of its time is over; it ends at {expires_at}",
        until=("approval.decided",),
    ),
    Reason("approval.extended", "its end moved by {by_s} s, to {expires_at}: {reason}", every=True),
    Reason("approval.waits_on", "{reason}", until=("approval.decided",)),
    Reason("webhook.failed", "the webhook did not take it, try {try}: {said}[ (given up: {given_up})]"),
    Reason("webhook.delivered", "the webhook took the message {message}"),
    Reason("approval.superseded", "superseded[: {reason}]"),
    Reason("approval.expired", "nobody answered in time[: {reason}]"),
)
"""The table. Order is the order of the lines."""

_OF_AGENTS: Final = ("agent.", "breaker.", "routing.", "budget.")
_BY_KIND: Final[Mapping[str, Reason]] = {each.kind: each for each in REASONS}
_FIELD: Final = re.compile(r"\{([a-z_0-9]+)\}")
_OPTIONAL: Final = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True)
class Told:
    """What the table makes of events: lines that say why, and commands to go on with."""

    because: tuple[str, ...] = ()
    next: tuple[str, ...] = ()


def find_reason(kind: str) -> Reason | None:
    """Return how events of a kind are told, None when the table does not have it."""
    return _BY_KIND.get(kind)


def list_kinds(*, of_agents: bool = False) -> tuple[str, ...]:
    """Return the kinds of the table, with what ends them; ``of_agents``: only those that can belong to no run."""
    chosen = [each for each in REASONS if not of_agents or each.kind.startswith(_OF_AGENTS)]
    return tuple(dict.fromkeys(kind for each in chosen for kind in (each.kind, *each.until)))


def tell(events: Iterable[Event], subject: str) -> Told:
    """Return what events say of a thing, reason by reason in the order of the table, each oldest first.

    Args:
        events: those that explain it, oldest first; kinds that the table does not have are passed over.
        subject: full id of the thing; ``{subject}`` in the words.
    """
    holding: dict[str, dict[str, Event]] = {}
    for event in events:
        for each in REASONS:
            if event.kind in each.until:
                holding.pop(each.kind, None)
        reason = _BY_KIND.get(event.kind)
        if reason is not None:
            line = fill(reason.words, event, subject)
            same = holding.setdefault(reason.kind, {})
            # The latest of those that say the same thing stands at its own place.
            same.pop(line, None)
            if not reason.every and same:
                same.clear()
            same[line] = event
    because: list[str] = []
    following: dict[str, None] = {}
    for reason in REASONS:
        for line, event in list(holding.get(reason.kind, {}).items())[-_MOST:]:
            because.append(f"{line} ({event.id})")
            following |= dict.fromkeys(fill(way, event, subject) for way in reason.next)
    return Told(tuple(because), tuple(following))


def fill(words: str, event: Event, subject: str = "") -> str:
    """Return words of the table with the values of an event; what has none is left out with the part it stands in."""
    values = {
        **event.data,
        "run": event.run,
        "task": event.task,
        "attempt": event.attempt,
        "actor": event.actor,
        "at": event.at,
        "subject": subject or event.task or event.run,
    }

    def part(match: re.Match[str]) -> str:
        names = _FIELD.findall(match[1])
        return match[1] if all(_text(values.get(name)) for name in names) else ""

    kept = _OPTIONAL.sub(part, words)
    return _FIELD.sub(lambda match: _text(values.get(match[1])), kept)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items() if _text(item))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(filter(None, map(_text, value)))
    return "" if value is None or value is False else str(value)
