"""What names mean in a project: the scripts of its package managers and git's aliases, read from its own files."""

from __future__ import annotations

import json
import posixpath
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.policy.lines.runs import Script, Words
from nightcrew.policy.lines.words import Word, join_words

Read = Callable[[str], str | None]
"""Path relative to the repository → content of that file; None when there is none, or it cannot be read."""

_LIFECYCLE: Final = {
    "test": ("pretest", "test", "posttest"),
    "t": ("pretest", "test", "posttest"),
    "tst": ("pretest", "test", "posttest"),
    "start": ("prestart", "start", "poststart"),
    "stop": ("prestop", "stop", "poststop"),
    "restart": ("prestop", "stop", "poststop", "prerestart", "restart", "postrestart", "prestart", "start", "poststart"),
    **dict.fromkeys(
        ("install", "i", "ci", "add", "link", "rebuild", "it", "install-test"),
        ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies"),
    ),
    **dict.fromkeys(("publish", "pack"), ("prepublishOnly", "prepack", "prepare", "postpack", "publish", "postpublish")),
    "version": ("preversion", "version", "postversion"),
}  # fmt: skip
_RUN: Final = frozenset({"run", "run-script", "rum", "urn", "exec-script"})
_FOLDER_OPTIONS: Final = frozenset(
    {"--prefix", "-C", "--cwd", "--dir", "-d", "--working-dir", "--project", "-p"}
)
_VALUE_OPTIONS: Final = _FOLDER_OPTIONS | {
    "-w",
    "--workspace",
    "--filter",
    "-F",
    "--script-shell",
    "--loglevel",
}


