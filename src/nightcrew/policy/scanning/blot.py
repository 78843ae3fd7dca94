"""What may be shown of a secret. Pure."""

from __future__ import annotations

from typing import Final

BLOT: Final = "***"
# A shorter secret would be given away by six of its characters.
_MIN_SHOWN: Final = 16


def blot(secret: str) -> str:
    """Return what may be shown of one secret: its first four and last two characters."""
    if BLOT in secret:
        return secret
    return f"{secret[:4]}{BLOT}{secret[-2:]}" if len(secret) >= _MIN_SHOWN else BLOT
