"""The seam between the engine and a coding agent.

An adapter turns a task into a confined command line and reads what comes out of it. It never starts a process and
never decides: it asks its desk (the engine), and the answer is journaled before it is given. Whether a task has
succeeded is never the agent's word: an adapter says only whether the agent *ended as it should*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from nightcrew.model.actions import Action
from nightcrew.model.inquiries import Inquiry
from nightcrew.model.isolation import Bind, Outcome, Process
from nightcrew.model.plans import Task
from nightcrew.model.settings import AgentSetting

#: Where our own files for an agent appear inside its sandbox, read-only.
INSIDE = "/run/nightcrew"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can and cannot do; shown by ``agent list`` and ``doctor``, and the settings may refuse too little.

    Attributes:
        approvals: ``all`` actions are asked for one by one, ``risky`` ones as the agent itself sees it, or ``none``:
            sandbox, diff and review only.
        fail_closed: a dead governor means that no further action runs.
        deny_continues: after a denial the agent can go on with something else.
        resume: ``exact`` goes on at the first unfinished step; ``at_least_once`` takes up its own conversation, and may
            do or ask again what was under way; ``none`` starts a new one, which is told what was done.
        deterministic: the same task gives the same result, so a failed acceptance is not worth a second attempt.
        needs_network: it cannot work without reaching a model.
        sees_reads: reading is asked for as well.
        soft_interrupt: it can be told to stop without being killed.
        usage: what it says itself about its cost: ``cost``, ``tokens`` or ``none``; the gateway counts in any case.
        structured_output: an answer in a given JSON shape is ``validated`` by it, only ``forwarded`` to the model,
            asked for in words (``prompt``), or ``none``.
        note: in words, for a person.
        asks_person: it has a way to put a question to the person it works for.
    """

    approvals: Literal["all", "risky", "none"]
    fail_closed: bool
    deny_continues: bool
    resume: Literal["exact", "at_least_once", "none"]
    deterministic: bool
    needs_network: bool
    note: str = ""
    sees_reads: bool = False
    soft_interrupt: bool = False
    usage: Literal["cost", "tokens", "none"] = "none"
    structured_output: Literal["validated", "forwarded", "prompt", "none"] = "none"
    asks_person: bool = False


#: What all have in common that ask for every action over a protocol, and take up their own conversation.
TALKING: Final = Capabilities(
    approvals="all",
    fail_closed=True,
    deny_continues=True,
    resume="at_least_once",
    deterministic=False,
    needs_network=True,
)


