"""Unguessable names."""

from __future__ import annotations

import secrets


def key() -> bytes:
    """Return 32 random bytes, to make other unguessable values of."""
    return secrets.token_bytes(32)


def nonce() -> str:
    """Return 16 random hexadecimal characters: a name nobody has used and nobody can predict."""
    return secrets.token_hex(8)
