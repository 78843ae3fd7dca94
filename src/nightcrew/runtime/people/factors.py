"""Proving who one is: which factor something needs, and whether what was given is right.

A try is written as a wrong one before it is looked at (see ``tries``), under the lock of auth.yaml: neither many processes at
once nor a kill in between give anybody a guess for free.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate import factors
from nightcrew.host import crash
from nightcrew.model.errors import NotAuthenticated
from nightcrew.model.people import Book, Person, Proof
from nightcrew.policy.terms import satisfies, stronger
from nightcrew.runtime.people.authfile import FILE, Keeper, changing, digest_of, read_book
from nightcrew.runtime.people.tries import PROVED, append, count_try

if TYPE_CHECKING:
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts

CHANGES: Final = (
    "auth.person_added",
    "auth.person_removed",
    "auth.pin_set",
    "auth.pin_removed",
    "auth.totp_set",
    "auth.totp_removed",
    "auth.token_added",
    "auth.token_revoked",
    "auth.reset",
    "auth.stored",
)
"""Events after which auth.yaml is as they say: each change, and that it is on the disk."""
_WORDS: Final = {"any": "a second factor", "pin": "a PIN", "totp": "a code of an authenticator"}


def find_need(
    parts: Parts, what: str, *, root: Path | None = None, also: Policy | None = None
) -> tuple[str, str]:
    """Return the factor that something needs (empty for none), and the place that says so.

    Args:
        what: a key of ``factors``: ``promote``, ``undo``, ``policy``, ``role``, ``auth``.
        root: working tree whose rules hold; that of ``cwd`` when None.
        also: a policy that holds too: that of a run when it was planned. The stronger of both counts.
    """
    from nightcrew.runtime.rules import read_rules

    policies = [read_rules(parts.env, root or parts.find_root()).policy, *([also] if also else [])]
    need, place = "", ""
    for policy in policies:
        placed = policy.settings.get(f"factors.{what}")
        if placed is not None and stronger(need, placed.value.factor) != need:
            need, place = placed.value.factor, placed.source
    return need, place


def require_factor(
    parts: Parts, what: str, proof: Proof | None, *, root: Path | None = None, also: Policy | None = None
) -> str:
    """Return when the person who asks has proved who they are as the policy wants it; the factor that was used.

    Args:
        what, root, also: see ``find_need``.
        proof: what they gave; None when nothing. One that is not needed is looked at all the same.

    Raises:
        NotAuthenticated: it is missing or wrong; nothing was done.
        LimitReached: they are locked out.
    """
    need, place = find_need(parts, what, root=root, also=also)
    if not need and not proof:
        return ""
    return prove(parts, parts.env.user, proof, need, what, place=f"factors.{what} ({place})" if place else "")


def prove(parts: Parts, name: str, proof: Proof | None, need: str, what: str, *, place: str = "") -> str:
    """Return the factor by which a person has proved who they are.

    Args:
        name: of the person. need: ``any``, ``pin``, ``totp``; empty for any.
        what: what it is for, in the record. place: which line wants it.

    Raises:
        NotAuthenticated: no factor is set, none was given, another kind, or a wrong one. LimitReached: locked out.
    """
    check_untouched(parts)
    with changing(parts.env.config) as keeper:
        person = keeper.book.find(name)
        method, given = _choose(person, name, proof, need or "any", what, place)
        if person is None:  # _choose has raised then; for the type checker
            raise NotAuthenticated(f"{name} is not known")
        before, person = count_try(parts, keeper, person, method, what)
        right, said = _try(person, method, given, parts)
        if right is not None:
            used = _describe_use(right, method, given)
            append(parts, PROVED, person=person.name, method=method, what=what, **used)
            keeper.put(factors.passed(right))
    if right is None:
        _note_failure(parts, before, person, method, what)
        raise _wrong(person, method, said)
    return method


def _describe_use(person: Person, method: str, given: str) -> dict[str, Any]:
    """Return what the record keeps of a proof that was used up: enough to know it again, nothing to make it from."""
    if method == "totp" and person.totp is not None:
        return {"step": person.totp.last_step}
    if method == "backup":
        return {"backup_left": len(person.backup), "code": factors.hash_code(given)}
    return {}


def _choose(
    person: Person | None, name: str, proof: Proof | None, need: str, what: str, place: str
) -> tuple[str, str]:
    """Return which of a person's methods the proof is for, and what was given for it."""
    where = [place] if place else []
    if person is None or not person.methods:
        raise NotAuthenticated(
            f"this needs {_WORDS[need]}, and {name} has none; nothing was done",
            code="auth.none",
            where=where,
            hint=f"set one: nightcrew auth {'totp' if need == 'totp' else 'pin'} set",
        )
    if not proof:
        option = "--pin" if need == "pin" or person.methods == ("pin",) else "--otp CODE"
        raise NotAuthenticated(
            f"this needs {_WORDS[need]} of {person.name}; nothing was done",
            code="auth.needed",
            where=where,
            hint=f"the same command with {option}; --yes is no factor",
        )
    method = "pin" if proof.pin and not proof.otp else "backup" if factors.is_backup(proof.otp) else "totp"
    if not satisfies(method, need):
        raise NotAuthenticated(
            f"this needs {_WORDS[need]}; a {'PIN' if method == 'pin' else 'code'} is not enough; nothing was done",
            code="auth.kind",
            where=where,
        )
    there = bool(person.backup) if method == "backup" else method in person.methods
    if not there:
        raise NotAuthenticated(
            f"{person.name} has no {method}; nothing was done", code="auth.none", where=where
        )
    return method, proof.pin if method == "pin" else proof.otp.strip()


