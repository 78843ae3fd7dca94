"""What a promotion hands over to the user's object database: put together, checked by git and read, while other work goes on.

All of it happens in our own directories; ``hand_over`` is the one act that writes into the user's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from nightcrew.host import crash
from nightcrew.host.files import remove_tree, sync_directory, sync_together
from nightcrew.host.git import GitError
from nightcrew.host.tokens import nonce
from nightcrew.promote.objects import pack_up, take_in
from nightcrew.promote.packing import READ_AT_MOST, Pack
from nightcrew.promote.site import Site

_AT_ONCE: Final = 2
"""Checking and reading, once it is put together."""
_REFUSED: Final = "fsck error"
"""What git says of an object that must not be; anything else may be for want of room in our own directory."""
_OWN_INPUT: Final = "/proc/self/fd/0"
_LEFT_S: Final = 3600.0
"""What is so old belongs to a process that was killed: a check takes seconds at most."""


class Parcel:
    """Commits with what their trees have that was not there before.

    Args:
        site: our store, and whom it goes to.
        commits, objects: see ``pack_up``.
        wanted: the blobs that will be asked for.

    Git checks it at once, so that handing over is writing two files; only what is too large for that, git takes in itself.
    """

    def __init__(
        self,
        site: Site,
        commits: Sequence[str],
        objects: Collection[str],
        wanted: Collection[str],
    ) -> None:
        self._site = site
        self._width = len(commits[0]) // 2
        self._wanted = frozenset(wanted)
        aside = ThreadPoolExecutor(_AT_ONCE)
        self._packed = aside.submit(pack_up, site, commits, objects)
        self._checked = aside.submit(self._check)
        self._contents = aside.submit(self._read)
        # Nothing more will come; what was begun goes on.
        aside.shutdown(wait=False)

    def keep(self) -> Parcel | None:
        """Return this, or None when it is more than should stay in memory until somebody has thought about it."""
        return self if self._packed.result().size <= READ_AT_MOST else None

    def contents(self) -> Mapping[str, bytes]:
        """Return those of the wanted blobs that stand in the pack as they are, by id; each is known by the hash of its bytes.

        Raises:
            GitError: something of it is not in our store any more.
        """
        return self._contents.result()

    def settle(self) -> None:
        """Wait for what was begun, whatever became of it."""
        begun: Future[Any]
        for begun in (self._packed, self._checked, self._contents):
            begun.exception()

    def hand_over(self, *, shared: bool) -> None:
        """Put it into the user's object database, flushed.

        Nothing refers to it yet; if we die, the user's next garbage collection removes it (a pack without its index, which is
        one killed between two renames, only up to git 2.41). Git has checked each object (``.git`` inside trees and the like), or does so on the way in.

        Args:
            shared: by the user's configuration others may use the repository too: git knows who may read what is new.

        Raises:
            GitError: disk full, no permission, or an object that must not be.
            OSError: disk full, no permission.
        """
        pack = self._packed.result()
        index = self._checked.result()
        place = Path(self._site.repository.common_dir) / "objects" / "pack"
        if not index or shared or not _put_in(place, pack, index, self._width):
            take_in(self._site, pack)

    def _read(self) -> Mapping[str, bytes]:
        return self._packed.result().read_blobs(self._wanted)

    def _check(self) -> bytes:
        """Have git check every object and make the index of the pack, beside it; empty when it does not say that all is well.

        What is the matter then, git says when it takes the pack in.

        Raises:
            GitError: an object that must not be.
        """
        pack = self._packed.result()
        if pack.size > READ_AT_MOST:
            return b""
        try:
            self._site.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(self._site.scratch, self._site.clock.now().timestamp() - _LEFT_S)
            with tempfile.TemporaryDirectory(prefix="promote.", dir=self._site.scratch) as place:
                return self._check_in(Path(place), pack)
        except GitError as error:
            if _REFUSED in error.stderr:
                raise
            return b""
        except OSError:
            return b""

    def _check_in(self, place: Path, pack: Pack) -> bytes:
        # Beside the index that it makes: there git looks for contents that it has to check once it knows what they are called.
        (place / "it.pack").symlink_to(_OWN_INPUT)
        words = ("-c", "pack.writeReverseIndex=false", "index-pack", "--fsck-objects")
        done = self._site.git.run(
            *words, "-o", str(place / "it.idx"), str(place / "it.pack"), stdin=pack.rewind()
        )
        index = (place / "it.idx").read_bytes()
        # It names what it could not find to check; then it says more than the checksum.
        name = pack.checksum(self._width)
        fits = index[: -self._width].endswith(name) and done.stdout.split() == [name.hex().encode()]
        return index if fits else b""


def _sweep(scratch: Path, before: float) -> None:
    """Remove what processes left that were killed while they prepared a promotion.

    Raises:
        OSError: it cannot be removed.
    """
    for left in scratch.glob("promote.*"):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps, too
            if left.lstat().st_mtime > before:
                continue
            if left.is_dir() and not left.is_symlink():
                remove_tree(left, inside=scratch)
            else:
                left.unlink()


def _put_in(place: Path, pack: Pack, index: bytes, width: int) -> bool:
    """Write a pack and its index into a directory of packs, as git does: git sees a pack through its index, which comes last.

    Returns:
        False where that is left to git: there is no such directory, or a pack of this name that is more than half there.
    """
    name = f"pack-{pack.checksum(width).hex()}"
    ends = [place / f"{name}.pack", place / f"{name}.idx"]
    if not place.is_dir() or ends[1].exists():
        return False
    asides = [place / f"tmp_pack_{nonce()}", place / f"tmp_idx_{nonce()}"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fds: list[int] = []
    try:
        fds += [os.open(asides[0], flags, 0o444)]
        pack.copy_to(fds[0])
        fds += [os.open(asides[1], flags, 0o444)]
        left = memoryview(index)
        while left:
            left = left[os.write(fds[1], left) :]
        sync_together(*fds)
        asides[0].rename(ends[0])
        crash.point("promote.half_handed")
        asides[1].rename(ends[1])
    except OSError:
        for aside in asides:
            with contextlib.suppress(OSError):
                aside.unlink()
        raise
    finally:
        for fd in fds:
            os.close(fd)
    sync_directory(place)
    return True
