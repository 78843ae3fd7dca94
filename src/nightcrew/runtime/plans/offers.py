"""A new version of the plan of a run that goes on, while it waits for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nightcrew.engine.course.replans import GOING, OFFERED
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader


def find_offer(run: RunRecord) -> Mapping[str, Any]:
    """Return what waits for a person's yes of a run that goes on: ``{version, before, digest, more, at}``, or nothing."""
    found = run.settings.get(OFFERED)
    return found if isinstance(found, Mapping) and run.state in GOING else {}


def view_offer(tx: Reader, run: RunRecord) -> dict[str, Any]:
    """Return what waits, for a person and for JSON; empty when nothing does."""
    from nightcrew.runtime.plans.versions import describe_changes

    offer = find_offer(run)
    if not offer:
        return {}
    made = tx.need(PlanRecord, f"{run.id}/P{offer['version']}")
    old = Plan.from_plain(tx.need(PlanRecord, f"{run.id}/P{offer['before']}").body)
    changes = describe_changes(old.tasks, Plan.from_plain(made.body).tasks)
    flags = [dict(flag) for flag in made.flags]
    return {**offer, "changes": changes, "flags": flags, "plan": dict(made.body)}
