"""What lies between the base commit and a task's own work, told to git as a commit."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.model.trees import DeltaEntry, Repository
from nightcrew.shadow.bases import Base
from nightcrew.shadow.names import GIT

_MESSAGE: Final = b"Where this task starts: results of other tasks, or its own up to a checkpoint\n"
_PIECE_BYTES: Final = 1 << 20


def commit_delta(
    base: Base, layer: Path, delta: Sequence[DeltaEntry], repository: Repository, env: Mapping[str, str]
) -> None:
    """Put a commit of the delta on top of the base commit into the layer's own ``.git``.

    So ``git status`` of a dependent task is clean: what its dependencies did is history, not its own work. Blobs
    are written here byte by byte, not by ``git add``, which would run the user's filters on what an agent wrote.

    Args:
        base: its skeleton is only read.
        layer: directory that holds the delta's files as an overlay layer.
        delta: the same delta; env: environment for git.
    """
    skeleton, place = Path(base.skeleton) / GIT, layer / GIT
    objects = place / "objects"
    for name in ("info", "pack"):
        (objects / name).mkdir(parents=True)
    index = place / "index"
    index.write_bytes((skeleton / "index").read_bytes())
    git = Git(str(skeleton), env=env, index_file=str(index), trusted=False)
    extra = {
        "GIT_OBJECT_DIRECTORY": str(objects),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quote_directory(f"{repository.common_dir}/objects"),
        **{f"GIT_{who}_NAME": "nightcrew" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_EMAIL": "nightcrew@localhost" for who in ("AUTHOR", "COMMITTER")},
        **{f"GIT_{who}_DATE": f"@{base.modified_s} +0000" for who in ("AUTHOR", "COMMITTER")},
    }
    rows = b"".join(_index_rows(objects, layer, delta, len(base.commit)))
    git.run("update-index", "-z", "--index-info", input=rows, extra=extra)
    tree = git.run("write-tree", extra=extra).stdout.decode().strip()
    made = git.run("commit-tree", tree, "-p", base.commit, input=_MESSAGE, extra=extra)
    _move_head(skeleton, place, base.commit.encode(), made.stdout.strip())


def _index_rows(objects: Path, layer: Path, delta: Sequence[DeltaEntry], id_length: int) -> Iterator[bytes]:
    """Yield rows for ``update-index --index-info``, deletions first: a file may take a directory's place."""
    for entry in sorted(delta, key=lambda entry: entry.mode != 0):
        blob = _write_blob(objects, layer / entry.path, id_length) if entry.mode else "0" * id_length
        yield b"%o %s\t%s\0" % (entry.mode, blob.encode(), os.fsencode(entry.path))


def _write_blob(objects: Path, place: Path, id_length: int) -> str:
    """Write a file or link of the layer as a loose object, in pieces: it may be larger than memory."""
    found = place.lstat()
    head = b"blob %d\0" % found.st_size
    digest = hashlib.sha256(head) if id_length == 64 else hashlib.sha1(head, usedforsecurity=False)
    for piece in _pieces(place):
        digest.update(piece)
    blob = digest.hexdigest()
    target = objects / blob[:2] / blob[2:]
    target.parent.mkdir(exist_ok=True)
    squeeze = zlib.compressobj(1)
    with target.open("wb") as out:
        out.write(squeeze.compress(head))
        for piece in _pieces(place):
            out.write(squeeze.compress(piece))
        out.write(squeeze.flush())
    return blob


def _pieces(place: Path) -> Iterator[bytes]:
    if place.is_symlink():
        # Not Path.readlink: that would tidy up the target.
        yield os.fsencode(os.readlink(place))  # noqa: PTH115
        return
    with place.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            yield piece


def _move_head(skeleton: Path, place: Path, old: bytes, new: bytes) -> None:
    """Give the layer the skeleton's HEAD and refs with the base commit replaced; they hide those under them."""
    head = (skeleton / "HEAD").read_bytes()
    branch = head.removeprefix(b"ref: ")
    if branch == head:
        (place / "HEAD").write_bytes(new + b"\n")
        return
    refs = (skeleton / "packed-refs").read_bytes()
    (place / "packed-refs").write_bytes(refs.replace(old + b" " + branch, new + b" " + branch, 1))


def _quote_directory(path: str) -> str:
    """Quote a path for GIT_ALTERNATE_OBJECT_DIRECTORIES, where a colon separates."""
    if ":" not in path and not path.startswith('"'):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
