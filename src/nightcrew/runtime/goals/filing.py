"""From a tasks file to a run that waits for approval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from nightcrew.runtime.goals.anew import Anew, arrange

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


class Wanted(TypedDict, total=False):
    """What a person wants of a run beside its tasks; as configured where nothing is said.

    Attributes:
        title: what it is for; the heading of the file by default. max_parallel: tasks at once.
        unsandboxed: a person allows S0. include_dirty: start from the user's uncommitted work too.
        budget: what models may cost, ``25usd``. role: of tasks that name none.
        agents: those that may be chosen, with attempts at once: ``claude:2,codex:1``; all by default.
        replan: when it is planned anew by itself.
    """

    title: str
    max_parallel: int | None
    unsandboxed: bool
    include_dirty: bool
    budget: str
    agents: str
    role: str
    replan: Anew


def plan_file(parts: Parts, file: str, wanted: Wanted) -> dict[str, Any]:
    """Record a tasks file as a run that waits for approval; see ``Runtime.plan``."""
    from nightcrew.runtime.crew.assigning import read_slots
    from nightcrew.runtime.isolating import choose
    from nightcrew.runtime.plans.planning import read_draft, record
    from nightcrew.runtime.settings.keys import check_keys

    draft = read_draft(
        parts,
        file,
        title=wanted.get("title", ""),
        include_dirty=wanted.get("include_dirty", False),
        budget=wanted.get("budget", ""),
        agents=read_slots(wanted.get("agents", "")),
        role=wanted.get("role", ""),
    )
    check_keys(parts.keyring, draft.plan, draft.rules.settings)
    replan, notes = arrange(parts, draft.rules, wanted.get("replan") or Anew())
    choice = choose(parts, draft.rules, unsandboxed=wanted.get("unsandboxed", False))
    run = record(
        parts,
        draft,
        level=choice.level,
        max_parallel=wanted.get("max_parallel"),
        unsandboxed=wanted.get("unsandboxed", False),
        confined={**choice.to_settings(), **replan},
    )
    return {
        "id": run,
        "digest": draft.plan.digest,
        "notes": [*draft.notes, *notes],
        "forbidden": draft.forbidden,
    }
