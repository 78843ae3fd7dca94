"""What is watched while an agent works, beside what it asks: its money and time, whether it goes round in circles, and what it was
refused on the network when it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nightcrew.agents.adapter import Adapter, AgentEnd
from nightcrew.engine.books.budgets import Calendar, read_limits
from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.money.spending import Spending
from nightcrew.engine.money.timekeeping import Timekeeper
from nightcrew.engine.work.gateway import ModelWay, blame_model
from nightcrew.engine.work.halting import Halt
from nightcrew.engine.work.looping import Loops
from nightcrew.engine.work.place import AttemptFailed
from nightcrew.engine.work.questions import Questions
from nightcrew.engine.work.silence import Silence
from nightcrew.engine.work.tools import Tools
from nightcrew.engine.workspace import Workspace
from nightcrew.model.events import Event
from nightcrew.model.isolation import Outcome
from nightcrew.model.records import AttemptRecord, RunRecord

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader

#: Kind of the event of a decision.
DECIDED: Final = "policy.decided"


class Vigil:
    """The watch over the agent of one attempt.

    Args:
        tools, workspace, run: of the attempt.
        record: of the attempt. tree: gives the tree of its last checkpoint.
    """

    def __init__(
        self,
        tools: Tools,
        workspace: Workspace,
        run: RunRecord,
        record: AttemptRecord,
        tree: Callable[[], str],
    ) -> None:
        self._journal = tools.journal
        self._tools = tools
        self._record = record
        self._task = record.task.partition("/")[2]
        self.loops = Loops(workspace.settings.looping, tree)
        self._limits = read_limits(run)
        self._spending: Spending | None = None
        self._keeper = Timekeeper(None, tools.clock, self._task, record.id)
        self._silence = Silence(tools.journal, tools.clock, record, workspace.settings.limits.idle_s)
        self._halt: Halt | None = None

    def find_spent(self) -> str:
        """Return the budget that is spent before the agent has begun, in words; empty when it may begin."""
        spendings = self._tools.models.spendings
        calendar: Calendar = spendings.read_calendar()
        if not self._limits.is_timed(calendar):
            return ""
        self._spending = spendings.open(self._record.run)
        if not self._spending.is_timed:
            self._spending = None
            return ""
        return self._spending.find_end(self._task)

    def begin(self, adapter: Adapter, questions: Questions, halt: Halt, way: ModelWay | None) -> None:
        """The agent's process exists."""
        self._halt = halt
        self._keeper = Timekeeper(self._spending, self._tools.clock, self._task, self._record.id)
        self.loops.end = halt.stop
        if not adapter.capabilities.deterministic:
            # What does the same every time asks for the same as often as its script does.
            questions.noticed = self.loops.note_action
        if way is not None:
            way.payer.on_answer = self.loops.note_answer

    def tick(self) -> None:
        """Called a few times a second while it works."""
        if self._halt is not None:
            self._halt.tick()
            self._keeper.tick()
            self._silence.tick()

    def end(self) -> None:
        """Its process is gone."""
        if self._halt is not None:
            self._keeper.write_down()

    def refuse_loops(self) -> None:
        """Let the attempt fail when its agent went round in circles.

        Raises:
            AttemptFailed: it did.
        """
        if self.loops.found:
            raise AttemptFailed(Failure("loop", f"it went round in circles: {self.loops.found}", "stopped"))

    def blame(self, way: ModelWay | None, adapter: Adapter, end: AgentEnd, outcome: Outcome) -> Failure:
        """Return what an agent's failure comes from: its model, a host it may not reach, or itself."""
        failure = Failure("agent", end.reason, outcome.ending, outcome.exit_code)
        return blame_model(way) or self.blame_network(adapter, end) or failure

    def blame_network(self, adapter: Adapter, end: AgentEnd) -> Failure | None:
        """Return what an agent's failure comes from when that is a host it may not reach, now and the next time.

        One that does the same every time will be refused again; any other one when it has wanted the same before.
        """
        with self._journal.read() as tx:
            by_attempt = _find_refused(tx, self._record.task)
        mine = by_attempt.pop(self._record.id, {})
        before = {action for each in by_attempt.values() for action in each}
        again = (
            list(mine) if adapter.capabilities.deterministic else [each for each in mine if each in before]
        )
        if not again:
            return None
        return Failure("network", f"{end.reason}; it was refused {again[0]}: {mine[again[0]]}")


def _find_refused(tx: Reader, task: str) -> dict[str, dict[str, str]]:
    """Return what a task was refused on the network: attempt → action → reason."""
    found: dict[str, dict[str, str]] = {}
    for event in tx.events(task=task, kinds=(DECIDED,)):
        if event.data.get("verdict") == "deny" and event.data.get("kind") == "net":
            found.setdefault(event.attempt, {})[str(event.data.get("action", ""))] = _describe(event)
    return found


def _describe(event: Event) -> str:
    return f"{event.data.get('reason', '')} (rule {event.data.get('rule', '')})"
