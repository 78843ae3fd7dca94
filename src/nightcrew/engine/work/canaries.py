"""Canaries of one attempt: planted before its agent starts, looked for in what leaves and in what it changed.

A canary on its way out is not sent; the task is stopped where it is and waits for a person, with an approval of
critical risk. What earlier attempts of the task were given counts too: an agent goes on in the same working copy.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from nightcrew.agents.adapter import Answer, Launch
from nightcrew.engine.course.starts import name_attempt
from nightcrew.model.actions import Action, Change, Decision, Finding, Verdict
from nightcrew.model.isolation import Bind
from nightcrew.model.records import AttemptRecord
from nightcrew.policy.canary import FILE, VARIABLE, Canary, Planted, make_canaries
from nightcrew.policy.leaving import Stream, find_in
from nightcrew.policy.scanning.change import find_canaries

#: Kind of the event of a canary on its way out.
LEFT: Final = "canary.left"
#: Name of the planted file in the private folder of an attempt.
PRIVATE_FILE: Final = "credentials"
#: What to plant, by the word in the settings.
WANTED: Final[Mapping[str, tuple[str, ...]]] = {"all": ("file", "variable"), "file": ("file",), "off": ()}
#: So many attempts are looked back at; of earlier ones what a whole run has in common is still found.
_LOOKED_BACK: Final = 4

#: Decides on an action that was not asked for, and stops the tree where it must wait.
AskAside = Callable[..., Answer]


@dataclass(frozen=True, slots=True)
class Canaries:
    """What is planted for an attempt, and what is looked for.

    Attributes:
        planted: for this attempt.
        watched: also those of the task's earlier attempts.
    """

    planted: Planted = Planted()
    watched: tuple[Canary, ...] = ()

    @classmethod
    def of(cls, key: bytes, attempt: AttemptRecord, kinds: Sequence[str]) -> Canaries:
        """Return those of an attempt; none without a key or a kind."""
        if not key or not kinds:
            return cls()
        every = [
            make_canaries(key, attempt.run, name_attempt(attempt.task, number), kinds=kinds)
            for number in range(attempt.number, max(0, attempt.number - _LOOKED_BACK), -1)
        ]
        return cls(every[0], tuple(dict.fromkeys(each for one in every for each in one.canaries)))

    def plant(self, launch: Launch, private: str, home: str, *, mounted: bool) -> Launch:
        """Return how to start the agent with the canaries where it can see them.

        Args:
            launch: how to start it without.
            private: the attempt's folder on the host that ``launch.files`` are written to.
            home: home directory inside.
            mounted: files can be bound into the sandbox.
        """
        env: Mapping[str, str] = {VARIABLE: self.planted.variable} if self.planted.variable else {}
        launch = replace(launch, env={**env, **launch.env})
        if not self.planted.file or not mounted:
            return launch
        bind = Bind(f"{private}/{PRIVATE_FILE}", f"{home}/{FILE}")
        files = {**launch.files, PRIVATE_FILE: self.planted.file}
        return replace(launch, binds=(*launch.binds, bind), files=files)

    def find_in_change(self, change: Change, read: Callable[[str], bytes]) -> tuple[Finding, ...]:
        """Return a finding for each changed path that holds a canary; ignored ones too."""
        return tuple(find_canaries(change, read, self.watched))


def uproot(private: Path) -> None:
    """Remove the planted file from an attempt's folder once nothing can see it any more, and the folder when it is empty."""
    (private / PRIVATE_FILE).unlink(missing_ok=True)
    # Whatever else an adapter wanted there stays.
    with contextlib.suppress(OSError):
        private.rmdir()


class CanaryWatch:
    """Implements model.leaving.LeavingWatch for one attempt."""

    def __init__(self, canaries: Sequence[Canary], ask_aside: AskAside) -> None:
        self._canaries = tuple(canaries)
        self._ask_aside = ask_aside

    def inspect(self, data: bytes, way: str) -> bool:
        """See LeavingWatch."""
        return self._stop(find_in(data, self._canaries), way)

    def stream(self, way: str) -> Callable[[bytes], bool]:
        """See LeavingWatch."""
        stream = Stream(self._canaries)
        return lambda data: self._stop(stream.feed(data), way)

    def _stop(self, name: str | None, way: str) -> bool:
        if name is None:
            return False
        answer = self._ask_aside(describe_leaving(name, way), LEAVING, event=LEFT)
        return answer.verdict != "allow"


LEAVING: Final = Decision(
    verdict=Verdict.ASK,
    rule="canary",
    source="built in",
    reason="a credential that was planted as a tripwire, and that no honest program uses, was on its way out; "
    "nothing of it was sent, and the task was stopped where it was",
    risk="critical",
)
"""What a canary on its way out means, whatever the policy says of the network."""


def describe_leaving(name: str, way: str) -> Action:
    """Return the action of carrying out a canary; of the canary itself it holds only the name."""
    return Action(kind="canary", purpose="leave", detail=f"{name} leaves by {way}")
