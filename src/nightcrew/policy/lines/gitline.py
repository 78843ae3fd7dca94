"""git command lines: global options taken off, and the many ways in which git runs other programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from nightcrew.policy.lines.programs import option_values
from nightcrew.policy.lines.project import is_git_command
from nightcrew.policy.lines.runs import Runs, Script
from nightcrew.policy.lines.words import Word, join_words

# git(1), options before the subcommand.
_VALUES: Final = frozenset(
    {
        "-C",
        "-c",
        "--git-dir",
        "--work-tree",
        "--namespace",
        "--super-prefix",
        "--config-env",
        "--attr-source",
        "--exec-path",
    }
)
_ATTACHED: Final = tuple(f"{o}=" for o in _VALUES if o.startswith("--"))
_PLAIN: Final = frozenset(
    [
        "-p",
        "--paginate",
        "-P",
        "--no-pager",
        "--bare",
        "--no-replace-objects",
        "--no-lazy-fetch",
        "--no-optional-locks",
        "--no-advice",
        "--literal-pathspecs",
        "--glob-pathspecs",
        "--noglob-pathspecs",
        "--icase-pathspecs",
        "-h",
        "--help",
        "-v",
        "--version",
        "--html-path",
        "--man-path",
        "--info-path",
    ]
)
# git-config(1): keys whose value git hands to a shell.
_COMMAND_KEY = re.compile(
    r"(?i)(?:core\.(?:pager|editor|sshcommand|fsmonitor|askpass|gitproxy|alternaterefscommand)|sequence\.editor"
    r"|diff\.external|diff\..*\.(?:command|textconv)|merge\..*\.driver|filter\..*\.(?:clean|smudge|process)"
    r"|gpg\.program|gpg\..*\.(?:program|defaultkeycommand)|credential\.(?:.*\.)?helper|pager\..*|uploadpack\.packobjectshook"
    r"|(?:difftool|mergetool|browser|man)\..*\.cmd|interactive\.difffilter|sendemail\..*cmd|trailer\..*\.(?:command|cmd)"
    r"|remote\..*\.(?:uploadpack|receivepack|vcs)|submodule\..*\.update|guitool\..*\.cmd|web\.browser|imap\.tunnel)\Z"
)
_ALIAS_KEY = re.compile(r"(?i)alias\.(?P<name>.+)\Z")
# Subcommands whose options hold shell texts.
_SCRIPT_OPTIONS: Final = {
    "rebase": ("-x", "--exec"),
    "filter-branch": (
        "--setup", "--env-filter", "--tree-filter", "--index-filter", "--parent-filter", "--msg-filter", "--commit-filter", "--tag-name-filter",
    ),
    "difftool": ("-x", "--extcmd"),
    "grep": ("-O", "--open-files-in-pager"),
    "clone": ("-u", "--upload-pack"),
    "fetch": ("--upload-pack",),
    "pull": ("--upload-pack",),
    "ls-remote": ("--upload-pack", "--exec"),
    "push": ("--receive-pack", "--exec"),
    "send-pack": ("--receive-pack", "--exec"),
    "fetch-pack": ("--upload-pack", "--exec"),
    "archive": ("--exec",),
}  # fmt: skip


@dataclass
class _Globals:
    """What stands before the subcommand."""

    position: int = 1
    config: list[Word] = field(default_factory=list)
    opaque: str = ""


def read_git(words: Sequence[Word], aliases: Mapping[str, str]) -> Runs:
    """Return git's command without its global options, and what it runs; ``aliases`` are those that git would know."""
    globals_ = _read_globals(words)
    rest = words[globals_.position :]
    shown = (Word("git"), *rest)
    opaque = globals_.opaque
    if rest and (not rest[0].known or rest[0].pattern):
        opaque = f"which git command runs is not known before it runs: {rest[0]}"
    reading = _Reading()
    for word in globals_.config:
        key, _, value = word.text.partition("=")
        reading.add_setting(key, Word(value, word.known), rest)
    if rest:
        reading.add_subcommand(rest[0].text, rest)
        opaque = opaque or reading.add_alias(rest, aliases)
    return Runs(tuple(reading.commands), tuple(reading.scripts), opaque=opaque, words=shown)


