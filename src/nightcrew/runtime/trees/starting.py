"""Where a run starts from: HEAD, HEAD with the user's uncommitted work, or a snapshot of a directory without git."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nightcrew.model.errors import DeniedByPolicy, DriftError
from nightcrew.model.text import count, shown
from nightcrew.model.trees import Repository

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.runtime.parts import Parts

BASES: Final = "refs/nightcrew/bases/"
"""Refs of our store that keep the snapshots runs start from, by run id."""
_LOOKED_AT_BYTES: Final = 1 << 20
"""Files above this are data; secrets are looked for in what a person writes."""
_NAMED_AT_MOST: Final = 10


@dataclass(frozen=True, slots=True)
class Start:
    """What a run starts from.

    Attributes:
        repository: where.
        commit, tree: full ids of the base.
        head: the user's commit under a snapshot of uncommitted work; empty when the base is no such snapshot.
        included: paths of that work.
        notes: what a person should know, one line each.
    """

    repository: Repository
    commit: str
    tree: str
    head: str = ""
    included: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_start(parts: Parts, *, include_dirty: bool) -> Start:
    """Find the repository around the working directory and what a run there would start from.

    Raises:
        NotFound, UsageError: no directory, or one that cannot be worked in.
        DriftError: uncommitted work is asked for while conflicts wait to be resolved.
        DeniedByPolicy: the uncommitted work holds what looks like a secret.
    """
    repository = parts.repository_to_start()
    if repository.private:
        return _snapshot_directory(parts, repository)
    if include_dirty:
        return _include_uncommitted(parts, repository)
    tree = parts.git(repository).text("rev-parse", f"{repository.head}^{{tree}}")
    return Start(repository, repository.head, tree)


def _snapshot_directory(parts: Parts, repository: Repository) -> Start:
    from nightcrew.checkpoint.history import update_history
    from nightcrew.runtime.settling import publication_lock

    with publication_lock(parts.state_of(repository)):
        update = update_history(parts.refresh(repository), parts.env.variables, parts.clock.now())
    repository = parts.refresh(update.repository)
    store = parts.store(repository)
    tree = store.tree_of(repository.head)
    notes = [
        f"{repository.root} is not a git repository: the base is a snapshot of it, kept in nightcrew's own state",
        *_tell_left_out(update.left_out),
    ]
    if found := list(find_secrets_in(store, tree, "", update.paths)):
        notes += [
            "tasks can read what looks like a secret; a .gitignore there keeps files out:",
            *_cut(found),
        ]
    return Start(repository, repository.head, tree, notes=tuple(notes))


def _include_uncommitted(parts: Parts, repository: Repository) -> Start:
    from nightcrew.checkpoint.snapshot import snapshot_uncommitted

    store = parts.store(repository)
    taken = snapshot_uncommitted(repository, store.path, parts.env.variables, state=parts.env.state)
    head_tree = store.tree_of(repository.head)
    notes = _tell_left_out(taken.left_out)
    if taken.tree == head_tree:
        return Start(repository, repository.head, head_tree, notes=("nothing is uncommitted", *notes))
    found = list(find_secrets_in(store, taken.tree, head_tree, taken.paths))
    if found:
        raise DeniedByPolicy(
            "uncommitted work holds what looks like a secret, and tasks would read it; nothing was started",
            code="snapshot.secret",
            where=_cut(found),
            hint="keep the file out with .gitignore or .git/info/exclude, or run without --include-dirty",
        )
    message = f"{count(len(taken.paths), 'uncommitted path')} on top of {repository.head}"
    commit = store.commit(taken.tree, parents=[repository.head], message=message, at=parts.clock.now())
    return Start(repository, commit, taken.tree, repository.head, taken.paths, tuple(notes))


def tell_about_promotion(repository: Repository) -> Iterator[str]:
    """Yield what would keep the results from landing, better known in the evening than in the morning."""
    if not repository.branch:
        yield "HEAD is detached: to promote, check out a branch first, or use `promote --new-branch NAME`"
    if not os.access(repository.root, os.W_OK) or not os.access(repository.git_dir, os.W_OK):
        yield f"{repository.root} cannot be written to: results can be taken out with `promote --patch FILE` only"


def keep_base(parts: Parts, run: str, start: Start) -> str:
    """Keep what a run starts from as long as the run needs it; return why that failed, in words, or nothing.

    The user's commit gets a ref in the user's repository, so that no garbage collection takes it away; a snapshot of
    ours gets one in our store. Without them the run works all the same until somebody rewrites history and collects.
    """
    if start.head:
        from nightcrew.checkpoint.layout import write_ref

        write_ref(parts.store(start.repository).path, BASES + run, start.commit)
    try:
        parts.promoter(start.repository).pin(run, start.head or start.commit)
    except DriftError as error:
        return f"the base commit is not protected from garbage collection: {error.message}"
    # Where the repository cannot be written to, nothing is collected either, and the plan has said so.
    return ""


def find_secrets_in(store: Store, tree: str, old_tree: str, paths: Iterable[str]) -> Iterator[str]:
    """Yield ``path:line: what it looks like`` for secrets that a tree has and the old tree has not.

    Args:
        old_tree: empty for none.
    """
    from nightcrew.policy.secrets import redact

    for path in paths:
        data = store.read(tree, path)
        if not data or len(data) > _LOOKED_AT_BYTES or b"\0" in data:
            continue
        text = data.decode("utf-8", "replace")
        redacted = redact(text)
        if redacted == text:
            continue
        old = store.read(old_tree, path) if old_tree else None
        known = set((old or b"").decode("utf-8", "replace").splitlines())
        pairs = zip(text.splitlines(), redacted.splitlines(), strict=False)
        for number, (line, blotted) in enumerate(pairs, 1):
            if line != blotted and line not in known:
                yield f"{shown(path)}:{number}: {shown(blotted.strip())[:100]}"
                break


def _tell_left_out(left_out: Iterable[str]) -> list[str]:
    return [f"left out: {line}" for line in _cut([shown(each) for each in left_out])]


def _cut(lines: list[str]) -> list[str]:
    more = len(lines) - _NAMED_AT_MOST
    return [*lines[:_NAMED_AT_MOST], f"and {more} more"] if more > 0 else lines
