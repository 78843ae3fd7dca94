"""Manifests → which packages a project depends on, and what a change adds, moves and removes. Pure.

Read are the files that people write. Lock files follow from them and name thousands; what package managers bring along
is behind the network rules.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from nightcrew.policy.rules import DependencyPattern

MAX_BYTES: Final = 1 << 20
"""No manifest that a person writes is larger; such a one counts as not readable."""

DO: Final = ("add", "change", "remove")
ECOSYSTEMS: Final = ("python", "node", "rust", "go", "ruby", "php")

Found = Iterator[tuple[str, str]]

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^]]*\])?\s*(.*?)\s*(?:;.*)?\Z", re.DOTALL)
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]\s*(\S+)")
_EGG = re.compile(r"#egg=([\w.-]+)")
_ADDRESS = re.compile(
    r"(?i)\A@|://|\A(?:git@|git\+|github:|gitlab:|bitbucket:|file:|link:|portal:|\.{0,2}/|[\w-]+/[\w.-]+(?:#|\Z))|\bgit\b|\bpath\b"
)
_EXACT: Final[Mapping[str, re.Pattern[str]]] = {
    "python": re.compile(r"===?\s*[\w.!+-]+\Z|@"),
    "node": re.compile(r"=?v?\d+\.\d+\.\d+[\w.+-]*\Z"),
    "rust": re.compile(r"=\s*\d+\.\d+\.\d+[\w.+-]*\Z"),
    "go": re.compile(r"v\d+\.\d+\.\d+"),
    "ruby": re.compile(r"=?\s*\d+(?:\.\d+)+\Z"),
    "php": re.compile(r"=?v?\d+\.\d+\.\d+[\w.+-]*\Z"),
}


@dataclass(frozen=True, slots=True)
class Dependency:
    """One package that a manifest asks for, and what happens to it.

    Attributes:
        do: ``add``, ``change`` or ``remove``.
        ecosystem: ``python``, ``node``, ...
        name: of the package; spec: what is asked for (of a removed one: what was).
        old: what was asked for before, when it is a change.
    """

    do: str
    ecosystem: str
    name: str
    spec: str = ""
    old: str = ""

    @property
    def origin(self) -> str:
        """``elsewhere`` when it comes from an address, a repository or a folder, else ``registry``."""
        return "elsewhere" if _ADDRESS.search(self.spec) else "registry"

    @property
    def pinned(self) -> bool:
        """It is asked for in one version."""
        return _EXACT[self.ecosystem].match(self.spec) is not None

    def describe(self) -> str:
        """Return it in a few words."""
        spec = f" {self.spec}" if self.spec else ""
        was = f" (was {self.old})" if self.old else ""
        return f"{self.ecosystem} {self.name}{spec}{was}"


def is_meant(pattern: DependencyPattern, dependency: Dependency) -> bool:
    """Tell whether a rule's pattern is about a dependency."""
    if pattern.name and not any(fnmatchcase(dependency.name.lower(), glob.lower()) for glob in pattern.name):
        return False
    if pattern.ecosystem and dependency.ecosystem not in pattern.ecosystem:
        return False
    if pattern.do and dependency.do not in pattern.do:
        return False
    if pattern.origin and dependency.origin != pattern.origin:
        return False
    return pattern.pinned is None or dependency.pinned is pattern.pinned


def parse_example(text: str) -> Dependency:
    """Return what an example is about: ``add python requests >=2``.

    Raises:
        ValueError: it is not written like that.
    """
    words = text.split(None, 3)
    if len(words) < 3 or words[0] not in DO or words[1] not in ECOSYSTEMS:
        raise ValueError(
            f"the example must be like: add python requests >=2 ({', '.join(DO)}; {', '.join(ECOSYSTEMS)}), not {text!r}"
        )
    return Dependency(words[0], words[1], words[2], words[3] if len(words) > 3 else "")


def is_manifest(path: str) -> bool:
    """Tell whether a path names a file that is read here."""
    return _find_reader(path) is not None


def compare_manifests(path: str, old: bytes, new: bytes) -> tuple[Dependency, ...]:
    """Return what a change of a manifest means, sorted by name.

    Args:
        path: of the manifest. old, new: its content before and after; empty where there is none.

    Raises:
        ValueError: the new content is not a manifest that can be read.
    """
    after = read_manifest(path, new)
    try:
        before = read_manifest(path, old)
    except ValueError:  # the old one was broken: all of the new one counts as new
        before = {}
    ecosystem = _find_reader(path)[0]  # type: ignore[index]  # read_manifest has refused other paths
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        do = "add" if was is None else "remove" if now is None else "change"
        found.append(Dependency(do, ecosystem, name, now or was or "", (was or "") if do == "change" else ""))
    return tuple(found)


def read_manifest(path: str, data: bytes) -> Mapping[str, str]:
    """Return the packages that a manifest asks for: name → what is asked for.

    Raises:
        ValueError: it cannot be read.
    """
    found = _find_reader(path)
    if found is None:
        raise ValueError(f"{path} is no manifest")
    if not data.strip():
        return {}
    if len(data) > MAX_BYTES:
        raise ValueError("larger than 1 MiB")
    try:
        pairs = list(found[1](data.decode("utf-8-sig")))
    except (UnicodeDecodeError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"not in the form of a manifest ({type(error).__name__})") from error
    # One package may be asked for in several places (for development too): all of them count.
    gathered: dict[str, list[str]] = {}
    for name, spec in pairs:
        gathered.setdefault(name, []).append(" ".join(spec.split()))
    return {name: " | ".join(dict.fromkeys(specs)) for name, specs in gathered.items()}


