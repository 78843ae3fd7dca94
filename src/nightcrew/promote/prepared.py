"""What a promotion would do: the value between prepare and publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightcrew.model.actions import PathChange
from nightcrew.promote.objects import Difference
from nightcrew.promote.target import Kind


@dataclass(frozen=True, slots=True)
class Prepared:
    """A promotion or undo, ready to be published. Nothing of it is in the user's repository yet.

    Attributes:
        id: ``M-31``.
        kind: ``commit`` (new commits on top of ``old_commit``) or ``restore`` (the branch returns to ``new_commit``).
        place: ``here`` (branch, index and working tree), ``branch`` (the ref alone), ``new`` (a ref is made; its undo removes it).
        branch: full ref name.
        base_commit: what the work started from; for an undo, the promotion's own commit.
        old_commit, new_commit, tree: where the branch is, where it will be, the tree it will have. ``old_commit`` is empty
            where the branch is made, ``new_commit`` where it is removed.
        start: the commit that ``paths`` are relative to: ``old_commit``, or what a new branch starts from.
        commits: the new ones, in order.
        hooks: the user's own hooks of a commit are run.
        untracked: files that git did not know when the work started: path → entry as the work found it.
        paths: all paths that differ between the two, sorted; ``changes`` says how.
        merged: the branch had moved on: ``tree`` is a three-way merge and was not itself verified.
        notes: what a person should know, in words: hooks not run, paths not written, who the author is.
        transaction: name of the transaction directory; belongs into the PromotionRecord.
        undo_of: id of the promotion that this takes back.
        undone: its transaction, where that is still known.
        hook_paths: of ``paths`` those that git runs as a hook, by the user's configuration.
        git_paths: those, and others that git runs or obeys because the user's settings or hooks name them; beside each
            the files on the way to it, in words, where it is not named itself.
        base_tree: what branch and work both come from: the base with what was promoted before; empty when nothing was merged.
    """

    id: str
    kind: str
    branch: str
    base_commit: str
    old_commit: str
    new_commit: str
    tree: str
    paths: tuple[str, ...]
    changes: tuple[PathChange, ...]
    merged: bool
    notes: tuple[str, ...]
    transaction: str
    undo_of: str = ""
    undone: str = ""
    place: Kind = "here"
    start: str = ""
    commits: tuple[str, ...] = ()
    untracked: tuple[tuple[str, str], ...] = ()
    hooks: bool = False
    hook_paths: tuple[str, ...] = ()
    git_paths: Mapping[str, str] = field(default_factory=dict)
    base_tree: str = ""

    @property
    def compared(self) -> tuple[str, str]:
        """What ``paths`` are the differences of: commit or tree before, and after."""
        return (self.start, self.tree) if self.new_commit else (self.old_commit, self.start)


def describe_changes(differences: tuple[Difference, ...]) -> tuple[PathChange, ...]:
    """Return differences as the values that the rest of the product speaks."""
    return tuple(_describe(each) for each in sorted(differences, key=lambda each: each.path))


def _describe(each: Difference) -> PathChange:
    old_mode, _, old_id = each.old.partition(" ")
    new_mode, _, new_id = each.new.partition(" ")
    kind = "modified"
    if not each.old:
        kind = "added"
    elif not each.new:
        kind = "deleted"
    elif old_mode[:2] != new_mode[:2]:
        kind = "typechange"
    return PathChange(
        path=each.path,
        kind=kind,
        old_mode=int(old_mode or "0", 8),
        new_mode=int(new_mode or "0", 8),
        old_id=old_id,
        new_id=new_id,
    )


def differences_of(changes: tuple[PathChange, ...]) -> tuple[Difference, ...]:
    """Return changes as differences again: ``describe_changes`` the other way round."""
    return tuple(
        Difference(
            each.path,
            f"{each.old_mode:06o} {each.old_id}" if each.old_id else "",
            f"{each.new_mode:06o} {each.new_id}" if each.new_id else "",
        )
        for each in changes
    )
