"""Trees as values that stages hand to each other: what changed in a shadow, what differs between two trees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

EntryKind = Literal["file", "symlink", "deleted", "opaque", "refused"]
HunkKind = Literal["lines", "mode", "whole"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing found in the writable layer of a shadow.

    Attributes:
        path: repository-relative, surrogate escapes for bytes that are not UTF-8; ``.git`` never appears.
        kind: ``file``, ``symlink``, ``deleted`` (absent now, of any type before), ``opaque`` (a directory that hides
            everything the base has below it; what is in it now follows as entries of its own), ``refused`` (FIFO,
            socket, device, a nested ``.git``: cannot be captured; ``detail`` says what it is).
        source: absolute host path of the content (file) or of the link; empty when deleted or opaque.
        mode: git mode 0o100644, 0o100755 or 0o120000; 0 when there is none.
        detail: in words, for ``refused``.
        signature: of a file or link when it was found: inode, size, times of modification and change in nanoseconds, mode;
            empty when not known.
    """

    path: str
    kind: EntryKind
    source: str = ""
    mode: int = 0
    detail: str = ""
    signature: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class DeltaEntry:
    """One path of the difference between two trees, with its new content.

    Attributes:
        path: repository-relative.
        mode: new git mode, 0 for a deletion.
        open: gives the new content (bytes of the link target for a symbolic link); not called for deletions.
        blob: its id, where our own objects or the user's have it; empty when that is not known.
        size: of the content in bytes; negative when that is not known.
    """

    path: str
    mode: int
    open: Callable[[], BinaryIO]
    blob: str = ""
    size: int = -1


@dataclass(frozen=True, slots=True)
class Repository:
    """The user's repository as found on disk.

    Attributes:
        root: absolute path of the working tree (symlinks resolved).
        git_dir: absolute path of its git directory (of the linked worktree, if it is one).
        common_dir: absolute path of the common git directory (objects, refs).
        head: full commit id of HEAD, empty when there is no commit yet.
        branch: full ref name ``refs/heads/main``; empty when HEAD is detached.
        key: name of its folder in our state directory: a slug and a short hash of ``common_dir``.
        shallow, sparse: as git reports them.
        operation: ``merge``, ``rebase``, ``cherry-pick``, ``revert``, ``bisect`` when one is in progress.
        private: a directory without git; git directory and history are ours and lie in our state directory.
    """

    root: str
    git_dir: str
    common_dir: str
    head: str
    branch: str
    key: str
    shallow: bool = False
    sparse: bool = False
    operation: str = ""
    private: bool = False


@dataclass(frozen=True, slots=True)
class Captured:
    """A shadow written into the checkpoint store.

    Attributes:
        tree: git tree id of the base tree plus the entries.
        refused: what could not be captured, as ``path: what it is``, sorted.
        changing: paths of files that changed while they were read (nothing was frozen): their content in the tree is
            of no one moment.
        read_files, read_bytes: what had to be read; the rest was known from earlier captures.
    """

    tree: str
    refused: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    read_files: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """One part that cannot be put on top of the others.

    Attributes:
        part: its name (a task).
        paths: where it collides, sorted.
        others: names of the parts before it that changed one of those paths; empty when only the base did.
    """

    part: str
    paths: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Composition:
    """Several changes put together.

    Attributes:
        tree: git tree id of the result; empty when there are conflicts.
        conflicts: every part that collides, in the order of the parts.
    """

    tree: str
    conflicts: tuple[Conflict, ...] = ()


@dataclass(frozen=True, slots=True)
class Hunk:
    """One piece of a change that can be taken or left by itself; all hunks of a change together are the change.

    Attributes:
        id: ``H-`` and 12 hex digits; it says what is done to which file, not at which line, so that it stays the same
            when other hunks of the file are left out.
        path: repository-relative.
        kind: ``lines`` (some lines of a text file), ``mode`` (the executable bit) or ``whole`` (a file that appears,
            vanishes or changes its type, a link, binary content, content above the store's limit: all or nothing).
        old_mode, new_mode: git modes, 0 when absent; of ``lines`` both are the old mode.
        old_id, new_id: blobs of the two sides of the file, empty when absent.
        old_start, new_start: of ``lines``: how many lines are before it in the old and in the new content.
        removed, added: of ``lines``: exact bytes of the lines taken out and put in.
    """

    id: str
    path: str
    kind: HunkKind
    old_mode: int
    new_mode: int
    old_id: str
    new_id: str
    old_start: int = 0
    new_start: int = 0
    removed: bytes = b""
    added: bytes = b""


@dataclass(frozen=True, slots=True)
class Missing:
    """A hunk of a part that is not in the tree the part was put into."""

    part: str
    hunk: Hunk
