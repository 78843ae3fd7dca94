"""Questions to a human as values: open, decide, expire, match. Pure."""
