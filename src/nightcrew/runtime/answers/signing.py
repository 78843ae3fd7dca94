"""Signed answers: who holds the secret of the webhook decides, from anywhere. Format: docs/formats/webhook.md.

A document names one question by id, by the time it was asked and by its digest, so it cannot be an answer to anything else,
nor be used twice: the first answer decides.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import parse_stamp
from nightcrew.model import canonical
from nightcrew.model.errors import DeniedByPolicy, NotAuthenticated, NotFound, StaleError, UsageError
from nightcrew.model.records import ApprovalRecord
from nightcrew.runtime.people.authfile import read_book
from nightcrew.runtime.people.saying import Said

if TYPE_CHECKING:
    from nightcrew.model.settings import Webhook
    from nightcrew.runtime.parts import Parts

VERSION: Final = 1
SKEW_S: Final = 300.0
_SHORTEST: Final = 16
_MAX_BYTES: Final = 64 << 10
_FIELDS: Final = ("version", "approval", "asked_at", "digest", "decision", "signed_at", "signature")
_PREFIX: Final = b"nightcrew answer v1\n"


def read_secret(parts: Parts, webhook: Webhook) -> bytes:
    """Return the secret that the webhook shares with us.

    Raises:
        NotAuthenticated: it is not where the settings say, or too short to be one.
    """
    from nightcrew.model.usage import Provider

    text = parts.keyring.read(Provider("approvals.webhook", "openai", webhook.url, webhook.secret))
    secret = text.encode("utf-8")
    if text.startswith("whsec_"):
        try:
            secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            secret = b""
    if len(secret) < _SHORTEST:
        raise NotAuthenticated(
            f"the secret of approvals.webhook is no secret: it needs {_SHORTEST} bytes at least",
            code="webhook.secret",
            hint="make one: python3 -c 'import secrets; print(secrets.token_hex(32))'",
        )
    return secret


def sign_message(secret: bytes, name: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message (Standard Webhooks)."""
    signed = f"{name}.{at}.".encode("ascii") + body
    mac = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode("ascii")
    return {"webhook-id": name, "webhook-timestamp": str(at), "webhook-signature": f"v1,{mac}"}


def sign_answer(secret: bytes, answer: Mapping[str, Any]) -> str:
    """Return the signature of an answer document: over its canonical JSON without ``signature``."""
    plain = {name: value for name, value in answer.items() if name != "signature"}
    mac = hmac.new(secret, _PREFIX + canonical.encode(plain).encode("utf-8"), hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode("ascii")


def find_webhook(parts: Parts) -> Webhook | None:
    """Return the webhook of the user's own settings; None when there is none."""
    from nightcrew.runtime.rules import read_rules

    return read_rules(parts.env, None).settings.webhook


def take_signed(parts: Parts, text: str, *, via: str = "signed answer") -> dict[str, Any]:
    """Decide as a signed answer says, and return the view of the approval.

    Args:
        text: the document. via: how it came.

    Raises:
        UsageError: it is no such document. NotAuthenticated: nobody who may has signed it, or there is no webhook.
        StaleError: it is about another question than the one of that id, or that is answered already.
    """
    webhook = find_webhook(parts)
    if webhook is None:
        raise NotAuthenticated(
            "there is no approvals.webhook in your config.yaml: no signature means anything here; nothing was decided",
            code="webhook.none",
            hint="docs/guides/approvals.md, Signed answers",
        )
    answer = _read(text)
    secret = read_secret(parts, webhook)
    if not hmac.compare_digest(
        sign_answer(secret, answer).encode(), answer["signature"].encode("utf-8", "replace")
    ):
        raise NotAuthenticated(
            "the signature is not one of approvals.webhook; nothing was decided", code="webhook.signature"
        )
    _refuse_proven(parts, webhook)
    with parts.journal.read() as tx:
        record = tx.get(ApprovalRecord, str(answer["approval"]))
    if record is None:
        raise NotFound(f"there is no approval {answer['approval']}; nothing was decided")
    _check_meant(parts, record, answer)
    from nightcrew.runtime.answers.deciding import decide

    said = Said(
        str(answer["decision"]),
        str(answer.get("reason", "")),
        str(answer.get("scope", "once")),
        str(answer["digest"]),
        by=webhook.name,
        via=via,
    )
    return decide(parts, record.id, said)


def _read(text: str) -> dict[str, Any]:
    try:
        answer = json.loads(text) if len(text) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("version") != VERSION:
        raise UsageError(
            "this is not a signed answer (JSON, version 1); nothing was decided",
            code="webhook.format",
            hint="docs/formats/webhook.md",
        )
    wrong = [name for name in _FIELDS[1:] if not isinstance(answer.get(name), str)]
    wrong += [name for name in answer if name not in _FIELDS and not isinstance(answer[name], str)]
    if wrong:
        raise UsageError(
            f"a signed answer needs {', '.join(wrong)} as text; nothing was decided", code="webhook.format"
        )
    return answer


def _refuse_proven(parts: Parts, webhook: Webhook) -> None:
    """Return when the settings may say whose answers these are: not those of somebody who proves themselves otherwise."""
    person = read_book(parts.env.config).find(webhook.name)
    if person is not None and person.methods:
        raise DeniedByPolicy(
            f"approvals.webhook answers as {person.name}, who has a second factor: a secret in your settings is none; "
            "nothing was decided",
            code="webhook.as",
            hint="give the service a name of its own: as: ops-bot",
        )


def _check_meant(parts: Parts, record: ApprovalRecord, answer: Mapping[str, Any]) -> None:
    if answer["asked_at"] != record.requested_at or answer["digest"] != record.digest:
        raise StaleError(
            f"the answer is about another question than {record.id}; nothing was decided",
            code="gate.digest",
            where=[f"asked at {record.requested_at}, digest {record.digest}"],
        )
    try:
        signed = parse_stamp(str(answer["signed_at"]))
    except ValueError:
        raise UsageError(
            "signed_at must be like 2027-01-31T08:00:00.000000Z; nothing was decided", code="webhook.format"
        ) from None
    early = parse_stamp(record.requested_at) - timedelta(seconds=SKEW_S)
    if not early <= signed <= parts.clock.now() + timedelta(seconds=SKEW_S):
        raise StaleError(
            "the answer was signed before the question was asked, or in the future; nothing was decided",
            code="webhook.time",
        )
