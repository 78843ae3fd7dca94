"""What lies between the base commit and a task's own work, told to git as a commit."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import RawIOBase
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.host.indexfile import IndexFile, make_entry
from nightcrew.model.trees import DeltaEntry
from nightcrew.shadow.export import Base
from nightcrew.shadow.names import GIT
from nightcrew.shadow.objects import Objects, join_directories, objects_of_skeleton, write_repository
from nightcrew.shadow.skeleton import make_lenient

_MESSAGE: Final = b"Where this task starts: results of other tasks, or its own up to a checkpoint\n"
_WHO: Final = b"nightcrew <nightcrew@localhost>"
_LINK: Final = 0o120000
_NONE: Final = b"000000"
_SUBMODULE: Final = b"160000"
_PIECE_BYTES: Final = 1 << 20

# Larger files are written as loose objects in pieces, smaller ones go through one git process, so much in all.
_STREAMED_BYTES: Final = 1 << 20
_STREAM_BYTES: Final = 64 << 20

# Packs of our own are read once or twice and soon thrown away: squeezing costs more than it saves.
_UNFLUSHED: Final = ("-c", "core.fsync=none")
"""Nothing of a shadow is flushed: none is used after a power loss."""
_SETTINGS: Final = ("-c", "fastimport.unpackLimit=1", "-c", "pack.compression=1", "-c", "core.compression=1")


def is_stored(delta: Sequence[DeltaEntry], objects: Objects, tree: str) -> bool:
    """Tell whether our own store has the tree and everything of the delta, so that ``commit_stored`` will do."""
    return bool(tree and objects.own) and all(entry.blob and entry.size >= 0 for entry in delta if entry.mode)


def commit_stored(base: Base, layer: Path, delta: Sequence[DeltaEntry], objects: Objects, tree: str) -> None:
    """Do what ``commit_delta`` does with a delta that is stored: its objects are copied as they are.

    Nothing of it needs the files of the layer, which may be written meanwhile.
    """
    place = _make_git(base, layer)
    with ThreadPoolExecutor(1) as other:
        copying = other.submit(_copy, base, layer, tree, objects)
        changes = {os.fsencode(entry.path): _describe(base, entry) for entry in delta}
        _write_index(base, place / "index", changes)
        commit = copying.result()
    _move_head(Path(base.skeleton) / GIT, place, base.commit.encode(), commit)


def commit_delta(base: Base, layer: Path, delta: Sequence[DeltaEntry], objects: Objects) -> str:
    """Put a commit of the delta on top of the base commit into the layer's own ``.git``; return its tree.

    So ``git status`` of a dependent task is clean: what its dependencies did is history, not its own work. Blobs are written here
    byte by byte, not by ``git add``, which would run the user's filters on what an agent wrote.

    Args:
        base: its skeleton is only read.
        layer: directory that holds the delta's files as an overlay layer, all of them a second younger than the base.
        delta: the same delta; objects: where the base commit is.
    """
    place = _make_git(base, layer)
    changes, commit, tree = _write(base, layer, delta, objects)
    _move_head(Path(base.skeleton) / GIT, place, base.commit.encode(), commit)
    _write_index(base, place / "index", changes)
    return tree


def _make_git(base: Base, layer: Path) -> Path:
    place = layer / GIT
    for name in ("info", "pack"):
        (place / "objects" / name).mkdir(parents=True)
    # What is said here of the index is known before the files are written.
    make_lenient(place, Path(base.skeleton) / GIT)
    return place


def _write_index(base: Base, target: Path, changes: Mapping[bytes, bytes | None]) -> None:
    """Write the index of the base with some entries changed: as large as the repository, so hashed while it is written."""
    width = len(base.commit) // 2
    made = IndexFile.read(base.index, base.marks, width).derive(changes, sealed=False)
    with target.open("wb", buffering=0) as out, ThreadPoolExecutor(1) as other:
        writing = other.submit(_write_all, out, memoryview(made.data)[:-width])
        sealed = made.seal({})
        writing.result()
        _write_all(out, memoryview(sealed)[-width:])


def _write_all(out: RawIOBase, data: memoryview) -> None:
    while data:
        data = data[out.write(data) :]


def _describe(base: Base, entry: DeltaEntry) -> bytes | None:
    """Return the index entry of what the layer will have at a path, None for nothing."""
    if not entry.mode:
        return None
    found = os.stat_result((entry.mode, 0, 0, 1, 0, 0, entry.size, 0, 0, 0))
    return make_entry(os.fsencode(entry.path), found, entry.blob, base.modified_s + 1)


def _entry_of(base: Base, layer: Path, entry: DeltaEntry, blob: str) -> bytes:
    found = os.lstat(f"{layer}/{entry.path}")
    return make_entry(os.fsencode(entry.path), found, blob, base.modified_s + 1)


def _copy(base: Base, layer: Path, tree: str, objects: Objects) -> bytes:
    """Copy what the tree has and the base has not out of our own objects, as one pack; return the commit of it."""
    repository = layer.with_name("import")
    write_repository(repository, len(base.commit))
    known = [objects.own, f"{objects.repository.common_dir}/objects", objects_of_skeleton(base.skeleton)]
    git = Git(str(repository), env=objects.env, trusted=False)
    extra = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": join_directories(known)}
    words = ("-r", "-t", "-z", "--raw", "--no-renames", "--no-abbrev", base.tree, tree)
    heads = git.run("diff-tree", *words, extra=extra).stdout.split(b"\0")[0::2]
    rows = (head.split(b" ") for head in heads if head)
    ids = {tree.encode(), *(row[3] for row in rows if row[1] not in (_NONE, _SUBMODULE))}
    place = layer / GIT / "objects"
    git.run(
        *(*_UNFLUSHED, "pack-objects", "-q", "--window=0", str(place / "pack" / "pack")),
        input=b"".join(b"%s\n" % each for each in sorted(ids)),
        extra=extra,
    )
    when = b"%s %d +0000" % (_WHO, base.modified_s)
    text = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n%s" % (
        tree.encode(),
        base.commit.encode(),
        when,
        when,
        _MESSAGE,
    )
    return _write_loose(place, b"commit", text, len(base.commit)).encode()


def _write_loose(objects: Path, kind: bytes, content: bytes, id_length: int) -> str:
    head = b"%s %d\0" % (kind, len(content))
    name = _hash(head, id_length, content)
    target = objects / name[:2] / name[2:]
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(zlib.compress(head + content, 1))
    return name


def _write(
    base: Base, layer: Path, delta: Sequence[DeltaEntry], objects: Objects
) -> tuple[dict[bytes, bytes | None], bytes, str]:
    """Write all objects anew; return what changes in the index, the commit and its tree."""
    place = layer / GIT
    stream = _Stream(place / "objects", layer, len(base.commit))
    changes: dict[bytes, bytes | None] = {}
    for entry in sorted(delta, key=lambda entry: entry.mode != 0):
        path = os.fsencode(entry.path)
        if entry.mode == 0:
            changes[path] = None
            stream.delete(path)
        else:
            blob = stream.put(path, entry.mode, os.lstat(f"{layer}/{entry.path}").st_size)
            changes[path] = _entry_of(base, layer, entry, blob)
    commit, tree = _import(base, layer, stream, objects)
    return changes, commit, tree


def _import(base: Base, layer: Path, stream: _Stream, objects: Objects) -> tuple[bytes, str]:
    """Have git write what is streamed, with the trees and the commit above it, and return those two; the cost is that of the delta."""
    # Stays beside the layer: removing it would cost more than it takes.
    place = layer.with_name("import")
    write_repository(place, len(base.commit))
    known = [f"{objects.repository.common_dir}/objects", objects_of_skeleton(base.skeleton)]
    extra = {
        "GIT_OBJECT_DIRECTORY": objects_of_skeleton(str(layer)),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": join_directories(known),
    }
    git = Git(str(place), env=objects.env, trusted=False)
    said = git.run(
        *_SETTINGS,
        "fast-import",
        "--quiet",
        "--done",
        "--depth=0",
        input=stream.finish(base),
        extra=extra,
    )
    commit, _, tree = said.stdout.partition(b"\n")
    # As `ls` prints it: mode, kind, id, tab.
    return commit, tree.split()[2].decode()


class _Stream:
    """A delta in the words of ``git fast-import``."""

    def __init__(self, objects: Path, layer: Path, id_length: int) -> None:
        self._objects = objects
        self._layer = layer
        self._id_length = id_length
        self._blobs: list[bytes] = []
        self._rows: list[bytes] = []
        self._room = _STREAM_BYTES

    def delete(self, name: bytes) -> None:
        self._rows.append(b"D %s\n" % _quote(name))

    def put(self, name: bytes, mode: int, size: int) -> str:
        """Take in a file or link of the layer and return the id of its blob."""
        place = f"{self._layer}/{os.fsdecode(name)}"
        if size > min(_STREAMED_BYTES, self._room):
            blob = _write_blob(self._objects, place, size, self._id_length)
        else:
            content = os.fsencode(os.readlink(place)) if mode == _LINK else Path(place).read_bytes()  # noqa: PTH115
            blob = _hash(b"blob %d\0" % size, self._id_length, content)
            self._blobs.append(b"blob\ndata %d\n%s\n" % (size, content))
            self._room -= size
        self._rows.append(b"M %o %s %s\n" % (mode, blob.encode(), _quote(name)))
        return blob

    def finish(self, base: Base) -> bytes:
        """Return everything, ending with the question for the id of the commit."""
        head = b"commit refs/heads/none\nmark :1\nauthor %s %d +0000\ncommitter %s %d +0000\n" % (
            _WHO,
            base.modified_s,
            _WHO,
            base.modified_s,
        )
        message = b"data %d\n%sfrom %s\n" % (len(_MESSAGE), _MESSAGE, base.commit.encode())
        return b"".join([*self._blobs, head, message, *self._rows, b'\nget-mark :1\nls :1 ""\ndone\n'])


def _quote(name: bytes) -> bytes:
    if b"\n" not in name and not name.startswith(b'"'):
        return name
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def _hash(head: bytes, id_length: int, content: bytes) -> str:
    digest = hashlib.sha256(head) if id_length == 64 else hashlib.sha1(head, usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def _write_blob(objects: Path, place: str, size: int, id_length: int) -> str:
    """Write a file of the layer as a loose object, in pieces: it may be larger than memory."""
    head = b"blob %d\0" % size
    digest = hashlib.sha256(head) if id_length == 64 else hashlib.sha1(head, usedforsecurity=False)
    aside = objects / "pack" / "tmp_blob"
    squeeze = zlib.compressobj(1)
    with Path(place).open("rb") as content, aside.open("wb") as out:
        out.write(squeeze.compress(head))
        while piece := content.read(_PIECE_BYTES):
            digest.update(piece)
            out.write(squeeze.compress(piece))
        out.write(squeeze.flush())
    blob = digest.hexdigest()
    target = objects / blob[:2] / blob[2:]
    target.parent.mkdir(exist_ok=True)
    aside.rename(target)
    return blob


def _move_head(skeleton: Path, place: Path, old: bytes, new: bytes) -> None:
    """Give the layer the skeleton's HEAD and refs with the base commit replaced; they hide those under them."""
    head = (skeleton / "HEAD").read_bytes()
    branch = head.removeprefix(b"ref: ")
    if branch == head:
        (place / "HEAD").write_bytes(new + b"\n")
        return
    refs = (skeleton / "packed-refs").read_bytes()
    (place / "packed-refs").write_bytes(refs.replace(old + b" " + branch, new + b" " + branch, 1))
