"""Questions to git that do not depend on one another: asked at the same time, each answered when it is needed."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

from nightcrew.promote.index import Compared, compare_index
from nightcrew.promote.objects import Identities, read_identities
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.transaction import PINS

_AT_ONCE: Final = 3
"""Each is a process of a few milliseconds."""


class Ahead:
    """What a promotion will want to know of the user's repository, whatever it promotes.

    Args:
        site: where.
        name: of the promotion.

    Use it as a context manager; leaving it waits for what nobody has asked for.
    """

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._aside = ThreadPoolExecutor(_AT_ONCE)
        self._compared: Future[Compared] | None = None
        self._names = self._aside.submit(read_identities, site)
        self._configured = self._aside.submit(site.configured)
        self._pinned = self._aside.submit(site.commit_of, PINS + name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.shutdown()

    def begin_comparison(self, commit: str) -> None:
        """Compare the index with the commit that is checked out."""
        self._compared = self._aside.submit(compare_index, self._site.git, commit)

    def names(self) -> Identities:
        """Return whom commits are by."""
        return self._names.result()

    def configured(self) -> Configured:
        """Return what the user's configuration says."""
        return self._configured.result()

    def is_pinned(self) -> bool:
        """Tell whether a transaction of this name has kept something."""
        return bool(self._pinned.result())

    def compared(self) -> Compared | None:
        """Return the comparison, None when none was begun."""
        return self._compared.result() if self._compared is not None else None
