"""Who asks: the account of this machine, somebody who logged in on this terminal, or the owner of a token.

A login belongs to one session of one terminal (the kernel's, of which the first process is named): another terminal, or
anything that was started in a session of its own, is not logged in by it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nightcrew.host.clock import SystemClock, stamp
from nightcrew.model.errors import DeniedByPolicy, NotAuthenticated
from nightcrew.model.people import SCOPES, Book, Person, Token
from nightcrew.runtime.people.authfile import FILE, read_book
from nightcrew.runtime.settings.environment import Environment

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

TOKEN: Final = "nct"  # noqa: S105  (how one begins)
LOGIN_S: Final = 8 * 3600
_FOLDER: Final = "logins"


def identify(env: Environment) -> Environment:
    """Return the environment with ``user`` as the person who asks.

    Raises:
        NotAuthenticated: there is a token, and it is not one of ours, or it is over.
    """
    account = env.account or env.user
    env = replace(env, account=account)
    if not env.token and not (env.config / FILE).exists():
        return env
    book, now = read_book(env.config), SystemClock().now()
    if env.token:
        token = find_token(book, env.token, now)
        return replace(env, user=token.person, scopes=token.scopes)
    who = _read_login(env, book, now) or person_of(book, account)
    return env if who is None else replace(env, user=who.name)


def person_of(book: Book, account: str) -> Person | None:
    """Return the person that an account is without logging in."""
    return next((each for each in book.people if each.account == account), None)


def find_token(book: Book, text: str, now: datetime) -> Token:
    """Return the token of this text.

    Raises:
        NotAuthenticated: there is none, it was revoked, or it is over; never says which part of it was wrong.
    """
    head, _, secret = text.strip().rpartition("_")
    name = head.removeprefix(f"{TOKEN}_")
    hashed = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
    found = next((each for each in book.tokens if each.id == name), None)
    right = hmac.compare_digest(hashed, found.sha256 if found else "0" * 64)
    if found is None or not right or book.find(found.person) is None:
        raise NotAuthenticated(
            "the token in $NIGHTCREW_TOKEN is not known here; nothing was done",
            code="auth.token",
            hint="unset NIGHTCREW_TOKEN to act as your account; a new token: nightcrew auth token add",
        )
    if found.expires_at and stamp(now) >= found.expires_at:
        raise NotAuthenticated(
            f"token {found.id} of {found.person} expired at {found.expires_at}; nothing was done",
            code="auth.token_expired",
            hint="a new one: nightcrew auth token add",
        )
    return found


def need_scope(parts: Parts, *wanted: str) -> None:
    """Return when whoever asks may do this: anybody without a token; with one, what it is for.

    Args:
        wanted: scopes of which one is enough; ``admin`` always is.

    Raises:
        DeniedByPolicy: the token is for something else; nothing was done.
    """
    scopes = parts.env.scopes
    if scopes is None or "admin" in scopes or set(wanted) & set(scopes):
        return
    raise DeniedByPolicy(
        f"the token of {parts.env.user} may not do this; nothing was done",
        code="auth.scope",
        where=[f"it is for: {', '.join(scopes)}", f"needed: {' or '.join(wanted)} ({SCOPES[wanted[0]]})"],
        hint="a token with that scope: nightcrew auth token add --scope " + wanted[0],
    )


def account_of(parts: Parts) -> str:
    """Return the account by which alone whoever asks is who they are; empty when they logged in, or have a token of
    somebody with a factor."""
    env = parts.env
    person = read_book(env.config).find(env.user)
    if env.token:
        return "" if person is not None and person.methods else env.account
    return env.account if person is None or person.account == env.account else ""


def write_login(env: Environment, person: Person, digest: str, now: datetime) -> str:
    """Note that a person is logged in on this terminal; return until when."""
    from nightcrew.host.files import ensure_private_directory, write_atomic

    path = _login_path(env)
    if path is None:
        raise NotAuthenticated(
            "there is no terminal session to log in on",
            code="auth.session",
            hint="use --as NAME with a factor",
        )
    ensure_private_directory(env.state)
    ensure_private_directory(path.parent)
    until = stamp(now + timedelta(seconds=LOGIN_S))
    plain = {"version": 1, "person": person.name, "until": until, "digest": digest}
    write_atomic(path, json.dumps(plain).encode("ascii"), 0o600)
    return until


def end_login(env: Environment) -> bool:
    """Forget who is logged in on this terminal; tell whether somebody was."""
    path = _login_path(env)
    if path is None or not path.exists():
        return False
    path.unlink(missing_ok=True)
    return True


def login_digest(person: Person) -> str:
    """Return what a login is bound to: it is over when the factors of the person change."""
    secret = person.totp.secret if person.totp else ""
    return hashlib.sha256(f"{person.name}\0{person.pin}\0{secret}".encode()).hexdigest()


def _read_login(env: Environment, book: Book, now: datetime) -> Person | None:
    path = _login_path(env)
    try:
        plain = json.loads(path.read_bytes()) if path is not None else {}
    except (OSError, ValueError):
        # Nobody logged in, or what is left of a crash: the account counts.
        return None
    person = book.find(str(plain.get("person", ""))) if isinstance(plain, dict) else None
    if person is None or stamp(now) >= str(plain.get("until", "")):
        return None
    return person if hmac.compare_digest(str(plain.get("digest", "")), login_digest(person)) else None


def _login_path(env: Environment) -> Path | None:
    from nightcrew.host.procs import process_identity

    leader = process_identity(os.getsid(0))
    return env.state / _FOLDER / f"{leader}.json" if leader else None