@dataclass
class Project:
    """What a command line can look up in the tree that it would run in.

    Attributes:
        read: the tree. aliases: of git, from the settings that git would use; name → value.
    """

    read: Read
    aliases: Mapping[str, str] = field(default_factory=dict)
    _known: dict[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def scripts(
        self, path: str, take: Callable[[str], Mapping[str, tuple[str, ...]]]
    ) -> Mapping[str, tuple[str, ...]]:
        """Return the scripts that a file of the tree defines; none when there is no such file, or it cannot be read."""
        if path not in self._known:
            text = self.read(path)
            try:
                self._known[path] = take(text) if text else {}
            except (ValueError, AttributeError, TypeError, RecursionError):
                # The package manager cannot read it either, and will run nothing.
                self._known[path] = {}
        return self._known[path]


def find_scripts(project: Project, words: Words, folder: str) -> tuple[Script, ...]:
    """Return the shell texts that a package manager runs by the names it is given.

    Args:
        project: where names are looked up. words: the command line.
        folder: where it runs, relative to the repository.
    """
    reader = _READERS.get(words[0].program)
    if reader is None:
        return ()
    file, take, finds = reader
    place, name, rest = _split(words)
    path = posixpath.normpath(posixpath.join(folder, place, file))
    if path.startswith(("..", "/")):
        return ()
    scripts = project.scripts(path, take)
    asked, given = _find_asked(name, rest)
    # Package managers hand further arguments to the script that was asked for by putting them behind its text.
    tail = f" {join_words(given)}" if given else ""
    known = all(w.known for w in given)
    return tuple(
        Script(Word(text + tail, known)) if each == asked else Script(Word(text))
        for each in finds(name, asked, scripts)
        for text in scripts.get(each, ())
    )


def _find_asked(name: str, rest: Words) -> tuple[str, Words]:
    """Return the name of the script that is asked for, and the arguments for it."""
    if name not in _RUN:
        return name, [w for w in rest if w.text != "--"]
    at = next((n for n, w in enumerate(rest) if not w.text.startswith("-")), len(rest))
    asked = rest[at].text if at < len(rest) else ""
    return asked, [w for w in rest[at + 1 :] if w.text != "--"]


def _split(words: Words) -> tuple[str, str, Words]:
    """Return the folder that options name, the first word that is no option, and what follows it."""
    place, position = "", 1
    while position < len(words):
        text = words[position].text
        option, equals, value = text.partition("=")
        if not text.startswith("-"):
            break
        if option in _FOLDER_OPTIONS:
            place = value if equals else words[position + 1].text if position + 1 < len(words) else ""
        position += 1 if equals or option not in _VALUE_OPTIONS else 2
    name = words[position].text if position < len(words) else ""
    rest = list(words[position + 1 :])
    for at, word in enumerate(rest):  # npm run build --prefix web
        option, equals, value = word.text.partition("=")
        if word.text == "--":
            break
        if option in ("--prefix", "--cwd", "-C") and (equals or at + 1 < len(rest)):
            place = value if equals else rest[at + 1].text
    return place, name, tuple(rest)


def _find_npm(name: str, asked: str, scripts: Mapping[str, Any]) -> tuple[str, ...]:
    return _LIFECYCLE.get(name) or (f"pre{asked}", asked, f"post{asked}")


def _find_yarn(name: str, asked: str, scripts: Mapping[str, Any]) -> tuple[str, ...]:
    return _find_npm(name or "install", asked, scripts)


def _find_composer(name: str, asked: str, scripts: Mapping[str, Any]) -> tuple[str, ...]:
    events = tuple(
        each for each in scripts if each in (f"pre-{name}-cmd", f"post-{name}-cmd", "post-autoload-dump")
    )
    return (*events, asked)


def _find_named(name: str, asked: str, scripts: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"pre_{asked}", asked, f"post_{asked}")


def _take_package_json(text: str) -> Mapping[str, tuple[str, ...]]:
    return {
        name: (body,) for name, body in json.loads(text).get("scripts", {}).items() if isinstance(body, str)
    }


def _take_composer(text: str) -> Mapping[str, tuple[str, ...]]:
    found = {}
    for name, body in json.loads(text).get("scripts", {}).items():
        bodies = [body] if isinstance(body, str) else body
        # "@name" stands for another script, and "Class::method" for PHP code.
        plain = [
            each.removeprefix("@php ").removeprefix("@composer ") for each in bodies if isinstance(each, str)
        ]
        found[name] = tuple(each for each in plain if "::" not in each and not each.startswith("@"))
    return found


def _take_pyproject(*path: str) -> Callable[[str], Mapping[str, tuple[str, ...]]]:
    def take(text: str) -> Mapping[str, tuple[str, ...]]:
        table: Any = tomllib.loads(text).get("tool", {})
        for part in path:
            table = table.get(part, {})
        return {name: tuple(_task_texts(body)) for name, body in table.items()}

    return take


def _task_texts(body: Any) -> list[str]:
    if isinstance(body, str):
        return [body]
    if isinstance(body, list):
        return [text for each in body for text in _task_texts(each)]
    if isinstance(body, dict):
        return [
            text for key in ("cmd", "shell", "sequence", "composite") for text in _task_texts(body.get(key))
        ]
    return []


_Reader = tuple[
    str,
    Callable[[str], Mapping[str, tuple[str, ...]]],
    Callable[[str, str, Mapping[str, Any]], tuple[str, ...]],
]
_READERS: Final[Mapping[str, _Reader]] = {
    **dict.fromkeys(("npm", "pnpm", "bun", "cnpm"), ("package.json", _take_package_json, _find_npm)),
    "yarn": ("package.json", _take_package_json, _find_yarn),
    "composer": ("composer.json", _take_composer, _find_composer),
    "pdm": ("pyproject.toml", _take_pyproject("pdm", "scripts"), _find_named),
    "poe": ("pyproject.toml", _take_pyproject("poe", "tasks"), _find_named),
}


PACKAGE_MANAGERS: Final = frozenset(_READERS)
"""Programs whose names for scripts are looked up."""

# git --list-cmds=main of git 2.39, and lfs and annex, which our rules know. Anything else may be an alias.
_GIT_WORDS: Final = """
add am annotate apply archimport archive bisect blame branch bugreport bundle cat-file check-attr check-ignore
check-mailmap check-ref-format checkout checkout-index cherry cherry-pick clean clone column commit
commit-graph commit-tree config count-objects credential credential-cache credential-store cvsexportcommit
cvsimport cvsserver daemon describe diagnose diff diff-files diff-index diff-tree difftool fast-export
fast-import fetch fetch-pack filter-branch fmt-merge-msg for-each-ref for-each-repo format-patch fsck
fsck-objects fsmonitor--daemon gc get-tar-commit-id grep hash-object help hook http-backend http-fetch
http-push imap-send index-pack init init-db instaweb interpret-trailers log ls-files ls-remote ls-tree
mailinfo mailsplit maintenance merge merge-base merge-file merge-index merge-one-file merge-ours
merge-recursive merge-recursive-ours merge-recursive-theirs merge-resolve merge-subtree merge-tree mergetool
mktag mktree multi-pack-index mv name-rev notes p4 pack-objects pack-redundant pack-refs patch-id prune
prune-packed pull push quiltimport range-diff read-tree rebase receive-pack reflog remote remote-ext remote-fd
remote-ftp remote-ftps remote-http remote-https repack replace request-pull rerere reset restore rev-list
rev-parse revert rm send-email send-pack sh-i18n sh-setup shell shortlog show show-branch show-index show-ref
sparse-checkout stage stash status stripspace submodule subtree svn switch symbolic-ref tag unpack-file
unpack-objects update-index update-ref update-server-info upload-archive upload-pack var verify-commit
verify-pack verify-tag version web--browse whatchanged worktree write-tree lfs annex add--interactive
bisect--helper checkout--worker credential-cache--daemon difftool--helper env--helper merge-octopus
sh-i18n--envsubst submodule--helper upload-archive--writer
"""
_GIT_OWN: Final = frozenset(_GIT_WORDS.split())


def is_git_command(name: str) -> bool:
    """Tell whether git brings a command of this name along, which no alias can hide (or it is one that rules know)."""
    return name in _GIT_OWN
