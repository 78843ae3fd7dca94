"""Prepares the way back: exact while nothing came after, else the inverse as a new commit."""

from __future__ import annotations

from nightcrew.host.git import Git
from nightcrew.model.errors import DriftError, UsageError
from nightcrew.model.records import PromotionRecord
from nightcrew.promote.objects import has_commits, merge, tree_of
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
    return _invert(site.store, record, head)


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


def _invert(store: Git, record: PromotionRecord, head: str) -> str:
    trees = [tree_of(store, commit) for commit in (record.new_commit, head, record.old_commit)]
    return merge(store, trees[0], trees[1], trees[2], renames=False)
