"""What can be done with roles: list, show, write, check and try them; ``Runtime.roles`` makes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import InvalidInput, NotFound, StaleError, UsageError
from nightcrew.runtime.roles import tell_counts
from nightcrew.runtime.rules import read_file, read_rules
from nightcrew.runtime.settings.rolefiles import (
    FOLDER,
    OWN,
    find_role,
    find_shipped,
    known_roles,
    parse_role_text,
    read_candidate_role,
)

if TYPE_CHECKING:
    from nightcrew.model.people import Proof
    from nightcrew.policy.roles.role import Role
    from nightcrew.policy.rules import Placed, Policy, Rule
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

View = dict[str, Any]
LISTS: Final = ("forbidden", "requires_approval", "autonomous")
DEFAULT_TEMPLATE: Final = "software-engineer"
#: Kinds of the events that tell of a changed role file.
WRITTEN: Final = "role.written"


class Roles:
    """The part of the library API that is about roles.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def every(self) -> View:
        """Return every role that tasks can name, with the files that make it up, the innermost last."""
        rules = self._rules()
        found = []
        for name in known_roles(rules.roles):
            files = find_role(rules.roles, name)
            found.append(
                {
                    "name": name,
                    "title": files[-1].title,
                    "description": files[-1].description,
                    "layers": [role.layer for role in files],
                    "sources": [role.source for role in files],
                }
            )
        return {"roles": found, "default": rules.settings.role, "required": rules.settings.require_role}

    def show(self, name: str) -> View:
        """Return a role as it is in force: its authority, its limits, and what is base, each with its place.

        Raises:
            NotFound: there is no such role.
        """
        from nightcrew.policy.roles.putting import base_role

        rules = self._rules()
        files = find_role(rules.roles, name)
        return {
            "name": name,
            "title": files[-1].title,
            "description": files[-1].description,
            "digest": rules.under(name).policy.digest,
            "sources": [role.source for role in files],
            "authority": {
                **{key: [_view(rule) for role in files for rule in getattr(role, key)] for key in LISTS},
                "base": [_view(rule) for rule in base_role().rules if rule.decision != "allow"],
            },
            "values": [value for role in files for value in _values(role, rules.policy)],
        }

    def new(self, name: str, template: str = "", *, user: bool = False, proof: Proof | None = None) -> View:
        """Write a role file from a template.

        Args:
            template: name of a role to begin with; ``name`` itself when it is shipped, else DEFAULT_TEMPLATE.
            user: for all repositories of this person.
            proof: of who asks, where the policy wants one for a change of a repository's role.

        Raises:
            UsageError: no such name can be. StaleError: there is such a file; it was left as it is. NotFound: no template.
            NotAuthenticated, LimitReached: the proof is missing or wrong; nothing was written.
        """
        from nightcrew.policy.roles.putting import shipped_text
        from nightcrew.policy.roles.reading import NAME

        if not NAME.match(name):
            raise UsageError(
                f"{name!r} is no name for a role; nothing was written",
                code="role.name",
                hint="small letters, digits and hyphens: release-manager",
            )
        folder = self._folder(user=user)
        path = folder / f"{name}.yaml"
        if path.exists() or path.with_suffix(".yml").exists():
            raise StaleError(
                f"{path} is there already; it was left as it is",
                code="role.exists",
                hint=f"nightcrew role edit {name}",
            )
        begin = template or (name if find_shipped(name) else DEFAULT_TEMPLATE)
        role = find_role(self._rules().roles, begin)[-1]
        text = shipped_text(begin) if role.layer == "shipped" else self._read(role)
        factor = "" if user else self._prove(proof)
        self._write(path, text, name=name, factor=factor, why=f"from {begin}")
        return {"name": name, "template": begin, "path": str(path), "factor": factor}

    def validate(self, file: Path | None = None) -> View:
        """Return what is in role files, all of them or one by name or path, and what of it has no effect.

        Raises:
            InvalidInput: with all problems, each at file:line:column. NotFound: no such role or file.
        """
        rules = self._rules()
        if file is None:
            roles = [role for found in rules.roles.values() for role in found]
        else:
            roles = self._candidates(str(file), rules)
        return {
            "ok": True,
            "roles": [
                {"name": r.name, "source": r.source, "layer": r.layer, "counts": tell_counts(r)}
                for r in roles
            ],
            "notes": [note for role in roles for note in _find_idle(role, rules.policy)],
        }

    def test(self, name: str) -> View:
        """Return what a role says to its own examples and to actions that every role must at least ask about; nothing runs.

        Args:
            name: of a role, or a file as if it were the repository's own.
        """
        from nightcrew.runtime.rulebook.roletrying import try_role

        rules = self._rules()
        return try_role(self._candidates(name, rules), rules)

    def draft(self, name: str) -> View:
        """Return ``path`` and ``text`` of the file that ``save`` would write: the repository's, else the person's own.

        Raises:
            NotFound: there is no such file to change.
        """
        path = Path(self.path(name)["path"])
        return {"path": str(path), "text": read_file(path, str(path)) or ""}

    def save(self, name: str, text: str, *, proof: Proof | None = None) -> View:
        """Put a new text in the place of a role file, when it is valid.

        Raises:
            InvalidInput: it is not; the file is as it was, and the text is kept beside it.
            NotAuthenticated, LimitReached: the proof is missing or wrong; the file is as it was.
        """
        found = self.path(name)
        path = Path(found["path"])
        try:
            role = parse_role_text(text, str(path), found["layer"])
        except InvalidInput as error:
            kept = path.with_suffix(".rejected")
            self._put(kept, text)
            error.texts = {str(path): text}
            error.hint = f"the file is as it was; your text is kept in {kept}"
            raise
        if role.name != name:
            raise UsageError(f"{path} is not the file of the role {name}", code="role.name")
        factor = self._prove(proof) if found["layer"] == "repository" else ""
        self._write(path, text, name=name, factor=factor, why="edited")
        return {"name": name, "path": str(path), "factor": factor}

    def path(self, name: str) -> View:
        """Return where the file of a role is, and its layer: the repository's, else the person's own.

        Raises:
            NotFound: neither has one; a shipped role has no file to change.
        """
        root = self._parts.find_root()
        folders = [("repository", root / FOLDER)] if root else []
        folders.append(("user", self._parts.env.config / OWN))
        for layer, folder in folders:
            for path in (folder / f"{name}.yaml", folder / f"{name}.yml"):
                if path.is_file():
                    return {"name": name, "path": str(path), "layer": layer}
        if find_shipped(name) is not None:
            raise NotFound(
                f"the role {name} is shipped and has no file here",
                code="role.shipped",
                hint=f"make it yours: nightcrew role new {name}",
            )
        find_role(self._rules().roles, name)
        raise NotFound(
            f"there is no file of the role {name}", code="role.unknown", hint="nightcrew role list"
        )

    def schema(self) -> View:
        """Return the JSON Schema of role files."""
        from nightcrew.policy.roles.reading import role_schema

        return dict(role_schema())

    # -- small things ---------------------------------------------------------------------------------------------

    def _rules(self) -> Rules:
        return read_rules(self._parts.env, self._parts.find_root())

    def _candidates(self, name: str, rules: Rules) -> list[Role]:
        """Return the files of a role by its name, or the one file that is named."""
        if "/" not in name and Path(name).suffix not in (".yaml", ".yml"):
            return [*find_role(rules.roles, name)]
        role = read_candidate_role(self._parts.cwd / name, name, read_file)
        return [role]

    def _read(self, role: Role) -> str:
        root = self._parts.find_root()
        path = Path(role.source)
        text = read_file(path if path.is_absolute() or root is None else root / path, role.source)
        return text or ""

    def _folder(self, *, user: bool) -> Path:
        if user:
            return self._parts.env.config / OWN
        root = self._parts.find_root()
        if root is None:
            raise NotFound(
                "there is no repository here",
                code="repository.missing",
                hint="add --user for a role of your own",
            )
        for folder in (root / FOLDER, (root / FOLDER).parent):
            if folder.is_symlink():
                raise UsageError(f"{folder} is a symbolic link; nothing was written", code="role.link")
        return root / FOLDER

    def _prove(self, proof: Proof | None) -> str:
        from nightcrew.runtime.people.factors import require_factor
        from nightcrew.runtime.people.terms import need_person

        need_person(self._parts, "admin")
        return require_factor(self._parts, "role", proof)

    def _write(self, path: Path, text: str, *, name: str, factor: str, why: str) -> None:
        from nightcrew.model import canonical

        with self._parts.journal.write() as tx:
            # Before the file: what was decided is on record first.
            data = {
                "role": name,
                "path": str(path),
                "digest": canonical.digest(text),
                "why": why,
                "factor": factor,
            }
            tx.append(WRITTEN, actor=f"user:{self._parts.env.user}", data=data)
        self._put(path, text)

    def _put(self, path: Path, text: str) -> None:
        from nightcrew.host.files import write_atomic

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode(), mode=0o644)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}", code="role.unwritable") from error


