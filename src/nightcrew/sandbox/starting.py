"""What every back end starts its programs with, and what a back end is."""

from __future__ import annotations

import threading
from typing import Protocol

from nightcrew.model.isolation import Backend, Outcome, SandboxSpec, Session
from nightcrew.sandbox.exits import Serve
from nightcrew.sandbox.order import Order
from nightcrew.sandbox.supervise import Care


class Start(Protocol):
    """Has an order carried out by the zygote and watches the tree to its end; see ``Launcher.run_order``."""

    def __call__(
        self,
        order: Order,
        spec: SandboxSpec,
        session: Session,
        cancel: threading.Event,
        serve: Serve | None = None,
        care: Care | None = None,
    ) -> Outcome:
        """Return when nothing of the tree is left."""


class Builder(Protocol):
    """A way to confine a program that is not the namespaces of our own launcher."""

    @property
    def name(self) -> Backend:
        """As in ``model.isolation.BACKENDS``."""

    @property
    def forks(self) -> bool:
        """It confines a child of our own process, which can be something else than a program (the self-test)."""

    def check(self, spec: SandboxSpec) -> None:
        """Look whether it can be used on this machine at all, before anything is prepared.

        Raises:
            SandboxUnavailable: it cannot; says what is missing and how to mend it.
        """

    def run(
        self, start: Start, spec: SandboxSpec, session: Session, cancel: threading.Event, serve: Serve | None
    ) -> Outcome:
        """Run one confined process to its end and return when nothing of its tree is left.

        Raises:
            SandboxUnavailable: it cannot confine here as asked; nothing ran.
            UsageError: the spec cannot be used by it.
        """
