"""Role files: where they are, read as they stand, and laid over a policy. What they say: docs/formats/role.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nightcrew.model.errors import InvalidInput, NotFound, Place, Problem, UsageError
from nightcrew.model.text import closest, shown

if TYPE_CHECKING:
    from nightcrew.policy.roles.role import Role
    from nightcrew.policy.rules import Policy

FOLDER: Final = ".nightcrew/roles"
#: Folder of the roles of a person, below their own settings; of the shipped ones as messages name them.
OWN: Final = "roles"
_ENDINGS: Final = (".yaml", ".yml")
#: More files than anybody has roles are a mistake, and each is read by most commands.
_MOST: Final = 200

Read = Callable[[Path, str], str | None]


def find_role_texts(config: Path, root: Path | None, read: Read) -> Iterator[tuple[str, str, str]]:
    """Yield layer, source and text of every role file, those of the person first, by name.

    Raises:
        UsageError: a file or folder cannot be read. InvalidInput: too large, or not UTF-8.
    """
    folders = [("user", config / OWN, f"{config / OWN}")]
    if root is not None:
        folders.append(("repository", root / FOLDER, FOLDER))
    for layer, folder, named in folders:
        for path in _list(folder):
            source = f"{named}/{path.name}"
            text = read(path, source)
            if text is not None:
                yield layer, source, text


def _list(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        # A role that is there and cannot be read might have said no.
        raise UsageError(f"cannot read {folder}: {error.strerror}", code="role.unreadable") from error
    odd = next((path for path in found if not path.is_file()), None)
    if odd is not None:
        raise UsageError(f"{odd} is not a file", code="role.unreadable", hint="take it away, or rename it")
    if len(found) > _MOST:
        raise UsageError(f"{folder} has {len(found)} files; at most {_MOST} roles are read", code="role.many")
    return found


def parse_role_text(text: str, source: str, layer: str, *, examples_hold: bool = False) -> Role:
    """Return the role in a file.

    Args:
        examples_hold: they were checked when this text was read the first time, or are checked by our own tests.

    Raises:
        InvalidInput: with all problems, each at file:line:column.
    """
    from nightcrew.host.shell import parse
    from nightcrew.policy.roles.reading import parse_role

    if examples_hold or layer == "shipped":
        return _parse_checked(text, source, layer)
    return parse_role(text, PurePosixPath(source).stem, source, layer=layer, parse=parse)


@lru_cache(maxsize=32)
def _parse_checked(text: str, source: str, layer: str) -> Role:
    from nightcrew.policy.roles.reading import parse_role

    return parse_role(text, PurePosixPath(source).stem, source, layer=layer)


def find_shipped(name: str) -> Role | None:
    """Return a shipped role, None when there is none of that name."""
    from nightcrew.policy.roles.putting import TEMPLATES, shipped_text

    if name not in TEMPLATES:
        return None
    return parse_role_text(shipped_text(name), shipped_source(name), "shipped")


def shipped_source(name: str) -> str:
    """Return how messages name the file of a shipped role."""
    return f"{OWN}/{name}.yaml"


def find_role(roles: Mapping[str, tuple[Role, ...]], name: str) -> tuple[Role, ...]:
    """Return all files of a role: the person's and the repository's both hold; a shipped one where neither has it.

    Raises:
        NotFound: there is no such role.
    """
    found = roles.get(name)
    if found:
        return found
    shipped = find_shipped(name)
    if shipped is None:
        near = closest(name, known_roles(roles))
        raise NotFound(
            f"there is no role {shown(name)!r}" + (f"; did you mean {near!r}?" if near else ""),
            code="role.unknown",
            hint="nightcrew role list",
        )
    return (shipped,)


def known_roles(roles: Mapping[str, tuple[Role, ...]]) -> tuple[str, ...]:
    """Return every name that ``Role:`` may have."""
    from nightcrew.policy.roles.putting import TEMPLATES

    return tuple(sorted({*roles, *TEMPLATES}))


def lay_on(policy: Policy, roles: Mapping[str, tuple[Role, ...]], name: str) -> Policy:
    """Return the policy as it is for tasks of a role; made once per policy and role.

    Raises:
        NotFound: there is no such role.
    """
    from nightcrew.policy.roles.putting import put_on

    made: dict[str, Policy] = policy.compiled.setdefault("roles", {})
    if name not in made:
        made[name] = put_on(policy, find_role(roles, name))
    return made[name]


def check_roles(policy: Policy, roles: Mapping[str, tuple[Role, ...]]) -> Iterator[Problem]:
    """Yield what is wrong with roles beside a policy: two files of one name in one folder, a preset that is not there."""
    from nightcrew.policy.network import presets_of
    from nightcrew.policy.places import find_preset, read_item

    for name, files in roles.items():
        layers = [role.layer for role in files]
        for role in files:
            if layers.count(role.layer) > 1 and role.source.endswith(".yml"):
                yield Problem(
                    Place(role.source, 1, 1), f"there are two files of the role {name}", "keep one of them"
                )
            for text in role.network.value if role.network else ():
                item = read_item(text)
                if not item.preset or item.asks or role.network is None:
                    continue
                try:
                    find_preset(item.preset, presets_of(policy))
                except ValueError as error:
                    yield Problem(role.network.place, f"network: {error}", "nightcrew policy network")


def read_candidate_role(path: Path, named: str, read: Read) -> Role:
    """Return the role in any file, as if it were the repository's own.

    Raises:
        NotFound: there is no such file. InvalidInput: with all its problems.
    """
    text = read(path, named)
    if text is None:
        raise NotFound(f"there is no file {named}", code="file.missing", hint="nightcrew role list")
    try:
        return parse_role_text(text, named, "repository")
    except InvalidInput as error:
        error.texts = {named: text}
        raise
