"""auth.yaml: everybody who may decide, with their factors and tokens. Format: docs/formats/auth.md.

One file of mode 0600 in the user's configuration directory, changed by one process at a time. It is written as JSON, which
is YAML, so that a command that only wants to know who asks need not load a YAML reader.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from nightcrew.model import canonical
from nightcrew.model.errors import EngineUnavailable, InvalidInput, NotAuthenticated, Place, Problem
from nightcrew.model.people import Book, Person, Token, Totp

FILE: Final = "auth.yaml"
VERSION: Final = 1
_WAIT_S: Final = 60.0
_MAX_BYTES: Final = 1 << 20


def read_book(config: Path) -> Book:
    """Return who is in auth.yaml; nobody when there is no such file.

    Raises:
        NotAuthenticated: others can read it, or it is not a file of this account.
        InvalidInput: it cannot be understood; nobody is anybody then.
    """
    path = config / FILE
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            _check_file(path, os.fstat(file.fileno()))
            data = file.read(_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Book()
    except OSError as error:
        raise NotAuthenticated(f"cannot read {path}: {error.strerror}", code="auth.file") from error
    return _parse(data, path)


@contextmanager
def changing(config: Path) -> Iterator[Keeper]:
    """Give auth.yaml to this process alone, from reading to writing.

    Raises:
        EngineUnavailable: another process keeps it. InvalidInput, NotAuthenticated: as ``read_book``.
    """
    from nightcrew.host.files import ensure_private_directory
    from nightcrew.host.locks import FileLock

    if not config.exists():
        ensure_private_directory(config)
    lock = FileLock(config / ".auth.lock")
    if not lock.acquire(_WAIT_S):
        raise EngineUnavailable(
            f"{lock.holder() or 'another process'} keeps {config / FILE}", code="auth.busy"
        )
    try:
        yield Keeper(config, read_book(config))
    finally:
        lock.release()


class Keeper:
    """auth.yaml while this process alone may change it; ``book`` is what is in it now."""

    def __init__(self, config: Path, book: Book) -> None:
        self._config = config
        self.book = book

    def save(self, book: Book) -> None:
        """Write it, on the disk before this returns.

        Raises:
            OSError: it cannot be written; the old content stays.
        """
        from nightcrew.host.files import write_atomic

        if book != self.book:
            write_atomic(self._config / FILE, _format(book), 0o600)
            self.book = book

    def put(self, person: Person) -> Person:
        """Write one person, new or changed."""
        others = [each for each in self.book.people if each.name != person.name]
        known = [each.name for each in self.book.people]
        at = known.index(person.name) if person.name in known else len(others)
        self.save(_with(self.book, people=(*others[:at], person, *others[at:])))
        return person


def digest_of(book: Book) -> str:
    """Return a digest over who may decide and with what; not over wrong tries and codes that are used up."""
    people = [
        [p.name, p.account, p.pin, p.totp.secret if p.totp else "", p.invite]
        for p in book.people
        if p.methods or p.invite or p.account not in ("", p.name)
    ]
    tokens = [[t.id, t.person, list(t.scopes), t.sha256, t.expires_at] for t in book.tokens]
    return canonical.digest([people, tokens])


def _with(book: Book, **changes: Any) -> Book:
    from dataclasses import replace

    return replace(book, **changes)


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise NotAuthenticated(f"{path} is not a file of yours: nothing in it counts", code="auth.file")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise NotAuthenticated(
            f"others can read {path}: nothing in it counts",
            code="auth.mode",
            hint=f"chmod 600 {path}, and set your factors anew if somebody may have read it",
        )


def _format(book: Book) -> bytes:
    plain = {"version": VERSION, **asdict(book)}
    return (json.dumps(plain, indent=1, ensure_ascii=True) + "\n").encode("ascii")


def _parse(data: bytes, path: Path) -> Book:
    try:
        plain = json.loads(data)
        if not isinstance(plain, dict) or plain.get("version") != VERSION:
            raise ValueError(f"version must be {VERSION}")
        people = tuple(_read_person(each) for each in plain["people"])
        tokens = tuple(_make(Token, {**each, "scopes": tuple(each["scopes"])}) for each in plain["tokens"])
        return Book(people, tokens, int(plain["next_token"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        place = Place(str(path), getattr(error, "lineno", 0), getattr(error, "colno", 0))
        raise InvalidInput(
            f"{path} cannot be understood: nobody can prove anything until it is as nightcrew wrote it",
            [Problem(place, str(error))],
            hint="bring it back from a backup",
        ) from error


def _read_person(plain: Mapping[str, Any]) -> Person:
    made = dict(plain)
    for name in ("totp", "pending"):
        made[name] = _make(Totp, made[name]) if made.get(name) else None
    made["backup"] = tuple(made.get("backup", ()))
    person: Person = _make(Person, made)
    return person


def _make(cls: Any, plain: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(cls)}
    return cls(**{name: value for name, value in plain.items() if name in known})
