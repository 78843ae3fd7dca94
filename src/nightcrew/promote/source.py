"""Where the contents of new files come from: read ahead and as they are, or through the user's own filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

from nightcrew.promote.content import Content, Converter
from nightcrew.promote.objects import Difference
from nightcrew.promote.parcel import Parcel
from nightcrew.promote.site import Configured, Site


class Source:
    """Contents for the paths of a change.

    Args:
        site: the user's repository and our store.
        aside: where to read ahead.
        objects: done when the new objects are in the user's repository; filters are run there.
        coming: the differences that have something new, in the order in which they will be asked for.
        configured: what the user's configuration says.
        converts: tells which of some paths have another content on disk than in git; None: convert nothing.
        parcel: the new objects, out of which contents are read, and from our store what is not in it; None: from the
            user's repository, one by one (an undo finds most of it in slots).
    """

    def __init__(
        self,
        site: Site,
        aside: Executor,
        objects: Future[None],
        coming: Sequence[Difference],
        configured: Configured,
        *,
        converts: Callable[[Site, Sequence[str], Configured], set[str]] | None,
        parcel: Parcel | None,
    ) -> None:
        self._site = site
        self._aside = aside
        self._objects = objects
        self._files = [each.path for each in coming if each.new.startswith("100")]
        self._configured = configured
        self._converts = converts
        self._converted: Future[set[str]] | None = None
        self._parcel = parcel
        if parcel is not None:
            self._find_converted()
        self._wanted = [each.new[7:] for each in coming]
        self._content: Content | None = None
        self._converter = Converter(site.git)

    def read(self, path: str, object_id: str) -> tuple[bytes, str]:
        """Return what is to stand at a path, and its id where that was made sure of; else empty.

        Raises:
            GitError: a filter that is required fails.
            NotFound: the content is not there any more.
        """
        converted = self._find_converted()
        if converted is not None and path in converted.result():
            self._objects.result()
            return self._converter.read(path, object_id), ""
        if self._parcel is not None:
            found = self._parcel.contents()
            if object_id in found:
                return found[object_id], object_id
            return self._read_ahead(object_id), ""
        # Merged with an edit of the user's it is in our store; else in theirs, which the store may not reach (odd paths).
        git = self._site.git if path else self._site.store
        return git.run("cat-file", "blob", object_id, max_output_bytes=1 << 36).stdout, ""

    def _find_converted(self) -> Future[set[str]] | None:
        """Ask which contents are another on disk, once; an undo may not need to know."""
        if self._converted is None and self._converts is not None:
            self._converted = self._aside.submit(self._converts, self._site, self._files, self._configured)
        return self._converted

    def _read_ahead(self, object_id: str) -> bytes:
        """Read what the pack did not give: all of that is asked for in the order in which it will be needed."""
        if self._content is None:
            found = self._parcel.contents() if self._parcel is not None else {}
            left = [each for each in self._wanted if each not in found]
            self._content = Content(self._site.store, left, self._aside)
        return self._content.read(object_id)

    def close(self) -> None:
        """End what was started."""
        self._converter.close()
