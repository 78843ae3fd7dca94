"""The conversation with a planner: asked, heard, told what is wrong with its answer, until one can be taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from nightcrew.engine.books.reserving import Reservations
from nightcrew.model.errors import Exit, InvalidInput, NightcrewError
from nightcrew.model.plans import Step, Task
from nightcrew.model.records import RunRecord
from nightcrew.model.text import shown
from nightcrew.model.usage import Spent, describe_spent
from nightcrew.plan.goals import Bounds, Goals, read_goals
from nightcrew.plan.prompt import Brief, write_brief, write_repair
from nightcrew.runtime.plans import versions
from nightcrew.runtime.plans.bounding import list_paths
from nightcrew.runtime.plans.planning import Draft, Wish, Written, make_draft
from nightcrew.runtime.rules import Rules
from nightcrew.runtime.trees.starting import Start

if TYPE_CHECKING:
    from nightcrew.engine.money.planpaying import PlanPayer
    from nightcrew.engine.work.planner import Told
    from nightcrew.runtime.parts import Parts

_LOOK_S: Final = 0.25
_STOP_S: Final = 30.0

#: Told while a planner works: the word for it, seconds, and what it costs so far.
OnProgress = Callable[[str, float, str], None]


class PlanningFailed(NightcrewError):
    """No answer of the planner could be taken."""

    exit = Exit.FAILED
    default_code = "plan.failed"


@dataclass(frozen=True, slots=True)
class Found:
    """A plan that a planner made and that can be shown.

    Attributes:
        draft, goals, text: the plan, what was said of it, and the tasks file.
        rounds: how often it was asked. took_s: in all. notes: what a person should know of the asking. spent: in words.
    """

    draft: Draft
    goals: Goals
    text: str
    rounds: int
    took_s: float
    notes: tuple[str, ...] = ()
    spent: str = ""

    def describe(self) -> dict[str, Any]:
        """Return it for ``PlanRecord.origin``."""
        from nightcrew.plan.overlaps import weigh

        return {
            "summary": self.goals.summary,
            "complexity": weigh(self.draft.plan.tasks, self.draft.flags),
            "claimed": self.goals.complexity,
            "gaps": list(self.goals.gaps),
            "minutes": dict(self.goals.minutes),
            "changes": {
                name: {k: list(v) for k, v in each.items()} for name, each in self.goals.files.items()
            },
            "rounds": self.rounds,
            "took_s": self.took_s,
            "text": self.text,
        }


class Asking:
    """The conversation with a planner about one run.

    Args:
        parts, run, rules, start: what is planned, under which rules, from what.
        planner, model: who is asked. tell: told how it goes on.
    """

    def __init__(
        self,
        parts: Parts,
        run: RunRecord,
        rules: Rules,
        start: Start,
        planner: str,
        model: str,
        tell: OnProgress,
    ) -> None:
        self.parts = parts
        self.run = run
        self.rules = rules
        self.start = start
        self.planner = planner
        self.model = model
        self.tell = tell
        self.took_s = 0.0
        self.spent = Spent()
        self.notes: dict[str, None] = {}
        #: Ends a question without an answer, where no person waits for it; what became of it is then told by who asked.
        self.stop: threading.Event | None = None
        #: Of this process; of the engine where it is the one who asks.
        self.reservations = Reservations()
        #: Scripts of tasks that stay, read when these were planned.
        self.steps: Mapping[str, tuple[Step, ...]] = {}

    def ask(self, brief: Brief, bounds: Bounds, wish: Wish, *, keep: Sequence[Task] = ()) -> Found:
        """Ask until an answer can be taken, or the rounds are used up.

        Args:
            keep: tasks that stay as they are, whatever the planner says of them.

        Raises:
            PlanningFailed: none could be; the run is failed when it had no plan before.
            KeyboardInterrupt: a person has ended it.
        """
        text = first = write_brief(brief, bounds)
        problems: list[str] = []
        rounds = self.rules.settings.planning.rounds + 1
        for number in range(1, rounds + 1):
            told = self._ask_once(number, text)
            if told.problem:
                raise self._fail([told.problem], number)
            goals, written, draft, problems = self._take(told.text, bounds, wish, keep)
            if goals is not None and draft is not None and not problems:
                return Found(
                    draft,
                    goals,
                    written,
                    number,
                    round(self.took_s, 1),
                    tuple(self.notes),
                    describe_spent(self.spent) if self.spent.requests else "",
                )
            self._note("plan.refused", {"round": number, "problems": problems[:10]})
            text = write_repair(first, told.text, problems)
        raise self._fail(problems, rounds)

    def _take(
        self, answer: str, bounds: Bounds, wish: Wish, keep: Sequence[Task]
    ) -> tuple[Goals | None, str, Draft | None, list[str]]:
        """Return what an answer amounts to, with all that is wrong with it."""
        from nightcrew.plan.extract import NoAnswer, extract
        from nightcrew.plan.overlaps import find_overlaps

        try:
            plain = extract(answer, "tasks")
        except NoAnswer as error:
            return None, "", None, [str(error)]
        goals, problems = read_goals(plain, bounds, keep)
        if goals is None or problems:
            return goals, "", None, problems
        text = goals.write(wish.title)
        source = f"{self.run.id}/P{self._next_version()}.md"
        try:
            written = Written(text, source, self.parts.cwd, self.steps)
            draft = make_draft(self.parts, written, self.start, self.rules, wish)
        except InvalidInput as error:
            return goals, text, None, [_describe_problem(each.message, each.hint) for each in error.problems]
        overlaps = tuple(find_overlaps(draft.plan.tasks, list_paths(self.parts, self.start)))
        draft = replace(draft, flags=(*draft.flags, *overlaps))
        said = [f"forbidden by the rules of the person: {each}" for each in draft.forbidden]
        return goals, text, draft, said

    def _next_version(self) -> int:
        with self.parts.journal.read() as tx:
            return versions.last_version(tx, self.run.id) + 1

    def _ask_once(self, number: int, text: str) -> Told:
        begun = self.parts.clock.monotonic()
        cancel, payers = self.stop or threading.Event(), list[Any]()
        job = self._prepare(number, text, cancel, payers.append)
        told = job() if self.stop is not None else self._attend(number, job, cancel, payers)
        self.took_s += self.parts.clock.monotonic() - begun
        self.spent += told.spent
        self._note_told(told, number)
        return told

    def _attend(
        self, number: int, job: Callable[[], Told], cancel: threading.Event, payers: list[Any]
    ) -> Told:
        """Ask in a thread of its own, so that this one can tell how it goes on, and hear a person's interrupt."""
        from nightcrew.host.signals import endings_interrupt

        begun = self.parts.clock.monotonic()
        answer: list[Any] = []

        def work() -> None:
            try:
                answer.append(job())
            except BaseException as problem:  # noqa: BLE001 - raised again in the thread that waits
                answer.append(problem)

        thread = threading.Thread(target=work, name="nightcrew-planner", daemon=True)
        with endings_interrupt():
            try:
                thread.start()
                while thread.is_alive():
                    thread.join(_LOOK_S)
                    took_s = self.took_s + self.parts.clock.monotonic() - begun
                    self.tell("asked" if number == 1 else f"round {number}", took_s, _describe_payer(payers))
            except BaseException:
                cancel.set()
                thread.join(_STOP_S)
                self._cancel()
                raise
        if isinstance(answer[0], BaseException):
            self._give_up(str(answer[0]))
            raise answer[0]
        told: Told = answer[0]
        return told

    def _prepare(
        self, number: int, text: str, cancel: threading.Event, paying: Callable[[PlanPayer], None]
    ) -> Callable[[], Told]:
        import json

        from nightcrew.engine.work.planner import Office, Question, ask_planner, find_transcripts
        from nightcrew.plan.goals import goal_schema
        from nightcrew.runtime.money.budgeting import read_calendar
        from nightcrew.runtime.opening import open_workspace
        from nightcrew.sandbox.gateway.service import Services

        parts = self.parts
        # The helper that builds sandboxes is started here, in the main thread.
        launcher = parts.launcher
        workspace = open_workspace(parts, self.run)
        # As they are now: a plan is made under the rules that it will be judged by.
        workspace = replace(workspace, policy=self.rules.policy, settings=self.rules.settings)
        services = Services()
        office = Office(
            parts.journal,
            parts.clock,
            launcher,
            services,
            lambda: read_calendar(parts),
            self.reservations,
            cancel,
            paying,
            "person" if self.stop is None else "engine",
        )
        asked = len(find_transcripts(workspace.transcripts, self.run.id))
        question = Question(
            self.run,
            asked + 1,
            self.planner,
            text,
            json.dumps(goal_schema()),
            self.model,
            self.rules.settings.planning.hard_s,
        )
        self._note("plan.asked", {"agent": self.planner, "round": number})

        def ask() -> Told:
            try:
                return ask_planner(office, workspace, question)
            finally:
                services.close()

        return ask

    def _note_told(self, told: Told, number: int) -> None:
        from nightcrew.engine.work.planner import name_paths
        from nightcrew.model.usage import describe_spent

        said = {
            "agent": self.planner,
            "round": number,
            "took_s": told.took_s,
            "spent": describe_spent(told.spent),
        }
        more: dict[str, Any] = {
            "denied": told.denied,
            "wrote": name_paths(told.wrote),
            "problem": told.problem,
        }
        self._note("plan.answered", {**said, **{key: value for key, value in more.items() if value}})
        if told.wrote:
            names = ", ".join(shown(path) for path in told.wrote[:3])
            self.notes[
                f"the planner wrote {len(told.wrote)} paths in its copy ({names}); they are gone with it"
            ] = None
        if told.denied:
            self.notes[f"the planner was denied {told.denied} actions: it may read only"] = None

    def _note(self, kind: str, data: Mapping[str, Any]) -> None:
        with self.parts.journal.write() as tx:
            tx.append(kind, run=self.run.id, data=data)

    def _fail(self, problems: Sequence[str], rounds: int) -> PlanningFailed:
        said = problems[0] if problems else "no answer"
        spent = self._give_up(said)
        return PlanningFailed(
            f"{self.planner} made no plan that can be taken; {self._kept()}",
            where=[
                *(shown(each) for each in problems[:8]),
                f"asked {rounds} times, {spent or 'nothing spent'}",
            ],
            hint=f"what it said: nightcrew log {self.run.id}; another planner: --planner NAME; or write a tasks file: nightcrew run -f tasks.md",
        )

    def _kept(self) -> str:
        return "nothing runs" if self.run.plan_version == 0 else f"P{self.run.plan_version} stays as it is"

    def _give_up(self, reason: str) -> str:
        """Record that there is no plan; a run that has one keeps it."""
        with self.parts.journal.write() as tx:
            run = tx.need(RunRecord, self.run.id)
            if self.stop is not None:
                return describe_run_spent(run)
            tx.append("plan.failed", run=run.id, data={"reason": reason})
            if run.state == "draft":
                said = f"it could not be planned: {reason}"
                tx.change(run, "run.failed", data={"reason": said}, state="failed", reason=said)
        return describe_run_spent(run)

    def _cancel(self) -> None:
        with self.parts.journal.write() as tx:
            run = tx.need(RunRecord, self.run.id)
            if run.state == "draft":
                actor = f"user:{self.parts.env.user}"
                said = "planning was interrupted"
                tx.change(
                    run, "run.cancelled", actor=actor, data={"reason": said}, state="cancelled", reason=said
                )


def describe_run_spent(run: RunRecord) -> str:
    """Return what a run has spent by now, in words; empty for nothing."""
    from nightcrew.engine.books.budgets import read_run_spent

    spent = read_run_spent(run)
    return describe_spent(spent) if spent.requests else ""


def _describe_payer(payers: Sequence[PlanPayer]) -> str:
    spent = payers[0].spent if payers else None
    return describe_spent(spent) if spent is not None and spent.requests else ""


def _describe_problem(message: str, hint: str) -> str:
    return f"{message}; {hint}" if hint else message
