"""Git's index, as far as needed to give every file of an export one fixed modification time.

A fresh checkout is "racy" for git: files as young as the index are read again on every ``git status``, and an edit
within the same second with the same size goes unseen. Times in the past, the same in index and files, end both.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Final

from nightcrew.host import files

_HEAD: Final = struct.Struct(">4sII")
_MODIFIED_AT: Final = 8
_ID_AT: Final = 40
_EXTENDED: Final = 0x4000
_SUBMODULE: Final = 0o160000
_MODE_AT: Final = 24


def set_times(index: Path, tree: Path, modified_s: int, id_bytes: int) -> None:
    """Set the modification time of every file the index names, in the tree and in the index.

    Args:
        index: an index of version 2 or 3; tree: its working tree.
        modified_s: seconds since the epoch.
        id_bytes: 20 or 32, by the object format.

    Raises:
        ValueError: another index version.
    """
    data = bytearray(index.read_bytes())
    magic, version, count = _HEAD.unpack_from(data)
    if magic != b"DIRC" or version not in (2, 3):
        raise ValueError(f"index version {version} is not understood")
    root = os.fsencode(tree) + b"/"
    at = _HEAD.size
    for _ in range(count):
        at = _set_one(data, at, root, modified_s, id_bytes)
    digest = hashlib.sha256 if id_bytes == 32 else hashlib.sha1
    data[-id_bytes:] = digest(data[:-id_bytes], usedforsecurity=False).digest()
    files.write_atomic(index, bytes(data), 0o644)


def _set_one(data: bytearray, at: int, root: bytes, modified_s: int, id_bytes: int) -> int:
    """Handle the entry at an offset and return where the next one begins."""
    flags_at = at + _ID_AT + id_bytes
    flags = struct.unpack_from(">H", data, flags_at)[0]
    name_at = flags_at + (4 if flags & _EXTENDED else 2)
    end = data.index(0, name_at)
    mode = struct.unpack_from(">I", data, at + _MODE_AT)[0]
    if mode != _SUBMODULE:
        try:
            os.utime(root + bytes(data[name_at:end]), (modified_s, modified_s), follow_symlinks=False)
            struct.pack_into(">II", data, at + _MODIFIED_AT, modified_s, 0)
        except FileNotFoundError:
            # Outside the sparse checkout: the entry has no file.
            pass
    # Entries are padded with one to eight NULs to a multiple of eight bytes.
    return at + ((end - at) // 8 + 1) * 8
