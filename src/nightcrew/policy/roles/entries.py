"""One entry of a role's authority → patterns: ``run git push``, ``change docs/**``, ``net *.example.org``, ``rule git.push``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nightcrew.model.text import closest
from nightcrew.policy.globs import check_glob
from nightcrew.policy.hosts import BadHost, read_port, split_port
from nightcrew.policy.load import default_policy
from nightcrew.policy.netblock import GLOB
from nightcrew.policy.rules import (
    FILE_KINDS,
    CommandPattern,
    DependencyPattern,
    FilePattern,
    NetPattern,
    Patterns,
    Subject,
)

#: First word of an entry → what the rest of it is.
WORDS: Final = ("run", "change", *FILE_KINDS, "net", "add", "rule")
_MOST_SUBCOMMANDS: Final = 2


@dataclass(frozen=True, slots=True)
class Meant:
    """What an entry is about.

    Attributes:
        subject, when: as in a rule. reason, hint, risk: of the shipped rule that it names; empty otherwise.
    """

    subject: Subject
    when: Patterns
    reason: str = ""
    hint: str = ""
    risk: str = ""


ANYTHING: Final[Mapping[Subject, Patterns]] = {
    "command": (CommandPattern(),),
    "file": (FilePattern(paths=("**",)),),
    "dependency": (DependencyPattern(),),
    "net": (NetPattern(),),
}
"""Patterns that everything of a subject matches."""


def read_entry(text: str) -> Meant:
    """Return what one line is about.

    Raises:
        ValueError: it is none, in words for a person.
    """
    do, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if do not in WORDS:
        near = closest(do, WORDS)
        raise ValueError(
            f"an entry begins with {', '.join(WORDS[:-1])} or {WORDS[-1]}, not with {do!r}"
            + (f"; did you mean {near!r}?" if near else "")
        )
    if not rest:
        raise ValueError(f"say what may be done: such as {_EXAMPLES[do]!r}")
    return _READERS[do](rest) if do in _READERS else _read_file(do, rest)


def _read_run(rest: str) -> Meant:
    program, *words = rest.split()
    if "/" in program:
        raise ValueError(f"{program!r} names a folder, and programs are matched by name")
    flags = tuple(word for word in words if word.startswith("-"))
    plain = [word for word in words if not word.startswith("-")]
    if len(plain) > _MOST_SUBCOMMANDS or any(set("*?[") & set(word) for word in plain):
        raise ValueError(
            "behind a program stand at most two words of its subcommand, without globs, and options; "
            "write 'commands:' with args or command for more"
        )
    subcommand = (" ".join(plain),) if plain else ()
    programs = () if program == "*" else (program,)
    return Meant("command", (CommandPattern(program=programs, subcommand=subcommand, flags=flags),))


def _read_file(do: str, rest: str) -> Meant:
    if rest.startswith("!"):
        raise ValueError(f"{rest!r} takes something out; an entry says what it is about")
    if wrong := check_glob(rest):
        raise ValueError(f"bad glob {rest!r}: {wrong}")
    kinds = () if do == "change" else (do,)
    return Meant("file", (FilePattern(paths=(rest,), do=kinds),))


def _read_net(rest: str) -> Meant:
    if rest == "*":
        return Meant("net", ANYTHING["net"])
    try:
        host, port = split_port(rest)
        ports = (read_port(port),) if port else ()
    except BadHost as error:
        raise ValueError(str(error)) from None
    if not GLOB.fullmatch(host):
        raise ValueError(f"bad host {host!r}; write example.org, *.example.org or *")
    return Meant("net", (NetPattern(host=(host,), port=ports),))


def _read_add(rest: str) -> Meant:
    return Meant("dependency", (DependencyPattern(name=(rest,), do=("add",)),))


def _read_rule(rest: str) -> Meant:
    """A shipped rule by its id: a role takes over what it is about, whatever later layers made of it."""
    shipped = {rule.id: rule for rule in default_policy().rules}
    rule = shipped.get(rest)
    if rule is None or rule.when is None:
        near = closest(rest, shipped)
        raise ValueError(f"there is no shipped rule {rest!r}" + (f"; did you mean {near!r}?" if near else ""))
    return Meant(rule.subject, rule.when, rule.reason, rule.hint, rule.risk)


_READERS: Final[Mapping[str, Callable[[str], Meant]]] = {
    "run": _read_run,
    "net": _read_net,
    "add": _read_add,
    "rule": _read_rule,
}
_EXAMPLES: Final[Mapping[str, str]] = {
    "run": "run pytest",
    "net": "net *.example.org",
    "add": "add *",
    "rule": "rule git.push",
    **{do: f"{do} tests/**" for do in ("change", *FILE_KINDS)},
}
