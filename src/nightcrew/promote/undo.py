"""Prepares the way back: exact while nothing came after, else the inverse as a new commit."""

from __future__ import annotations

from collections.abc import Collection

from nightcrew.model.errors import DriftError, UsageError
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.comparison import name_path
from nightcrew.promote.objects import compare_trees, has_commits, merge, tree_of, write_tree
from nightcrew.promote.site import Site, short


def plan_undo(site: Site, record: PromotionRecord, branch: str, head: str) -> str:
    """Return the tree the branch shall have after the undo of ``record``.

    Raises:
        UsageError: the promotion has not been published.
        DriftError: another branch is checked out, the branch no longer has the promotion, its commits are gone, or
            later commits conflict with its inverse (each path is named); nothing was changed.
    """
    if record.state != "published":
        raise UsageError(f"{record.id} is {record.state}, not published", code="undo.state")
    if branch != record.branch:
        raise DriftError(
            f"{record.id} is on {short(record.branch)}, but {short(branch)} is checked out; nothing was changed",
            code="drift.branch",
            hint=f"git switch {short(record.branch)}",
        )
    _check_present(site, record, head)
    if head == record.new_commit:
        return tree_of(site.git, record.old_commit)
    return _invert(site, record, head)


def _check_present(site: Site, record: PromotionRecord, head: str) -> None:
    if not has_commits(site.git, record.new_commit, record.old_commit):
        raise DriftError(
            f"the commits of {record.id} are not in the repository any more", code="undo.collected"
        )
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
    way_back = compare_trees(store, record.new_commit, record.old_commit)
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
