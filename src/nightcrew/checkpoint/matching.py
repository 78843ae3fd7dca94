"""Which paths a person means by globs."""

from __future__ import annotations

from collections.abc import Sequence


class Matcher:
    """Tells whether a path is meant by one of the globs."""

    def __init__(self, globs: Sequence[str]) -> None:
        from pathspec import GitIgnoreSpec

        self._plain = tuple(glob.strip("/") for glob in globs)
        self._spec = GitIgnoreSpec.from_lines(globs)

    def __call__(self, path: str) -> bool:
        if any(path == plain or path.startswith(plain + "/") for plain in self._plain):
            return True
        return bool(self._spec.match_file(path))
