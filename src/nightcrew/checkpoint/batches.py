"""Contents of many blobs, asked for in batches: a question per blob costs more than the blob."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Final

from nightcrew.checkpoint.trees import ReadObjects

# What is held in memory at a time.
BATCH_BYTES: Final = 8 << 20
BATCH_BLOBS: Final = 500


class BlobBatches:
    """Opens blobs in any order; cheap in the order they were given in.

    Args:
        read: gives the contents of several objects, for one question.
        blobs: ids; one may come up twice.
        sizes: their sizes in bytes.
    """

    def __init__(self, read: ReadObjects, blobs: Sequence[str], sizes: Mapping[str, int]) -> None:
        self._read = read
        self._batches = _cut(blobs, sizes)
        self._batch_of = {blob: batch for batch in reversed(self._batches) for blob in batch}
        self._held: dict[str, bytes] = {}
        self._turn = threading.Lock()

    def open(self, blob: str) -> BinaryIO:
        """Open one of the blobs."""
        with self._turn:
            if blob not in self._held:
                batch = self._batch_of[blob]
                self._held = dict(zip(batch, self._read(batch), strict=True))
            return io.BytesIO(self._held[blob])


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
