"""One file, whatever it is → the secrets in it and what of it could not be looked at. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from nightcrew.policy.scanning.runs import look
from nightcrew.policy.scanning.texts import Secret, scan_text
from nightcrew.policy.scanning.unwrap import MAX_DEPTH, Bounds, as_bytes_text, is_archive, unwrap

MAX_SECRETS: Final = 200
"""Told of one file; a file with more is a list of secrets, and nobody reads on."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found in one file.

    Attributes:
        secrets: in the order they stand in it, each value once.
        unread: what could not be looked at, in words.
    """

    secrets: tuple[Secret, ...] = ()
    unread: tuple[str, ...] = ()


def scan_content(data: bytes, path: str) -> Scan:
    """Scan one file: as text, as UTF-16, in base64, in archives, and these in each other.

    Args:
        data: its content.
        path: its name in the repository.
    """
    bounds = Bounds()
    found: dict[str, Secret] = {}
    for secret in _scan(data, path, bounds, MAX_DEPTH):
        found.setdefault(secret.fingerprint, secret)
        if len(found) >= MAX_SECRETS:
            bounds.left_out.append(f"more than {MAX_SECRETS} secrets; the rest is not listed")
            break
    return Scan(tuple(found.values()), tuple(dict.fromkeys(bounds.left_out)))


def _scan(data: bytes, path: str, bounds: Bounds, depth: int) -> Iterator[Secret]:
    text = as_bytes_text(data)
    seen = look(text)
    packed = is_archive(data)
    if not packed:
        yield from scan_text(text, path, seen)
    for part in unwrap(data if packed else text, bounds, seen.runs, text):
        if depth == 0:
            bounds.left_out.append(f"{part.name}: wrapped more than {MAX_DEPTH} times")
            continue
        inner = path if part.name in ("base64", "unpacked") else part.name
        for secret in _scan(part.data, inner, bounds, depth - 1):
            yield replace(secret, inside=(part.name, *secret.inside), line=part.line or secret.line)
    if packed:
        # What only begins like an archive, or has something behind it.
        yield from scan_text(text, path, seen)
