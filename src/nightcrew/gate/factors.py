"""Second factors: a PIN, the codes of an authenticator (RFC 6238), backup codes, and the lock after wrong ones. Pure.

What a proof changes is written *before* it is looked at: ``begin`` counts it as wrong, and only ``passed`` takes that back. So
neither a kill in between nor many processes at once give anybody a guess for free; the caller holds one lock over both.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import struct
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.errors import LimitReached, UsageError
from nightcrew.model.people import Person, Totp

STEP_S: Final = 30
"""How long a code of an authenticator is good for."""
WINDOW: Final = 1
"""So many steps a clock may be off, either way."""
DIGITS: Final = 6
PIN_LENGTH: Final = (4, 12)
TRIES: Final = 5
"""So many wrong proofs in a row lock a person out."""
LOCK_S: Final = 15 * 60
"""For how long, the first time; twice as long every further time."""
LONGEST_LOCK_S: Final = 7 * 24 * 3600
BACKUP_CODES: Final = 10
INVITE_S: Final = 24 * 3600


def check_pin(pin: str) -> None:
    """Return when a text can be a PIN.

    Raises:
        UsageError: it cannot; its digits are not repeated in the message.
    """
    low, high = PIN_LENGTH
    if not (pin.isascii() and pin.isdigit() and low <= len(pin) <= high):
        raise UsageError(
            f"a PIN has {low} to {high} digits and nothing else; nothing was set", code="auth.pin"
        )
    steps = {(int(b) - int(a)) % 10 for a, b in itertools.pairwise(pin)}
    if len(steps) == 1 and steps <= {0, 1, 9}:
        raise UsageError(
            "this PIN is one of the first that anybody tries (1234, 0000, 9876); nothing was set",
            code="auth.pin_weak",
            hint="take digits that do not follow each other",
        )


def read_step(at: datetime) -> int:
    """Return the number of the time step that a moment lies in."""
    return int(at.timestamp()) // STEP_S


def make_code(secret: str, step: int) -> str:
    """Return the code of a time step, as every authenticator shows it (RFC 4226, SHA-1, six digits)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8), casefold=True)
    digest = hmac.new(key, struct.pack(">Q", step), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def match_code(totp: Totp, code: str, at: datetime) -> int:
    """Return the step whose code this is and that was not used before; 0 when there is none."""
    now = read_step(at)
    found = 0
    for step in range(now - WINDOW, now + WINDOW + 1):
        try:
            right = hmac.compare_digest(
                make_code(totp.secret, step).encode(), code.encode("utf-8", "replace")
            )
        except (binascii.Error, ValueError):
            return 0
        if right and step > totp.last_step:
            found = step
    return found


def was_used(totp: Totp, code: str, at: datetime) -> bool:
    """Tell whether this is a right code of now that was taken already."""
    now = read_step(at)
    steps = range(now - WINDOW, min(now + WINDOW, totp.last_step) + 1)
    return any(
        hmac.compare_digest(make_code(totp.secret, step).encode(), code.encode("utf-8", "replace"))
        for step in steps
    )


def make_secret(random: bytes) -> str:
    """Return the base 32 text of 20 random bytes, as an authenticator wants it."""
    return base64.b32encode(random[:20]).decode("ascii").rstrip("=")


def make_address(person: str, secret: str) -> str:
    """Return the address that an authenticator reads from a QR code."""
    return f"otpauth://totp/nightcrew:{quote(person)}?secret={secret}&issuer=nightcrew&algorithm=SHA1&digits={DIGITS}&period={STEP_S}"


def show_code(random: bytes) -> str:
    """Return a code for a person to keep, of ten random bytes: ``abcd-efgh-ijkl-mnop``."""
    text = base64.b32encode(random[:10]).decode("ascii").lower()
    return "-".join(text[n : n + 4] for n in range(0, 16, 4))


def hash_code(code: str) -> str:
    """Return the hash of a backup code; 80 random bits need no slow one."""
    plain = "".join(c for c in code.lower() if c.isalnum())
    return hashlib.sha256(b"nightcrew code " + plain.encode("utf-8", "replace")).hexdigest()


def is_backup(text: str) -> bool:
    """Tell whether a text looks like a backup code, and not like a code of an authenticator."""
    return len("".join(c for c in text if c.isalnum())) > DIGITS + 2


def refuse_locked(person: Person, now: datetime) -> None:
    """Return when a person may try.

    Raises:
        LimitReached: they are locked out.
    """
    if not person.locked_until or now >= parse_stamp(person.locked_until):
        return
    left = parse_stamp(person.locked_until) - now
    minutes = int(left.total_seconds() // 60) + 1
    raise LimitReached(
        f"{person.name} is locked out after {TRIES} wrong proofs, for another {minutes} min; nothing was done",
        code="auth.locked",
        where=[f"until {person.locked_until}"],
        hint="each further lock lasts twice as long; a right proof resets that",
    )


def begin(person: Person, now: datetime) -> Person:
    """Return the person with this try counted as a wrong one, locked out when it is one too many."""
    failures = person.failures + 1
    if failures < TRIES:
        return replace(person, failures=failures)
    lock_s = min(LOCK_S * 2**person.lockouts, LONGEST_LOCK_S)
    until = stamp(now + timedelta(seconds=lock_s))
    return replace(person, failures=0, locked_until=until, lockouts=person.lockouts + 1)


def passed(person: Person) -> Person:
    """Return the person after a right proof: nothing is held against them any more."""
    return replace(person, failures=0, locked_until="", lockouts=0)


def spend_step(person: Person, step: int) -> Person:
    """Return the person with a code used up, and every earlier one with it."""
    return person if person.totp is None else replace(person, totp=replace(person.totp, last_step=step))


def spend_backup(person: Person, code: str) -> Person | None:
    """Return the person with one backup code less; None when it is none of theirs."""
    hashed = hash_code(code)
    left = tuple(each for each in person.backup if not hmac.compare_digest(each, hashed))
    return None if len(left) == len(person.backup) else replace(person, backup=left)
