"""The network of one attempt: what it may reach, who is asked, and what is told of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from nightcrew.agents.adapters import find_setting
from nightcrew.model.actions import Decision, Verdict
from nightcrew.model.ids import join_task
from nightcrew.model.isolation import Level, Listen, Outcome, SandboxSpec, Session
from nightcrew.model.leaving import LeavingWatch
from nightcrew.model.network import AllowList, NetRequest, Ruling, Tally
from nightcrew.model.plans import Task
from nightcrew.policy.network import allow_list, find_internal, judge_request, may_be_known, net_limits
from nightcrew.policy.places import Phase
from nightcrew.sandbox.egress.egress import Egress
from nightcrew.sandbox.egress.relaying import Relay
from nightcrew.sandbox.loop import Loop

if TYPE_CHECKING:
    from nightcrew.engine.work.questions import Questions
    from nightcrew.engine.workspace import Workspace
    from nightcrew.journal.journal import Journal
    from nightcrew.policy.rules import Policy
    from nightcrew.sandbox.launcher import Launcher

#: Kind of the event that tells what went to one place.
REQUESTED: Final = "net.requested"
#: Decisions on different places in one attempt; a program that tries names without end gets no more.
_MOST_DECISIONS: Final = 500
_VERDICTS: Final[Mapping[str, str]] = {"allow": "allow", "wait": "ask", "deny": "deny"}
_TOO_MANY: Final = Ruling("deny", "this task has tried too many different places")


class Way(Protocol):
    """A service behind exits of a sandbox."""

    @property
    def exits(self) -> tuple[Listen, ...]:
        """Where the sandbox listens for it."""

    def serve(self, sockets: Mapping[str, socket.socket]) -> AbstractContextManager[object]:
        """Answer at the sockets of its exits until the end of the block."""


class Attempting(Protocol):
    """An attempt, as far as its network is concerned."""

    workspace: Workspace
    task: Task
    level: Level
    questions: Questions

    @property
    def leaving(self) -> LeavingWatch:
        """What looks at everything that leaves."""


class Gatekeeper:
    """Decides on the requests of one attempt; each place is decided and journaled once. Used from many threads."""

    def __init__(self, policy: Policy, allowed: AllowList, questions: Questions | None) -> None:
        self._policy = policy
        self._allowed = allowed
        self._questions = questions
        self._lock = threading.Lock()
        self._rulings: dict[NetRequest, Ruling] = {}

    def rule(self, request: NetRequest) -> Ruling:
        """Return the answer; it is in the journal by then."""
        # One at a time: two connections to one new place are one question.
        with self._lock:
            ruling = self._rulings.get(request)
            if ruling is None and len(self._rulings) >= _MOST_DECISIONS:
                return _TOO_MANY
            if ruling is None:
                ruling = self._rulings[request] = self._decide(request)
        return ruling

    def _decide(self, request: NetRequest) -> Ruling:
        decision: Decision = judge_request(self._policy, request, self._allowed)
        where = find_internal(self._policy, request)
        if self._questions is None:
            verdict = "allow" if decision.verdict is Verdict.ALLOW else "deny"
            return Ruling(
                verdict, f"{decision.reason} (rule {decision.rule}); nobody can be asked here", where
            )
        answer = self._questions.ask_aside(request.action, decision)
        if answer.verdict == "allow":
            self._questions.note_network()
        return Ruling(_VERDICTS[answer.verdict], answer.reason, where)

    def knows(self, name: str) -> bool:
        """Tell whether a name may be reached without a question."""
        return may_be_known(self._policy, name, self._allowed)


def find_allowed(policy: Policy, task: Task, agent_places: Sequence[str], phase: Phase) -> AllowList:
    """Return what a phase of a task may reach.

    Raises:
        ValueError: an item that is none, or a preset that does not exist.
    """
    items = [(text, f"Network: of {task.id}") for text in task.network]
    items += [(text, f"network of agent {task.agent}") for text in agent_places]
    return allow_list(policy, phase, items)


@dataclass
class Networks:
    """What the attempts of a host share to reach the network.

    Attributes:
        journal: of the host.
    """

    journal: Journal
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _loop: Loop | None = None

    def open(self, attempt: Attempting, phase: Phase, *, asks: bool = True) -> Egress | None:
        """Return the way out of an attempt in one phase; None where it has none, as at level S0 there is no wall.

        Args:
            asks: an unknown host is a question to a person; else it is refused.
        """
        questions = attempt.questions if asks else None
        whose = attempt.questions.attempt
        tell = partial(self._tell, {"run": whose.run, "task": whose.task, "attempt": whose.id})
        if attempt.level is Level.S0:
            return None
        return self._open(attempt.workspace, attempt.task, phase, questions, tell, attempt.leaving)

    def open_alone(
        self, workspace: Workspace, task: Task, phase: Phase, level: Level, run: str
    ) -> Egress | None:
        """Return the same for a proof that belongs to no attempt; nobody is asked."""
        if level is Level.S0:
            return None
        tell = partial(self._tell, {"run": run, "task": join_task(run, task.id)})
        return self._open(workspace.under(task.role), task, phase, None, tell, None)

    def _open(
        self,
        workspace: Workspace,
        task: Task,
        phase: Phase,
        questions: Questions | None,
        tell: Callable[[Sequence[Tally]], None],
        watch: LeavingWatch | None,
    ) -> Egress | None:
        policy = workspace.policy
        places = find_setting(task.agent, workspace.settings.agents).network
        allowed = find_allowed(policy, task, places, phase)
        if not allowed.any:
            return None
        keeper = Gatekeeper(policy, allowed, questions)
        return Egress(
            self._find_loop(),
            keeper.rule,
            known=keeper.knows,
            tell=tell,
            limits=net_limits(policy),
            watch=watch,
            upstream=find_relay(workspace),
        )

    def close(self) -> None:
        """End the thread; may be called twice."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()

    def _find_loop(self) -> Loop:
        with self._lock:
            self._loop = self._loop or Loop()
            return self._loop

    def _tell(self, whose: Mapping[str, str], tallies: Sequence[Tally]) -> None:
        with self.journal.write() as tx:
            for tally in tallies:
                tx.append(REQUESTED, data=describe(tally), **whose)


