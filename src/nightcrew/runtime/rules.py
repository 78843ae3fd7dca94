"""The rules in force: policy and settings of every layer, read once, kept as text with the run they govern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import InvalidInput, NotFound, Place, Problem, UsageError
from nightcrew.model.isolation import Level
from nightcrew.model.settings import Settings
from nightcrew.model.trees import Repository
from nightcrew.policy.load import DEFAULTS, Policy, layer, parse_policy
from nightcrew.runtime.settings.config import parse_settings
from nightcrew.runtime.settings.limits import narrow_limits
from nightcrew.runtime.settings.rolefiles import check_roles, find_role_texts, lay_on, parse_role_text

if TYPE_CHECKING:
    from nightcrew.policy.roles.role import Role
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.settings.environment import Environment

POLICY_FILE: Final = ".nightcrew/policy.yaml"
CONFIG_FILE: Final = ".nightcrew/config.yaml"
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Text:
    """One file of rules as it was read.

    Attributes:
        kind: ``policy``, ``config`` or ``role``.
        layer: ``system``, ``shipped``, ``user`` or ``repository``.
        source: its name in messages.
        text: its content.
    """

    kind: str
    layer: str
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """Policy and settings in force, and the texts they come from.

    Attributes:
        root: absolute path of the working tree they were read for; absolute paths into it are the task's own. Empty when
            there is none.
        roles: name → the files of that name, all of which hold.
    """

    policy: Policy
    settings: Settings
    texts: tuple[Text, ...]
    root: str = ""
    roles: Mapping[str, tuple[Role, ...]] = field(default_factory=dict)

    def under(self, role: str) -> Rules:
        """Return the rules as they are for a task of a role; the same for none.

        Raises:
            NotFound: there is no such role.
        """
        return replace(self, policy=lay_on(self.policy, self.roles, role)) if role else self

    def to_plain(self) -> tuple[Mapping[str, Any], ...]:
        """Return the texts for the plan record; ``from_plain`` makes the same rules of them."""
        return tuple(
            {"kind": t.kind, "layer": t.layer, "source": t.source, "text": t.text} for t in self.texts
        )


def read_rules(env: Environment, root: Path | None) -> Rules:
    """Read every layer for the working tree at ``root`` (None: no repository).

    Raises:
        InvalidInput: with the problems of all files, each at file:line:column; nothing may start then.
    """
    return replace(_build(tuple(_read_texts(env, root))), root=str(root or ""))


def read_own_settings(env: Environment) -> Settings:
    """Return the settings of a person's own config.yaml alone, as it is now; the built-in ones where there is none.

    Raises:
        InvalidInput: it cannot be read.
    """
    path = env.config / "config.yaml"
    return _read_own(read_file(path, str(path)) or "", str(path))


@lru_cache(maxsize=4)
def _read_own(text: str, source: str) -> Settings:
    """Read it; a host asks with every answer of a model, and mostly it is the same."""
    return parse_settings(text, source)


def check_file(env: Environment, path: Path) -> Rules:
    """Read one file as if it were the repository's own, with the layers around it; ``config.yaml`` by its name.

    Raises:
        NotFound: there is no such file.
        InvalidInput: with all its problems.
    """
    text = read_file(path, str(path))
    if text is None:
        raise NotFound(f"there is no file {path}")
    kind = "config" if path.name.startswith("config") else "policy"
    return _build((*_read_texts(env, None), Text(kind, "repository", str(path), text)))


def rules_from_plain(texts: Sequence[Mapping[str, Any]]) -> Rules:
    """Return the rules that were in force when a plan was made.

    Raises:
        InvalidInput: this version of nightcrew cannot read them any more.
    """
    return _build(
        tuple(Text(t["kind"], t["layer"], t["source"], t["text"]) for t in texts), examples_hold=True
    )


def describe_difference(parts: Parts, repository: Repository, rules: Rules) -> str:
    """Return one line when the repository's rules are not what the base commit holds, else the empty string."""
    if not repository.head:
        return ""
    git = parts.git(repository)
    differing = []
    for text in rules.texts:
        if text.layer != "repository":
            continue
        shown = git.run("show", f"{repository.head}:{text.source}", check=False)
        if shown.code != 0:
            differing.append(f"{text.source} is not committed")
        elif shown.stdout != text.text.encode("utf-8", "surrogateescape"):
            differing.append(f"{text.source} differs from the base commit")
    return "; ".join(differing) + " (the file in your working tree counts)" if differing else ""


def _read_texts(env: Environment, root: Path | None) -> list[Text]:
    shipped = files("nightcrew.policy").joinpath(DEFAULTS).read_text("utf-8")
    found = [Text("policy", "shipped", DEFAULTS, shipped)]
    candidates = [
        ("policy", "system", env.system_policy, str(env.system_policy)),
        ("policy", "user", env.config / "policy.yaml", str(env.config / "policy.yaml")),
        ("config", "user", env.config / "config.yaml", str(env.config / "config.yaml")),
    ]
    if root is not None:
        candidates += [
            ("policy", "repository", root / POLICY_FILE, POLICY_FILE),
            ("config", "repository", root / CONFIG_FILE, CONFIG_FILE),
        ]
    for kind, name, path, source in candidates:
        text = read_file(path, source)
        if text is not None:
            found.append(Text(kind, name, source, text))
    found += [Text("role", *each) for each in find_role_texts(env.config, root, read_file)]
    return found


