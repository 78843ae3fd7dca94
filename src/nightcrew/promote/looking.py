"""Looks at index and working tree for a prepared promotion or undo, with what is known of the paths beforehand."""

from __future__ import annotations

from nightcrew.promote.content import touches_attributes
from nightcrew.promote.index import Compared, compare_index
from nightcrew.promote.prepared import Prepared, differences_of
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.standing import Standing
from nightcrew.promote.survey import Earlier, Survey, survey
from nightcrew.promote.transaction import Plan, Transaction


def look_around(
    site: Site,
    tree: Standing,
    prepared: Prepared,
    configured: Configured,
    undone: Plan | None,
    compared: Compared | None = None,
) -> Survey:
    """Survey index and working tree; see ``survey``.

    Args:
        undone: see ``undone_plan``.
        compared: the index with the commit that is checked out, where that has just been done.
    """
    return survey(
        site,
        tree,
        differences_of(prepared.changes),
        configured=configured,
        compared=compared or compare_index(site.git, prepared.old_commit),
        new_commit=prepared.new_commit,
        earlier=_find_earlier(prepared, undone),
        ask_git=may_ask_git(prepared),
    )


def may_ask_git(prepared: Prepared) -> bool:
    """Tell whether files may be compared through the user's filters; see ``with_index_unfiltered`` for why not always.

    Before a promotion the attributes on disk are the user's own. Before the undo of one that changed them they are not;
    but then it wrote its files as they are in git, and they compare without a filter.
    """
    return not (prepared.undo_of and touches_attributes(prepared.paths))


def _find_earlier(prepared: Prepared, plan: Plan | None) -> Earlier:
    """Return what an exact undo must know of the promotion it takes back."""
    if plan is None:
        return Earlier(untracked=dict(prepared.untracked))
    return Earlier(
        kept=plan.kept,
        index={change.path: change for change in plan.index},
        edited={move.path: move for move in plan.moves if move.path in plan.edited and move.old},
    )


def undone_plan(site: Site, prepared: Prepared) -> Plan | None:
    """Return the plan of the promotion that an exact undo takes back, where it is still there."""
    if prepared.kind != "restore" or not prepared.undone:
        return None
    return Transaction(site.home, prepared.undone).plan()
