"""Settings of config.yaml as values. Every default stands here and is explained in docs/formats/config.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightcrew.model.isolation import Confinement, Level, Limits
from nightcrew.model.network import UpstreamProxy
from nightcrew.model.usage import Budget, KeySource, Price, Provider


@dataclass(frozen=True, slots=True)
class Breaking:
    """When an agent that fails again and again is left alone for a while (see engine.breaker).

    Attributes:
        failures: of its own within ``window_s`` that open its breaker; 0 for never. reset_s: until one attempt may try.
    """

    failures: int = 2
    window_s: float = 300.0
    reset_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How failed attempts are repeated (only failure classes that can pass, see engine.retry).

    Attributes:
        attempts: attempts in all. base_s, factor, cap_s: exponential back-off. jitter: +- fraction.
        provider_waits_s: waits after a provider could not answer, the last one for all further ones; that many attempts
            more there may be for it.
        fallback_from: what an agent that takes over from a failed one begins with: ``base``, or its last ``checkpoint``.
        breaker: of each agent.
    """

    attempts: int = 3
    base_s: float = 2.0
    factor: float = 2.0
    cap_s: float = 60.0
    jitter: float = 0.1
    provider_waits_s: tuple[float, ...] = (30.0, 60.0, 300.0, 900.0)
    fallback_from: str = "base"
    breaker: Breaking = Breaking()


@dataclass(frozen=True, slots=True)
class Stopping:
    """When a run stops by itself, beside its budget and ``--until``; 0 for never.

    Attributes:
        failures: tasks that fail one after the other. low_confidence: tasks in a row whose agent was less sure than
            ``confidence``. no_progress: tasks in a row that changed nothing.
    """

    failures: int = 5
    low_confidence: int = 3
    confidence: float = 0.5
    no_progress: int = 0


@dataclass(frozen=True, slots=True)
class Looping:
    """When an agent is taken to go round in circles; 0 for never.

    Attributes:
        same_action: the same action so many times in a row. same_answer: its model gave the same answer so many times in a
            row.
    """

    same_action: int = 10
    same_answer: int = 20


@dataclass(frozen=True, slots=True)
class AgentSetting:
    """A named agent of config.yaml.

    Attributes:
        adapter: ``command``. argv: template; ``{prompt}`` and ``{prompt_file}`` are replaced. prompt: ``argument``,
            ``stdin`` or ``file``. slots: attempts at once, 0 for no limit of its own. env: extra variables.
        providers: names of the providers of models that it may use; empty for none, or, where its adapter cannot work
            without a model, for all.
        network: where it may go in every task without a question; items as in a task's ``Network:``.
        priority: of agents that fit a task, the higher is preferred. good_at: words of tasks that it fits well.
        cost: what a million tokens of it cost, in US dollars, roughly; 0 for what the price of its model says.
        fallback: agents that take over in turn when it cannot do a task.
    """

    adapter: str
    argv: tuple[str, ...] = ()
    prompt: str = "argument"
    slots: int = 0
    env: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    priority: int = 0
    good_at: tuple[str, ...] = ()
    cost: float = 0.0
    fallback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Routing:
    """How an agent is chosen for a task that names none, or ``any``.

    Attributes:
        strategy: see ``model.routes.STRATEGIES``; ``manual`` chooses none.
        order: names of the agents that may be chosen, the preferred one first; empty for all.
        personas: whose Markdown agents are taken on without being named: ``own``, ``all`` or ``none``.
    """

    strategy: str = "capability"
    order: tuple[str, ...] = ()
    personas: str = "own"


@dataclass(frozen=True, slots=True)
class Budgets:
    """What models may cost where nothing else is said.

    Attributes:
        run, task: of a whole run, of one task in it. warn_at: part of a budget at which it is told, 0..1.
        agents, roles: name → what all its tasks of a run take together.
        day, month: what all runs take together, by the user's own calendar; only from a person's own file.
        on_spent: what follows when one is spent: ``pause``, ``ask``, ``stop`` or ``degrade``.
        cheaper: agent → the one that takes over with ``degrade``.
        steep: how many times faster than before money may go before it is told; 0 for never.
    """

    run: Budget = Budget()
    task: Budget = Budget()
    warn_at: float = 0.8
    agents: Mapping[str, Budget] = field(default_factory=dict)
    roles: Mapping[str, Budget] = field(default_factory=dict)
    day: Budget = Budget()
    month: Budget = Budget()
    on_spent: str = "pause"
    cheaper: Mapping[str, str] = field(default_factory=dict)
    steep: float = 3.0


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """When a running task is checkpointed, beside after each of its actions; times in seconds.

    Attributes:
        every_s: at most this long after a change; 0 for never by time.
        after_paths: as soon as so many paths have changed since the last one; 0 for never by number.
        debounce_s: but not sooner than this after the last one.
        target_s: one that takes no longer is fine. slow_s: after a longer one they are spaced out, which is recorded.
        max_file_bytes: a larger file is not kept, which is a finding; 0 for no limit. What code hosts take is a
            tenth of it.
        disk_bytes: what all checkpoints of a repository may take; when they do, old ones are pruned, and if that is
            not enough none are taken while a task runs; 0 for no limit.
    """

    every_s: float = 30.0
    after_paths: int = 50
    debounce_s: float = 5.0
    target_s: float = 0.5
    slow_s: float = 2.0
    max_file_bytes: int = 1 << 30
    disk_bytes: int = 20 << 30


