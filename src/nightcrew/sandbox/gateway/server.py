"""The gateway of one attempt: what an agent asks its model goes through here, and what that costs is counted here.

The agent has a placeholder that opens nothing but this. For each question: is it one that can be metered, may it leave,
may it be paid; then the real key takes the place of the placeholder, and the answer comes back as it comes, its cost
read out of it as it goes by and recorded before the agent sees its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, Protocol

import h11

from nightcrew.model.leaving import LeavingWatch
from nightcrew.model.usage import Fault, Provider, Tokens
from nightcrew.sandbox.gateway import wires
from nightcrew.sandbox.gateway.faults import classify, pick_kind
from nightcrew.sandbox.gateway.meters import Meter
from nightcrew.sandbox.gateway.streams import Scrubber, Unpacker, Unreadable
from nightcrew.sandbox.gateway.upstream import (
    ANSWER_S,
    Unreached,
    Upstream,
    connect,
    make_context,
    read_address,
    read_bounded,
)
from nightcrew.sandbox.http import (
    BadMessage,
    Bounds,
    ClientEnd,
    ServerEnd,
    SocketWire,
    find,
    linger,
    passed_on,
)

#: Largest question: a long conversation with pictures in it.
MAX_ASK_BYTES: Final = 64 << 20
#: Questions of one attempt that are held at once, all together; read and written anew each takes a multiple of itself.
_MAX_HELD_BYTES: Final = 96 << 20
#: Of an error page.
_MAX_ERROR_BYTES: Final = 1 << 20
_BOUNDS: Final = Bounds(head_s=20.0, idle_s=600.0)
#: How often a question that waits for others looks whether it may go: soon at first, then less often.
_FIRST_LOOK_S: Final = 0.02
_LAST_LOOK_S: Final = 0.5
_NOT_AGAIN: Final = (b"x-should-retry", b"false")
_JSON: Final = (b"content-type", b"application/json")
#: Of a question: ours take their place, they are about the connection, or they could have an answer leave out what it
#: took, come in another form, or a question be taken for another one.
_NOT_SENT: Final = wires.CREDENTIALS | {
    b"host", b"content-length", b"content-encoding", b"content-type", b"accept", b"accept-encoding", b"expect",
    b"x-goog-fieldmask", b"x-http-method-override", b"x-http-method", b"x-method-override",
}  # fmt: skip
_ACCEPT: Final = (b"accept", b"application/json, text/event-stream")
#: Of an answer: framed anew, or nothing that an agent need know about the account of its user.
_NOT_TOLD: Final = frozenset(
    {
        b"content-length", b"content-encoding", b"set-cookie", b"alt-svc", b"anthropic-organization-id",
        b"openai-organization", b"openai-project",
    }
)  # fmt: skip


class Account(Protocol):
    """Who pays. Each of these may wait for the disk, and is called in a thread of its own."""

    def admit(self, provider: Provider, model: str) -> str:
        """Return why nothing may be asked of a model, in words without digits; empty when it may.

        ``model`` is empty for a question that is free.
        """

    def hold(self, provider: Provider, asked: wires.Ask) -> str:
        """Hold what an answer may cost at most; returns a ticket, empty when it must wait for others that are under way."""

    def let_go(self, ticket: str) -> None:
        """What a ticket holds is not needed any more; one that was recorded is let go already."""

    def record(
        self, provider: Provider, models: tuple[str, str], tokens: Tokens, *, exact: bool, ticket: str = ""
    ) -> None:
        """Take note of what an answer took; ``models`` are that which answered and that which was asked."""

    def heard(self, answer: str) -> None:
        """Take note of an answer by its fingerprint; see ``meters.Meter.fingerprint``."""

    def failed(self, provider: Provider, fault: Fault) -> None:
        """Take note of a question that was not answered."""

    def removed(self, provider: Provider, tools: tuple[str, ...]) -> None:
        """Take note that tools of the provider's own were taken out of a question."""


class Refused(Exception):
    """A question that is answered by us."""

    def __init__(self, status: int, kind: str, said: str, *, again: bool = False) -> None:
        super().__init__(said)
        self.status, self.kind, self.said, self.again = status, kind, said, again