def read_file(path: Path, source: str) -> str | None:
    """Return the text of a file of rules, None when there is none; ``source`` is its name in messages.

    Raises:
        UsageError: it cannot be read. InvalidInput: it is too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        # A policy that is there and cannot be read stops everything: it might have said no.
        raise UsageError(f"cannot read {source}: {error.strerror}", code="policy.unreadable") from error
    if len(data) > _MAX_BYTES:
        raise InvalidInput(f"{source} is too large", [Problem(Place(source), "more than 1 MiB")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        place = Place(source, before.count(b"\n") + 1, column)
        problem = Problem(place, f"not UTF-8: byte 0x{data[error.start]:02X} cannot be read")
        raise InvalidInput(f"{source} cannot be read; nothing was started", [problem]) from error


def _build(texts: tuple[Text, ...], *, examples_hold: bool = False) -> Rules:
    """Make rules of their texts; ``examples_hold``: they were checked when these texts were read the first time."""
    problems: list[Problem] = []
    policies: list[Policy] = []
    roles: dict[str, tuple[Role, ...]] = {}
    settings = Settings()
    for text in texts:
        try:
            if text.kind == "policy":
                policies.append(_read_policy(text, examples_hold=examples_hold))
            elif text.kind == "role":
                role = parse_role_text(text.text, text.source, text.layer, examples_hold=examples_hold)
                roles[role.name] = (*roles.get(role.name, ()), role)
            else:
                foreign = text.layer == "repository"
                inner = parse_settings(text.text, text.source, over=settings, repository=foreign)
                settings = _tighten(settings, inner) if foreign else inner
        except InvalidInput as error:
            problems.extend(error.problems)
    policy = Policy()
    if not problems:
        try:
            policy = layer(policies)
        except InvalidInput as error:
            problems.extend(error.problems)
    if not examples_hold:
        problems.extend(_check_inherited(policy, policies))
    problems.extend(check_roles(policy, roles))
    if problems:
        raise InvalidInput(
            "the rules cannot be read; nothing was started",
            problems,
            hint="mend the file, then: nightcrew policy check",
            texts={text.source: text.text for text in texts},
        )
    return Rules(policy, _obey(policy, settings), texts, roles=roles)


def _check_inherited(policy: Policy, policies: Sequence[Policy]) -> Iterator[Problem]:
    """Yield what is wrong with examples of rules that take their ``when`` from an outer layer, known only now."""
    from nightcrew.host.shell import parse
    from nightcrew.policy.examples import check_examples

    names = {rule.id for each in policies for rule in each.rules if rule.when is None and rule.examples}
    rules = tuple(rule for rule in policy.rules if rule.id in names)
    if rules:
        yield from check_examples(replace(policy, rules=rules), parse)


def _obey(policy: Policy, settings: Settings) -> Settings:
    """Keep the settings within what the policy says of recovery (``agent_recovery``)."""
    timeout, retries = policy.number("agent_recovery.timeout"), policy.number("agent_recovery.max_retries")
    if timeout is not None:
        hard_s = min(settings.limits.hard_s or timeout.value, timeout.value)
        settings = replace(settings, limits=replace(settings.limits, hard_s=hard_s))
    if retries is not None:
        attempts = min(settings.retries.attempts, retries.value + 1)
        settings = replace(settings, retries=replace(settings.retries, attempts=attempts))
    return settings


def _read_policy(text: Text, *, examples_hold: bool) -> Policy:
    """Read one layer. The examples of the shipped one are checked by our tests: they cannot change on the way here."""
    from nightcrew.host.shell import parse

    if examples_hold or text.layer == "shipped":
        return _read_checked(text.text, text.source, text.layer == "system")
    return parse_policy(text.text, text.source, parse=parse, ceiling=text.layer == "system")


@lru_cache(maxsize=16)
def _read_checked(text: str, source: str, ceiling: bool) -> Policy:
    """Read a layer whose examples are known to hold; a host reads the same one for every run."""
    return parse_policy(text, source, ceiling=ceiling)


def _tighten(outer: Settings, inner: Settings) -> Settings:
    """Keep the stricter isolation: a repository may ask for more than its user, or the default, never for less."""
    inner = _narrow(outer, inner)
    if inner.require_isolation.satisfies(outer.require_isolation):
        return inner
    return replace(inner, require_isolation=Level(outer.require_isolation))


def _narrow(outer: Settings, inner: Settings) -> Settings:
    """Keep the smaller budgets, and what ends things sooner."""
    return replace(inner, **narrow_limits(outer, inner))
