"""Asking an agent for a plan: confined as for a task, in a copy that is thrown away, and allowed to read only.

The answer is a text. What the agent writes into its copy is listed for the person and goes with the copy; what it asks to
change is denied; nobody is asked on its behalf. Its model is reached through the gateway, and the run that is planned pays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from nightcrew.agents.adapter import AgentEnd, Answer, Job, Launch, ModelAccess, Reply
from nightcrew.agents.adapters import find_adapter, find_setting
from nightcrew.agents.answers import Listening
from nightcrew.agents.transcript import Transcript
from nightcrew.engine.money.planpaying import KEY, PlanPayer
from nightcrew.engine.work.canaries import LEFT, WANTED, Canaries, CanaryWatch, uproot
from nightcrew.engine.work.confined import HOME, Watched, describe_task, make_spec, write_private
from nightcrew.engine.work.endings import describe_ending
from nightcrew.engine.work.gateway import ModelWay, choose_providers
from nightcrew.engine.work.jobs import show_in_place
from nightcrew.engine.work.judging import make_judge
from nightcrew.engine.work.network import Networks, find_relay, run_connected
from nightcrew.engine.work.place import place_of
from nightcrew.engine.workspace import Workspace
from nightcrew.host.clock import Clock, stamp
from nightcrew.host.files import ensure_private_directory, remove_tree
from nightcrew.host.tokens import key, nonce
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import Place
from nightcrew.model.isolation import Level, Outcome, Process
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord, RunRecord
from nightcrew.model.usage import Spent
from nightcrew.sandbox.gateway.server import Gateway
from nightcrew.sandbox.gateway.service import ADDRESS, Services
from nightcrew.sandbox.gateway.upstream import Upstream

if TYPE_CHECKING:
    from nightcrew.engine.books.budgets import Calendar
    from nightcrew.engine.books.reserving import Reservations
    from nightcrew.engine.work.gateway import Payer
    from nightcrew.journal.journal import Journal
    from nightcrew.model.inquiries import Inquiry
    from nightcrew.sandbox.launcher import Launcher
    from nightcrew.shadow.shadows import Shadow

#: Name of the place in a run's transcripts where those of planning are.
PLAN: Final = "plan"
#: Paths that a planner left in its copy, by name.
_NAMED: Final = 20
_READS_ONLY: Final = "planning only reads: nothing is changed before the plan is approved"
_NOBODY: Final = "nobody is asked while a plan is made: do without it, and say in the plan what is needed"


@dataclass(frozen=True, slots=True)
class Question:
    """What a planner is asked.

    Attributes:
        run: that is planned. number: of this question in it, from 1; names its transcript.
        agent, model: who is asked; model empty for the configured one.
        text: all it is told. schema: JSON Schema of the answer, as text, for agents that can be held to one.
        hard_s: longest time it may take.
    """

    run: RunRecord
    number: int
    agent: str
    text: str
    schema: str = ""
    model: str = ""
    hard_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it.

    Attributes:
        text: the answer. problem: why there is none, in words; ``fatal`` when asking again would not help.
        wrote: paths that it changed in its copy, which is gone. denied: actions that it was denied.
        spent: by this question. took_s: how long it took.
    """

    text: str = ""
    problem: str = ""
    fatal: bool = False
    wrote: tuple[str, ...] = ()
    denied: int = 0
    spent: Spent = Spent()
    took_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Office:
    """What planning needs of the process that does it.

    Attributes:
        journal, clock, launcher, services: of the process. read_calendar: says what a day and a month may cost.
        reservations: what else this process asks and pays from the same budgets.
        cancel: ends the question when set. paying: told who pays, so that somebody can show what it costs so far.
        by: ``engine`` or ``person``: whose process this is.
    """

    journal: Journal
    clock: Clock
    launcher: Launcher
    services: Services
    read_calendar: Callable[[], Calendar]
    reservations: Reservations
    cancel: threading.Event
    paying: Callable[[PlanPayer], None] = lambda payer: None
    by: str = "person"


def ask_planner(office: Office, workspace: Workspace, question: Question) -> Told:
    """Ask an agent for a plan and return what it said.

    Raises:
        UsageError: the agent cannot be asked: it is not known or not installed, has no model or no key.
        SandboxUnavailable: nothing can be confined here.
    """
    return _Planning(office, workspace, question).go()


class ReadingDesk:
    """What a planner's actions are decided by: reading, and command lines that policy allows; nothing else."""

    def __init__(
        self, planning: _Planning, judge: Callable[[Action], Decision], transcript: Transcript
    ) -> None:
        self._planning = planning
        self._judge = judge
        self._transcript = transcript
        self.denied = 0
        self.frozen = ""

    def ask(self, action: Action) -> Answer:
        """See Desk; the decision is in the journal by then."""
        decision = self._judge(action)
        allowed = decision.verdict is Verdict.ALLOW and action.kind in ("read", "exec")
        if decision.verdict is Verdict.DENY:
            reason = f"{decision.reason} (rule {decision.rule}, {decision.source})"
        else:
            reason = _READS_ONLY if action.kind != "exec" else _NOBODY
        self._planning.note_decision(action, decision, allowed=allowed)
        if allowed:
            return Answer("allow")
        self.denied += 1
        return Answer("deny", reason)

    def inquire(self, inquiry: Inquiry) -> Reply:
        """See Desk."""
        return Reply("refused", _NOBODY)

    def rest(self) -> bool:
        """See Desk."""
        return True

    def finished(self, action: Action) -> None:
        """See Desk: no checkpoint follows."""

    def note(self, kind: str, text: str) -> None:
        """See Desk."""
        self._transcript.note(kind, text)

    def freeze(self, action: Action, reason: str) -> Answer:
        """See Desk; a planner that acts without an answer is not believed."""
        self.frozen = reason
        return Answer("wait", reason)


