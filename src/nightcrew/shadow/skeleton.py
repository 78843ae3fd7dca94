"""The private ``.git`` of a shadow: HEAD on the user's branch at the base commit, an index that is up to date, and
the user's objects behind ``alternates``. Whatever an agent does to it stays in its own writable layer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.model.trees import Repository

OBJECTS_INSIDE: Final = "/run/nightcrew/objects"
"""Where the user's object directories (0, 1, ...) are bound inside a sandbox: a path that tells nothing of the host."""

# The user's settings that decide how files look in a working tree; without them `git status` inside would differ
# from the user's. Programs they name (LFS, git-crypt) run inside the sandbox.
_KEPT: Final = re.compile(
    r"^(core\.(autocrlf|eol|safecrlf|filemode|ignorecase|symlinks|precomposeunicode)|filter\..*|user\.(name|email)"
    r"|extensions\.objectformat|init\.defaultbranch)$"
)
_OURS: Final = (
    ("core.bare", "false"),
    ("core.logallrefupdates", "true"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
)
IDENTITY: Final = "nightcrew-identity"
"""File in the private ``.git`` that names who commits, and nothing else: what git in a sandbox reads as the settings of the
system, so that a repository which an agent makes inside the shadow has somebody to commit as, too."""
IDENTITY_BESIDE: Final = "nightcrew-identity-beside"
"""The same beside what a container's image sets (`git lfs install --system`): it would be hidden otherwise."""
_SYSTEM: Final = ("include.path", "/etc/gitconfig")
# Git then lists a directory again only when its status has changed. With the checks below left out, setting back the
# time of a directory (`cp -a`, `rsync -a`) would hide from `git status` what came into it meanwhile.
_CACHE: Final = "core.untrackedcache"
_LENIENT: Final = (("core.checkstat", "minimal"), ("core.trustctime", "false"), (_CACHE, "false"))
_NOBODY: Final = (("user.name", "nightcrew agent"), ("user.email", "agent@localhost"))


def write_skeleton(
    place: Path, repository: Repository, commit: str, git: Git, settings: Mapping[str, str]
) -> None:
    """Write everything but the index, which is to hold the status of each file as a sandbox shows it; see ``make_lenient``.

    Args:
        place: the ``.git`` directory to make; it must not exist.
        git: git on the user's repository, trusted; settings: what it is set to.
    """
    for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info", "hooks"):
        (place / name).mkdir(parents=True)
    own = list(_own_settings(settings, commit))
    (place / "config").write_bytes(_format_settings(own))
    who = [pair for pair in own if pair[0].startswith("user.")]
    (place / IDENTITY).write_bytes(_format_settings(who))
    (place / IDENTITY_BESIDE).write_bytes(_format_settings([_SYSTEM, *who]))
    (place / "packed-refs").write_bytes(_refs(repository, commit, git))
    (place / "objects/info/alternates").write_text(f"{OBJECTS_INSIDE}/0\n")
    _copy_rules(place / "info/exclude", repository, settings, "core.excludesfile", "exclude")
    _copy_rules(place / "info/attributes", repository, settings, "core.attributesfile", "attributes")
    shallow = Path(repository.common_dir) / "shallow"
    if shallow.exists():
        (place / "shallow").write_bytes(shallow.read_bytes())
    (place / "HEAD").write_bytes(_head(repository, commit))


def make_lenient(git: Path, skeleton: Path | None = None) -> None:
    """Have git look at no more of a file's status than size and time of modification, and remember no directories.

    Right where files are copies, with other inodes and times of change, where an index was written without having seen the
    files, and where they are in a group that a sandbox does not know.

    Args:
        git: a ``.git`` directory; skeleton: the one whose configuration it gets, its own by default.
    """
    config = ((skeleton or git) / "config").read_bytes()
    (git / "config").write_bytes(config + _format_settings(iter(_LENIENT)))


def alternates_of(objects: Path) -> list[Path]:
    """Return an object directory and, transitively, those it leans on; missing ones are left out as git does."""
    found: list[Path] = []
    waiting = [objects]
    while waiting:
        place = Path(os.path.realpath(waiting.pop(0)))
        if place in found or not place.is_dir():
            continue
        found.append(place)
        try:
            lines = (place / "info/alternates").read_bytes().splitlines()
        except FileNotFoundError:
            continue
        waiting += [
            place / os.fsdecode(_unquote(line)) for line in lines if line and not line.startswith(b"#")
        ]
    return found


def _own_settings(settings: Mapping[str, str], commit: str) -> Iterator[tuple[str, str]]:
    yield "core.repositoryformatversion", "1" if len(commit) == 64 else "0"
    if len(commit) == 64:
        yield "extensions.objectformat", "sha256"
    yield from _OURS
    yield _CACHE, settings.get(_CACHE, "true")
    yield from ((key, value) for key, value in _NOBODY if key not in settings)
    for key, value in settings.items():
        if _KEPT.match(key) and not key.startswith("extensions."):
            yield key, value


def _format_settings(pairs: Iterable[tuple[str, str]]) -> bytes:
    lines = []
    for key, value in pairs:
        section, _, rest = key.partition(".")
        middle, _, name = rest.rpartition(".")
        head = f'[{section} "{_escape(middle)}"]' if middle else f"[{section}]"
        lines.append(f'{head}\n\t{name} = "{_escape(value)}"\n')
    return os.fsencode("".join(lines))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _refs(repository: Repository, commit: str, git: Git) -> bytes:
    """Return packed-refs: the branch at the base commit, and the user's tags (version tools read them)."""
    tags = git.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/tags").stdout
    branch = f"{commit} {repository.branch}\n".encode() if repository.branch else b""
    return branch + tags


def _head(repository: Repository, commit: str) -> bytes:
    return os.fsencode(f"ref: {repository.branch}\n" if repository.branch else f"{commit}\n")


def _copy_rules(
    target: Path, repository: Repository, settings: Mapping[str, str], setting: str, name: str
) -> None:
    """Write the user's machine-wide and repository-wide rules into one file, the latter last so that they win."""
    parts = []
    for place in (settings.get(setting, ""), f"{repository.common_dir}/info/{name}"):
        if place:
            try:
                parts.append(Path(place).expanduser().read_bytes())
            except OSError:
                # Named but not there, or not readable: git ignores such a file too.
                continue
    target.write_bytes(b"\n".join(parts))


def _unquote(line: bytes) -> bytes:
    if not line.startswith(b'"'):
        return line
    body = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), line[1:].rstrip().removesuffix(b'"'))
    return body.replace(b'\\"', b'"').replace(b"\\\\", b"\\")
