"""Unguessable names."""

from __future__ import annotations

import secrets


def nonce() -> str:
    """Return 16 random hexadecimal characters: a name nobody has used and nobody can predict."""
    return secrets.token_hex(8)
