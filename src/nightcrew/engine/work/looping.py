"""Agents that go round in circles: the same action again and again, or a model that gives the same answer again and again.

Told by fingerprints, whatever the agent is: an action by its digest, an answer by a digest of what it says and calls (the gateway
sees that of any agent). Only what comes in an unbroken row counts, so reading one file twice is nothing; and an action after which
the files are not what they were before is progress, and begins a new row.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from nightcrew.model.actions import Action
from nightcrew.model.settings import Looping


class Loops:
    """The watch over one attempt; safe to use from any thread.

    Args:
        settings: how often is too often.
        tree: gives the tree of the last checkpoint.
    """

    def __init__(self, settings: Looping, tree: Callable[[], str]) -> None:
        self._settings = settings
        self._tree = tree
        self._lock = threading.Lock()
        self._action = ("", "")
        self._actions = 0
        self._answer = ""
        self._answers = 0
        self.end: Callable[[str], None] = _do_nothing
        self.found = ""

    def note_action(self, action: Action) -> None:
        """The agent wants to do something."""
        with self._lock:
            seen = (action.digest, self._tree())
            self._actions = self._actions + 1 if seen == self._action else 1
            self._action = seen
            most = self._settings.same_action
            if most and self._actions >= most and not self.found:
                self.found = f"it wanted the same {self._actions} times in a row, and nothing changed: {action.describe()}"
                self.end(self.found)

    def note_answer(self, fingerprint: str) -> None:
        """Its model has answered."""
        with self._lock:
            self._answers = self._answers + 1 if fingerprint == self._answer else 1
            self._answer = fingerprint
            most = self._settings.same_answer
            if most and self._answers >= most and not self.found:
                self.found = f"its model gave the very same answer {self._answers} times in a row"
                self.end(self.found)


def _do_nothing(reason: str) -> None:
    """Nobody works yet."""
