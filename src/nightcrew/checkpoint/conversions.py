"""What git would do to a file's bytes on their way in, by the attributes of the base tree and the user's settings.

Line endings, ``$Id$`` and encodings are converted, by git itself, so that a capture is what the user's ``git add``
would have stored. Programs (``filter=lfs``, ``filter=git-crypt``) are *not* run on what an agent wrote: a change to
such a file is refused, because its plain content must not take the place of what the filter makes of it. As with
ignore rules, an agent's own edits of ``.gitattributes`` decide nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightcrew.checkpoint.objects import MODE_EXECUTABLE, MODE_FILE
from nightcrew.checkpoint.rulefiles import find_rules, lay_out
from nightcrew.checkpoint.trees import TreeReader
from nightcrew.host import files, tokens
from nightcrew.host.git import Git
from nightcrew.model.trees import Repository

RULES: Final = b".gitattributes"
_ASKED: Final = ("text", "crlf", "eol", "ident", "working-tree-encoding", "filter")
_NO: Final = ("unspecified", "unset")

Attributes = dict[bytes, dict[str, str]]
"""Path → attribute → value."""


class FilterRefused(Exception):
    """The file belongs to a filter program of the user."""


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The user's git settings that bear on content.

    Attributes:
        crlf, eol: ``core.autocrlf`` and ``core.eol``, empty when not set.
        attributes: machine-wide rules and those of the repository alone, as one text.
        filters: names of filters that have a program to clean with.
    """

    crlf: str = ""
    eol: str = ""
    attributes: bytes = b""
    filters: frozenset[str] = frozenset()

    @property
    def converts_unasked(self) -> bool:
        """Tell whether line endings are converted where no attribute says so."""
        return self.crlf.lower() in ("true", "input", "yes", "on", "1")


def read_user_settings(git: Git, repository: Repository, env: Mapping[str, str]) -> UserSettings:
    """Read the settings; ``git`` is git on the user's repository, trusted."""
    listed = git.run("config", "--list", "--includes", "-z").stdout.split(b"\0")
    pairs = [os.fsdecode(row).partition("\n") for row in listed if row]
    values = {key: value if line else "true" for key, line, value in pairs}
    home = env.get("XDG_CONFIG_HOME") or f"{env.get('HOME', '')}/.config"
    machine = Path(values.get("core.attributesfile") or f"{home}/git/attributes").expanduser()
    own = Path(repository.common_dir) / "info/attributes"
    names = {key[len("filter.") :].rpartition(".")[::2] for key in values if key.startswith("filter.")}
    return UserSettings(
        crlf=values.get("core.autocrlf", ""),
        eol=values.get("core.eol", ""),
        attributes=b"\n".join(_read(place) for place in (machine, own)),
        filters=frozenset(name for name, what in names if what in ("clean", "process")),
    )


class Conversions:
    """The conversions of one capture.

    Args:
        reader: reads trees; read: reads blobs.
        base_tree: the tree whose ``.gitattributes`` files count.
        settings: the user's.
        scratch: directory of ours where rule files are laid out for git for a moment.
        git_for: makes a git on our store with a given working tree.
        known: attributes that earlier captures on the same base tree have learned, by path; added to.
        ruleless: directories in which they learned that no rule says anything of any file; added to.
    """

    def __init__(
        self,
        reader: TreeReader,
        read: Callable[[str], bytes],
        base_tree: str,
        settings: UserSettings,
        scratch: Path,
        git_for: Callable[[str], Git],
        known: Attributes,
        ruleless: set[bytes],
    ) -> None:
        self._reader = reader
        self._read = read
        self._base_tree = base_tree
        self._settings = settings
        self._git_for = git_for
        self._scratch = scratch
        self._attributes = known
        self._ruleless = ruleless

    def learn(self, paths: Collection[bytes]) -> None:
        """Find out the attributes of these paths; without any rule this costs a few look-ups and no process."""
        known, ruleless = self._attributes, self._ruleless
        new = [path for path in paths if path not in known and path.rpartition(b"/")[0] not in ruleless]
        if not new:
            return
        rules = self._find_rules(new)
        if not (rules or self._settings.converts_unasked):
            ruleless.update(path.rpartition(b"/")[0] for path in new)
            return
        asked = b"".join(path + b"\0" for path in new)
        with self._laid_out(rules) as git:
            done = git.run("check-attr", "--stdin", "-z", *_ASKED, input=asked)
        fields = done.stdout.split(b"\0")[:-1]
        for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
            self._attributes.setdefault(path, {})[name.decode()] = os.fsdecode(value)

    def check(self, path: bytes) -> None:
        """Refuse a file that a filter program would have to clean.

        Raises:
            FilterRefused: it names the filter.
        """
        name = self._attributes.get(path, {}).get("filter", "unset")
        if name in self._settings.filters:
            raise FilterRefused(
                f"handled by the git filter {name!r}, which is not run on what an agent wrote"
            )

    def convert(self, path: bytes, data: bytes) -> str:
        """Store the converted content and return its id; empty when git would store the bytes as they are."""
        known = self._attributes.get(path)
        if known is None or not self._would_change(known, data, path):
            return ""
        settings = [
            ("core.autocrlf", self._settings.crlf or "false"),
            ("core.eol", self._settings.eol or "native"),
        ]
        words = [word for key, value in settings for word in ("-c", f"{key}={value}")]
        with self._laid_out(self._find_rules([path])) as git:
            done = git.run(*words, "hash-object", "-w", "--stdin", f"--path={os.fsdecode(path)}", input=data)
        return done.stdout.decode().strip()

    def _find_rules(self, paths: Collection[bytes]) -> dict[bytes, bytes]:
        rules = find_rules(self._reader, self._read, self._base_tree, RULES, paths)
        if self._settings.attributes.strip():
            rules[b""] = rules.get(b"", b"") + b"\n" + self._settings.attributes
        return rules

    @contextmanager
    def _laid_out(self, rules: Mapping[bytes, bytes]) -> Iterator[Git]:
        """Give a git that finds these rules in its working tree."""
        place = self._scratch / f"attributes-{tokens.nonce()}"
        try:
            lay_out(place, RULES, rules)
            yield self._git_for(str(place))
        finally:
            files.remove_tree(place, inside=self._scratch)

    def _would_change(self, known: Mapping[str, str], data: bytes, path: bytes) -> bool:
        if known["working-tree-encoding"] not in _NO:
            return True
        if known["ident"] == "set" and b"$Id" in data:
            return True
        if b"\r\n" not in data:
            return False
        explicit = "set" in (known["text"], known["crlf"]) or known["crlf"] == "input"
        # A file whose blob has CRLF already is left alone by automatic conversion; git looks that up in the index.
        return explicit or known["eol"] not in _NO or not self._has_crlf(path)

    def _has_crlf(self, path: bytes) -> bool:
        old = self._reader.find(self._base_tree, path)
        return old is not None and old.mode in (MODE_FILE, MODE_EXECUTABLE) and b"\r\n" in self._read(old.id)


def _read(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError:
        # Not there, or not readable: then git has no rules from it either.
        return b""