def _try(person: Person, method: str, given: str, parts: Parts) -> tuple[Person | None, str]:
    """Return the person with the proof used up when it is right, else None and what to say."""
    if method == "pin":
        return (person, "") if check_pin(person.pin, given) else (None, "")
    if method == "backup":
        return factors.spend_backup(person, given), ""
    now = parts.clock.now()
    code = "".join(c for c in given if not c.isspace())
    if person.totp is None:
        return None, ""
    step = factors.match_code(person.totp, code, now)
    if step:
        return factors.spend_step(person, step), ""
    used = factors.was_used(person.totp, code, now)
    return None, "this code was used already: wait for the next one" if used else ""


def check_pin(hashed: str, pin: str) -> bool:
    """Tell whether this is the PIN."""
    import argon2

    try:
        return argon2.PasswordHasher().verify(hashed, pin)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def hash_pin(pin: str) -> str:
    """Return the argon2id hash of a PIN (RFC 9106, 64 MiB, three passes)."""
    import argon2

    return argon2.PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4).hash(pin)


def _wrong(person: Person, method: str, said: str) -> NotAuthenticated:
    word = {"pin": "PIN", "totp": "code", "backup": "backup code"}[method]
    if person.locked_until and not person.failures:
        left, hint = f"; {person.name} is locked out until {person.locked_until}", ""
    else:
        left, hint = "", f"{factors.TRIES - person.failures} more before {person.name} is locked out"
    return NotAuthenticated(
        (said or f"the {word} is wrong") + f"; nothing was done{left}",
        code="auth.replay" if said else "auth.wrong",
        hint=hint,
    )


def _note_failure(parts: Parts, before: Person, person: Person, method: str, what: str) -> None:
    append(parts, "auth.failed", person=person.name, method=method, what=what, failures=before.failures + 1)
    if person.locked_until != before.locked_until:
        append(parts, "auth.locked", person=person.name, until=person.locked_until, lockouts=person.lockouts)


def record_change(parts: Parts, keeper: Keeper, kind: str, book: Book, **data: Any) -> None:
    """Write a changed auth.yaml, and into the journal what it was and will be, so that any other change is noticed.

    A kill in between leaves it as it was or as it will be, and both count; once it is known to be on the disk, only that does.
    """
    file = str(parts.env.config / FILE)
    known = {"before": digest_of(keeper.book), "after": digest_of(book), "file": file}
    with parts.journal.write(durable=True) as tx:
        tx.append(kind, actor=f"user:{parts.env.user}", data={**data, **known})
    crash.point("runtime.auth.recorded")
    keeper.save(book)
    crash.point("runtime.auth.saved")
    with parts.journal.write(durable=True) as tx:
        stored = {"after": known["after"], "file": file}
        tx.append("auth.stored", actor=f"user:{parts.env.user}", data=stored)


def check_untouched(parts: Parts) -> None:
    """Return when auth.yaml is as the journal last knew it.

    Raises:
        NotAuthenticated: somebody else has changed or removed it; nothing in it counts then.
    """
    file = str(parts.env.config / FILE)
    with parts.journal.read() as tx:
        # Of whichever file it was: another configuration directory is no way to be somebody without a factor.
        last = next(iter(tx.events(kinds=CHANGES, newest=True, limit=1)), None)
    if last is None:
        return
    if digest_of(read_book(parts.env.config)) in (last.data["after"], last.data.get("before")):
        return
    written = str(last.data.get("file", file))
    meant = "as nightcrew wrote it" if written == file else f"what nightcrew wrote to {written}"
    raise NotAuthenticated(
        f"{file} is not {meant} ({last.id}): nothing in it counts; nothing was done",
        code="auth.touched",
        where=[f"last change {last.kind} at {last.at} by {last.actor}"],
        hint="bring it back from a backup, or begin anew after a day: nightcrew auth reset",
    )
