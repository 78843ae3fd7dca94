"""Which paths of the working tree the user's git starts, or obeys, because the user's own settings or hooks name them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from nightcrew.promote.calls import follow_calls

_STARTS: Final = re.compile(
    r"core\.(fsmonitor|sshcommand|editor|pager|askpass|gitproxy|attributesfile|alternaterefscommand)|sequence\.editor|"
    r"pager\..+|include\.path|includeif\..+\.path|alias\..+|filter\..+\.(clean|smudge|process)|diff\.external|"
    r"diff\..+\.(command|textconv)|merge\..+\.driver|(merge|diff|gui)tool\..+\.(cmd|path)|"
    r"gpg\.(.+\.)?(program|defaultkeycommand)|credential\.(.+\.)?helper|interactive\.difffilter|"
    r"trailer\..+\.(command|cmd)|(browser|man)\..+\.(cmd|path)|sendemail\..*cmd|submodule\..+\.update|"
    r"remote\..+\.(uploadpack|receivepack|vcs)|uploadpack\.packobjectshook|hook\..+\.command|"
    r"lfs\.customtransfer\..+\.path|lfs\.extension\..+\.(clean|smudge)",
    re.IGNORECASE,
)
"""Settings whose value is a command, or a file that git takes settings from (git-config(1), gitattributes(5))."""
_OWN_WORDS: Final = re.compile(r"(alias|credential|submodule)\.", re.IGNORECASE)
"""Settings whose value is a word of git's own, unless it begins with ``!`` or is an absolute path."""
_BETWEEN: Final = re.compile(r"[\s;&|(){}'\"`$=<>\\]+")
_MODULE: Final = re.compile(r"\s-m[\s'\"]+([A-Za-z_][\w.]*)")
"""What ``python -m`` takes."""
_FOLDERS: Final = 20
"""Of folders that are named so many are looked into."""
_HOOK_BYTES: Final = 1 << 16
"""Of a hook as much is read; one that is larger is no script."""


def read_commands(settings: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of settings that name what git starts or obeys."""
    return tuple(
        value
        for key, value in settings.items()
        if _STARTS.fullmatch(key) and (not _OWN_WORDS.match(key) or value.startswith(("!", "/", "~")))
    )


def find_started(
    root: str, git_dir: str, home: str, commands: Iterable[str], hooks: Path, paths: Collection[str]
) -> dict[str, str]:
    """Return those of some paths that a command or a hook of the user's names as a file of the working tree, or leads to.

    Beside each stand the files on the way to it, in words; nothing where it is named itself.

    Args:
        root: of the working tree. git_dir: the common one, which settings are relative to. home: the user's.
        commands: see ``read_commands``.
        hooks: folder of the hooks.
        paths: relative to the root.
    """
    texts = (*commands, *_read_hooks(hooks))
    words = {word.lstrip("!") for text in texts for word in _BETWEEN.split(text)} - {""}
    modules = {each.replace(".", "/") for text in texts for each in _MODULE.findall(text)}
    words |= {f"{each}{end}" for each in modules for end in (".py", "/__main__.py")}
    root = os.path.realpath(root)
    bases = (root, git_dir, str(hooks))
    named = _name(root, (place for word in words for place in _resolve(word, bases, home)))
    # A hook that changes the directory first names what it starts from there.
    inner = [f"{root}/{each}" for each in sorted(named) if Path(root, each).is_dir()][:_FOLDERS]
    named |= _name(root, (place for word in words for place in _resolve(word, inner, home)))

    def resolve(word: str, folders: Iterable[str]) -> Iterator[str]:
        return iter(_name(root, _resolve(word, folders, home)))

    reached = follow_calls(root, named, texts, paths, resolve)
    named |= set(reached)
    # What lies above one may become a link, or a file.
    named |= {above for each in named for above in _list_above(each)}
    return {path: reached.get(path, "") for path in paths if path in named}


def _list_above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _name(root: str, places: Iterable[str]) -> set[str]:
    """Return those of some places that lie in the working tree, relative to it."""
    return {found for place in places if (found := place.removeprefix(f"{root}/")) != place}


def _resolve(word: str, bases: Iterable[str], home: str) -> Iterator[str]:
    """Yield where a word may lead to from some folders, as it is written and behind its links.

    What begins with a slash may as well be the rest of a word whose beginning a shell would put in (``$root/check``).
    """
    if "\0" in word:
        return
    places = [f"{home}{word[1:]}" if word.startswith("~/") else word] if word[0] in "/~" else []
    places += [os.path.join(base, word.lstrip("/")) for base in bases]  # noqa: PTH118 - tens of thousands of them
    for place in places:
        yield os.path.normpath(place)
        if os.path.lexists(place):
            yield os.path.realpath(place)


def _read_hooks(folder: Path) -> Iterator[str]:
    try:
        hooks = sorted(folder.iterdir())
    except OSError:
        return  # no hooks at all
    for place in hooks:
        if place.suffix == ".sample" or not os.access(place, os.X_OK):
            continue
        try:
            with place.open("rb") as file:
                content = file.read(_HOOK_BYTES)
        except OSError:
            continue  # a folder, or not for us to read: git does not run it either
        if b"\0" not in content:
            yield os.fsdecode(content)
