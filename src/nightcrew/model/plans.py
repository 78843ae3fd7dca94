"""The plan: what a person approves. A directed acyclic graph of tasks, bound by its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nightcrew.model import canonical
from nightcrew.model.errors import Place
from nightcrew.model.routes import Persona, Route


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the ``script`` agent.

    Attributes:
        do: ``write``, ``append``, ``delete``, ``chmod``, ``symlink``, ``run``, ``question``, ``say``, ``sleep`` or ``exit``.
        path: repository-relative path for file steps; of a question, where its answer is written, empty for nowhere.
        text: content, command line, link target, octal mode, message, seconds or exit code, by ``do``.
        on_denied: ``stop`` (the step fails the attempt) or ``continue``.
        choices: of a question; empty for none.
    """

    do: str
    path: str = ""
    text: str = ""
    on_denied: str = "stop"
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One task as written in a tasks file.

    Attributes:
        id: name inside the run, ``T01`` or ``T02.1``.
        number: as written, ``1`` or ``2.1``.
        title: first line; ``description`` is the free text below it.
        agent: name of the adapter, ``command`` or ``script`` or a configured name.
        run: the ``Run:`` command line of the ``command`` agent (empty otherwise).
        script: path of the ``script`` agent's recording as written in ``Script:`` (empty otherwise).
        steps: its steps, read when the plan is made, so that the digest covers them.
        prompt: text for agents that take one.
        depends: names (``T01``) of the tasks it needs.
        scope: gitignore-style globs of the paths it may change; empty means anywhere policy allows.
        accept: commands that prove the task, each run by us on the resulting tree.
        files: how many files it is expected to change, 0 when nobody said.
        creates, modifies, deletes: globs of the files that it says it will add, change and remove; all empty when it does
            not say.
        budget: what its models may cost, as ``5usd 200000tokens``; empty for no limit of its own.
        network: where it may go without a question (``pypi``, ``example.org:443``, ``install:npm``); empty for nowhere.
        install: commands run in its copy before its agent works, with a network list of their own.
        timeout_s: hard limit of one attempt in seconds, None for the configured one.
        role: name of the role in force for it; empty for none. brief: what its agent is told of that role.
        model: passed on to the agent.
        done: the box was ticked: the task counts as finished before the run.
        place: where it is written.
        run_place, accept_places: where ``Run:`` and each ``Accept:`` stand.
        agent_place, script_place, role_place, depends_places: where ``Agent:``, ``Script:``, ``Role:`` and each id of
            ``Depends:`` stand.
        network_places, install_places: where each of these stands.
        fallback: agents that take over in turn when its agent cannot do it; ``fallback_place`` where that stands.
        route: how its agent was found, when it was chosen for it. persona: the role its agent takes on.
    """

    id: str
    number: str
    title: str
    place: Place
    description: str = ""
    agent: str = "command"
    run: str = ""
    script: str = ""
    steps: tuple[Step, ...] = ()
    prompt: str = ""
    depends: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    timeout_s: float | None = None
    role: str = ""
    model: str = ""
    done: bool = False
    files: int = 0
    budget: str = ""
    run_place: Place | None = None
    accept_places: tuple[Place, ...] = ()
    agent_place: Place | None = None
    script_place: Place | None = None
    depends_places: tuple[Place, ...] = ()
    network: tuple[str, ...] = ()
    install: tuple[str, ...] = ()
    network_places: tuple[Place, ...] = ()
    install_places: tuple[Place, ...] = ()
    role_place: Place | None = None
    brief: str = ""
    route: Route | None = None
    persona: Persona | None = None
    fallback: tuple[str, ...] = ()
    fallback_place: Place | None = None
    creates: tuple[str, ...] = ()
    modifies: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()

    @property
    def lists_files(self) -> bool:
        """Whether it says what it will do to which files."""
        return bool(self.creates or self.modifies or self.deletes)


@dataclass(frozen=True, slots=True)
class Plan:
    """A validated plan.

    Attributes:
        title: what the run is for.
        source: tasks file as the user named it.
        base_commit: full commit id the work starts from.
        policy_digest: digest of the policy in force when it was planned.
        tasks: in the order written.
        head_commit: commit of the user's that ``base_commit`` lies on when uncommitted work was taken along; empty
            otherwise.
        included: paths of that uncommitted work, sorted.
        budget: what the models of all its tasks may cost, as ``25usd``; empty for no limit.
    """

    title: str
    source: str
    base_commit: str
    policy_digest: str
    tasks: tuple[Task, ...]
    head_commit: str = ""
    included: tuple[str, ...] = ()
    budget: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over everything a person approves; 64 hex characters."""
        return canonical.digest(self)

    def task(self, name: str) -> Task:
        """Return the task called ``name`` (``T01``).

        Raises:
            KeyError: there is none.
        """
        for task in self.tasks:
            if task.id == name:
                return task
        raise KeyError(name)

    @classmethod
    def from_plain(cls, body: Mapping[str, Any]) -> Plan:
        """Return the plan whose ``canonical.to_plain`` is ``body``."""
        tasks = tuple(_restore_task(task) for task in body["tasks"])
        return cls(**{**body, "tasks": tasks, "included": tuple(body.get("included", ()))})


_PLACE = ("run_place", "agent_place", "script_place", "role_place", "fallback_place")
_PLACES = ("accept_places", "depends_places", "network_places", "install_places")
_TEXTS = (
    *("depends", "scope", "accept", "network", "install", "fallback"),
    *("creates", "modifies", "deletes"),
)


def _restore_task(body: Mapping[str, Any]) -> Task:
    fields = dict(body)
    if "brief" not in body:
        # Of a plan from before there were roles: the word was only handed on.
        fields["role"] = ""
    fields["place"] = Place(**body["place"])
    fields["steps"] = tuple(
        Step(**{**step, "choices": tuple(step.get("choices", ()))}) for step in body.get("steps", ())
    )
    fields |= {"route": Route.read(body["route"])} if body.get("route") else {}
    fields |= {"persona": Persona.read(body["persona"])} if body.get("persona") else {}
    fields |= {name: Place(**body[name]) for name in _PLACE if body.get(name)}
    fields |= {name: tuple(Place(**place) for place in body.get(name, ())) for name in _PLACES}
    fields |= {name: tuple(body.get(name, ())) for name in _TEXTS}
    return Task(**fields)


@dataclass(frozen=True, slots=True)
class Flag:
    """Something about a task that a person should see before approving the plan.

    Attributes:
        task: task name ``T03``.
        kind: ``asks`` (an approval will be needed), ``forbidden`` (a rule says no), ``opaque``,
            ``hidden`` (invisible characters in a command), ``unseen`` (its agent does not ask for every action), ``unverified`` (no acceptance command) or ``no_scope``,
            ``network`` (where it may go), ``carried`` (its agent runs programs of the repository).
        text: in words.
        rule, source: the rule and its file:line, when a rule is the reason.
        action: the command line it is about, when there is one.
        digest: digest of that action, to bind a decision to it.
    """

    task: str
    kind: str
    text: str
    rule: str = ""
    source: str = ""
    action: str = ""
    digest: str = ""