@dataclass(frozen=True, slots=True)
class Program:
    """An agent's own program on this machine.

    Attributes:
        path: absolute path, inside as outside.
        binds: what must be visible inside for it to run: its package, its interpreter.
        search: directories that must stand in front of PATH for it (an interpreter it names by name).
    """

    path: str
    binds: tuple[Bind, ...] = ()
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """How an agent reaches its model: through the gateway, which is the only way that exists inside.

    Attributes:
        base_urls: provider (``anthropic``, ``openai``, ``gemini``) → URL inside, without a slash at its end and without
            a version: an agent whose client wants ``/v1`` (OpenAI) or ``/v1beta`` (Gemini) there appends it. Only
            providers that the user has named a key for are here.
        token: what stands in the place of every key. It opens nothing but this attempt's gateway.
        models: provider → model to use, where the user's settings name one.
    """

    base_urls: Mapping[str, str]
    token: str
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One task as an adapter sees it.

    Attributes:
        task: the task of the approved plan.
        setting: the agent's entry in config.yaml; the built-in names have a default one.
        cwd: the repository's absolute path, inside as outside.
        python: absolute path of an interpreter that exists inside.
        private: folder of this attempt on the host, for files that are bound into the sandbox.
        mounted: the sandbox can bind files (false at level S0, where host paths are used as they are).
        progress: what an earlier, parked attempt has already done; as the adapter reported it.
        model: the way to a model; ``None`` where the user has named no provider, or the agent needs none.
        program: the program that ``Adapter.find_program`` names, as found on this machine; None when it is not there.
        memory: folder of the task on the host that an agent may keep its own conversation in; lives as long as the
            shadow that the conversation is about. None where nobody keeps one.
        remembers: ``memory`` holds what the agent left there when it was parked, and the files are as it left them.
        schema: JSON Schema, as text, that its last words shall follow; empty for work that leaves files.
        hooks: somebody answers the hooks of the agent's own; without it none are installed.
    """

    task: Task
    setting: AgentSetting
    cwd: str
    python: str
    private: Path
    mounted: bool = True
    progress: Mapping[str, Any] = field(default_factory=dict)
    model: ModelAccess | None = None
    program: Program | None = None
    memory: Path | None = None
    remembers: bool = False
    schema: str = ""
    hooks: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start the agent: argv and what must be visible inside. ``files`` are written to ``Job.private`` first.

    ``search`` are directories that stand in front of PATH.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine says to one action.

    Attributes:
        verdict: ``allow``, ``deny`` (tell the agent why) or ``wait`` (a human must decide: end the process now).
        reason: in words; on a denial it names the rule and its file:line.
    """

    verdict: Literal["allow", "deny", "wait"]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What becomes of a question to the person.

    Attributes:
        verdict: ``answered``, ``wait`` (a person must answer: end the process now) or ``refused`` (it is not put to them).
        text: the answer in the person's words; else why, in ours.
        chosen: the choices they took, where it had some.
    """

    verdict: Literal["answered", "wait", "refused"]
    text: str = ""
    chosen: tuple[str, ...] = ()


class Desk(Protocol):
    """Where an agent's session turns to while its process runs."""

    def ask(self, action: Action) -> Answer:
        """Return the decision on ``action``; it is in the journal by then."""

    def inquire(self, inquiry: Inquiry) -> Reply:
        """Put a question to the person; it is in the journal, and open, before the agent's process has ended."""

    def rest(self) -> bool:
        """Called before an action that is not asked for: what was done before is kept first; no means: end here."""

    def finished(self, action: Action) -> None:
        """Take note that an action that was allowed has been carried out; a checkpoint follows."""

    def note(self, kind: str, text: str) -> None:
        """Write something the agent said or did to the transcript."""

    def freeze(self, action: Action, reason: str) -> Answer:
        """The agent did something without an answer: a human must look at it before anything goes on; always ``wait``."""


@dataclass(frozen=True, slots=True)
class AgentEnd:
    """How the agent's own work ended, as far as its adapter can tell.

    Attributes:
        result: ``finished`` (its terminal event, or exit code 0), ``failed``, ``denied`` (stopped by a denial) or
            ``waiting`` (stopped because a human must decide first).
        reason: in words.
        progress: what a later attempt in the same shadow need not do again.
    """

    result: Literal["finished", "failed", "denied", "waiting"]
    reason: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an agent is while it runs.

    Attributes:
        between: it waits for its next action to be decided, and nothing that was allowed is under way.
        progress: as in AgentEnd; with ``between`` it fits exactly to what is in the shadow at this moment.
    """

    between: bool = False
    progress: Mapping[str, Any] = field(default_factory=dict)


class AgentSession(Protocol):
    """Drives one agent process; see ``model.isolation.Session`` for the first two."""

    def started(self, process: Process) -> None:
        """The process exists; its stdin can be written."""

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Bytes arrived; any length, any content."""

    def standing(self) -> Standing:
        """Say how far it is; called from another thread, while its process stands still or is gone."""

    def conclude(self, outcome: Outcome) -> AgentEnd:
        """Say how it ended; called once, when no process of the tree is left and it was not killed by a limit."""


class Adapter(Protocol):
    """One kind of coding agent."""

    @property
    def name(self) -> str:
        """The name used in ``Agent:`` and in config.yaml."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def find_program(self, setting: AgentSetting) -> str:
        """Return the name or path of the program it needs, to be looked up on PATH; empty when it needs none."""

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Return what must be decided before it is started at all."""

    def prepare(self, job: Job) -> Launch:
        """Return how to start it.

        Raises:
            UsageError: the task or its setting cannot be used with this adapter.
        """

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session that drives its process."""