def _view(rule: Rule) -> View:
    return {
        "id": rule.id,
        "subject": rule.subject,
        "decision": str(rule.decision),
        "risk": rule.risk,
        "reason": rule.reason,
        "source": rule.source,
    }


def _values(role: Role, policy: Policy) -> Iterator[View]:
    """Yield the single values of a role in words, each with its place and, where it has none, why it has no effect."""
    idle = dict(_find_idle_limits(role, policy))
    many = (("competencies", role.competencies), ("agents", role.agents))
    found: list[tuple[str, str, str]] = [("otherwise", str(role.otherwise.value), role.otherwise.source)]
    found += [(name, str(placed.value), placed.source) for name, placed in role.limits.items()]
    found += [(name, ", ".join(each.value for each in said), said[0].source) for name, said in many if said]
    found += [("gate", gate.value.run, gate.source) for gate in role.gates]
    for name, placed, tell in _SINGLE:
        value = placed(role)
        found += [(name, tell(value.value), value.source)] if value is not None else []
    found += [("model", role.model, role.source)] if role.model else []
    for name, text, source in found:
        yield {"name": name, "value": text, "source": source, "note": idle.get(name, "")}


def _tell_confidence(levels: Any) -> str:
    return f"auto {levels.auto:g}, flag {levels.flag:g}, ask {levels.ask:g}"


