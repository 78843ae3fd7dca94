"""Signatures (Ed25519): a key of this installation in a file of ours, made when it is first needed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.host.files import ensure_private_directory, write_atomic
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import NotAuthenticated

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_WAIT_S: Final = 10.0
_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs. ``public`` is its public half, 64 hexadecimal digits: whoever knows it can check, and not sign."""

    public: str
    _secret: Ed25519PrivateKey = field(repr=False)

    def sign(self, message: bytes) -> str:
        """Return the signature of a message, 128 hexadecimal digits."""
        return self._secret.sign(message).hex()


def read_key(path: Path) -> SigningKey | None:
    """Return the key in a file, None when there is no such file.

    Raises:
        NotAuthenticated: others can read it, it is not ours, or it is not a key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(4096)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise _unusable(path, f"cannot be read: {problem.strerror}") from None
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise _unusable(
            path, "can be read by others", f"chmod 600 {path}, or move it away: a new key is made"
        )
    try:
        secret = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text.decode("ascii").strip()))
    except ValueError:
        raise _unusable(path, "is not a key", f"move {path} away: a new key is made") from None
    return SigningKey(secret.public_key().public_bytes_raw().hex(), secret)


def need_key(path: Path) -> SigningKey:
    """Return the key in a file; made, readable by nobody else (0600), where there is none.

    Raises:
        NotAuthenticated: as ``read_key``; also when it cannot be made.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    known = read_key(path)
    if known is not None:
        return known
    ensure_private_directory(path.parent)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    if not lock.acquire(_WAIT_S):
        raise _unusable(path, "is being made by another process")
    try:
        if not path.exists():
            made = Ed25519PrivateKey.generate()
            # Known first: a key that has signed and is not known would look like a stranger's.
            _remember(path, made.public_key().public_bytes_raw().hex())
            write_atomic(path, made.private_bytes_raw().hex().encode("ascii") + b"\n", 0o600)
    except OSError as problem:
        raise _unusable(path, f"cannot be made: {problem.strerror}") from None
    finally:
        lock.release()
    found = read_key(path)
    if found is None:
        raise _unusable(path, "is gone again")
    return found


def known_file(path: Path) -> Path:
    """Return the file with the public halves of all keys that were ever made at ``path``, one in a line."""
    return path.with_name("known.keys")


def read_known(path: Path) -> frozenset[str]:
    """Return these public keys; what a person added to the file counts too."""
    try:
        lines = known_file(path).read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return frozenset()
    return frozenset(line.partition("#")[0].strip().lower() for line in lines) - {""}


def _remember(path: Path, public: str) -> None:
    known = known_file(path)
    before = known.read_bytes() if known.exists() else b""
    write_atomic(known, before + public.encode("ascii") + b"\n", 0o600)


def is_signed(public: str, signature: str, message: bytes) -> bool:
    """Tell whether a message has a signature by the key with this public half; anything malformed has none."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = bytes.fromhex(public)
        if len(raw) != _BYTES:
            return False
        Ed25519PublicKey.from_public_bytes(raw).verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _unusable(path: Path, why: str, hint: str = "") -> NotAuthenticated:
    return NotAuthenticated(
        f"the signing key {path} {why}",
        code="signing.key",
        where=["nothing was signed; the journal itself is as it was"],
        hint=hint or "see what is wrong with that file",
    )