def find_relay(workspace: Workspace) -> Relay | None:
    """Return the proxy that this machine goes out through, with its login; None where it connects directly.

    Raises:
        NotAuthenticated: the login is not where the settings say.
    """
    found = workspace.settings.upstream_proxy
    return Relay(found.host, found.port, workspace.read_key(found.keeper)) if found is not None else None


def describe(tally: Tally) -> dict[str, object]:
    """Return a tally as the data of its event."""
    request = tally.request
    asked = f"NAME {request.host}" if request.method == "NAME" else request.action.detail
    data: dict[str, object] = {
        "action": asked,
        "host": request.host,
        "port": request.port,
        "method": request.method,
        "verdict": tally.verdict,
        "requests": tally.requests,
        "sent_bytes": tally.sent_bytes,
        "received_bytes": tally.received_bytes,
    }
    return data | ({"reason": tally.reason} if tally.reason else {})


def run_connected(
    launcher: Launcher, spec: SandboxSpec, session: Session, cancel: threading.Event, ways: Sequence[Way]
) -> Outcome:
    """Run a confined process with its ways out served from before its start until nothing of it is left."""
    if not ways:
        return launcher.run(spec, session, cancel=cancel)

    @contextmanager
    def serve(sockets: Mapping[str, socket.socket]) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for way in ways:
                stack.enter_context(way.serve({each.name: sockets[each.name] for each in way.exits}))
            yield

    exits = tuple(each for way in ways for each in way.exits)
    env = {name: value for way in ways if isinstance(way, Egress) for name, value in way.env.items()}
    connected = replace(spec, exits=(*spec.exits, *exits), env={**env, **spec.env})
    return launcher.run(connected, session, cancel=cancel, serve=serve if exits else None)