def _tell_caps(caps: Any) -> str:
    said = [f"task {caps.task.describe()}"] if caps.task else []
    said += [f"run {caps.run.describe()}"] if caps.run else []
    return ", ".join([*said, *([f"attempt {caps.attempt_s:g} s"] if caps.attempt_s else [])])


_SINGLE: Final[tuple[tuple[str, Callable[[Role], Placed[Any] | None], Callable[[Any], str]], ...]] = (
    ("risk_tolerance", lambda role: role.tolerance, str),
    ("confidence", lambda role: role.confidence, _tell_confidence),
    ("caps", lambda role: role.caps, _tell_caps),
    ("network", lambda role: role.network, lambda hosts: " ".join(hosts) or "none"),
    ("working_hours", lambda role: role.hours, lambda hours: hours.describe()),
    ("require_review_before_promote", lambda role: role.review, lambda wanted: str(wanted).lower()),
)
"""Name of a value, where a role has it, and how it is told."""


def _find_idle(role: Role, policy: Policy) -> Iterator[str]:
    for name, why in _find_idle_limits(role, policy):
        yield f"{role.limits[name].source}: {name}: {why}"


def _find_idle_limits(role: Role, policy: Policy) -> Iterator[tuple[str, str]]:
    for name, placed in role.limits.items():
        known = policy.settings.get(name)
        if known is not None and known.value is not None and known.value <= placed.value:
            yield (
                name,
                f"no effect: the policy has {known.value} ({known.source}), and a role can only lower it",
            )
