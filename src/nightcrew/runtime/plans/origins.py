"""What is told of where a plan came from, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nightcrew.model.plans import Flag
from nightcrew.model.records import PlanRecord, RunRecord
from nightcrew.model.text import shown


def describe_origin(record: PlanRecord) -> list[str]:
    """Return what is known of how a plan came about, one line each, for the person who approves it."""
    origin = record.origin
    if not origin.get("goal"):
        return []
    if record.version == 0:
        again = f"nightcrew plan replan {record.run} --all; give up: nightcrew cancel {record.run}"
        return [f"there is no plan yet: {origin.get('agent', '')} was asked, or is; ask again: {again}"]
    said = f"made by {origin.get('agent', '')} in {origin.get('rounds', 1)} round{'s' if origin.get('rounds', 1) != 1 else ''}"
    claimed = origin.get("claimed", "")
    more = f" (the planner says {claimed})" if claimed and claimed != origin.get("complexity") else ""
    by = ", then edited by hand" if origin.get("by") == "edit" else ""
    lines = [f"P{record.version} {said}{by}; complexity {origin.get('complexity', '?')}{more}"]
    minutes = [value for value in origin.get("minutes", {}).values() if value]
    if minutes:
        lines.append(
            f"the planner thinks it takes about {sum(minutes):g} minutes of work; nothing backs that"
        )
    if origin.get("summary"):
        lines.append(f"it says: {' '.join(str(origin['summary']).split())}")
    gaps = [" ".join(str(each).split()) for each in origin.get("gaps", ())]
    return [*lines, *([f"gaps: {'; '.join(gaps)}"] if gaps else ["gaps: none named"])]


def describe_offered(run: RunRecord, offered: Mapping[str, Any]) -> list[str]:
    """Return what a person should know of a new version that waits while its run goes on."""
    changes = ", ".join(f"{each['task']} {each['change']}" for each in offered["changes"])
    more = [f"may do more than what was approved: {shown(each)}" for each in offered["more"]]
    return [
        f"P{offered['version']} waits for you; P{offered['before']} goes on meanwhile. Changed: {changes}",
        *more,
        f"nightcrew approve {run.id} --digest {offered['digest'][:12]} | nightcrew deny {run.id} -m why",
    ]


def describe_choices(run: RunRecord, flags: Sequence[Flag]) -> list[str]:
    """Return what a person can do with a plan that waits, beside saying yes or no."""
    asks = sum(flag.kind in ("asks", "opaque") for flag in flags)
    lines = [
        f'nightcrew plan edit {run.id} | nightcrew plan comment {run.id} T01 "..." | nightcrew plan replan {run.id}'
    ]
    if asks:
        lines.append(
            f"{asks} questions are foreseen; answer them before you leave: nightcrew forecast {run.id}"
        )
    return lines
