"""How often a running task is checkpointed. Pure: the caller brings the time.

A checkpoint that takes longer than ``slow_s`` makes the next ones come later: at least four times what it took, and
twice as far apart as before, up to LONGEST_S. One within ``target_s`` brings them half as far apart again. Nothing of
that is silent: each step is news for the journal, three slow ones in a row are an alarm, and the next checkpoint says
how many it stands for.
"""

from __future__ import annotations

from typing import Any, Final

from nightcrew.model.settings import Checkpoints

#: Farthest apart that checkpoints ever are while something changes, in seconds.
LONGEST_S: Final = 300.0
#: Slow ones in a row that are an alarm.
ALARM: Final = 3
_APART: Final = 4

News = tuple[str, dict[str, Any]]


class Pace:
    """The rhythm of one attempt. Times are seconds of a clock that only goes forward."""

    def __init__(self, settings: Checkpoints) -> None:
        self._settings = settings
        self._spacing_s = 0.0
        self._last_s = 0.0
        self._changed_s = 0.0
        self._skipped = 0
        self._slow = 0
        self._news: list[News] = []

    @property
    def spacing_s(self) -> float:
        """Least time between two checkpoints at the moment; 0 as long as they are quick."""
        return self._spacing_s

    def allows(self, now_s: float) -> bool:
        """Tell whether there is a checkpoint after an action that ended now; one that is left out is counted."""
        if now_s - self._last_s >= self._spacing_s:
            return True
        self._skipped += 1
        return False

    def is_time_to_look(self, now_s: float) -> bool:
        """Tell whether it makes sense to look for changes."""
        return now_s - self._last_s >= self._spacing_s

    def find_reason(self, now_s: float, paths: int) -> str:
        """Return why there should be a checkpoint now, with so many paths changed since the last; empty for no."""
        settings = self._settings
        if not self._changed_s:
            self._changed_s = now_s
        if self._skipped:
            return f"{self._skipped} left out since the last one"
        if settings.after_paths and paths >= settings.after_paths:
            return f"{paths} paths changed" if now_s - self._last_s >= settings.debounce_s else ""
        if settings.every_s and now_s - self._changed_s >= settings.every_s:
            return f"{settings.every_s:g} s after a change"
        return ""

    def note_taken(self, now_s: float, took_s: float) -> None:
        """A checkpoint was taken."""
        self._last_s, self._changed_s, self._skipped = now_s, 0.0, 0
        if took_s > self._settings.slow_s:
            self._slow += 1
            self._spacing_s = min(LONGEST_S, max(2 * self._spacing_s, _APART * took_s))
            told = {"took_ms": round(took_s * 1000), "spacing_s": round(self._spacing_s, 1)}
            self._news.append(("checkpoint.spaced_out", told))
            if self._slow == ALARM:
                self._news.append(("checkpoint.slow", {**told, "in_a_row": self._slow}))
            return
        self._slow = 0
        if took_s <= self._settings.target_s and self._spacing_s:
            self._spacing_s = self._spacing_s / 2 if self._spacing_s > 1 else 0.0
            self._news.append(("checkpoint.spaced_out", {"spacing_s": round(self._spacing_s, 1)}))

    def note_failed(self, now_s: float) -> None:
        """One could not be taken: the next try is not at once."""
        self._last_s, self._skipped = now_s, self._skipped + 1
        self._spacing_s = min(LONGEST_S, max(2 * self._spacing_s, self._settings.debounce_s))

    def describe_skipped(self) -> str:
        """Return how many checkpoints one taken now stands for; empty when none was left out."""
        if not self._skipped:
            return ""
        return f"{self._skipped} before it were left out (spaced out, refused or failed; see the log)"

    def take_news(self) -> list[News]:
        """Return what is to be recorded, and forget it."""
        news, self._news = self._news, []
        return news
