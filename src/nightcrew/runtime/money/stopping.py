"""What ends a night before its goal, and who takes over when an agent cannot: as planned, as shown, as changed on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.course.stops import Conditions, find_stop, read_conditions
from nightcrew.host.calendar import describe_moment, next_moment
from nightcrew.host.clock import stamp
from nightcrew.model.errors import Problem, StaleError, UsageError
from nightcrew.model.lifecycle import RUN_FINAL
from nightcrew.model.plans import Task
from nightcrew.model.records import RunRecord
from nightcrew.model.units import parse_duration

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader, Writer
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: Kind of the event.
SET: Final = "run.until_set"
_NEVER: Final = frozenset({"never", "none"})


def conditions_of(rules: Rules) -> Mapping[str, Any]:
    """Return when a run of these rules stops by itself, for its record."""
    stopping = rules.settings.stopping
    return Conditions(
        failures=stopping.failures,
        low_confidence=stopping.low_confidence,
        confidence=stopping.confidence,
        no_progress=stopping.no_progress,
    ).to_plain()


def choose_fallback(task: Task, rules: Rules) -> tuple[str, ...]:
    """Return who takes over from the agent of a task: as the task says, else its agent's settings, else all settings.

    What is built in has none that it did not name: `command` and `script` bring their own work with them.
    """
    if task.fallback:
        return task.fallback
    setting = rules.settings.agents.get(task.agent)
    own = setting.fallback if setting is not None else ()
    if own or task.agent in ("command", "script"):
        return own
    return tuple(each for each in rules.settings.fallback if each != task.agent)


def check_fallback(task: Task, rules: Rules) -> list[Problem]:
    """Return what is wrong with who takes over from the agent of a task."""
    from nightcrew.agents.adapters import find_adapter, find_setting

    place = task.fallback_place or task.agent_place or task.place
    problems = []
    for name in choose_fallback(task, rules):
        try:
            find_adapter(find_setting(name, rules.settings.agents))
        except UsageError as error:
            problems.append(Problem(place, f"fallback: {error.message}", error.hint))
            continue
        if name in ("command", "script") or name == task.agent:
            said = (
                "is its agent already"
                if name == task.agent
                else "cannot take over: it only does what its own task says"
            )
            problems.append(
                Problem(place, f"the fallback {name!r} {said}", "name another agent: nightcrew agent list")
            )
    return problems


def read_until(parts: Parts, text: str) -> tuple[str, str]:
    """Return the moment that a person names as a stamp, and as it is shown; both empty for ``never``.

    Raises:
        UsageError: it is none.
    """
    plain, now = text.strip(), parts.clock.now()
    if plain.lower() in _NEVER:
        return "", ""
    try:
        moment = (
            now + timedelta(seconds=parse_duration(plain[1:]))
            if plain.startswith("+")
            else next_moment(plain, now)
        )
    except ValueError as error:
        raise UsageError(
            str(error),
            code="until.invalid",
            hint="nightcrew run -f tasks.md --until 07:30   or in a while: --until +8h",
        ) from None
    return stamp(moment), describe_moment(moment, now)


def set_until(parts: Parts, name: str, text: str) -> dict[str, Any]:
    """Have a run work until a time of day, and then stop.

    Raises:
        UsageError: it is no time. StaleError: the run is over.
    """
    from nightcrew.runtime.people.terms import need_person

    until, said = read_until(parts, text)
    need_person(parts, "plan")
    with parts.journal.write() as tx:
        run = tx.need(RunRecord, name)
        if run.state in RUN_FINAL:
            raise StaleError(f"{name} is {run.state} already", hint=f"nightcrew show {name}")
        _store(tx, run, until, said, f"user:{parts.env.user}")
    return {"id": name, "until": until, "said": said}


def forget_past(tx: Writer, run: RunRecord, now: str, actor: str) -> None:
    """A person lets a run go on after the night was over: the time that is past holds no more."""
    until = read_conditions(run).until
    if until and until <= now:
        _store(tx, run, "", "", actor)


def _store(tx: Writer, run: RunRecord, until: str, said: str, actor: str) -> None:
    conditions = replace(read_conditions(run), until=until, until_said=said)
    settings = {**run.settings, "stop": conditions.to_plain()}
    tx.change(run, SET, actor=actor, data={"until": until, "said": said or "never"}, settings=settings)


def view_stop(tx: Reader, run: RunRecord) -> dict[str, Any]:
    """Return until when a run works, and what stopped it; for ``--json``."""
    conditions = read_conditions(run)
    return {
        "until": conditions.until,
        "until_said": conditions.until_said,
        "stopped": find_stop(tx, run.id),
        "conditions": {
            name: getattr(conditions, name) for name in ("failures", "low_confidence", "no_progress")
        },
    }
