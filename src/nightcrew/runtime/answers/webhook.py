"""Telling a webhook of every question, and taking its signed answer. Format: docs/formats/webhook.md.

Each question is posted once, and again after longer and longer waits until somebody takes it; a new host goes on where the
last one was, because deliveries are events. A webhook that cannot be reached changes nothing: the question waits for a person.
"""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import parse_stamp, stamp
from nightcrew.model.errors import NightcrewError
from nightcrew.model.records import ApprovalRecord
from nightcrew.runtime.answers.callbacks import note_left
from nightcrew.runtime.answers.signing import find_webhook, read_secret, sign_message, take_signed
from nightcrew.runtime.people.terms import time_of_answer
from nightcrew.runtime.views import view_approval

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.model.settings import Webhook
    from nightcrew.runtime.parts import Parts

WAITS_S: Final = (0.0, 5.0, 30.0, 120.0, 600.0, 1800.0)
"""Before each try of one message; after the last one it is given up, which is recorded."""
_LOOK_S: Final = 0.2
_JOIN_S: Final = 5.0
_EVENTS: Final = ("webhook.delivered", "webhook.failed")


class Poster:
    """The thread that posts, from ``start`` to ``close``, while this process hosts the engine; nothing where no webhook is set."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @cached_property
    def _place(self) -> tuple[Webhook, bytes] | None:
        """The webhook and its secret; read once, because the secret may be what a program of the user's prints."""
        try:
            webhook = find_webhook(self._parts)
            return (webhook, read_secret(self._parts, webhook)) if webhook else None
        except NightcrewError as error:
            self._parts.say(f"no question is posted to approvals.webhook: {error.message}")
            return None

    def start(self) -> None:
        """Begin to post."""
        if self._place is not None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="nightcrew-webhook", daemon=True)
            self._thread.start()

    def find_runs(self, tx: Reader) -> set[str]:
        """Return the runs with a question that is still to be posted, now or later; none where no webhook can be used."""
        if self._place is None:
            return set()
        return {record.run for record, _, tries in _find_open(tx) if tries < len(WAITS_S)}

    def close(self) -> None:
        """Post no more; what was not taken is posted by the next host."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                with self._parts.journal.read() as tx:
                    due = find_due(tx, stamp(self._parts.clock.now()))
                for record, kind, number in due:
                    if not self._stop.is_set():
                        self._post(record, kind, number)
            except NightcrewError:
                # The database is busy or gone for a while; what is to be posted stands in it.
                continue

    def _post(self, record: ApprovalRecord, kind: str, number: int) -> None:
        from nightcrew.host.posting import post

        if self._place is None:
            return
        webhook, secret = self._place
        at = self._parts.clock.now()
        message = {"type": kind, "timestamp": stamp(at), "data": _describe(record)}
        body = json.dumps(message, ensure_ascii=True).encode("ascii")
        name = f"msg_{record.id}_{kind}_{record.requested_at}"
        headers = {"content-type": "application/json", "user-agent": "nightcrew"}
        headers |= sign_message(secret, name, int(at.timestamp()), body)
        came = post(webhook.url, body, headers, timeout_s=webhook.timeout_s)
        said = came.problem or ("" if came.ok else f"it answered with status {came.status}")
        data = {"approval": record.id, "message": kind, "try": number, "status": came.status, "said": said}
        data |= {"given_up": True} if said and number >= len(WAITS_S) else {}
        with self._parts.journal.write() as tx:
            event = "webhook.failed" if said else "webhook.delivered"
            tx.append(event, run=record.run, task=record.task, actor="webhook", data=data)
        if came.ok and came.body.strip():
            self._take(record, came.body)

    def _take(self, record: ApprovalRecord, body: bytes) -> None:
        from nightcrew.engine.client import wake

        try:
            answer = take_signed(self._parts, body.decode("utf-8", "replace"), via="webhook")
            wake(self._parts.journal, answer["run"], now=time_of_answer(self._parts))
        except NightcrewError as error:
            # Anything but a good answer is none: the question goes on waiting for a person.
            note_left(self._parts, record, "webhook", error.message)


def _describe(record: ApprovalRecord) -> dict[str, Any]:
    return view_approval(record)


def find_due(tx: Reader, now: str) -> list[tuple[ApprovalRecord, str, int]]:
    """Return what is to be posted now: question, kind of message, number of the try (counted from 1)."""
    due = []
    for record, kind, tries in _find_open(tx):
        if tries >= len(WAITS_S):
            continue
        last = max((each.at for each in _tries(tx, record, kind)), default="")
        ready = not last or stamp(parse_stamp(last) + timedelta(seconds=WAITS_S[tries])) <= now
        if ready:
            due.append((record, kind, tries + 1))
    return due


def _find_open(tx: Reader) -> list[tuple[ApprovalRecord, str, int]]:
    found = []
    for record in tx.find(ApprovalRecord, state="pending"):
        kinds = ["approval.opened", *(["approval.reminded"] if 0 < record.reminded < 100 else [])]
        for kind in kinds:
            tries = _tries(tx, record, kind)
            if not any(each.kind == "webhook.delivered" for each in tries):
                found.append((record, kind, len(tries)))
    return found


def _tries(tx: Reader, record: ApprovalRecord, kind: str) -> list[Any]:
    events = tx.events(run=record.run, kinds=_EVENTS)
    return [
        each for each in events if (each.data.get("approval"), each.data.get("message")) == (record.id, kind)
    ]
