"""Questions to git that do not depend on one another: asked at the same time, each answered when it is needed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from nightcrew.promote.index import Compared, compare_index
from nightcrew.promote.objects import (
    Differences,
    Identities,
    compare_whole_trees,
    read_identities,
    read_identity,
    tree_of,
)
from nightcrew.promote.site import Configured, Site

_AT_ONCE: Final = 6
"""Each is a process of a few milliseconds."""


class Ahead:
    """What a promotion will want to know of the user's repository, whatever it promotes.

    Args:
        site: where.

    Use it as a context manager; leaving it waits for what nobody has asked for.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._aside = ThreadPoolExecutor(_AT_ONCE)
        self._compared: Future[Compared] | None = None
        self._committer: Future[tuple[str, str, str]] | None = None
        self._identities: Identities | None = None
        self._trees: dict[str, Future[str]] = {}
        self._changes: dict[tuple[str, str], Future[Differences]] = {}
        self._configured = self._aside.submit(site.configured)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.shutdown()

    def begin_names(self) -> None:
        """Ask whom commits are by."""
        self._committer = self._aside.submit(read_identity, self._site.git, "COMMITTER")

    def begin_changes(self, old: str, new: str) -> None:
        """Compare two trees (or commits)."""
        self._changes[old, new] = self._aside.submit(compare_whole_trees, self._site.store, old, new)

    def begin_comparison(self, commit: str, tree: str = "") -> None:
        """Compare the index with the commit that is checked out; ``tree`` is that commit's, where it is known."""
        if tree:
            self._trees[commit] = Future()
            self._trees[commit].set_result(tree)
        else:
            self._trees[commit] = self._aside.submit(tree_of, self._site.store, commit)
        self._compared = self._aside.submit(self._compare, commit)

    def names(self) -> Identities:
        """Return whom commits are by."""
        if self._identities is None:
            if self._committer is None:
                self.begin_names()
            assert self._committer is not None
            self._identities = read_identities(self._site, self._committer.result(), self.configured())
        return self._identities

    def configured(self) -> Configured:
        """Return what the user's configuration says."""
        return self._configured.result()

    def tree_of(self, commit: str) -> str:
        """Return the tree of a commit."""
        if commit not in self._trees:
            return tree_of(self._site.store, commit)
        return self._trees[commit].result()

    def changes(self, old: str, new: str) -> Differences:
        """Return what two trees (or commits) have differently."""
        if (old, new) not in self._changes:
            self.begin_changes(old, new)
        return self._changes[old, new].result()

    def compared(self) -> Compared | None:
        """Return the comparison, None when none was begun."""
        return self._compared.result() if self._compared is not None else None

    def _compare(self, commit: str) -> Compared:
        return compare_index(self._site.git, commit, self.tree_of(commit))