@dataclass(frozen=True, slots=True)
class DriftChecks:
    """How the user's own changes since the base commit are looked for while a run goes on.

    Attributes:
        every_s: between two looks; 0 for never by time. after_tasks: finished tasks between two looks; 0 for never.
        on_high, on_medium, on_low: what follows: ``go`` on, ``pause`` the run, or ``ask`` (pause it with a question).
    """

    every_s: float = 600.0
    after_tasks: int = 5
    on_high: str = "go"
    on_medium: str = "go"
    on_low: str = "go"


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where questions are posted, and who answers there.

    Attributes:
        url: where to. secret: where the secret is that both sides sign with.
        name: under which name an answer of it is recorded. timeout_s: how long one post may take.
    """

    url: str
    secret: KeySource
    name: str = "webhook"
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Replanning:
    """When a run asks its planner anew by itself.

    Attributes:
        after_tasks: after so many finished tasks; 0 for never. on_failure: after a task that failed for good.
        rounds: at most so often in one run.
    """

    after_tasks: int = 0
    on_failure: bool = False
    rounds: int = 3


@dataclass(frozen=True, slots=True)
class Planning:
    """How a goal becomes a plan.

    Attributes:
        agent: who is asked; empty for the first coding agent that can be used here. model: of it; empty for its own.
        rounds: how often an answer with problems is sent back.
        hard_s: longest time of one question.
        examples: rejections of earlier results that a planner is told of; 0 for none.
        replan: when a run asks anew by itself.
    """

    agent: str = ""
    model: str = ""
    rounds: int = 2
    hard_s: float = 900.0
    examples: int = 5
    replan: Replanning = Replanning()


@dataclass(frozen=True, slots=True)
class Settings:
    """All of config.yaml.

    Attributes:
        max_parallel: tasks at once in one run.
        require_isolation: weakest level that may be used; starting below it is refused (exit 11).
        confinement: what builds sandboxes.
        environment: ignored folders of the repository that are visible copy-on-write inside.
        pass_env: names of environment variables handed to agents.
        limits: per process tree.
        approval_timeout_s: 0 for none; on expiry the question is denied.
        webhook: where questions are posted; only from a person's own file.
        require_approvals: what an agent that acts by itself must ask for: ``all`` actions, ``risky`` ones, or ``none``.
        checkpoints, drift: see there.
        providers: of models, by name; only from a person's own file. prices: model → what it costs, before our table.
        budgets: see there.
        conflicts: when two tasks that run will collide: ``tell``, or ``serialise`` (the later one starts again on the
            result of the earlier one).
        planning: see there.
        canary: which credentials that open nothing are planted inside: ``all``, ``file`` or ``off``.
        stopping, looping: see there. fallback: agents that take over where neither the task nor its agent names one.
        routing: see there.
        role: of tasks that name none; empty for none. require_role: no task runs without one.
        upstream_proxy: what this machine reaches the internet through; None to connect directly.
    """

    max_parallel: int = 4
    require_isolation: Level = Level.S2
    confinement: Confinement = Confinement()
    environment: tuple[str, ...] = ("node_modules", ".venv", "venv")
    pass_env: tuple[str, ...] = ("LANG", "LC_ALL", "TERM", "TZ")
    limits: Limits = Limits()
    retries: Retries = Retries()
    checkpoints: Checkpoints = Checkpoints()
    drift: DriftChecks = DriftChecks()
    providers: Mapping[str, Provider] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    budgets: Budgets = Budgets()
    conflicts: str = "tell"
    canary: str = "all"
    role: str = ""
    require_role: bool = False
    upstream_proxy: UpstreamProxy | None = None
    agents: Mapping[str, AgentSetting] = field(default_factory=dict)
    approval_timeout_s: float = 0.0
    webhook: Webhook | None = None
    require_approvals: str = "none"
    routing: Routing = Routing()
    commit_author: str = ""
    transcript_days: int = 30
    stopping: Stopping = Stopping()
    looping: Looping = Looping()
    fallback: tuple[str, ...] = ()
    planning: Planning = Planning()
