"""Questions to a human as values: open, decide, expire, match. Pure."""

from nightcrew.gate.approvals import cancel, decide, expire, is_overdue, matches, open_approval, use

__all__ = ["cancel", "decide", "expire", "is_overdue", "matches", "open_approval", "use"]
