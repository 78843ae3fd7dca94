"""Contents of many blobs, asked for in batches: a question per blob costs more than the blob."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from nightcrew.host.git import Git

# What is held in memory at a time.
BATCH_BYTES: Final = 8 << 20
BATCH_BLOBS: Final = 500


class BlobBatches:
    """Opens blobs in any order; cheap in the order they were given in.

    Args:
        git: git on the store.
        blobs: ids; one may come up twice.
        sizes: their sizes in bytes.
    """

    def __init__(self, git: Git, blobs: Sequence[str], sizes: Mapping[str, int]) -> None:
        self._git = git
        self._batches = _cut(blobs, sizes)
        self._batch_of = {blob: batch for batch in reversed(self._batches) for blob in batch}
        self._held: dict[str, bytes] = {}
        self._turn = threading.Lock()

    def open(self, blob: str) -> BinaryIO:
        """Open one of the blobs."""
        with self._turn:
            if blob not in self._held:
                self._held = self._fetch(self._batch_of[blob])
            return io.BytesIO(self._held[blob])

    def _fetch(self, batch: Sequence[str]) -> dict[str, bytes]:
        data = self._git.run("cat-file", "--batch", input="\n".join(batch).encode() + b"\n").stdout
        found: dict[str, bytes] = {}
        at = 0
        for blob in batch:
            end = data.index(b"\n", at)
            size = int(data[at:end].rsplit(b" ", 1)[1])
            found[blob] = data[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found


def _cut(blobs: Sequence[str], sizes: Mapping[str, int]) -> list[list[str]]:
    batches: list[list[str]] = []
    held = 0
    for blob in blobs:
        if not batches or held + sizes[blob] > BATCH_BYTES or len(batches[-1]) >= BATCH_BLOBS:
            batches.append([])
            held = 0
        batches[-1].append(blob)
        held += sizes[blob]
    return batches
