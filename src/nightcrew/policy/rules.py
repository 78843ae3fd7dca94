"""A policy as values: rules, globs, limits and what holds where no rule matches. Format: docs/formats/policy.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, Literal, TypeVar

from nightcrew.model import canonical
from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place

T = TypeVar("T")

RISKS: Final = ("low", "medium", "high", "critical")
Subject = Literal["command", "file", "dependency", "net"]
FILE_KINDS: Final = ("write", "delete", "chmod", "symlink")


@dataclass(frozen=True, slots=True)
class CommandPattern:
    """One ``when`` of a command rule; every field that is given must match (see docs/formats/policy.md).

    Attributes:
        program: globs on the program's name, one must match.
        not_program: globs on the program's name, none may match.
        subcommand: alternatives, each one or more words.
        flags: options, one must be there.
        args: globs, each must match some argument.
        command: regular expression on the effective command.
        text: regular expression on everything the command is given: words, here-documents, what is piped in.
        opaque: the command has a part that cannot be known before it runs.
        stdin: ``pipe``: it reads from a pipe.
        sql: what a statement does that it is given; one must be there (see ``sqltext.ACTS``).
    """

    program: tuple[str, ...] = ()
    not_program: tuple[str, ...] = ()
    subcommand: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    command: str = ""
    text: str = ""
    opaque: bool | None = None
    stdin: str = ""
    sql: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FilePattern:
    """One ``when`` of a file rule: globs on the path (``//`` begins an absolute one) and what is done to it.

    With ``sql`` it is about what a statement in the new content does, which is known of a change alone.
    """

    paths: tuple[str, ...] = ()
    do: tuple[str, ...] = ()
    sql: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DependencyPattern:
    """One ``when`` of a dependency rule; every field that is given must match.

    Attributes:
        name: globs on the name of the package.
        ecosystem: ``python``, ``node``, ``rust``, ``go``, ``ruby`` or ``php``.
        do: ``add``, ``change`` or ``remove``.
        origin: ``registry``, or ``elsewhere`` (an address, a git repository, a folder).
        pinned: to one version.
    """

    name: tuple[str, ...] = ()
    ecosystem: tuple[str, ...] = ()
    do: tuple[str, ...] = ()
    origin: str = ""
    pinned: bool | None = None


@dataclass(frozen=True, slots=True)
class NetPattern:
    """One ``when`` of a network rule; every field that is given must match.

    Attributes:
        host: globs on the host; ``*.`` stands for one or more labels, ``*`` for any host.
        port: numbers.
        method: ``CONNECT`` for tunnels, else methods of plain HTTP requests.
    """

    host: tuple[str, ...] = ()
    port: tuple[int, ...] = ()
    method: tuple[str, ...] = ()


Patterns = (
    tuple[CommandPattern, ...]
    | tuple[FilePattern, ...]
    | tuple[DependencyPattern, ...]
    | tuple[NetPattern, ...]
)


@dataclass(frozen=True, slots=True)
class Openings:
    """What a setting opens: of two, the one with more in it is the looser one."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A command line or ``do path`` that a rule says it matches, or does not; checked when the policy is read."""

    text: str
    matches: bool
    place: Place


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: stable dotted name.
        subject: what it looks at.
        when: alternatives; one that matches is enough. None: taken from the rule of the same id in the layer above.
        decision: what follows.
        reason: in words; also told to the agent.
        place: where its id stands.
        risk: low, medium, high or critical; empty: taken from the outer rule, like ``when``.
        hint: what would help to go on; told to the agent with the reason.
        floor: no inner layer can make this rule weaker than this.
        examples: checked at load.
        unless: exceptions; the rule does not match what one of them matches.
    """

    id: str
    subject: Subject
    when: Patterns | None
    decision: Verdict
    reason: str
    place: Place
    risk: str = "medium"
    hint: str = ""
    floor: Verdict | None = None
    examples: tuple[Example, ...] = ()
    unless: Patterns = ()

    @property
    def source(self) -> str:
        """``file:line`` of the rule."""
        return locate(self.place)


def _to_plain(rule: Rule) -> dict[str, Any]:
    """Return what of a rule decides; what an older policy could not say does not change its digest."""
    plain = {**canonical.to_plain(rule), "place": None, "examples": None}
    if not rule.unless:
        del plain["unless"]
    return plain


def _value_to_plain(value: Any) -> Any:
    """Return a single value; what older terms could not say does not change a digest."""
    if not isinstance(value, Terms):
        return value
    plain, silent = canonical.to_plain(value), canonical.to_plain(Terms())
    older = ("approvers", "reason", "timeout_s")
    return {name: each for name, each in plain.items() if name in older or each != silent[name]}


def locate(place: Place) -> str:
    """Return ``file:line`` of a place, as decisions and findings name it."""
    return str(Place(place.file, place.line))


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    """A value of a policy and where it stands. ``fixed`` values come from a ceiling: inner layers may only tighten."""

    value: T
    place: Place
    fixed: bool = False

    @property
    def source(self) -> str:
        """``file:line`` of the value."""
        return locate(self.place)


@dataclass(frozen=True, slots=True)
class HandoffClass:
    """Paths that one kind of program on the host executes by itself. Format: docs/formats/policy.md.

    Attributes:
        id: small letters.
        who, reason: in words.
        paths: which paths; the shipped table says how it writes them, a policy writes globs as in .gitignore.
        when: instead of paths: ``executable`` or ``link``.
        match, not_match: examples, checked at load.
    """

    id: str
    who: str
    reason: str
    paths: tuple[str, ...] = ()
    when: str = ""
    match: tuple[str, ...] = ()
    not_match: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """A secret that a person lets land, named by its fingerprint.

    Attributes:
        fingerprint: 20 hexadecimal digits, as findings show it.
        reason: why it is none, or why it may be there.
        until: last day it holds, ``YYYY-MM-DD``.
        by: who says so.
    """

    fingerprint: str
    reason: str
    until: str
    by: str


@dataclass(frozen=True, slots=True)
class Gate:
    """A command that must pass on the result of every task, beside the task's own acceptance.

    Attributes:
        id: name of the gate. run: command line. reason: why it is wanted.
    """

    id: str
    run: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a question of one risk is answered.

    Attributes:
        approvers: names of the users who may answer; empty for anybody.
        reason: a yes needs a reason too.
        timeout_s: time to answer in seconds; 0 for the one of the settings.
        quorum: so many different people must say yes.
        not_requester: whoever handed over the run may not.
        factor: second factor that a yes needs: empty for none, ``any``, ``pin`` or ``totp``.
        on_timeout: what follows when nobody answers in time: ``deny``, ``park`` (it goes on waiting) or ``allow`` (low risk only).
    """

    approvers: tuple[str, ...] = ()
    reason: bool = False
    timeout_s: float = 0.0
    quorum: int = 1
    not_requester: bool = False
    factor: str = ""
    on_timeout: str = "deny"


@dataclass(frozen=True)
class Policy:
    """One layer of policy as read, or several put together by ``layer``.

    Attributes:
        sources: names of the texts it comes from.
        rules: command and file rules.
        fixed_paths: globs that no task may touch and that no layer can open again (matched without regard to case).
        protected_paths: globs that no task may touch; a later ``!glob`` opens a path again.
        handoff_paths: globs of paths that something on the host will execute.
        handoff_classes: classes of such paths of its own.
        allowances: secrets that may land.
        gates: commands that must pass for every task.
        settings: the single values by dotted name: limits (``limits.soft.files``), ``defaults.commands``,
            ``safety.outside_scope``, ``safety.handoff``, ``secrets.change``, ``handoff.<class>``,
            ``anomalies.*``, ``budget.*``, ``agent_recovery.*``, ``approvals.<risk>`` (Terms), ``factors.*`` (Need), ``network.*`` (lists are Openings).
        ceiling: inner layers may only tighten it.
        tighter: rules of the task's role. They stand beside all others and take the place of none: each can only make an
            answer stricter (``policy.roles``).
        compiled: what ``matching.matcher_of`` keeps, so that rules are compiled once per policy.
    """

    sources: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    fixed_paths: tuple[Placed[str], ...] = ()
    protected_paths: tuple[Placed[str], ...] = ()
    handoff_paths: tuple[Placed[str], ...] = ()
    handoff_classes: tuple[Placed[HandoffClass], ...] = ()
    allowances: tuple[Placed[Allowance], ...] = ()
    gates: tuple[Placed[Gate], ...] = ()
    settings: Mapping[str, Placed[Any]] = field(default_factory=dict)
    ceiling: bool = False
    tighter: tuple[Rule, ...] = ()
    compiled: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that decides; comments, order of keys and line numbers do not change it."""
        plain = [_to_plain(rule) for rule in self.rules]
        globs = [[g.value for g in gs] for gs in (self.fixed_paths, self.protected_paths, self.handoff_paths)]
        whole = [plain, globs, {k: _value_to_plain(v.value) for k, v in self.settings.items()}]
        # What an older policy could not say does not change its digest.
        more = (self.handoff_classes, self.allowances, self.gates)
        whole += [[canonical.to_plain(placed.value) for placed in each] for each in more if each]
        whole += [[_to_plain(rule) for rule in self.tighter]] if self.tighter else []
        return canonical.digest(whole)

    def number(self, name: str) -> Placed[int] | None:
        """Return a limit such as ``limits.soft.files``; None when it is not set or ``unlimited``."""
        placed = self.settings.get(name)
        return placed if placed is not None and placed.value is not None else None

    def verdict(self, name: str) -> Placed[Verdict] | None:
        """Return a decision such as ``defaults.commands``; None when no layer sets it."""
        return self.settings.get(name)

    @property
    def protected(self) -> tuple[str, ...]:
        """Every protected glob, for a person to read."""
        return tuple(g.value for g in (*self.fixed_paths, *self.protected_paths))

    @property
    def limits(self) -> Mapping[str, int]:
        """The limits in force by name (``soft.files``), sizes in bytes, for a person to read."""
        return {
            name.removeprefix("limits."): placed.value
            for name, placed in self.settings.items()
            if name.startswith("limits.") and placed.value is not None
        }