def _read_requirements(text: str) -> Found:
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(?:\A|\s)#.*", "", raw).strip()
        editable = _EDITABLE.match(line)
        if editable:
            line = editable[1]
        elif not line or line.startswith("-"):
            continue
        line = re.sub(r"\s--\S.*", "", line)
        if "://" in line.partition("@")[0] or line.startswith((".", "/", "git+")):
            name = _EGG.search(line)
            yield (name[1] if name else line), f"@ {line}"
            continue
        yield from _requirement(line)


def _requirement(line: str) -> Found:
    match = _REQUIREMENT.match(line)
    if match:
        yield re.sub(r"[-_.]+", "-", match[1]).lower(), match[2]


def _read_pyproject(text: str) -> Found:
    whole = tomllib.loads(text)
    project = whole.get("project", {})
    lists = [project.get("dependencies", []), whole.get("build-system", {}).get("requires", [])]
    lists += [
        *project.get("optional-dependencies", {}).values(),
        *whole.get("dependency-groups", {}).values(),
    ]
    for each in lists:
        for line in each:
            if isinstance(line, str):
                yield from _requirement(line)
    poetry = whole.get("tool", {}).get("poetry", {})
    tables = [poetry.get("dependencies", {}), poetry.get("dev-dependencies", {})]
    tables += [group.get("dependencies", {}) for group in poetry.get("group", {}).values()]
    for table in tables:
        yield from ((name.lower(), spec) for name, spec in _table(table) if name != "python")
    # Where a package comes from can stand apart from its name.
    for name, source in whole.get("tool", {}).get("uv", {}).get("sources", {}).items():
        yield re.sub(r"[-_.]+", "-", name).lower(), f"@ {_spec(source)}"


def _read_pipfile(text: str) -> Found:
    whole = tomllib.loads(text)
    for block in ("packages", "dev-packages"):
        yield from _table(whole.get(block, {}))


def _read_package_json(text: str) -> Found:
    whole = json.loads(text)
    for block in ("dependencies", "devDependencies", "optionalDependencies", "peerDependencies"):
        yield from _table(whole.get(block, {}))
    for block in ("overrides", "resolutions"):
        yield from ((name, _spec(spec)) for name, spec in whole.get(block, {}).items())


def _read_composer(text: str) -> Found:
    whole = json.loads(text)
    for block in ("require", "require-dev"):
        yield from _table(whole.get(block, {}))


def _read_cargo(text: str) -> Found:
    whole = tomllib.loads(text)
    places = [whole, whole.get("workspace", {}), *whole.get("target", {}).values()]
    for place in places:
        for block in ("dependencies", "dev-dependencies", "build-dependencies"):
            yield from _table(place.get(block, {}))
    for table in whole.get("patch", {}).values():
        yield from _table(table)


def _table(table: Mapping[str, Any]) -> Found:
    for name, spec in table.items():
        yield name, _spec(spec)


def _spec(spec: Any) -> str:
    if isinstance(spec, str):
        return spec
    if isinstance(spec, dict):
        version = str(spec.get("version", ""))
        rest = [
            f"{key} {value}"
            for key, value in sorted(spec.items())
            if key in ("git", "path", "url", "rev", "tag", "branch")
        ]
        return " ".join([version, *rest]).strip()
    return json.dumps(spec)


def _read_go(text: str) -> Found:
    block = ""
    for raw in text.splitlines():
        line = raw.partition("//")[0].strip()
        if line in (")", ""):
            block = "" if line else block
            continue
        words = line.split()
        if words[-1] == "(":
            block = words[0]
            continue
        kind, rest = (block, words) if block else (words[0], words[1:])
        if kind == "require" and len(rest) >= 2:
            yield rest[0], rest[1]
        elif kind == "replace" and "=>" in rest:
            target = rest[rest.index("=>") + 1 :]
            yield rest[0], f"@ {' '.join(target)}"


_GEM = re.compile(r"""\A\s*gem[\s(]+['"]([^'"]+)['"]\s*(.*)""")


def _read_gemfile(text: str) -> Found:
    for line in text.splitlines():
        match = _GEM.match(line)
        if match:
            spec = re.sub(r"\s*#.*\Z", "", match[2]).strip(" ,)")
            yield match[1], spec.replace('"', "").replace("'", "")


_READERS: Final[tuple[tuple[str, str, Callable[[str], Found]], ...]] = (
    ("requirements*.txt", "python", _read_requirements),
    ("requirements*.in", "python", _read_requirements),
    ("constraints*.txt", "python", _read_requirements),
    ("pyproject.toml", "python", _read_pyproject),
    ("pipfile", "python", _read_pipfile),
    ("package.json", "node", _read_package_json),
    ("cargo.toml", "rust", _read_cargo),
    ("go.mod", "go", _read_go),
    ("gemfile", "ruby", _read_gemfile),
    ("composer.json", "php", _read_composer),
)


def _find_reader(path: str) -> tuple[str, Callable[[str], Found]] | None:
    name = path.rpartition("/")[2].lower()
    for glob, ecosystem, read in _READERS:
        if fnmatchcase(name, glob):
            return ecosystem, read
    return None
