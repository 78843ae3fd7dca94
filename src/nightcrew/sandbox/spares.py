"""The launcher's end of the zygote's spares: processes in fresh namespaces that wait for an order.

Whoever takes one asks for the one that will take its place, once its own tree has begun; who finds none asks at once.
Those that wait for one take turns: only one thread at a time waits at the socket, or each message would wake all of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nightcrew.sandbox.zygote import ANOTHER, SPARES

_LOOK_S: Final = 0.1  # longest time between two looks at whether it is still wanted
_TRIES: Final = SPARES + 2  # what lies ready may have been made, or refused, or killed, before we came


class NoSpare(Exception):
    """The zygote cannot make one: number and text of the kernel's error."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(number, text)
        self.number, self.text = number, text


class ZygoteGone(Exception):
    """There is nobody who could make one."""


@dataclass(frozen=True, slots=True)
class Spare:
    """A process that waits for its order.

    Attributes:
        pid, pidfd: of the process.
        group: name of the control group that it has entered; empty when there is none.
        channel: what it awaits its order on; it exits when that is closed.
    """

    pid: int
    pidfd: int
    group: str
    channel: socket.socket

    def order(self, words: bytes, descriptors: list[int]) -> bool:
        """Give it its order, and let go of the channel; False when it does not live any more."""
        with self.channel:
            try:
                socket.send_fds(self.channel, [words], descriptors)
            except OSError:
                return False
        return True


class Spares:
    """Takes spares from the socket they lie ready in; safe to use from many threads.

    Args:
        control: where the zygote takes requests.
        ready: where it puts spares.
    """

    def __init__(self, control: socket.socket, ready: socket.socket) -> None:
        self._control = control
        self._ready = ready
        self._ready.settimeout(_LOOK_S)
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._promised = SPARES  # lie ready or are being made, and nobody waits for them

    def take(self, is_over: Callable[[], bool]) -> Spare | None:
        """Return a spare, None when ``is_over`` tells that it is not wanted any more.

        Raises:
            NoSpare: none can be made.
            ZygoteGone: there is nobody left to make one.
        """
        refusal = NoSpare(0, "")
        for _ in range(_TRIES):
            self._claim()
            message, descriptors = self._receive(is_over)
            if not message:
                return None
            if len(descriptors) == 2:
                pid, _, group = message.decode().partition(" ")
                return Spare(int(pid), descriptors[1], group, _channel(descriptors[0]))
            number, _, text = message.decode().partition(" ")
            refusal = NoSpare(int(number), text)
        raise refusal

    def replace(self) -> None:
        """Ask for as many as have been taken; not before the taker's tree has begun, which needs the processors itself.

        Where there is nobody left who could make one, whoever takes the next one finds out.
        """
        with self._guard, contextlib.suppress(OSError):
            while self._promised < SPARES:
                self._control.send(ANOTHER)
                self._promised += 1

    def _claim(self) -> None:
        """Claim one of those that are promised to nobody, or ask for one."""
        with self._guard:
            if self._promised:
                self._promised -= 1
                return
        try:
            self._control.send(ANOTHER)
        except OSError as problem:
            raise ZygoteGone from problem

    def _receive(self, is_over: Callable[[], bool]) -> tuple[bytes, list[int]]:
        while not self._turn.acquire(timeout=_LOOK_S):
            if is_over():
                return self._give_up()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    message, descriptors, _flags, _sender = socket.recv_fds(
                        self._ready, 256, 2, socket.MSG_CMSG_CLOEXEC
                    )
                    if not message:
                        raise ZygoteGone
                    return message, descriptors
                if is_over():
                    return self._give_up()
        except OSError as problem:
            raise ZygoteGone from problem
        finally:
            self._turn.release()

    def _give_up(self) -> tuple[bytes, list[int]]:
        with self._guard:
            self._promised += 1
        return b"", []

    def close(self) -> None:
        """Let go of what lies ready; it exits."""
        self._ready.close()


def _channel(descriptor: int) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor)


def drop(spare: Spare) -> None:
    """Let go of a spare that is dead or not wanted."""
    spare.channel.close()
    os.close(spare.pidfd)
