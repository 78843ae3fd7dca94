"""Which events somebody asks for. Pure; ``searching`` makes a query of it."""

from __future__ import annotations

from dataclasses import dataclass

from nightcrew.model import canonical
from nightcrew.model.events import Event


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events.

    Attributes:
        kinds: these kinds; ``task.*`` and ``task`` stand for all that start with ``task.``.
        who: these actors: ``user:ann``, or a bare name of any of them (``ann``, ``engine``).
        run, task: of this run, of this task (full id).
        since, until: times as events have them, the first included, the second not.
        text: it stands somewhere in the event, in any case.
        chain: only of the chain of this name, where the empty one is the installation's; None for all.
        limit: at most so many, 0 for all.
    """

    kinds: tuple[str, ...] = ()
    who: tuple[str, ...] = ()
    run: str = ""
    task: str = ""
    since: str = ""
    until: str = ""
    text: str = ""
    chain: str | None = None
    limit: int = 0

    def has_text(self, event: Event) -> bool:
        """Tell whether the text that is asked for stands in an event."""
        if not self.text:
            return True
        values = " ".join(_texts(canonical.to_plain(event.data)))
        line = f"{event.id} {event.kind} {event.run} {event.task} {event.attempt} {event.actor} {values}"
        return self.text.casefold() in line.casefold()


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), *_texts(item))]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [str(value)]
