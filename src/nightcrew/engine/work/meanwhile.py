"""What policy denies in a change is looked for while the agent still works, and ends it then: why let it go on all night?

Each checkpoint is judged as the result will be. What the policy says of it (``safety.while_running``) is done at once:
``deny`` ends the agent and fails the task, ``ask`` stops it and asks a person, ``allow`` leaves it to the judgement at the
end. A socket or a FIFO that cannot be captured is left to the end in any case: it is mostly gone by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from nightcrew.engine.course.attempts import Failure
from nightcrew.engine.work.place import AttemptFailed
from nightcrew.model import canonical
from nightcrew.model.actions import Action, Change, Decision, Finding, Verdict
from nightcrew.policy.scanning.change import Scans, scan_change

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Answer
    from nightcrew.engine.work.halting import Halt
    from nightcrew.engine.workspace import Workspace
    from nightcrew.host.clock import Clock

_PASSING: Final = frozenset({"refused"})
_SETTING: Final = "safety.while_running"


class Meanwhile:
    """Judges the checkpoints of one attempt.

    Args:
        workspace, clock: of the attempt.
        halt: ends its agent.
        ask_aside: asks a person, and stops the agent for it.
    """

    def __init__(
        self, workspace: Workspace, clock: Clock, halt: Halt, ask_aside: Callable[..., Answer]
    ) -> None:
        self._workspace = workspace
        self._clock = clock
        self._halt = halt
        self._ask_aside = ask_aside
        self._scans: Scans = {}
        self._denied: tuple[Finding, ...] = ()

    def look(self, change: Change, findings: Sequence[Finding]) -> None:
        """Take note of one checkpoint; called from the thread that takes them.

        Args:
            change: what it holds.
            findings: of ``policy.inspect`` about it.
        """
        placed = self._workspace.policy.verdict(_SETTING)
        verdict = placed.value if placed else Verdict.DENY
        if self._denied or verdict is Verdict.ALLOW:
            return
        denied = tuple(each for each in (*findings, *self._find_secrets(change)) if _is_for_good(each))
        if not denied:
            return
        if verdict is Verdict.DENY:
            self._denied = denied
            self._halt.stop("its change is denied by policy")
            return
        paths = tuple(sorted({each.path for each in denied if each.path}))
        action = Action(kind="change", paths=paths, purpose="meanwhile", detail=", ".join(_rules(denied)))
        reason = "; ".join(dict.fromkeys(each.message for each in denied))
        source = placed.source if placed else "built in"
        self._ask_aside(action, Decision(Verdict.ASK, denied[0].rule, source, reason, "high"))

    def refuse(self) -> None:
        """Do nothing when the agent was not ended for what it did.

        Raises:
            AttemptFailed: it was; names rules and paths.
        """
        if self._denied:
            said = "; ".join(f"{f.message} (rule {f.rule}, {f.source})" for f in self._denied)
            shown = tuple(canonical.to_plain(each) for each in self._denied)
            raise AttemptFailed(
                Failure("denied", f"denied by policy while it ran: {said}", task_changes={"findings": shown})
            )

    def _find_secrets(self, change: Change) -> tuple[Finding, ...]:
        policy = self._workspace.policy
        placed = policy.verdict("secrets.change")
        if placed is None or placed.value is not Verdict.DENY:
            return ()
        today, read = self._clock.now().date(), self._workspace.store.read_blob
        return scan_change(policy, change, read, today=today, known=self._scans)


def _is_for_good(finding: Finding) -> bool:
    return finding.verdict is Verdict.DENY and finding.check not in _PASSING


def _rules(findings: Sequence[Finding]) -> list[str]:
    return list(dict.fromkeys(finding.rule for finding in findings))
