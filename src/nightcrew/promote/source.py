"""Where the contents of new files come from: read ahead and as they are, or through the user's own filters."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future

from nightcrew.promote.content import Content, Converter, find_converted
from nightcrew.promote.objects import Difference
from nightcrew.promote.site import Configured, Site


class Source:
    """Contents for the paths of a change.

    Args:
        site: the user's repository and our store.
        aside: where to read ahead.
        objects: done when the new objects are in the user's repository; filters are run there.
        coming: the differences that have something new, in the order in which they will be asked for.
        configured: what the user's configuration says.
        raw: convert nothing.
        ahead: read from our store, ahead; otherwise from the user's repository, one by one (an undo finds most of it in slots).
    """

    def __init__(
        self,
        site: Site,
        aside: Executor,
        objects: Future[None],
        coming: Sequence[Difference],
        configured: Configured,
        *,
        raw: bool,
        ahead: bool,
    ) -> None:
        self._site = site
        self._objects = objects
        self._files = [each.path for each in coming if each.new.startswith("100")]
        self._converted: Future[set[str]] | None = None
        if not raw:
            self._converted = aside.submit(find_converted, site, self._files, configured)
        self._content = Content(site.store, [each.new[7:] for each in coming], aside) if ahead else None
        self._converter = Converter(site.git)

    def read(self, path: str, object_id: str) -> bytes:
        """Return what is to stand at a path.

        Raises:
            GitError: a filter that is required fails.
            NotFound: the content is not there any more.
        """
        if self._converted is not None and path in self._converted.result():
            self._objects.result()
            return self._converter.read(path, object_id)
        if self._content is not None:
            return self._content.read(object_id)
        # Merged with an edit of the user's it is in our store; else in theirs, which the store may not reach (odd paths).
        git = self._site.git if path else self._site.store
        return git.run("cat-file", "blob", object_id, max_output_bytes=1 << 36).stdout

    def close(self) -> None:
        """End what was started."""
        self._converter.close()
