"""People who decide, how they prove who they are, and what a token of theirs may do: values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SCOPES: Final[Mapping[str, str]] = {
    "read": "decide nothing; tell who it is",
    "decide:low": "answer questions of risk low",
    "decide:any": "answer questions of any risk",
    "plan": "hand over work, approve and deny plans, steer and stop runs",
    "promote": "accept, reject, restore, promote, undo and redo",
    "admin": "everything, people and tokens too",
}
"""What a token may be for; several may be given to one."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a person gives to prove who they are; never shown, never written.

    Attributes:
        pin: their PIN. otp: a code of their authenticator, or a backup code. Empty: not given.
    """

    pin: str = field(default="", repr=False)
    otp: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.pin or self.otp)


@dataclass(frozen=True, slots=True)
class Totp:
    """A shared secret of an authenticator.

    Attributes:
        secret: base 32. last_step: the last time step of which a code was taken: none up to it is taken again.
    """

    secret: str = field(repr=False)
    last_step: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may decide.

    Attributes:
        name: as decisions are recorded.
        account: name of the account of this machine that is this person without logging in; empty for none.
        added_at, added_by: when, by whom.
        pin: argon2id hash of the PIN, empty for none.
        totp: the authenticator; ``pending`` one that was set and not confirmed yet, ``replaces`` the method that goes when it is.
        backup: hashes of the backup codes that are left.
        invite: hash of the code that the first factor is set with; ``invite_until`` when it ends.
        failures: wrong proofs in a row, over all methods. locked_until: nothing is taken before. lockouts: how often that was.
    """

    name: str
    account: str = ""
    added_at: str = ""
    added_by: str = ""
    pin: str = field(default="", repr=False)
    totp: Totp | None = None
    pending: Totp | None = None
    replaces: str = ""
    backup: tuple[str, ...] = field(default=(), repr=False)
    invite: str = field(default="", repr=False)
    invite_until: str = ""
    failures: int = 0
    locked_until: str = ""
    lockouts: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that are set: ``pin``, ``totp``."""
        return tuple(name for name, there in (("pin", self.pin), ("totp", self.totp)) if there)


@dataclass(frozen=True, slots=True)
class Token:
    """What a program decides with in the name of a person.

    Attributes:
        id: ``K-1``, public. person: whose it is. scopes: names of ``SCOPES``. sha256: of the secret half.
        expires_at: empty for never. note: what it is for.
    """

    id: str
    person: str
    scopes: tuple[str, ...]
    sha256: str = field(repr=False)
    created_at: str = ""
    expires_at: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Book:
    """Everybody who may decide, and all tokens: the content of auth.yaml."""

    people: tuple[Person, ...] = ()
    tokens: tuple[Token, ...] = ()
    next_token: int = 1

    def find(self, name: str) -> Person | None:
        """Return the person of this name, whatever its capitals."""
        return next((each for each in self.people if each.name.casefold() == name.casefold()), None)
