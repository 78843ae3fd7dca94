"""Rows of the state tables, as frozen values. The journal stores them; ``dataclasses.replace`` changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. ``id`` is ``R-7``; times are ISO 8601 UTC strings, empty when not yet.

    ``usage`` is what its tasks have taken of models, see ``model.usage.Spent``.
    """

    id: str
    state: str
    title: str
    repo_path: str
    repo_key: str
    base_commit: str
    base_tree: str
    plan_version: int
    plan_digest: str
    policy_digest: str
    requester: str
    created_at: str
    max_parallel: int = 4
    isolation: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    approved_at: str = ""
    approved_by: str = ""
    started_at: str = ""
    ended_at: str = ""
    reason: str = ""
    generation: int = 1
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """One version of a run's plan. ``id`` is ``R-7/P1``; ``body`` is the plan as plain JSON, ``flags`` its flags.

    ``origin`` says where it came from: ``by`` (``file``, ``planner``, ``edit``), ``goal``, ``agent``, ``summary``, ``complexity``,
    ``gaps``, ``minutes``, ``rounds``, ``context``, ``bounds`` (see ``runtime.goals``), and ``text``, the tasks file itself.
    """

    id: str
    run: str
    version: int
    digest: str
    body: Mapping[str, Any]
    flags: tuple[Mapping[str, Any], ...] = ()
    policies: tuple[Mapping[str, Any], ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task of a run. ``id`` is ``R-7/T04``.

    Attributes:
        verified: ``verified`` (our acceptance passed on ``tree``), ``unverified`` (there was none), ``failed``, or empty.
        verdict: ``accepted``, ``rejected`` or empty: what the reviewer said of ``verdict_tree``.
        base_tree: tree the task started on (base plus its dependencies); ``built_on`` the results in it: task name → tree.
        tree: tree of its result; ``checkpoint`` the checkpoint that holds it.
        findings, evidence: plain JSON of Finding and Evidence.
        waiting_for: approval id while it waits.
        promoted: promotion id that published it.
        after: names of tasks it waits for beside those it depends on, because they change the same (conflicts: serialise).
        generation: goes up each time the task is run anew from the start.
        forked_from: checkpoint of another task that it starts from; empty when it starts from ``base_tree``.
        usage: what its attempts have taken of models; see ``engine.budgets``.
        agent: who makes the next attempt; ``planned`` the agent of the plan, when it is another one by now.
        fallback: agents that take over in turn when that one cannot do it.
        role: in force for it, empty for none. opens_at: when its working hours begin, while it waits for them.
        confidence: how sure its agent said it was, 0 to 1; None when it did not say. Never a reason to allow anything.
    """

    id: str
    run: str
    name: str
    position: int
    state: str
    title: str
    agent: str
    verified: str = ""
    verdict: str = ""
    verdict_tree: str = ""
    attempts: int = 0
    isolation: str = ""
    base_tree: str = ""
    tree: str = ""
    checkpoint: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    waiting_for: str = ""
    promoted: str = ""
    reason: str = ""
    started_at: str = ""
    ended_at: str = ""
    generation: int = 1
    built_on: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    forked_from: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    planned: str = ""
    fallback: tuple[str, ...] = ()
    role: str = ""
    opens_at: str = ""
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One attempt of a task. ``id`` is ``R-7/T04/2``; ``nonce`` names its private directory."""

    id: str
    run: str
    task: str
    number: int
    state: str
    agent: str
    nonce: str
    started_at: str
    ended_at: str = ""
    ending: str = ""
    exit_code: int | None = None
    failure: str = ""
    reason: str = ""
    transcript: str = ""
    progress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stands_in(self) -> bool:
        """Tell whether nothing worked in it: it only holds a result that a person put there, for the next one to judge."""
        return self.state == "parked" and not self.transcript and self.agent in ("restored", "rolled_back")


@dataclass(frozen=True, slots=True)
class ApprovalRecord:
    """One question to a human. ``id`` is ``A-19``.

    Attributes:
        kind: ``action`` (an agent or a plan line wants something), ``change`` (a result exceeds a soft limit), ``net`` (it
            uses the network), ``canary`` (a planted credential was on its way out), ``question`` (an agent wants to know
            something) or ``drift`` (of a whole run).
        digest: digest of the action shown; the answer is bound to it.
        action: plain JSON of the Action; ``shown`` the exact text that was shown.
        uses: how often the grant may still be used (1 for once, -1 for the rest of the task or run).
        scope: ``once``, ``task``, or ``run`` (any task of the run that wants exactly this).
        on_timeout: what follows when its time is over: ``deny``, ``park`` (it goes on waiting) or ``allow``.
        owner: who handed over the run.
        timeout_s: time to answer, 0 for none. reminded: last reminder in percent of it (50, 90; 100: it is over).
        quorum, approvers, not_requester, need_reason, factor: what a yes needs; ``terms`` is the place that says so.
        votes: the yeses so far, each ``{by, at, via, factor, reason, scope}``.
        question: of kind ``question``: plain JSON of the Inquiry, with the task's ``generation``, and ``chosen`` once
            it is answered.
    """

    id: str
    kind: str
    state: str
    run: str
    task: str
    digest: str
    action: Mapping[str, Any]
    shown: str
    rule: str
    source: str
    reason: str
    risk: str
    requester: str
    requested_at: str
    expires_at: str = ""
    on_timeout: str = "deny"
    decided_at: str = ""
    decided_by: str = ""
    decided_via: str = ""
    answer: str = ""
    scope: str = "once"
    uses: int = 0
    checkpoint: str = ""
    question: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """What was shown, in one line: a question has its choices in lines of their own."""
        return " ".join(self.shown.split()) if self.question else self.shown

    owner: str = ""
    timeout_s: float = 0.0
    reminded: int = 0
    quorum: int = 1
    approvers: tuple[str, ...] = ()
    not_requester: bool = False
    need_reason: bool = False
    factor: str = ""
    terms: str = ""
    votes: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointRecord:
    """One immutable snapshot of a shadow. ``id`` is ``C-112``; ``tree`` and ``commit`` are in our own object store.

    Attributes:
        empty: new folders that nothing is in, which git does not keep; only of a checkpoint that is judged.
        built_on: results of other tasks that ``base_tree`` holds: task name → tree.
        pruned: its content was given up to save space; what is known about it stays.
        event: number of the last event when it was taken: the state of the whole run at that moment.
        between: no action of the agent was under way, so an attempt can go on from here exactly, with ``progress``.
        frozen_ms: how long the agent stood still for it at a stretch; 0 when nothing ran.
        capture_ms, inspect_ms, took_ms: reading and storing the files; asking the policy; all of it.
        degraded: in which way it is less than a checkpoint should be, in words; empty when it is all that.
    """

    id: str
    run: str
    task: str
    attempt: str
    parent: str
    base_tree: str
    tree: str
    commit: str
    why: str
    created_at: str
    paths: int = 0
    ignored: int = 0
    refused: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    progress: Mapping[str, Any] = field(default_factory=dict)
    built_on: Mapping[str, str] = field(default_factory=dict)
    pruned: bool = False
    event: int = 0
    between: bool = False
    frozen_ms: float = 0.0
    capture_ms: float = 0.0
    inspect_ms: float = 0.0
    took_ms: float = 0.0
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class PromotionRecord:
    """One publication into the user's repository. ``id`` is ``M-31``; an undo is a promotion with ``undo_of`` set.

    Attributes:
        old_commit, new_commit: where the branch was and is; empty when it was made or removed by this.
        place: ``here`` (the branch that was checked out), ``branch`` (another one), ``new`` (one that was made), ``patch`` or
            ``bundle`` (a file, and nothing in the repository).
        start: the commit that the paths are relative to.
        commits: the new ones, in order.
        waived: what was left out of the accepted results, or was let pass, by name.
        partial: of ``tasks`` those that were promoted in part: what is left of them can still go.
        file: absolute path of a patch or bundle.
        isolation: what confined the tasks while they worked, in words.
        factor: second factor that was given for it: ``pin``, ``totp``, ``backup`` or empty.
    """

    id: str
    run: str
    state: str
    tasks: tuple[str, ...]
    branch: str
    old_commit: str
    new_commit: str
    tree: str
    paths: tuple[str, ...]
    actor: str
    created_at: str
    transaction: str = ""
    published_at: str = ""
    undo_of: str = ""
    undone_by: str = ""
    reason: str = ""
    place: str = "here"
    start: str = ""
    commits: tuple[str, ...] = ()
    waived: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    file: str = ""
    isolation: str = ""
    factor: str = ""


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """What one agent has taken in one run on one day of the user's own calendar. ``id`` is ``2026-11-21/R-7/claude``.

    ``month`` is ``2026-11``; ``usage`` is a ``model.usage.Spent``, ``models`` the same per ``provider/model``.
    """

    id: str
    day: str
    month: str
    run: str
    agent: str
    usage: Mapping[str, Any] = field(default_factory=dict)
    models: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """The circuit breaker of one agent; ``id`` is the agent's name. See ``engine.breaker``.

    Attributes:
        state: ``closed``, ``open`` or ``half_open``. failures: times of those that count, the oldest first.
        until: when an open one lets a single attempt through. trial: that attempt's task.
        openings: how often it has opened since the agent last did something well. reason: why it opened last.
    """

    id: str
    state: str
    failures: tuple[str, ...] = ()
    until: str = ""
    trial: str = ""
    openings: int = 0
    reason: str = ""


Record = (
    RunRecord
    | PlanRecord
    | TaskRecord
    | AttemptRecord
    | ApprovalRecord
    | CheckpointRecord
    | PromotionRecord
    | LedgerRecord
    | BreakerRecord
)
