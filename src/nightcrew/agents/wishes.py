"""What an agent wants to do, as actions that policy understands.

An action is bound by its digest: everything that makes a difference to what will happen is in it, so that what a person
has allowed is what is done.
"""

from __future__ import annotations

import hashlib
import posixpath
import shlex
from typing import Any, Final

from nightcrew.model import canonical
from nightcrew.model.actions import Action

_SHELLS: Final = frozenset({"bash", "sh", "zsh", "dash"})


def wish_command(command: str) -> Action:
    """Return the action of running a command line."""
    return Action(kind="exec", command=command)


def read_shell_line(shown: str) -> str:
    """Return the line that a shell is given, of an argv that is shown as quoted words; else ``shown`` as it is.

    Only for agents that show an argv. In a command line of a shell, quotes and variables mean something at both levels.
    """
    try:
        words = shlex.split(shown)
    except ValueError:
        return shown
    is_shell = len(words) == 3 and posixpath.basename(words[0]) in _SHELLS and words[1] in ("-lc", "-c")
    return words[2] if is_shell else shown


def wish_write(path: str, content: str, *, cwd: str) -> Action:
    """Return the action of writing a file as a whole."""
    return Action(kind="write", paths=(make_relative(path, cwd),), content_sha256=_digest(content))


def wish_edit(paths: tuple[str, ...], change: Any, *, cwd: str, kind: str = "write") -> Action:
    """Return the action of changing files in a way that ``change`` (any JSON) describes."""
    shown = tuple(dict.fromkeys(make_relative(path, cwd) for path in paths))
    return Action(kind=kind, paths=shown, detail=f"edit sha256:{canonical.digest(change)}")


def wish_read(path: str, *, cwd: str) -> Action:
    """Return the action of reading a file or a folder."""
    return Action(kind="read", paths=(make_relative(path or cwd, cwd),))


def wish_net(what: str) -> Action:
    """Return the action of reaching something outside."""
    return Action(kind="net", detail=what)


def wish_other(name: str, given: Any) -> Action:
    """Return an action of a kind that we do not know: bound to all that was said of it."""
    return Action(kind="other", detail=f"{name} sha256:{canonical.digest(given)}")


def make_relative(path: str, cwd: str) -> str:
    """Return a path as seen from the repository; one outside of it stays absolute."""
    whole = posixpath.normpath(posixpath.join(cwd, path))
    if whole == cwd:
        return "."
    inside = whole.startswith(cwd.rstrip("/") + "/")
    return whole[len(cwd.rstrip("/")) + 1 :] if inside else whole


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
