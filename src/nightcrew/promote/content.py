"""The bytes that files are made of: from git's objects, through the user's own conversions where attributes ask for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.host.procs import Conversation
from nightcrew.host.tokens import nonce
from nightcrew.model.errors import NightcrewError, NotFound
from nightcrew.promote.index import Reading
from nightcrew.promote.site import Configured, Site

_ATTRIBUTES: Final = ("text", "crlf", "eol", "filter", "ident", "working-tree-encoding")
_UNSET: Final = ("unspecified", "unset")

_AT_ONCE_BYTES: Final = 8 << 20
"""Contents are read ahead in groups of about so much; a larger file is a group of its own. Two groups are in memory."""
_AT_ONCE: Final = 2000
_HEADER_AT_MOST: Final = 128
"""``<id> blob <size>``, an id having at most 64 characters."""
_NAMED_AT_MOST: Final = 64 << 10
"""Bytes of names on a command line: with more, git reads them from its input, and flushes its answer after each."""
_FILTER_DEADLINE_S: Final = 600.0
"""One file through a filter; LFS may fetch it over the network."""


def touches_attributes(paths: Collection[str]) -> bool:
    """Tell whether a change holds a ``.gitattributes``, which could choose programs for other files."""
    return any(path.rpartition("/")[2].lower() == ".gitattributes" for path in paths)


def find_converted(
    site: Site, paths: Sequence[str], configured: Configured, index: Reading | None = None
) -> set[str]:
    """Return the paths whose content differs between git and disk: line ends, encodings, LFS and other filters.

    Args:
        index: what was read of the index, where it is known: git need not read it where there is nothing for it in there.
    """
    if not paths:
        return set()
    git = site.git
    if index is not None and _holds_no_attributes(site, index):
        git = site.with_index(site.home / "no-index")
    names = b"".join(os.fsencode(path) + b"\0" for path in paths)
    if len(names) <= _NAMED_AT_MOST:
        done = git.run("check-attr", "-z", *_ATTRIBUTES, "--", *paths)
    else:
        done = git.run("check-attr", "-z", "--stdin", *_ATTRIBUTES, input=names)
    fields = done.stdout.split(b"\0")
    attributes: dict[bytes, dict[bytes, bytes]] = {}
    for path, name, value in zip(fields[0::3], fields[1::3], fields[2::3], strict=False):
        if value != b"unspecified":
            attributes.setdefault(path, {})[name] = value
    return {
        path
        for path in paths
        if _is_converted(
            {os.fsdecode(k): os.fsdecode(v) for k, v in attributes.get(os.fsencode(path), {}).items()},
            configured,
        )
    }


def _holds_no_attributes(site: Site, index: Reading) -> bool:
    """Tell whether an index that is still the user's has no ``.gitattributes``, which git takes where the working tree has none.

    Only of one in which names stand as they are (version 2 or 3, and nothing but trees behind the entries).
    """
    if not index.is_unmoved(Path(site.repository.git_dir) / "index"):
        return False
    return index.is_plain and b".gitattributes\0" not in index.content


def _is_converted(found: Mapping[str, str], configured: Configured) -> bool:
    if any(found.get(name, _UNSET[0]) not in _UNSET for name in ("filter", "ident", "working-tree-encoding")):
        return True
    if found.get("eol") == "crlf":
        return True
    is_text = "unset" not in (found.get("text"), found.get("crlf"))
    return is_text and (configured.auto_crlf or configured.crlf)


class Content:
    """Contents in the order in which they will be asked for, read ahead in the background.

    Args:
        git: on the objects.
        wanted: ids, in that order.
        aside: where to read ahead.
    """

    def __init__(self, git: Git, wanted: Sequence[str], aside: Executor) -> None:
        self._git = git
        self._announced = frozenset(wanted)
        self._aside = aside
        self._read: dict[str, bytes] = {}
        self._groups: Future[list[list[str]]] = aside.submit(_group, git, list(dict.fromkeys(wanted)))
        self._number = 0
        self._next: Future[dict[str, bytes]] = aside.submit(self._fetch, 0)

    def read(self, object_id: str) -> bytes:
        """Return the content of a blob; one that was not announced is read by itself."""
        if object_id not in self._announced:
            return self._git.run("cat-file", "blob", object_id, max_output_bytes=1 << 36).stdout
        while object_id not in self._read:
            self._read = self._next.result()
            self._number += 1
            if self._number < len(self._groups.result()):
                self._next = self._aside.submit(self._fetch, self._number)
        return self._read[object_id]

    def _fetch(self, number: int) -> dict[str, bytes]:
        groups = self._groups.result()
        return _read_all(self._git, groups[number]) if number < len(groups) else {}


def _group(git: Git, wanted: list[str]) -> list[list[str]]:
    if not wanted:
        return []
    asked = "\n".join(wanted).encode("ascii")
    answers = git.run("cat-file", "--batch-check=%(objectsize)", input=asked).stdout.split(b"\n")
    groups: list[list[str]] = []
    left = 0
    for object_id, answer in zip(wanted, answers, strict=False):
        size = int(answer) if answer.isdigit() else 0
        if not groups or size > left or len(groups[-1]) >= _AT_ONCE:
            groups.append([])
            left = _AT_ONCE_BYTES
        groups[-1].append(object_id)
        left -= size
    return groups


def _read_all(git: Git, some: list[str]) -> dict[str, bytes]:
    done = git.run("cat-file", "--batch", input="\n".join(some).encode("ascii"), max_output_bytes=1 << 36)
    data = memoryview(done.stdout)
    found, position = {}, 0
    for object_id in some:
        end = position + bytes(data[position : position + _HEADER_AT_MOST]).index(b"\n")
        told = bytes(data[position:end]).rpartition(b" ")[2]
        if not told.isdigit():
            raise NotFound(f"the content {object_id[:12]} is not there any more", code="promote.collected")
        size = int(told)
        found[object_id] = bytes(data[end + 1 : end + 1 + size])
        position = end + size + 2
    return found


class Converter:
    """Contents as the user's checkout would write them; one git for all of them, and so one process of each filter."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._talk: Conversation | None = None

    def read(self, path: str, object_id: str) -> bytes:
        """Return the converted content of a path.

        Raises:
            GitError: a filter that is required fails.
        """
        # Git tells the size before the filter. The end is told by the answer to a question that nobody could foresee.
        end = f"no-{nonce()}"
        question = b"%b %b\0%b\0" % (object_id.encode(), os.fsencode(path), end.encode())
        try:
            with self._open() as talk:
                talk.send(question)
                talk.receive_line(timeout_s=_FILTER_DEADLINE_S)
                return talk.receive_until(f"\n{end} missing\n".encode(), timeout_s=_FILTER_DEADLINE_S)
        except NightcrewError as error:
            if error.code != "program.ended":
                raise
            # It ended over this file: asked for this one alone, it says why.
            self.close()
            return self._git.run("cat-file", "--filters", f"--path={path}", object_id).stdout

    def close(self) -> None:
        """End git."""
        if self._talk is not None:
            self._talk.end()
            self._talk = None

    def _open(self) -> Conversation:
        if self._talk is None:
            argv = self._git.argv("cat-file", "--batch", "--filters", "-z")
            self._talk = Conversation(argv, env=self._git.environment(), cwd=Path(self._git.cwd))
        return self._talk
