"""The store on disk (docs/formats/store.md): a bare git repository that leans on the user's objects."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from nightcrew.host import files, tokens
from nightcrew.model.errors import UsageError
from nightcrew.model.trees import Repository

VERSION: Final = 1

_REF: Final = re.compile(r"refs(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")
_REF_TRIES: Final = 20
_HEAD: Final = b"ref: refs/heads/none\n"


def prepare(path: Path, repository: Repository) -> None:
    """Make the store if it is not there, and point it at the repository's objects wherever those are now.

    Every step may be repeated and may run in two processes at once.

    Raises:
        UsageError: the store was written by a newer nightcrew.
    """
    files.ensure_private_directory(path)
    for name in ("objects/info", "objects/pack", "refs", "scratch"):
        (path / name).mkdir(parents=True, exist_ok=True)
    _check_version(path / "version")
    _keep(path / "config", _config(len(repository.head) == 64))
    _keep(path / "objects/info/alternates", alternate_line(f"{repository.common_dir}/objects"))
    _keep(path / "shallow", _read(Path(repository.common_dir) / "shallow") + _read(path / "cut"))
    # Git takes a directory for a repository once it has HEAD, so that comes last.
    _keep(path / "HEAD", _HEAD)


def cut_history(path: Path, commits: Collection[str]) -> None:
    """Have git take these commits as first ones, whatever parents they name; replaces what was cut before.

    They are the checkpoints whose predecessor was given up. ``prepare`` carries it on into git's own ``shallow`` file.
    """
    old = _read(path / "cut")
    new = "".join(f"{commit}\n" for commit in sorted(commits)).encode("ascii")
    if new != old:
        rest = _read(path / "shallow").removesuffix(old)
        _keep(path / "cut", new)
        _keep(path / "shallow", rest + new)


def write_ref(path: Path, name: str, commit: str, *, durable: bool = True) -> None:
    """Point a ref of the store at a commit, in one act.

    Args:
        durable: it is on disk when this comes back; without it a power loss may take it back, never a crash.

    Raises:
        ValueError: not a plain ref name.
    """
    if not _REF.fullmatch(name) or ".." in name or name.endswith(".lock"):
        raise ValueError(f"not a ref name: {name!r}")
    place = path / name
    for left in range(_REF_TRIES, -1, -1):
        try:
            if durable:
                files.write_atomic(place, commit.encode("ascii") + b"\n")
            else:
                aside = place.with_name(f".{place.name}.{tokens.nonce()}")
                aside.write_bytes(commit.encode("ascii") + b"\n")
                aside.rename(place)
            return
        except FileNotFoundError:
            # The first of its folder; or refs are being put together this moment, and git removes a folder that has
            # become empty.
            if left == 0:
                raise
            place.parent.mkdir(parents=True, exist_ok=True)


def id_width(path: Path) -> int:
    """Return the length of a raw object id of this store: 20 (SHA-1) or 32 (SHA-256)."""
    return 32 if b"objectFormat = sha256" in _read(path / "config") else 20


def alternate_line(path: str) -> bytes:
    """Return one line of an alternates file; a path that git would misread is quoted the way C does."""
    raw = os.fsencode(path)
    if raw[:1] in (b'"', b"#") or any(byte < 32 for byte in raw):
        escaped = (b"\\%03o" % byte if byte < 32 or byte in b'"\\' else bytes([byte]) for byte in raw)
        raw = b'"' + b"".join(escaped) + b'"'
    return raw + b"\n"


def _config(sha256: bool) -> bytes:
    lines = ["[core]", f"repositoryformatversion = {int(sha256)}", "bare = true", "logAllRefUpdates = false"]
    # What a checkpoint names must survive a power loss, merged blobs written by git itself included.
    lines += ["fsync = committed,reference", "[gc]", "auto = 0"]
    lines += ["[extensions]", "objectFormat = sha256"] if sha256 else []
    return "\n".join(lines).encode() + b"\n"


def _check_version(file: Path) -> None:
    found = _read(file).strip() or str(VERSION).encode()
    if found != str(VERSION).encode():
        raise UsageError(
            f"the checkpoint store {file.parent} has format {found.decode(errors='replace')}; this is {VERSION}",
            code="store.version",
            hint="use the nightcrew that wrote it, or a newer one",
        )
    _keep(file, b"%d\n" % VERSION)


def _keep(file: Path, content: bytes) -> None:
    """Give a file this content unless it has it; empty content means no file."""
    if _read(file) == content:
        return
    if content:
        files.write_atomic(file, content)
    else:
        file.unlink(missing_ok=True)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