class Gateway:
    """Answers at the sockets of one attempt.

    Args:
        upstreams: providers with their keys, by name.
        token: what the agent presents instead of a key.
        account: who pays.
        watch: looks at what leaves; None where nothing is looked for.
    """

    def __init__(
        self,
        upstreams: Iterable[Upstream],
        token: str,
        account: Account,
        watch: LeavingWatch | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._upstreams = {each.provider.name: each for each in upstreams}
        self._token = token
        self._account = account
        self._watch = watch
        self._context = context or make_context()
        self._held: dict[ServerEnd, int] = {}

    async def talk(self, name: str, wire: SocketWire) -> None:
        """Answer one connection to the provider called ``name`` until it ends."""
        upstream = self._upstreams[name]
        end = ServerEnd(wire, _BOUNDS)
        try:
            while (request := await end.request()) is not None:
                await self._answer(end, upstream, request)
                if not end.next_cycle():
                    break
        except BadMessage as problem:
            with contextlib.suppress(OSError):
                await end.refuse(problem.status, problem.words)
                await linger(wire.socket)
        except OSError:
            # The agent has closed its end: whatever was answered is recorded.
            return
        finally:
            end.close()

    async def _answer(self, end: ServerEnd, upstream: Upstream, request: h11.Request) -> None:
        provider = upstream.provider
        try:
            ask = await self._read(end, provider, request)
            ticket = await self._hold(end, provider, ask)
            try:
                await self._ask(end, upstream, request, ask, ticket)
            finally:
                if ticket:
                    await asyncio.to_thread(self._account.let_go, ticket)
        except Refused as refused:
            headers = [_JSON] if refused.again else [_JSON, _NOT_AGAIN]
            body = wires.make_error(provider.wire, refused.status, refused.kind, refused.said)
            # One client asks with HEAD whether anybody is there; an answer to that has no body.
            await end.respond(refused.status, headers, b"" if request.method == b"HEAD" else body)
        finally:
            self._held.pop(end, None)

    async def _read(self, end: ServerEnd, provider: Provider, request: h11.Request) -> wires.Ask:
        """Return what is asked, once nothing is against it.

        Raises:
            Refused: something is.
        """
        headers = {name.lower(): value for name, value in request.headers}
        target = request.target.decode("latin-1")
        known = [each for each in wires.find_tokens(headers, target) if _same(each, self._token)]
        body = await self._read_body(end, headers)
        if not known:
            raise Refused(401, "authentication_error", "this is not the key that the agent was given")
        try:
            method = request.method.decode("latin-1")
            ask = wires.read_ask(provider.wire, method, target, body, reaches_out=provider.reaches_out)
        except wires.Unusable as problem:
            raise Refused(404, "not_found_error", f"nightcrew: {problem}") from None
        way = f"model provider {provider.name}"
        if self._watch is not None and await asyncio.to_thread(
            self._watch.inspect, _spell(request, ask.target) + body, way
        ):
            raise Refused(403, "permission_error", "nightcrew: this must not leave")
        said = await asyncio.to_thread(self._account.admit, provider, ask.model)
        if said:
            raise Refused(403, "permission_error", f"nightcrew: {said}")
        if ask.removed:
            await asyncio.to_thread(self._account.removed, provider, ask.removed)
        return ask

    async def _hold(self, end: ServerEnd, provider: Provider, ask: wires.Ask) -> str:
        """Wait until what the answer may cost fits beside what is under way, and hold it.

        Raises:
            Refused: meanwhile nothing may be asked any more.
        """
        if ask.purpose != "answer":
            return ""
        wait_s = _FIRST_LOOK_S
        while not (ticket := await asyncio.to_thread(self._account.hold, provider, ask)):
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LAST_LOOK_S)
            if end.is_left():
                raise ConnectionAbortedError
            said = await asyncio.to_thread(self._account.admit, provider, ask.model)
            if said:
                raise Refused(403, "permission_error", f"nightcrew: {said}")
        return ticket

    async def _read_body(self, end: ServerEnd, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the whole body of a question, unpacked."""
        try:
            unpacker = Unpacker(headers.get(b"content-encoding", b""), MAX_ASK_BYTES)
        except Unreadable as problem:
            raise BadMessage(str(problem), 415) from None
        await end.go_on()
        body = bytearray()
        async for piece in end.body():
            try:
                body += unpacker.feed(piece)
            except Unreadable as problem:
                raise BadMessage(str(problem), 413) from None
            self._held[end] = len(body)
            if sum(self._held.values()) > _MAX_HELD_BYTES:
                raise BadMessage("too much is asked at once", 503)
        return bytes(body)

    async def _ask(
        self, end: ServerEnd, upstream: Upstream, request: h11.Request, ask: wires.Ask, ticket: str
    ) -> None:
        provider = upstream.provider
        address = read_address(provider.url)
        fields = [pair for pair in passed_on(request.headers) if pair[0].lower() not in _NOT_SENT]
        fields += [(b"host", address.authority.encode()), (b"accept-encoding", b"identity")]
        fields.append(_ACCEPT)
        fields += [(b"content-length", b"%d" % len(ask.body)), _JSON] if request.method == b"POST" else []
        fields += wires.sign(provider.wire, upstream.key)
        try:
            async with connect(address, self._context, upstream.relay) as out:
                target = (address.path + ask.target).encode("latin-1")
                response = await self._send(provider, out, (request.method, target, fields), ask, ticket)
                if response.status_code >= 300:
                    await self._pass_error(end, upstream, out, response)
                else:
                    await self._pass(end, upstream, out, response, ask, ticket)
        except Unreached as problem:
            raise await self._broken(provider, str(problem)) from None

    async def _send(
        self,
        provider: Provider,
        out: ClientEnd,
        head: tuple[bytes, bytes, list[tuple[bytes, bytes]]],
        ask: wires.Ask,
        ticket: str,
    ) -> h11.Response:
        try:
            return await send(out, *head, ask.body)
        except asyncio.CancelledError:
            # The attempt ends before its answer begins: what was asked is paid all the same.
            if ask.purpose == "answer":
                await self._record(provider, Meter(provider.wire, streamed=False), ask, ticket)
            raise

    async def _broken(self, provider: Provider, said: str) -> Refused:
        """Note that a provider could not be spoken to, and return what the agent is told."""
        await self._fail(provider, Fault("network", said=said))
        return Refused(502, "api_error", f"nightcrew: {provider.name} cannot be reached: {said}", again=True)

    async def _pass_error(
        self, end: ServerEnd, upstream: Upstream, out: ClientEnd, response: h11.Response
    ) -> None:
        """Note an error of a provider, and pass it on without what it may repeat of the key."""
        body = await read_bounded(out, _MAX_ERROR_BYTES)
        headers = {name.lower(): value for name, value in response.headers}
        fault = classify(response.status_code, headers, body, secret=upstream.key)
        await self._fail(upstream.provider, fault)
        status = response.status_code if response.status_code >= 400 else 502
        scrubber = Scrubber(upstream.key, self._token)
        await end.respond(status, _told(response), scrubber.feed(body) + scrubber.finish())

    async def _pass(
        self,
        end: ServerEnd,
        upstream: Upstream,
        out: ClientEnd,
        response: h11.Response,
        ask: wires.Ask,
        ticket: str,
    ) -> None:
        """Pass an answer on as it comes, and record what it took, whatever becomes of it."""
        kind = find(response.headers, b"content-type").lower()
        meter = Meter(upstream.provider.wire, streamed=b"event-stream" in kind, hide_usage=ask.hide_usage)
        try:
            unpacker = Unpacker(find(response.headers, b"content-encoding"))
            await self._stream(end, out, response, (unpacker, meter, Scrubber(upstream.key, self._token)))
        except (BadMessage, Unreadable) as problem:
            said = problem.words if isinstance(problem, BadMessage) else str(problem)
            await self._fail(upstream.provider, Fault("network", response.status_code, said))
            raise BadMessage(f"the answer broke off: {said}", 502) from None
        finally:
            if ask.purpose == "answer":
                await self._record(upstream.provider, meter, ask, ticket)
        await end.end()

    async def _stream(
        self,
        end: ServerEnd,
        out: ClientEnd,
        response: h11.Response,
        way: tuple[Unpacker, Meter, Scrubber],
    ) -> None:
        unpacker, meter, scrubber = way
        await end.begin(response.status_code, _told(response), response.reason)
        async for piece in _read_pieces(out):
            await end.write(scrubber.feed(meter.feed(unpacker.feed(piece))))
        await end.write(scrubber.feed(meter.finish()) + scrubber.finish())

    async def _record(self, provider: Provider, meter: Meter, ask: wires.Ask, ticket: str) -> None:
        tokens, exact = meter.count(ask.size)
        models = (meter.tally.model, ask.model)
        await asyncio.to_thread(self._account.record, provider, models, tokens, exact=exact, ticket=ticket)
        if exact:
            self._account.heard(meter.fingerprint)
        if meter.tally.fault is not None:
            word, said = meter.tally.fault
            await self._fail(provider, Fault(pick_kind(200, word or "internal"), 200, said[:200]))

    async def _fail(self, provider: Provider, fault: Fault) -> None:
        await asyncio.to_thread(self._account.failed, provider, fault)


async def _read_pieces(out: ClientEnd) -> AsyncIterator[bytes]:
    """Yield the body of an answer; what breaks on that side is told from what breaks on the agent's.

    Raises:
        BadMessage: the provider's connection broke.
    """
    try:
        async for piece in out.body():
            yield piece
    except OSError as problem:
        raise BadMessage(problem.strerror or "the connection broke", 502) from None


async def send(
    out: ClientEnd, method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], body: bytes
) -> h11.Response:
    """Ask, and return the head of the answer.

    Raises:
        Unreached: the provider closed, or said nothing, before its answer began.
    """
    try:
        await out.ask(method, target, fields)
        await out.write(body)
        await out.end()
        return await out.answer(ANSWER_S)
    except BadMessage as problem:
        raise Unreached(problem.words) from None
    except OSError as problem:
        raise Unreached(problem.strerror or "the connection broke") from None


def _told(response: h11.Response) -> list[tuple[bytes, bytes]]:
    return [pair for pair in passed_on(response.headers) if pair[0].lower() not in _NOT_TOLD]


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _spell(request: h11.Request, target: str) -> bytes:
    """Return the head of a question without what it presents as a key: all of that leaves, too."""
    fields = [name + b": " + value for name, value in request.headers if name.lower() not in _NOT_SENT]
    return b"\n".join([target.encode("latin-1"), *fields, b""])
