"""Prepares the way back: exact while nothing came after, else the inverse as a new commit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from nightcrew.model.errors import DriftError, NotFound, UsageError
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.comparison import name_path
from nightcrew.promote.objects import compare_trees, find_trees, merge, tree_of, write_tree
from nightcrew.promote.site import Site, refuse_unless_writable, short
from nightcrew.promote.target import Place, find_branch


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where an undo leads.

    Attributes:
        place: the branch, and how it is reached.
        old_commit: where the ref is; empty when it is not there.
        commit: where it returns to, empty when it goes away; meaningless unless ``exact``.
        tree: what the branch will have.
        start: the commit that the paths are relative to.
        exact: nothing came after the promotion.
        old_tree: of ``old_commit``, where it is known.
    """

    place: Place
    old_commit: str
    commit: str
    tree: str
    start: str
    exact: bool
    old_tree: str = ""


def plan_undo(site: Site, record: PromotionRecord) -> WayBack:
    """Find the way back from ``record``.

    Raises:
        UsageError: the promotion has not been published.
        DriftError: the branch is in use elsewhere, no longer has the promotion, its commits are gone, or
            later commits conflict with its inverse (each path is named); nothing was changed.
    """
    if record.state != "published":
        raise UsageError(f"{record.id} is {record.state}, not published", code="undo.state")
    if not record.new_commit:
        return _make_again(site, record)
    old = record.start or record.old_commit
    trees = dict(
        zip((record.new_commit, old), _find_trees(site, record.new_commit, old, record.id), strict=True)
    )
    place = _find_branch(site, record)
    _check_present(site, record, place.head)
    if place.head != record.new_commit:
        return WayBack(place, place.head, "", _invert(site, record, place.head), place.head, exact=False)
    if record.place == "new" and place.kind == "branch":
        # Nobody is on it: it goes away as it came.
        tree = tree_of(site.git, record.start)
        return WayBack(Place("new", place.branch, place.head), place.head, "", tree, record.start, exact=True)
    commit = record.old_commit or record.start
    tree = trees.get(commit) or tree_of(site.git, commit)
    return WayBack(place, place.head, commit, tree, place.head, exact=True, old_tree=trees[place.head])


def _make_again(site: Site, record: PromotionRecord) -> WayBack:
    """Undo the removal of a branch."""
    _find_trees(site, record.old_commit, record.start, record.id)
    if site.commit_of(record.branch):
        raise DriftError(
            f"there is a branch {short(record.branch)} again; nothing was changed", code="drift.branch_exists"
        )
    refuse_unless_writable(site)
    place = Place("new", record.branch, record.start)
    return WayBack(
        place, "", record.old_commit, tree_of(site.git, record.old_commit), record.start, exact=True
    )


def _find_branch(site: Site, record: PromotionRecord) -> Place:
    try:
        return find_branch(site, record.branch)
    except NotFound as error:
        raise DriftError(
            f"the branch {short(record.branch)} is gone; there is nothing to undo",
            code="drift.rewritten",
            hint=f"git branch {short(record.branch)} {record.new_commit[:12]} brings it back",
        ) from error


def _find_trees(site: Site, new: str, old: str, id: str) -> tuple[str, ...]:  # noqa: A002
    found = find_trees(site.git, new, old)
    if not found:
        raise DriftError(f"the commits of {id} are not in the repository any more", code="undo.collected")
    return found


def _check_present(site: Site, record: PromotionRecord, head: str) -> None:
    if not site.is_ancestor(record.new_commit, head):
        raise DriftError(
            f"{short(record.branch)} does not have {record.new_commit[:12]} any more; there is nothing to undo",
            code="drift.rewritten",
            where=[f"{short(record.branch)} is at {head[:12]}"],
            hint=f"git log {record.new_commit[:12]} shows what was promoted",
        )


def _invert(site: Site, record: PromotionRecord, head: str) -> str:
    """Merge the way back with what came after, on trees that hold the promoted paths and nothing else.

    So a rename that somebody made since is a conflict here, and never leads the inverse to a path that was not
    promoted. (Git's merge cannot be told to leave renames alone before 2.43.)
    """
    store = site.store
    way_back = compare_trees(store, record.new_commit, record.old_commit or record.start)
    since = {each.path: each.new for each in compare_trees(store, record.new_commit, head)}
    sides = (
        {each.path: each.old for each in way_back},
        {each.path: since.get(each.path, each.old) for each in way_back},
        {each.path: each.new for each in way_back},
    )
    base, ours, theirs = (write_tree(site, {path: e for path, e in side.items() if e}) for side in sides)
    merged = merge(store, base, ours, theirs)
    changed = {each.path: each.new for each in compare_trees(store, ours, merged)}
    result = write_tree(site, changed, start=tree_of(store, head)) if changed else tree_of(store, head)
    _check_confined(site, head, result, sides[0].keys())
    return result


def _check_confined(site: Site, head: str, result: str, promoted: Collection[str]) -> None:
    """Git drops a directory from an index to make room for a file of its name, and the other way round."""
    lost = [each.path for each in compare_trees(site.store, head, result) if each.path not in promoted]
    if lost:
        raise DriftError(
            "later commits have a directory where a file must return, or a file for a directory; nothing was changed",
            code="drift.conflict",
            where=[name_path(path, "was committed since and is in the way") for path in lost],
        )
