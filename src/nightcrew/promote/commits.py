"""Makes the commits of a promotion in our store: one or several, on top of a branch or joined to it by a merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nightcrew.model.errors import StaleError, UsageError
from nightcrew.promote.ahead import Ahead
from nightcrew.promote.objects import (
    Identities,
    add_trailer,
    compare_trees,
    make_commit,
    merge,
    tree_of,
    write_tree,
)
from nightcrew.promote.site import Site, short
from nightcrew.promote.target import Place, Target


@dataclass(frozen=True, slots=True)
class Step:
    """One commit to make.

    Attributes:
        tree: what the base has together with this step and all before it; promotable paths only.
        message: of the commit; a trailer with the promotion's id is added.
        author: ``Name <mail>``, empty for the user's own.
    """

    tree: str
    message: str
    author: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """Commits that are made and that nobody sees yet.

    Attributes:
        commits: in order, the last one is where the branch shall go.
        tree: its tree.
        untracked: files that git did not know when the work started and that it changed: path → entry as the work found it.
        nobody: the user's configuration names no committer.
        base: tree that a merge with the branch started from; empty when there was none.
    """

    commits: tuple[str, ...]
    tree: str
    untracked: Mapping[str, str] = field(default_factory=dict)
    nobody: bool = False
    base: str = ""


def make_commits(
    site: Site,
    name: str,
    place: Place,
    base_commit: str,
    steps: Sequence[Step],
    target: Target,
    ahead: Ahead,
) -> Made:
    """Make the commits of a promotion.

    Args:
        site, name: where, and the id of the promotion.
        place: the branch.
        base_commit: what the trees of the steps are made on.
        steps: at least one.
        target: how they come onto a branch that has moved on, and what of the same work it has already.
        ahead: gives whom the commits are by, when that is needed, and trees.

    Raises:
        StaleError: the branch has all of it already.
        DriftError: conflicts with what came to the branch since ``base_commit``.
        UsageError: a merge is asked for with a base that is no commit of the user's.
    """
    if target.join == "merge" and place.head != base_commit:
        return _join(site, name, place, base_commit, steps, ahead.names())
    ours = ahead.tree_of(place.head)
    base, untracked = "", dict[str, str]()
    if place.head == base_commit:
        trees = [step.tree for step in steps]
    else:
        start, untracked = _add_untracked(site, base_commit, ours, steps[-1].tree)
        # What was promoted before is in the work, and on the branch too. Were the merge to start from before it, git would see two
        # different changes of one place where new work stands right beside it, and bring back what the user took out since.
        base = target.earlier or tree_of(site.store, base_commit)
        trees = [merge(site.store, base, start, step.tree) for step in steps]
    commits = _chain(site, name, place.head, ours, list(zip(steps, trees, strict=True)), ahead.names())
    if not commits:
        raise StaleError(
            f"{short(place.branch)} has all of this already; nothing was changed", code="promote.empty"
        )
    return Made(tuple(commits), trees[-1], untracked, ahead.names().made_up, base)


def _chain(
    site: Site,
    name: str,
    parent: str,
    tree: str,
    steps: Sequence[tuple[Step, str]],
    names: Identities,
) -> list[str]:
    """Make one commit on the other; a step that changes nothing makes none."""
    commits: list[str] = []
    for step, made in steps:
        if made == tree:
            continue
        text = add_trailer(step.message, "Nightcrew-Promotion", name)
        commits.append(
            make_commit(
                site, made, [*commits[-1:], *([] if commits else [parent])], text, names.sign(step.author)
            )
        )
        tree = made
    return commits


def _join(
    site: Site,
    name: str,
    place: Place,
    base_commit: str,
    steps: Sequence[Step],
    names: Identities,
) -> Made:
    if not site.commit_of(base_commit):
        raise UsageError(
            "the work started from edits that are not committed: there is no commit to merge from; nothing was changed",
            code="promote.no_base",
            hint="leave --merge out",
        )
    base, ours = tree_of(site.store, base_commit), tree_of(site.store, place.head)
    commits = _chain(site, name, base_commit, base, [(step, step.tree) for step in steps], names)
    tree = merge(site.store, base, ours, steps[-1].tree)
    if not commits or tree == ours:
        raise StaleError(
            f"{short(place.branch)} has all of this already; nothing was changed", code="promote.empty"
        )
    text = add_trailer(f"Merge {steps[-1].message}", "Nightcrew-Promotion", name)
    merged = make_commit(site, tree, [place.head, commits[-1]], text, names.sign(""))
    return Made((*commits, merged), tree, {}, names.made_up)


def _add_untracked(site: Site, base_commit: str, ours: str, result: str) -> tuple[str, dict[str, str]]:
    """Where the work started from uncommitted edits: give the branch those files that git does not know yet.

    Without them, an agent's edit of such a file would be an edit of something that the branch does not have. With them it lands as
    a new file, together with what the user had written into it.
    """
    if site.commit_of(base_commit):
        return ours, {}
    base = tree_of(site.store, base_commit)
    touched = {each.path for each in compare_trees(site.store, base, result) if each.old and each.new}
    unknown = {
        each.path: each.new
        for each in compare_trees(site.store, ours, base)
        if not each.old and each.path in touched
    }
    return (write_tree(site, unknown, start=ours) if unknown else ours), unknown
