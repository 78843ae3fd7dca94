"""The only memory: hash-chained events and the state tables they explain."""

from nightcrew.journal.chain import Verification
from nightcrew.journal.journal import Journal
from nightcrew.journal.reader import Reader

__all__ = ["Journal", "Reader", "Verification"]
