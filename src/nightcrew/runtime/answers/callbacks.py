"""Programs that are asked every question: functions of a library user, and the webhook of the user's settings.

runtime.on_approval(lambda question: Reply.approve() if question.risk == "low" else None)

Both may leave a question to a person, by saying nothing. Both answer under the same terms as a person at the command line,
except that a program has no second factor: what needs one, it cannot say yes to.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Self

from nightcrew.model.errors import NightcrewError
from nightcrew.model.inquiries import QUESTION
from nightcrew.model.records import ApprovalRecord
from nightcrew.runtime.people.saying import Said
from nightcrew.runtime.people.terms import time_of_answer
from nightcrew.runtime.replies import Callback, Question, Registered, Reply

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

_LOOK_S: Final = 0.2
_AT_ONCE: Final = 8
_JOIN_S: Final = 2.0


def register(parts: Parts, callback: Callback, *, timeout_s: float) -> Callable[[], None]:
    """Have a callback asked from now on; return what ends that."""
    entry = Registered(callback, timeout_s)
    parts.callbacks.append(entry)

    def end() -> None:
        if entry in parts.callbacks:
            parts.callbacks.remove(entry)

    return end


class Asker:
    """The thread that gives open questions to the callbacks of this process; nothing where there are none.

    Use it as a context manager while the process drives a run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._asked: set[str] = set()
        self._under_way: set[str] = set()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._parts.callbacks:
            self._thread = threading.Thread(target=self._run, name="nightcrew-callbacks", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def is_busy(self) -> bool:
        """Tell whether a callback has yet to say something, or nothing, to an open question."""
        if self._thread is None:
            return False
        with self._parts.journal.read() as tx:
            pending = tx.find(ApprovalRecord, state="pending")
        open_now = {each.id for each in pending if each.kind != QUESTION}
        return bool(open_now - self._asked or self._under_way)

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            try:
                for record in self._find_new():
                    threading.Thread(target=self._ask, args=(record,), daemon=True).start()
            except NightcrewError:
                # The database is busy or gone for a while; the questions in it are not.
                continue

    def _find_new(self) -> list[ApprovalRecord]:
        with self._parts.journal.read() as tx:
            pending = tx.find(ApprovalRecord, state="pending")
        found = []
        for record in pending:
            if (
                record.id not in self._asked
                and record.kind != "question"
                and self._room.acquire(blocking=False)
            ):
                self._under_way.add(record.id)
                self._asked.add(record.id)
                found.append(record)
        return found

    def _ask(self, record: ApprovalRecord) -> None:
        try:
            for entry in tuple(self._parts.callbacks):
                reply, said = _call(entry, Question.of(record))
                if said:
                    note_left(self._parts, record, "callback", said)
                elif reply is not None and self._take(record, reply):
                    return
        finally:
            self._under_way.discard(record.id)
            self._room.release()

    def _take(self, record: ApprovalRecord, reply: Reply) -> bool:
        from nightcrew.engine.client import wake
        from nightcrew.runtime.answers.deciding import decide

        try:
            said = Said(reply.answer, reply.reason, reply.scope, record.digest, via="callback")
            decide(self._parts, record.id, said)
            wake(self._parts.journal, record.run, now=time_of_answer(self._parts))
        except NightcrewError as error:
            note_left(self._parts, record, "callback", error.message)
            return False
        return True


def _call(entry: Registered, question: Question) -> tuple[Reply | None, str]:
    """Return what a callback says, or why it says nothing; a hung one is left behind."""
    box: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()
    late = f"it did not answer within {entry.timeout_s:g} s"

    def work() -> None:
        try:
            found = entry.callback(question)
            if inspect.isawaitable(found):
                found = asyncio.run(_wait(found, entry.timeout_s))
            box.put((found, ""))
        except TimeoutError:
            box.put((None, late))
        except BaseException as error:  # noqa: BLE001 - whatever a callback does, the question goes on waiting
            box.put((None, f"it failed: {type(error).__name__}: {error}"))

    threading.Thread(target=work, name="nightcrew-callback", daemon=True).start()
    try:
        found, said = box.get(timeout=entry.timeout_s)
    except queue.Empty:
        return None, late
    if found is not None and not isinstance(found, Reply):
        return None, f"it answered with a {type(found).__name__}, not with a Reply"
    return found, said


async def _wait(found: Awaitable[Reply | None], timeout_s: float) -> Reply | None:
    async with asyncio.timeout(timeout_s):
        return await found


def note_left(parts: Parts, record: ApprovalRecord, via: str, said: str) -> None:
    """Write down that a program left a question to a person, and why."""
    data = {"id": record.id, "via": via, "reason": said}
    with parts.journal.write() as tx:
        tx.append("approval.left", run=record.run, task=record.task, actor=via, data=data)