class _Planning:
    """One question, from an empty copy to an answer and no copy."""

    def __init__(self, office: Office, workspace: Workspace, question: Question) -> None:
        self.office = office
        self.workspace = workspace
        self.question = question
        self.level = Level(question.run.isolation or Level.S3)
        self.folder = workspace.transcripts / question.run.id / PLAN
        self.left = ""
        self.process: Process | None = None
        self.payer = PlanPayer(
            office.journal,
            office.clock,
            workspace.prices,
            question.run.id,
            question.agent,
            office.read_calendar,
            office.reservations,
            office.by,
        )
        name = f"{question.run.id}/{PLAN}"
        self.attempt = AttemptRecord(
            id=f"{name}/{question.number}",
            run=question.run.id,
            task=name,
            number=question.number,
            state="running",
            agent=question.agent,
            nonce=nonce(),
            started_at=stamp(office.clock.now()),
        )
        self.task = Task(
            id="T00",
            number="0",
            title="plan",
            place=Place("the planner"),
            agent=question.agent,
            model=question.model,
            prompt=question.text,
        )

    def go(self) -> Told:
        """Ask, and leave nothing behind but the transcript."""
        began = self.office.clock.monotonic()
        with self._transcript(began) as transcript:
            shadow = self._open_shadow()
            try:
                told = self._ask(shadow, transcript)
                wrote = tuple(
                    sorted(each.path for each in islice(self.workspace.shadows.scan(shadow), 10_000))
                )
            finally:
                self.workspace.shadows.discard(shadow)
                remove_tree(self.folder / f"{self.question.number}.d", inside=self.folder)
        took_s = round(self.office.clock.monotonic() - began, 3)
        return replace(told, wrote=wrote, spent=self.payer.spent, took_s=took_s)

    def _transcript(self, began: float) -> Transcript:
        path = self.folder / f"{self.question.number}.jsonl"
        clock = self.office.clock
        return Transcript(path, redact=self.workspace.redact, elapsed_s=lambda: clock.monotonic() - began)

    def _open_shadow(self) -> Shadow:
        """Open a copy of the base; the run's record names it, so that no host takes it for a leftover."""
        with self.office.journal.write() as tx:
            run = tx.need(RunRecord, self.question.run.id)
            planning = {**run.settings.get(KEY, {}), "shadow": self.attempt.nonce}
            tx.change(run, "", settings={**run.settings, KEY: planning})
        self.payer.settle_lost()
        workspace, run = self.workspace, self.question.run
        base = workspace.shadows.export(run.base_commit)
        delta = workspace.store.delta(base.tree, run.base_tree)
        return workspace.shadows.open(self.attempt.nonce, base, delta, tree=run.base_tree)

    def _ask(self, shadow: Shadow, transcript: Transcript) -> Told:
        workspace = self.workspace
        setting = find_setting(self.question.agent, workspace.settings.agents)
        adapter = find_adapter(setting)
        root = place_of(workspace, shadow, self.level)
        canaries = Canaries.of(workspace.canary_key, self.attempt, WANTED[workspace.settings.canary])
        way = self._open_way(CanaryWatch(canaries.watched, self._refuse_leaving))
        job = self._make_job(root, way)
        judge = make_judge(workspace, lambda: self.question.run.base_tree, lambda: root)
        desk = ReadingDesk(self, judge, transcript)
        for action in adapter.questions(job):
            answer = desk.ask(action)
            if answer.verdict != "allow":
                said = f"its command line is not allowed without a question: {action.describe()}: {answer.reason}"
                return Told(problem=said, fatal=True, denied=1)
        launch = canaries.plant(adapter.prepare(job), str(job.private), HOME, mounted=job.mounted)
        write_private(job.private, launch.files)
        session = Listening(adapter.open(job, desk), setting.adapter)
        try:
            outcome, watched = self._run(shadow, show_in_place(job, launch), session, transcript, way)
        finally:
            uproot(job.private)
        watched.raise_problem()
        transcript.note("engine", describe_ending(outcome))
        return self._conclude(session, outcome, desk)

    def _run(
        self, shadow: Shadow, launch: Launch, session: Listening, transcript: Transcript, way: ModelWay | None
    ) -> tuple[Outcome, Watched]:
        workspace, office = self.workspace, self.office
        limits = workspace.settings.limits
        limits = replace(limits, hard_s=min(limits.hard_s or self.question.hard_s, self.question.hard_s))
        watched = Watched(session, transcript, on_start=self._note_start)
        env = describe_task(self.attempt)
        spec = make_spec(workspace, shadow, launch, level=self.level, limits=limits, env=env)
        networks = Networks(office.journal)
        with ExitStack() as stack:
            stack.callback(networks.close)
            # No network but what the agent's own setting names, such as the login of a subscription.
            egress = networks.open_alone(workspace, self.task, "work", self.level, self.question.run.id)
            ways = tuple(each for each in (way, egress) if each is not None)
            if way is not None:
                stack.enter_context(way.around())
            return run_connected(office.launcher, spec, watched, office.cancel, ways), watched

    def _make_job(self, root: str, way: ModelWay | None) -> Job:
        workspace = self.workspace
        setting = find_setting(self.question.agent, workspace.settings.agents)
        adapter = find_adapter(setting)
        program = adapter.find_program(setting)
        private = self.folder / f"{self.question.number}.d"
        memory = private / "memory" if adapter.capabilities.resume == "at_least_once" else None
        if memory is not None:
            ensure_private_directory(memory)
        return Job(
            task=self.task,
            setting=setting,
            cwd=root,
            python=workspace.python,
            private=private,
            mounted=self.level.mounts,
            model=way.access if way else None,
            program=workspace.find_program(program) if program else None,
            memory=memory,
            schema=self.question.schema,
        )

    def _open_way(self, watch: CanaryWatch) -> ModelWay | None:
        workspace = self.workspace
        setting = find_setting(self.question.agent, workspace.settings.agents)
        needs_model = find_adapter(setting).capabilities.needs_network
        names = choose_providers(setting, workspace.settings.providers, needs_model=needs_model)
        if not names:
            return None
        providers = [workspace.settings.providers[name] for name in names]
        relay = find_relay(workspace)
        upstreams = [Upstream(each, workspace.read_key(each), relay) for each in providers]
        secret = f"nightcrew-{key().hex()}"
        gateway = Gateway(upstreams, secret, self.payer, watch)
        # It asks of its payer only what both have.
        way = ModelWay(self.office.services, gateway, cast("Payer", self.payer))
        ports = way.listen(names, inside=self.level is not Level.S0)
        urls = {name: f"http://{ADDRESS}:{port}" for name, port in ports.items()}
        way.access = ModelAccess(urls, secret, {each.name: each.model for each in providers if each.model})
        self.office.paying(self.payer)
        return way

    def _note_start(self, process: Process) -> None:
        self.process = process

    def _refuse_leaving(self, action: Action, decision: Decision, *, event: str = "") -> Answer:
        """A planted credential was on its way out: nothing of it is sent, and the planner is ended."""
        self.left = action.detail
        with self.office.journal.write() as tx:
            data = {"action": action.describe(), "risk": decision.risk, "sent": False}
            tx.append(event or LEFT, run=self.question.run.id, data=data)
        if self.process is not None:
            self.process.stop("a planted credential was on its way out")
        return Answer("deny", decision.reason)

    def note_decision(self, action: Action, decision: Decision, *, allowed: bool) -> None:
        """Write down what was decided on an action of the planner."""
        verdict = "allow" if allowed else "deny"
        data = {
            "verdict": verdict,
            "action": action.describe(),
            "kind": action.kind,
            "digest": action.digest,
            "rule": decision.rule if decision.verdict.value == verdict else "planning",
            "source": decision.source if decision.verdict.value == verdict else "built in",
            "reason": decision.reason if decision.verdict.value == verdict else _READS_ONLY,
            "purpose": PLAN,
        }
        with self.office.journal.write() as tx:
            tx.append("policy.decided", run=self.question.run.id, actor="policy", data=data)

    def _conclude(self, session: Listening, outcome: Outcome, desk: ReadingDesk) -> Told:
        end: AgentEnd = session.conclude(outcome)
        blamed = self.payer.explain()
        if self.office.cancel.is_set():
            return Told(problem="interrupted", fatal=True, denied=desk.denied)
        if self.left or desk.frozen:
            said = f"{self.left}: a planted credential was on its way out" if self.left else desk.frozen
            return Told(problem=f"the planner was stopped: {said}", fatal=True, denied=desk.denied)
        if outcome.ending not in ("exited", "stopped") or (end.result != "finished" and not session.answer):
            reason = blamed or (end.reason if outcome.ending == "exited" else describe_ending(outcome))
            return Told(problem=reason or describe_ending(outcome), fatal=True, denied=desk.denied)
        if end.result != "finished":
            return Told(problem=blamed or end.reason, fatal=bool(blamed), denied=desk.denied)
        return Told(text=session.answer, denied=desk.denied)


def name_paths(paths: tuple[str, ...]) -> list[str]:
    """Return paths for an event, no more than a person reads."""
    more = len(paths) - _NAMED
    return [*paths[:_NAMED], *([f"and {more} more"] if more > 0 else [])]


def find_transcripts(folder: Path, run: str) -> list[Path]:
    """Return the transcripts of the questions that were asked for a run's plans, in order."""
    return sorted((folder / run / PLAN).glob("*.jsonl"), key=lambda path: int(path.stem))
