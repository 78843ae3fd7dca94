"""Which added paths would git ignore, by the rules of a base tree and of nobody else.

An agent edits ``.gitignore`` like any other file; its edits decide nothing here. The one exception is a *new*
directory that ignores itself whole (``.gitignore`` with a ``*`` line): virtualenv, pytest, mypy and ruff mark their
caches that way, and leaving such a directory out of a promotion takes nothing from the user.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.rulefiles import find_rules, lay_out
from nightcrew.checkpoint.trees import TreeReader
from nightcrew.host import files, tokens
from nightcrew.host.git import Git

RULES: Final = b".gitignore"


class IgnoreRules:
    """The ignore rules of one base tree.

    Args:
        reader: reads trees; read: reads blobs.
        base_tree: the tree whose ``.gitignore`` files count, nested ones too.
        scratch: directory of ours where the rule files are laid out for git for a moment.
        git_for: makes a git on our store with a given working tree.
    """

    def __init__(
        self,
        reader: TreeReader,
        read: Callable[[str], bytes],
        base_tree: str,
        scratch: Path,
        git_for: Callable[[str], Git],
    ) -> None:
        self._reader = reader
        self._read = read
        self._base_tree = base_tree
        self._scratch = scratch
        self._git_for = git_for

    def select(self, added: Collection[bytes], new_blob: Callable[[bytes], bytes]) -> set[bytes]:
        """Return those of the added paths that are ignored.

        Args:
            added: paths that the base tree does not have.
            new_blob: content of an added path; asked only for rule files in new directories.
        """
        chosen = self._by_base(added) if added else set()
        roots = tuple(self._self_ignoring(added, new_blob))
        if roots:
            chosen |= {path for path in added if path.startswith(roots)}
        return chosen

    def _by_base(self, added: Collection[bytes]) -> set[bytes]:
        rules = find_rules(self._reader, self._read, self._base_tree, RULES, added)
        if not rules:
            return set()
        place = self._scratch / f"ignore-{tokens.nonce()}"
        try:
            lay_out(place, RULES, rules)
            return _ask_git(self._git_for(str(place)), added)
        finally:
            files.remove_tree(place, inside=self._scratch)

    def _self_ignoring(self, added: Iterable[bytes], new_blob: Callable[[bytes], bytes]) -> Iterator[bytes]:
        for path in added:
            directory, _, name = path.rpartition(b"/")
            if name != RULES or not directory or self._reader.find(self._base_tree, directory) is not None:
                continue
            lines = [line.strip() for line in new_blob(path).splitlines()]
            if b"*" in lines and not any(line.startswith(b"!") for line in lines):
                yield directory + b"/"


def _ask_git(git: Git, paths: Iterable[bytes]) -> set[bytes]:
    # "./" keeps a name that starts with ":" from being read as pathspec magic, which check-ignore cannot switch off.
    asked = b"".join(b"./" + path + b"\0" for path in paths)
    done = git.run("check-ignore", "--no-index", "--stdin", "-z", input=asked, check=False)
    return {name.removeprefix(b"./") for name in done.stdout.split(b"\0") if name}
