"""One attempt of one task, read top to bottom: ask, open a place, let the agent work, capture, inspect, accept.

Every way out has a name: ``AttemptFailed`` with its class, ``Parked`` for a human, ``Interrupted`` when this host is being stopped,
or the end of ``work`` for success. What has happened is in the tables before the next thing begins: a killed host is followed by another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nightcrew.agents.adapter import Adapter, AgentEnd, AgentSession, Answer, Job, Standing
from nightcrew.agents.adapters import find_adapter
from nightcrew.agents.transcript import Transcript
from nightcrew.engine.course import attempts, starts
from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.course.rerouting import read_in_force
from nightcrew.engine.course.retry import ENDINGS
from nightcrew.engine.course.starts import Start
from nightcrew.engine.work import certainty
from nightcrew.engine.work.acceptance import describe_failure, is_proved
from nightcrew.engine.work.asking import Asking, read_terms
from nightcrew.engine.work.canaries import WANTED, Canaries, CanaryWatch, uproot
from nightcrew.engine.work.confined import (
    HOME,
    Watched,
    describe_task,
    limit_attempt,
    make_spec,
    write_private,
)
from nightcrew.engine.work.endings import classify_problem, describe_ending
from nightcrew.engine.work.gateway import ModelWay, find_spent, run_with_models
from nightcrew.engine.work.halting import Halt
from nightcrew.engine.work.handover import find_handover
from nightcrew.engine.work.inspecting import inspect_result
from nightcrew.engine.work.installing import install, install_action, make_acceptance
from nightcrew.engine.work.jobs import forget_memory, make_job, prepare_memory, show_in_place
from nightcrew.engine.work.judging import make_judge
from nightcrew.engine.work.live import Interrupted, Signals
from nightcrew.engine.work.meanwhile import Meanwhile
from nightcrew.engine.work.place import (
    AttemptFailed,
    Place,
    find_base_tree,
    leave_place,
    open_place,
    place_of,
)
from nightcrew.engine.work.questions import Questions, accept_action
from nightcrew.engine.work.recording import Recorder
from nightcrew.engine.work.tools import Tools
from nightcrew.engine.work.vigil import Vigil
from nightcrew.engine.workspace import Workspace
from nightcrew.host import crash
from nightcrew.host.clock import stamp
from nightcrew.host.tokens import nonce
from nightcrew.model import canonical
from nightcrew.model.actions import Evidence, Finding
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Level, Outcome, Process
from nightcrew.model.plans import Plan, Task
from nightcrew.model.records import AttemptRecord, CheckpointRecord, RunRecord, TaskRecord
from nightcrew.policy.inspect import Known


class Parked(Exception):
    """The attempt has ended and its task waits for a human; everything is recorded."""


def run_attempt(
    tools: Tools, workspace: Workspace, run: RunRecord, plan: Plan, task_id: str, number: int
) -> None:
    """Do attempt ``number`` of a task, or what is left of it; afterwards the tables say how it ended.

    Raises:
        Interrupted: this host is being stopped.
    """
    name = nonce()
    with tools.journal.write() as tx:
        if (found := read_in_force(tx, run, plan, task_id)) is None:
            return
        run, plan, task = found
        record = attempts.begin(
            tx,
            task_id,
            number,
            agent=task.agent,
            nonce=name,
            transcript=str(workspace.transcripts / run.id / task.id / f"{number}.jsonl"),
            now=stamp(tools.clock.now()),
            fallback_from=workspace.settings.retries.fallback_from,
        )
    crash.point("engine.attempt.started")
    if record is None or attempts.is_over(record):
        return
    one = Attempt(tools, workspace, run, plan, task, record)
    if record.nonce != name and record.progress["phase"] != "captured":
        one.fail(Failure("lost", "the host that ran it died"))
        forget_memory(record)
        return
    one.go()
    crash.point("engine.task.finished")


class Attempt:
    """The state of one attempt while it runs here."""

    def __init__(
        self,
        tools: Tools,
        workspace: Workspace,
        run: RunRecord,
        plan: Plan,
        task: Task,
        record: AttemptRecord,
    ) -> None:
        self.tools = tools
        self.workspace = workspace = workspace.under(task.role)
        self.run = run
        self.plan = plan
        self.task = task
        self.start = Start.read(record.progress["start"])
        self.level = Level(run.isolation or Level.S3)
        self.began_s = tools.clock.monotonic()
        self.transcript = Transcript(
            Path(record.transcript),
            redact=workspace.redact,
            elapsed_s=lambda: tools.clock.monotonic() - self.began_s,
        )
        self.find_tree: Callable[[], str] = lambda: run.base_tree
        # Looked up whenever something is asked: it is another tree after every checkpoint.
        decide = make_judge(workspace, lambda: self.find_tree(), self.find_root)  # noqa: PLW0108
        asking = Asking(read_terms(workspace.policy), run.requester, workspace.settings.approval_timeout_s)
        self.questions = Questions(
            tools.journal, tools.clock, record, decide, self.transcript.note, asking=asking
        )
        self.canaries = Canaries.of(workspace.canary_key, record, WANTED[workspace.settings.canary])
        self.leaving = CanaryWatch(self.canaries.watched, self.questions.ask_aside)
        self.signals = Signals()
        self.halt = Halt(self.signals, tools.clock)
        self.vigil = Vigil(tools, workspace, run, record, lambda: self.find_tree())  # noqa: PLW0108 - as above
        self.place: Place | None = None
        self.way: ModelWay | None = None
        self.known: dict[Known, tuple[Finding, ...]] = {}
        self.handover = find_handover(tools.journal, workspace, record, self.start)

    @property
    def record(self) -> AttemptRecord:
        """The attempt's record as last written by this thread."""
        return self.questions.attempt

    def go(self) -> None:
        """Work, record whatever way it ends, and leave nothing behind; all of it is waited for when the host stops."""
        try:
            with self.tools.live.running(self.record.task, self.abandon) as self.signals:
                self.halt = Halt(self.signals, self.tools.clock)
                try:
                    self.reach_an_end()
                finally:
                    self.leave_place()
        finally:
            self.transcript.close()

    def reach_an_end(self) -> None:
        """Work, and record whatever way it ends."""
        try:
            self.work()
        except AttemptFailed as failed:
            self.fail(failed.failure)
        except Parked:
            crash.point("engine.approval.opened")
        except Exception as problem:  # noqa: BLE001 - the one seam where a defect becomes a task's state
            self.fail(classify_problem(problem))

    def work(self) -> None:
        """The attempt itself; coming back means success."""
        if self.record.progress["phase"] != "captured":
            self.ask_beforehand()
            self.let_agent_work()
        self.judge_result()

    # -- before ---------------------------------------------------------------------------------------------------

    def ask_beforehand(self) -> None:
        """Have the command line and the acceptance lines decided before anything starts."""
        if self.start.asked:
            return
        installs = map(install_action, self.task.install)
        actions = [*installs, *self.adapter.questions(self.job), *map(accept_action, self.task.accept)]
        self.obey(self.questions.ask_all(actions), self.start, "")

    def obey(self, answer: Answer, resume: Start, checkpoint: str) -> None:
        """Go on after an answer, or not.

        Raises:
            AttemptFailed: it was a denial.
            Parked: a human must decide first; a later attempt begins from ``resume``.
        """
        if answer.verdict == "deny":
            raise AttemptFailed(Failure("denied", self.questions.denied))
        if answer.verdict == "wait":
            self.park(resume, checkpoint)

    # -- the agent ------------------------------------------------------------------------------------------------

    def let_agent_work(self) -> None:
        """Open the shadow, run the agent in it, and capture what it left, however it ended."""
        spent = self.vigil.find_spent()
        if spent or self.signals.pause.is_set():
            self.pause(replace(self.start, asked=True), reason=spent)
        place = self.place = self.open_place()
        install(self, place)
        outcome, end, standing = self.run_agent(place)
        crash.point("engine.agent.finished")
        if self.tools.live.interrupted:
            raise Interrupted
        checkpoint = self.capture(end, standing)
        if outcome.ending == "cancelled":
            raise self.cancelled()
        # What must wait for a person waits, also when a limit was quicker than we were in ending it.
        if outcome.ending in ENDINGS and not self.questions.stopped:
            raise AttemptFailed(Failure(ENDINGS[outcome.ending], describe_ending(outcome), outcome.ending))
        self.meanwhile.refuse()
        if self.questions.stopped:
            self.park_stopped(place, checkpoint, end, standing)
        self.vigil.refuse_loops()
        spent = find_spent(self.way, end)
        if spent or (self.halt.halted and outcome.ending == "stopped" and not self.questions.waiting):
            self.pause_agent(place, checkpoint, standing, spent)
        if end.result == "waiting":
            resume = Start(place.name, place.lower, checkpoint, asked=True, agent=end.progress)
            self.park(resume, checkpoint)
        if end.result == "denied":
            raise AttemptFailed(
                Failure("denied", self.questions.denied or end.reason, exit_code=outcome.exit_code)
            )
        if end.result == "failed":
            raise AttemptFailed(self.vigil.blame(self.way, self.adapter, end, outcome))
        self.note_progress(phase="captured", agent=end.progress, exit_code=outcome.exit_code)

    def open_place(self) -> Place:
        """Find the base tree, open the shadow and write down where it is."""
        with self.tools.journal.read() as tx:
            task = tx.need(TaskRecord, self.record.task)
        base_tree, built_on = find_base_tree(self.tools.journal, self.workspace, self.run, self.plan, task)
        place = open_place(
            self.tools.journal, self.workspace, self.run, base_tree, self.start, self.record.nonce
        )
        with self.tools.journal.write() as tx:
            task = tx.need(TaskRecord, self.record.task)
            if task.base_tree != base_tree:
                tx.change(task, "", base_tree=base_tree, built_on=built_on)
            self.questions.attempt = attempts.update(tx, self.record, shadow=place.name, lower=place.lower)
        return place

    def run_agent(self, place: Place) -> tuple[Outcome, AgentEnd, Standing]:
        """Run the agent's process to its end and let its adapter say what that end means, and how far it got."""
        way = self.way = self.tools.models.open_way(self.workspace, self.record, self.leaving, self.level)
        job = replace(self.job, model=way.access if way else None, cwd=self.find_root())
        launch = self.canaries.plant(self.adapter.prepare(job), str(job.private), HOME, mounted=job.mounted)
        launch = show_in_place(job, launch)
        write_private(job.private, launch.files)
        prepare_memory(job)
        session = self.adapter.open(job, self.questions)
        self.recorder = self.make_recorder(place)
        watched = Watched(session, self.transcript, on_start=partial(self.attend, session))
        limits = limit_attempt(self.workspace.settings.limits, self.task.timeout_s)
        env = describe_task(self.record)
        spec = make_spec(self.workspace, place.shadow, launch, level=self.level, limits=limits, env=env)
        try:
            egress = self.tools.networks.open(self, "work")
            outcome = run_with_models(self.tools.launcher, spec, watched, self.signals.stop, way, egress)
        finally:
            uproot(job.private)
            self.vigil.end()
            self.recorder.end()
        watched.raise_problem()
        self.transcript.note("engine", describe_ending(outcome))
        end = session.conclude(outcome)
        exact = self.adapter.capabilities.resume == "exact"
        rests = exact and end.result in ("waiting", "finished")
        return outcome, end, Standing(True, end.progress) if rests else session.standing()

    def find_root(self) -> str:
        """Return where the agent finds its copy of the repository."""
        if self.place is None:
            return self.workspace.root
        return place_of(self.workspace, self.place.shadow, self.level)

    def make_recorder(self, place: Place) -> Recorder:
        """Return what takes the checkpoints of this attempt."""
        tools = self.tools
        recorder = Recorder(
            tools.journal, tools.clock, self.workspace, self.run, self.task, self.record.id, place, self.known
        )
        self.find_tree = lambda: recorder.last_tree
        recorder.told = partial(tools.forecasts.note, self.workspace, self.run, self.plan)
        self.meanwhile = Meanwhile(self.workspace, tools.clock, self.halt, self.questions.ask_aside)
        recorder.judged = self.meanwhile.look
        return recorder

    def attend(self, session: AgentSession, process: Process) -> None:
        """The agent's process exists: watch what it does, and be ready to end it between two of its actions."""
        goes_on = self.adapter.capabilities.resume != "none"
        self.halt.begin(process, self.workspace.settings.limits.grace_s if goes_on else 0.0)
        self.vigil.begin(self.adapter, self.questions, self.halt, self.way)
        self.recorder.begin(process, session, self.vigil.tick)
        self.questions.attend(self.recorder, self.halt)
        self.note_progress()

    # -- the result -----------------------------------------------------------------------------------------------

    def capture(self, end: AgentEnd, standing: Standing) -> str:
        """Write what the shadow holds as a checkpoint and return its id."""
        why = {"waiting": "an action waits"}.get(end.result, "the agent ended")
        name = self.recorder.take_last("paused" if self.halt.halted else why, standing).id
        with self.tools.journal.write() as tx:
            said = certainty.note(tx, self.record, self.transcript.pending())
            self.questions.attempt = attempts.update(tx, self.record, checkpoint=name, confidence=said)
        crash.point("engine.checkpoint.taken")
        return name

    def judge_result(self) -> None:
        """Inspect the real change, prove it, and record success."""
        self.note_progress()
        checkpoint = self.find_checkpoint()
        findings = inspect_result(self, checkpoint)
        tree = self.workspace.store.promotable(checkpoint.base_tree, checkpoint.tree)
        shown = tuple(canonical.to_plain(finding) for finding in findings)
        evidence = self.prove(tree, shown)
        crash.point("engine.accepted")
        with self.tools.journal.write() as tx:
            attempts.succeed(
                tx,
                self.record,
                stamp(self.tools.clock.now()),
                verified="verified" if evidence else "unverified",
                tree=tree,
                findings=shown,
                evidence=tuple(canonical.to_plain(each) for each in evidence),
            )

    def find_checkpoint(self) -> CheckpointRecord:
        """Return the checkpoint that holds the agent's result."""
        name = self.record.progress.get("checkpoint") or self.start.checkpoint
        with self.tools.journal.read() as tx:
            return tx.need(CheckpointRecord, name)

    def resume_judging(self, checkpoint: str) -> Start:
        """Return the start of an attempt that only has to judge what this one's agent made."""
        shadow = self.record.progress.get("shadow") or self.start.shadow
        return Start(shadow, self.record.progress.get("lower", ""), checkpoint, asked=True, captured=True)

    def prove(self, tree: str, findings: tuple[Any, ...]) -> tuple[Evidence, ...]:
        """Run the acceptance commands on the tree that would be promoted.

        Raises:
            AttemptFailed: one did not pass.
        """
        acceptance = make_acceptance(self)
        evidence = acceptance.run(
            self.record.nonce, tree, self.task.accept, self.signals.either, describe_task(self.record)
        )
        if self.tools.live.interrupted:
            raise Interrupted
        if self.signals.stop.is_set():
            raise self.cancelled()
        if self.signals.pause.is_set() and not is_proved(self.task.accept, evidence):
            self.pause(self.resume_judging(self.find_checkpoint().id))
        if not all(each.passed for each in evidence):
            changes = {
                "verified": "failed",
                "findings": findings,
                "evidence": tuple(canonical.to_plain(each) for each in evidence),
            }
            raise AttemptFailed(Failure("acceptance", describe_failure(evidence), task_changes=changes))
        return evidence

    # -- ways out -------------------------------------------------------------------------------------------------

    def park(self, resume: Start, checkpoint: str, *, keep_grants: bool = True) -> None:
        """Open the approvals and let the task wait.

        Raises:
            Parked: always.
        """
        with self.tools.journal.write() as tx:
            opened = self.questions.open(tx, checkpoint)
            now = stamp(self.tools.clock.now())
            attempts.park(tx, self.record, opened, resume, now, keep_grants=keep_grants)
        raise Parked

    def park_stopped(self, place: Place, checkpoint: str, end: AgentEnd, standing: Standing) -> None:
        """Park after the agent was stopped where it was; from where it goes on is as after a pause.

        Raises:
            Parked: always.
        """
        if end.result == "finished":
            # It had ended by itself when it was stopped: only judging is left.
            self.note_progress(phase="captured", agent=end.progress)
            self.park(self.resume_judging(checkpoint), checkpoint)
        resume, keep_grants = self.find_resume(place, checkpoint, standing)
        self.park(resume, checkpoint, keep_grants=keep_grants)

    def pause_agent(self, place: Place, checkpoint: str, standing: Standing, reason: str) -> None:
        """Pause after the agent was ended for it.

        An agent that can go on exactly, but was ended in the middle of an action, goes on from the last checkpoint
        between two of them: the action is done again on what it was begun on, and what was granted for it returns.

        Raises:
            Parked: always.
        """
        resume, keep_grants = self.find_resume(place, checkpoint, standing)
        self.pause(resume, keep_grants=keep_grants, reason=reason)

    def find_resume(self, place: Place, checkpoint: str, standing: Standing) -> tuple[Start, bool]:
        """Return from where an agent that was ended can go on, and whether all that it did is kept in that."""
        if self.adapter.capabilities.resume != "exact" or standing.between:
            return Start(place.name, place.lower, checkpoint, asked=True, agent=standing.progress), True
        with self.tools.journal.read() as tx:
            return starts.recover(tx, self.record), False

    def pause(self, resume: Start, *, keep_grants: bool = True, reason: str = "") -> None:
        """End as paused; the attempt after it begins from ``resume``.

        Raises:
            Parked: always.
        """
        reason = reason or self.tools.live.reason(self.record.task)
        with self.tools.journal.write() as tx:
            now = stamp(self.tools.clock.now())
            attempts.pause(tx, self.record, resume, reason=reason, now=now, keep_grants=keep_grants)
        crash.point("engine.attempt.paused")
        raise Parked

    def cancelled(self) -> AttemptFailed:
        """Return the way out of an attempt that a person has stopped."""
        reason = self.tools.live.reason(self.record.task)
        return AttemptFailed(Failure("cancelled", reason, "cancelled", task_state="cancelled"))

    def fail(self, failure: Failure) -> None:
        """Record a failure; what follows from it is decided in the same transaction."""
        with self.tools.journal.write() as tx:
            record = tx.need(AttemptRecord, self.record.id)
            if attempts.is_over(record):
                return
            attempts.fail(
                tx,
                record,
                failure,
                self.workspace.settings.retries,
                deterministic=self.is_deterministic(),
                now=stamp(self.tools.clock.now()),
            )

    def abandon(self) -> None:
        """Record the attempt as lost because this host stops; a captured result is left for the next host to judge."""
        if self.record.progress["phase"] != "captured":
            self.fail(Failure("lost", "interrupted: the host was stopped"))

    def leave_place(self) -> None:
        """Keep the working copy for an attempt that goes on in it; else remove it: its checkpoint has everything."""
        with self.tools.journal.read() as tx:
            record = tx.need(AttemptRecord, self.record.id)
        leave_place(self.workspace.shadows, record, self.place, self.start.shadow)
        forget_memory(record)

    # -- small things ---------------------------------------------------------------------------------------------

    @property
    def adapter(self) -> Adapter:
        """The adapter of the task's agent."""
        return find_adapter(self.job.setting)

    @property
    def job(self) -> Job:
        """The task as its adapter sees it."""
        job = make_job(self.workspace, self.task, self.record, self.start, self.level)
        return replace(job, progress={**job.progress, **self.handover}) if self.handover else job

    def is_deterministic(self) -> bool:
        """Tell whether another attempt would give the same result; of an unusable agent, yes."""
        try:
            return self.adapter.capabilities.deterministic
        except UsageError:
            return True

    def note_progress(self, **progress: Any) -> None:
        """Write down how far it is; nothing more than that its process exists, or that judging began."""
        with self.tools.journal.write() as tx:
            self.questions.attempt = attempts.run_now(tx, self.record, **progress)
