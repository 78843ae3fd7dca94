"""People, their factors and their tokens: everything behind ``nightcrew auth``. ``Runtime.people`` makes one.

Whoever has a factor needs it for every change here; somebody's first factor needs the code that they were added with,
or none where the account is theirs. What is to be kept (a code, a token) is returned once and stored as a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from nightcrew.gate import factors as rules
from nightcrew.host import tokens
from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.errors import NotAuthenticated, NotFound, StaleError, UsageError
from nightcrew.model.people import SCOPES, Book, Person, Proof, Token, Totp
from nightcrew.policy.rules import RISKS
from nightcrew.policy.terms import FACTORS, PLAN, stronger
from nightcrew.runtime.people import identity
from nightcrew.runtime.people.authfile import Keeper, changing, read_book
from nightcrew.runtime.people.factors import (
    check_untouched,
    find_need,
    hash_pin,
    prove,
    record_change,
)
from nightcrew.runtime.people.terms import find_terms, need_person, refuse_agents
from nightcrew.runtime.people.tries import PROVED, append, count_try, recall
from nightcrew.runtime.rules import read_rules

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]
RESET_S: Final = 24 * 3600
"""How long before forgetting everybody takes effect: time for whoever has a factor to notice."""
RESET_KEPT_S: Final = 7 * 24 * 3600
"""How long after that the second call may come; one that was asked for long ago is nobody's short way."""