def _read_globals(words: Sequence[Word]) -> _Globals:
    found = _Globals()
    while found.position < len(words):
        text = words[found.position].text
        if not text.startswith("-"):
            return found
        if text in _VALUES and found.position + 1 < len(words):
            _note_config(found, text, words[found.position + 1])
            found.position += 2
        elif text in _PLAIN or text.startswith(_ATTACHED) or text == "--exec-path":
            _note_config(found, *_split(text, words[found.position]))
            found.position += 1
        else:
            found.opaque = f"option {text} of git is not known here, so what it runs is not either"
            return found
    return found


def _split(text: str, word: Word) -> tuple[str, Word]:
    option, _, value = text.partition("=")
    return option, Word(value, word.known)


def _note_config(found: _Globals, option: str, value: Word) -> None:
    if option == "-c":
        found.config.append(value)
    elif option == "--config-env":
        found.opaque = f"git reads a setting from a variable: {value}"
    elif option == "--exec-path" and value.text:
        found.opaque = f"git takes its commands from {value}"


@dataclass
class _Reading:
    """Collects what a git command line runs."""

    commands: list[tuple[Word, ...]] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)

    def add_setting(self, key: str, value: Word, rest: Sequence[Word]) -> None:
        """Note what a configuration value runs, when its key is one that runs something."""
        alias = _ALIAS_KEY.match(key)
        arguments = f" {join_words(rest[1:])}" if rest[1:] else ""
        if alias:
            self.aliases.add(alias["name"].lower())
        if alias and value.text.startswith("!"):
            self.scripts.append(Script(Word(f"{value.text[1:]}{arguments}", value.known)))
        elif alias:
            self.scripts.append(Script(Word(f"git {value.text}{arguments}", value.known)))
        elif _COMMAND_KEY.match(key) and value.text not in ("true", "false", ""):
            self.scripts.append(Script(Word(value.text.removeprefix("!"), value.known)))

    def add_alias(self, rest: Sequence[Word], aliases: Mapping[str, str]) -> str:
        """Note what a name stands for that is none of git's own; return why that is not known, when it is not."""
        name = rest[0].text
        if is_git_command(name) or name.lower() in self.aliases or name.startswith("-"):
            return ""
        value = next((text for key, text in aliases.items() if key.lower() == name.lower()), None)
        if value is None:
            return f"{name} is no command of git itself: an alias, or a program git-{name}"
        self.add_setting(f"alias.{name}", Word(value), rest)
        return ""

    def add_subcommand(self, subcommand: str, rest: Sequence[Word]) -> None:
        """Note what a subcommand runs: its own options, settings it writes, and ``ext::`` addresses."""
        options = _SCRIPT_OPTIONS.get(subcommand)
        if options:
            self.scripts += [Script(w) for w in option_values(rest, options)]
        if subcommand == "config":
            self.add_config(rest)
        elif subcommand in ("clone", "submodule", "init"):
            for word in option_values(rest, ("-c", "--config")):
                key, _, value = word.text.partition("=")
                self.add_setting(key, Word(value, word.known), ())
        if subcommand == "bisect" and len(rest) > 2 and rest[1].text == "run":
            self.commands.append(tuple(rest[2:]))
        if subcommand == "submodule":
            self.add_foreach(rest)
        self.scripts += [Script(Word(w.text[5:], w.known)) for w in rest[1:] if w.text.startswith("ext::")]

    def add_config(self, rest: Sequence[Word]) -> None:
        operands = [w for w in rest[1:] if not w.text.startswith("-") and w.text not in ("set", "add")]
        for key, value in pairwise(operands):
            if "." in key.text:
                self.add_setting(key.text, value, ())

    def add_foreach(self, rest: Sequence[Word]) -> None:
        position = next((n for n, w in enumerate(rest) if w.text == "foreach"), 0)
        words = [w for w in rest[position + 1 :] if w.text not in ("--recursive", "--quiet", "-q")]
        if position and words:
            self.scripts.append(Script(Word(" ".join(w.text for w in words), all(w.known for w in words))))
