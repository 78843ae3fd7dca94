"""What a plan of a repository must keep to, as far as that can be known before anybody has begun on it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from nightcrew.model.errors import UsageError
from nightcrew.model.text import shown
from nightcrew.plan.goals import Bounds
from nightcrew.runtime.rules import Rules
from nightcrew.runtime.trees.starting import Start

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

#: What a shell knows by itself; anything else at the beginning of a command must be a program.
_SHELL: Final = frozenset(
    [
        ":",
        ".",
        "[",
        "[[",
        "alias",
        "bg",
        "break",
        "builtin",
        "case",
        "cd",
        "command",
        "continue",
        "declare",
        "do",
        "done",
        "echo",
        "elif",
        "else",
        "esac",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "if",
        "in",
        "jobs",
        "kill",
        "let",
        "local",
        "printf",
        "pwd",
        "read",
        "readonly",
        "return",
        "set",
        "shift",
        "source",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "while",
        "!",
        "{",
        "(",
    ]
)


def describe_offered(parts: Parts, rules: Rules) -> list[tuple[str, str]]:
    """Return the agents that a plan may name, with what they are."""
    from nightcrew.agents.adapters import ADAPTERS
    from nightcrew.runtime.crew.assigning import describe_crew

    offered = [(each["name"], each["description"]) for each in describe_crew(parts, rules)]
    known = {*ADAPTERS, *rules.settings.agents}
    return [(name, about) for name, about in offered if name in known and name not in ("command", "script")]


def find_bounds(
    parts: Parts, rules: Rules, start: Start, within: tuple[str, ...], never: tuple[str, ...]
) -> Bounds:
    """Return what a plan of this repository must keep to.

    Raises:
        UsageError: a glob is none.
    """
    from nightcrew.plan.values import check_glob

    for glob in (*within, *never):
        if wrong := check_glob(glob) or ("begins with `!`" if glob.startswith("!") else ""):
            raise UsageError(
                f"{shown(glob)!r} {wrong}", hint="such as --within 'src/**' --never 'migrations/**'"
            )
    paths = frozenset(list_paths(parts, start))
    folders = frozenset(path[: path.rfind("/")] for path in paths if "/" in path)

    def exists(path: str) -> bool:
        return path in paths or path.rstrip("/") in folders

    def lacks(line: str, made: Collection[str], installs: bool) -> str:
        return lacks_program(
            parts, start.repository.root, line, exists=lambda p: exists(p) or p in made, installs=installs
        )

    names = tuple(name for name, _ in describe_offered(parts, rules))
    return Bounds(names, within, never, exists, lacks)


def lacks_program(
    parts: Parts, root: str, line: str, *, exists: Callable[[str], bool], installs: bool
) -> str:
    """Say why a command line cannot be run, as far as that can be known beforehand; empty when nothing speaks against it."""
    from nightcrew.host.shell import ShellSyntaxError, parse
    from nightcrew.runtime.inside import find_binds, find_path

    try:
        parse(line)
        words = shlex.split(line, comments=True)
    except ShellSyntaxError as error:
        return f"bash does not accept it ({error})"
    except ValueError:
        return ""  # words that only a shell understands
    first = next((word for word in words if not _is_assignment(word)), "")
    if not first or first in _SHELL or set(first) & set("$`(){}*?<>|&;!~"):
        return ""
    if "/" in first and not first.startswith("/"):
        named = first.removeprefix("./")
        return "" if installs or exists(named) else f"there is no file {shown(named)}, and no task creates it"
    path = find_path(parts.env, root, find_binds(root))
    if shutil.which(first, path=path) or installs:
        return ""
    return f"there is no program {shown(first)} here"


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()


def list_paths(parts: Parts, start: Start) -> tuple[str, ...]:
    """Return the paths of what a run starts from."""
    commit = start.head or start.commit
    listed = parts.git(start.repository).run("ls-tree", "-r", "-z", "--name-only", commit)
    names = [each.decode("utf-8", "surrogateescape") for each in listed.stdout.split(b"\0") if each]
    return tuple(dict.fromkeys((*names, *start.included)))