class People:
    """The part of the library API that is about people.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    # -- look -------------------------------------------------------------------------------------------------

    def whoami(self) -> View:
        """Return who asks, by what, and which factors they have."""
        env = self._parts.env
        person = read_book(env.config).find(env.user)
        via = (
            "token"
            if env.token
            else "account"
            if person is None or person.account == env.account
            else "login"
        )
        needs = self._list_needs()
        return {
            "person": env.user,
            "account": env.account,
            "via": via,
            "scopes": list(env.scopes) if env.scopes is not None else None,
            "needs": needs,
            "reset_asked_at": self._reset_asked(),
            **_view_factors(recall(self._parts, person or Person(env.user)), stamp(self._parts.clock.now())),
        }

    def _list_needs(self) -> dict[str, str]:
        """Return what needs which factor here: keys of ``factors``, and ``approvals.RISK`` for questions."""
        policy = read_rules(self._parts.env, self._parts.find_root()).policy
        found = {name: find_need(self._parts, name)[0] for name in FACTORS}
        found[PLAN] = stronger(found[PLAN], find_terms(policy, PLAN)[0].factor)
        return {**found, **{f"approvals.{risk}": find_terms(policy, risk)[0].factor for risk in RISKS}}

    def needs(self, what: str, *, auth: bool = False) -> str:
        """Return the factor that something needs of whoever asks: empty for none, ``any``, ``pin`` or ``totp``.

        Args:
            what: a key of ``factors``. auth: a change of people, factors or tokens, for which every factor there is is needed.
        """
        need = find_need(self._parts, what)[0]
        person = read_book(self._parts.env.config).find(self._parts.env.user) if auth else None
        return need or ("any" if person is not None and person.methods else "")

    def everybody(self) -> list[View]:
        """Return everybody who is known."""
        now = stamp(self._parts.clock.now())
        return [
            {
                "person": each.name,
                "account": each.account,
                "added_at": each.added_at,
                "added_by": each.added_by,
            }
            | _view_factors(recall(self._parts, each), now)
            for each in read_book(self._parts.env.config).people
        ]

    def list_tokens(self) -> list[View]:
        """Return all tokens, without what is secret of them."""
        return [_view_token(each) for each in read_book(self._parts.env.config).tokens]

    # -- people -----------------------------------------------------------------------------------------------

    def add(self, name: str, *, account: str = "", proof: Proof | None = None) -> View:
        """Add a person; return the code that their first factor is set with, which is shown once.

        Raises:
            UsageError: not a name, or one that is there already.
        """
        _check_name(name)
        need_person(self._parts, "admin")
        used = self._prove_change(proof)
        code, at = rules.show_code(tokens.key()), self._parts.clock.now()
        with changing(self._parts.env.config) as keeper:
            if keeper.book.find(name) or name.casefold() == self._parts.env.account.casefold():
                raise UsageError(f"{name} is there already; nothing was changed", code="auth.exists")
            if account and identity.person_of(keeper.book, account):
                raise UsageError(f"the account {account} is another person already", code="auth.account")
            until = stamp(at + timedelta(seconds=rules.INVITE_S))
            person = Person(
                name,
                account,
                stamp(at),
                self._parts.env.user,
                invite=rules.hash_code(code),
                invite_until=until,
            )
            book = replace(keeper.book, people=(*keeper.book.people, person))
            record_change(self._parts, keeper, "auth.person_added", book, person=name, factor=used)
        return {"person": name, "account": account, "code": code, "code_until": until}

    def remove(self, name: str, *, proof: Proof | None = None) -> View:
        """Remove a person with their factors and tokens; what they decided stays on record.

        Raises:
            NotFound: nobody has that name.
        """
        need_person(self._parts, "admin")
        used = self._prove_change(proof)
        with changing(self._parts.env.config) as keeper:
            person = _need(keeper, name)
            left = tuple(each for each in keeper.book.people if each != person)
            kept = tuple(each for each in keeper.book.tokens if each.person != person.name)
            book = replace(keeper.book, people=left, tokens=kept)
            gone = len(keeper.book.tokens) - len(kept)
            record_change(self._parts, keeper, "auth.person_removed", book, person=person.name, factor=used)
        return {"person": person.name, "tokens": gone}

    def login(self, name: str, proof: Proof) -> View:
        """Be somebody on this terminal from now on, for eight hours."""
        refuse_agents(self._parts)
        check_untouched(self._parts)
        used = prove(self._parts, name, proof, "any", "login")
        person = read_book(self._parts.env.config).find(name)
        if person is None:
            raise NotFound(f"there is no person {name}")
        digest, now = identity.login_digest(person), self._parts.clock.now()
        until = identity.write_login(self._parts.env, person, digest, now)
        with self._parts.journal.write() as tx:
            data = {"person": person.name, "method": used, "until": until}
            tx.append("auth.login", actor=f"user:{person.name}", data=data)
        return {"person": person.name, "until": until, "factor": used}

    def logout(self) -> View:
        """Be the account again on this terminal."""
        was = identity.end_login(self._parts.env)
        return {"person": self._parts.env.account, "was_logged_in": was}

    # -- factors ----------------------------------------------------------------------------------------------

    def set_pin(self, pin: str, *, name: str = "", proof: Proof | None = None, switch: bool = False) -> View:
        """Set a PIN, or another one.

        Args:
            pin: 4 to 12 digits. name: whose; of whoever asks when empty.
            proof: the factor there is now; for somebody's first one the code they were added with, as ``otp``.
            switch: the authenticator goes with it.
        """
        rules.check_pin(pin)
        name, used = self._prove_own(name, proof)
        hashed = hash_pin(pin)
        with changing(self._parts.env.config) as keeper:
            person = replace(self._own(keeper, name), pin=hashed, invite="", invite_until="")
            if switch:
                person = replace(person, totp=None, pending=None, backup=())
            self._store(keeper, person, "auth.pin_set", factor=used, switched=switch)
        return {"person": name, "methods": list(person.methods), "factor": used}

    def set_totp(self, *, name: str = "", proof: Proof | None = None, switch: bool = False) -> View:
        """Begin to set an authenticator: return its secret and address, which are shown once; it counts when confirmed."""
        name, used = self._prove_own(name, proof)
        secret = rules.make_secret(tokens.key())
        with changing(self._parts.env.config) as keeper:
            person = self._own(keeper, name)
            replaces = "pin" if switch else ""
            keeper.put(replace(person, pending=Totp(secret), replaces=replaces))
        return {"person": name, "secret": secret, "address": rules.make_address(name, secret), "factor": used}

    def confirm_totp(self, code: str, *, name: str = "") -> View:
        """Have the authenticator count, because it shows the right code; return the backup codes, which are shown once.

        Raises:
            NotAuthenticated: another code, or nothing to confirm.
        """
        need_person(self._parts, "admin")
        check_untouched(self._parts)
        name = name or self._parts.env.user
        with changing(self._parts.env.config) as keeper:
            person = keeper.book.find(name)
            now = self._parts.clock.now()
            if person is None or person.pending is None:
                raise NotAuthenticated(
                    f"{name} has no authenticator to confirm; nothing was changed",
                    code="auth.pending",
                    hint="nightcrew auth totp set",
                )
            count_try(self._parts, keeper, person, "totp", "auth")
            step = rules.match_code(person.pending, "".join(code.split()), now)
            if not step:
                raise NotAuthenticated(
                    "this is not the code that the authenticator shows now; nothing was changed",
                    code="auth.wrong",
                    hint="is the clock of the telephone right? try again: nightcrew auth totp confirm CODE",
                )
            codes = [rules.show_code(tokens.key()) for _ in range(rules.BACKUP_CODES)]
            person = replace(
                rules.passed(person),
                totp=replace(person.pending, last_step=step),
                pending=None,
                backup=tuple(rules.hash_code(each) for each in codes),
                pin="" if person.replaces == "pin" else person.pin,
                replaces="",
                invite="",
                invite_until="",
            )
            self._store(keeper, person, "auth.totp_set", switched=not person.pin, step=step)
        return {"person": person.name, "methods": list(person.methods), "backup_codes": codes}

    def remove_factor(self, method: str, *, name: str = "", proof: Proof | None = None) -> View:
        """Remove a PIN or an authenticator; needs a factor of its owner, one that is left or the one that goes.

        Raises:
            NotFound: there is none.
            UsageError: the policy needs one, and it is the last.
        """
        need_person(self._parts, "admin")
        name = name or self._parts.env.user
        person = read_book(self._parts.env.config).find(name)
        if person is None or method not in person.methods:
            raise NotFound(f"{name} has no {method}", code="auth.none", hint="nightcrew auth whoami")
        used = prove(self._parts, name, proof, "any", "auth")
        with changing(self._parts.env.config) as keeper:
            person = _need(keeper, name)
            gone = replace(person, pin="") if method == "pin" else replace(person, totp=None, backup=())
            self._store(keeper, gone, f"auth.{method}_removed", factor=used)
        return {"person": name, "methods": list(gone.methods), "factor": used}

    # -- tokens -----------------------------------------------------------------------------------------------

    def add_token(
        self, scopes: Sequence[str], *, note: str = "", expires_s: float = 0.0, proof: Proof | None = None
    ) -> View:
        """Make a token with which a program decides in the name of whoever asks; return it, which is shown once.

        Raises:
            UsageError: no scope, or one that does not exist.
        """
        unknown = [each for each in scopes if each not in SCOPES]
        if unknown or not scopes:
            said = f"there is no scope {unknown[0]!r}" if unknown else "a token needs a scope"
            raise UsageError(said, code="auth.scope", where=[f"{k}: {v}" for k, v in SCOPES.items()])
        need_person(self._parts, "admin")
        used = self._prove_change(proof)
        secret, at = tokens.key().hex(), self._parts.clock.now()
        with changing(self._parts.env.config) as keeper:
            person = self._own(keeper, self._parts.env.user)
            token = Token(
                id=f"K-{keeper.book.next_token}",
                person=person.name,
                scopes=tuple(dict.fromkeys(scopes)),
                sha256=hashlib.sha256(secret.encode("ascii")).hexdigest(),
                created_at=stamp(at),
                expires_at=stamp(at + timedelta(seconds=expires_s)) if expires_s else "",
                note=note,
            )
            known = [each.name for each in keeper.book.people]
            people = keeper.book.people if person.name in known else (*keeper.book.people, person)
            book = Book(people, (*keeper.book.tokens, token), keeper.book.next_token + 1)
            data = {"token": token.id, "person": person.name, "scopes": list(token.scopes), "factor": used}
            record_change(self._parts, keeper, "auth.token_added", book, **data)
        return {**_view_token(token), "token": f"{identity.TOKEN}_{token.id}_{secret}"}

    def revoke_token(self, name: str) -> View:
        """Have a token count no more; needs no factor, because it only takes away."""
        need_person(self._parts, "admin")
        with changing(self._parts.env.config) as keeper:
            found = next((each for each in keeper.book.tokens if each.id.casefold() == name.casefold()), None)
            if found is None:
                raise NotFound(
                    f"there is no token {name}", code="auth.token", hint="nightcrew auth token list"
                )
            book = replace(keeper.book, tokens=tuple(each for each in keeper.book.tokens if each != found))
            data = {"token": found.id, "person": found.person}
            record_change(self._parts, keeper, "auth.token_revoked", book, **data)
        return _view_token(found)

    # -- when all is lost --------------------------------------------------------------------------------------

    def reset(self) -> View:
        """Forget everybody, a day after it was asked for and only if nobody has proved who they are since.

        Raises:
            StaleError: the day is not over yet.
        """
        need_person(self._parts, "admin")
        now = self._parts.clock.now()
        asked = self._reset_asked()
        due = parse_stamp(asked) + timedelta(seconds=RESET_S) if asked else now
        if not asked or now >= due + timedelta(seconds=RESET_KEPT_S):
            with self._parts.journal.write() as tx:
                tx.append("auth.reset_asked", actor=f"user:{self._parts.env.user}", data={})
            until = stamp(now + timedelta(seconds=RESET_S))
            return {"state": "asked", "until": until}
        if now < due:
            raise StaleError(
                f"asked for at {asked}: it takes effect after {stamp(due)}; nothing was changed",
                code="auth.reset_wait",
                hint="any right proof until then takes it back",
            )
        with changing(self._parts.env.config) as keeper:
            record_change(self._parts, keeper, "auth.reset", Book(next_token=keeper.book.next_token))
        return {"state": "done", "until": ""}

    def _reset_asked(self) -> str:
        """Return when forgetting everybody was asked for and not taken back since; empty when it was not."""
        kinds = ("auth.reset_asked", "auth.reset", "auth.proved")
        with self._parts.journal.read() as tx:
            last = next(iter(tx.events(kinds=kinds, newest=True, limit=1)), None)
        return last.at if last is not None and last.kind == "auth.reset_asked" else ""

    def answer_signed(self, text: str) -> View:
        """Take a signed answer document; see ``signing.take_signed``."""
        from nightcrew.runtime.answers.signing import take_signed

        return take_signed(self._parts, text)

    # -- inside -----------------------------------------------------------------------------------------------

    def _prove_change(self, proof: Proof | None) -> str:
        """Return when whoever asks may change who there is: with their factor, where they have one or the policy wants one."""
        check_untouched(self._parts)
        name = self._parts.env.user
        need, place = find_need(self._parts, "auth")
        person = read_book(self._parts.env.config).find(name)
        if not need and (person is None or not person.methods):
            return ""
        where = f"factors.auth ({place})" if place else ""
        return prove(self._parts, name, proof, need or "any", "auth", place=where)

    def _prove_own(self, name: str, proof: Proof | None) -> tuple[str, str]:
        """Return whose factor is to be set, and by what that was proved."""
        check_untouched(self._parts)
        need_person(self._parts, "admin")
        name = name or self._parts.env.user
        person = read_book(self._parts.env.config).find(name)
        if person is not None and person.methods:
            return person.name, prove(self._parts, name, proof, "any", "auth")
        mine = name == self._parts.env.account or (
            person is not None and person.account == self._parts.env.account
        )
        if mine and (person is None or not person.invite):
            return person.name if person else name, ""
        if person is None:
            raise NotFound(
                f"there is no person {name}", code="auth.person", hint=f"nightcrew auth user add {name}"
            )
        self._spend_invite(person, proof)
        return person.name, "invite"

    def _spend_invite(self, person: Person, proof: Proof | None) -> None:
        """Return when the code that a person was added with was given; it is used up when the factor is set."""
        with changing(self._parts.env.config) as keeper:
            now = self._parts.clock.now()
            person = recall(self._parts, _need(keeper, person.name))
            rules.refuse_locked(person, now)
            if not proof or not proof.otp:
                raise NotAuthenticated(
                    f"the first factor of {person.name} needs the code that they were added with; nothing was set",
                    code="auth.invite",
                    hint="--otp CODE",
                )
            count_try(self._parts, keeper, person, "invite", "auth")
            over = not person.invite or stamp(now) >= person.invite_until
            if over or rules.hash_code(proof.otp) != person.invite:
                said = "is over" if over else "is wrong"
                raise NotAuthenticated(
                    f"this code of {person.name} {said}; nothing was set",
                    code="auth.wrong",
                    hint=f"a new one: nightcrew auth user remove {person.name}, then add",
                )
            append(self._parts, PROVED, person=person.name, method="invite", what="auth")
            keeper.put(rules.passed(_need(keeper, person.name)))

    def _own(self, keeper: Keeper, name: str) -> Person:
        """Return the person; the account itself becomes one when it is needed."""
        known = keeper.book.find(name)
        if known is not None:
            return known
        account = self._parts.env.account if name == self._parts.env.account else ""
        return Person(name, account, stamp(self._parts.clock.now()), self._parts.env.user)

    def _store(self, keeper: Keeper, person: Person, kind: str, **data: Any) -> None:
        known = [each.name for each in keeper.book.people]
        people = tuple(person if each.name == person.name else each for each in keeper.book.people)
        book = replace(keeper.book, people=people if person.name in known else (*people, person))
        record_change(self._parts, keeper, kind, book, person=person.name, **data)


def _need(keeper: Keeper, name: str) -> Person:
    person = keeper.book.find(name)
    if person is None:
        raise NotFound(f"there is no person {name}", code="auth.person", hint="nightcrew auth user list")
    return person


def _check_name(name: str) -> None:
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and len(name) <= 64) or name[0] in "-.":
        raise UsageError(
            f"{name!r} cannot be the name of a person: letters, digits, - _ . and at most 64 of them",
            code="auth.name",
        )


def _view_factors(person: Person, now: str) -> View:
    return {
        "methods": list(person.methods),
        "backup_codes": len(person.backup),
        "to_confirm": person.pending is not None,
        "invited_until": person.invite_until if person.invite else "",
        "locked_until": person.locked_until if person.locked_until > now else "",
    }


def _view_token(token: Token) -> View:
    return {
        "id": token.id,
        "person": token.person,
        "scopes": list(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "note": token.note,
    }
