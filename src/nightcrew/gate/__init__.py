"""Questions to a human as values: open, decide, expire, match; and people's second factors. Pure."""

from nightcrew.gate.approvals import (
    Answer,
    apply_terms,
    cancel,
    decide,
    is_overdue,
    matches,
    open_approval,
    use,
)
from nightcrew.gate.timing import expire, move_end, next_due, remind

__all__ = [
    "Answer",
    "apply_terms",
    "cancel",
    "decide",
    "expire",
    "is_overdue",
    "matches",
    "move_end",
    "next_due",
    "open_approval",
    "remind",
    "use",
]
