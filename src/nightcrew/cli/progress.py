"""What a person sees while a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

from nightcrew.cli.lines import describe_event, is_shown
from nightcrew.cli.screen import STATE_STYLE, Screen
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime

#: Kinds of events that a person must not miss while the table is redrawn.
_TOLD: Final = (
    "approval.",
    "task.failed",
    "task.blocked",
    "conflict.",
    "drift.",
    "checkpoint.slow",
    "budget.",
    "run.stopped",
    "task.rerouted",
    "task.held",
    "agent.silent",
    "model.",
)


class Progress(Protocol):
    """Shows changes as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, events: Sequence[dict[str, Any]]) -> None:
        """New events, oldest first; also called without any, a few times a second."""


def make_progress(runtime: Runtime, screen: Screen, run: str) -> Progress:
    """Return a live view for a terminal, plain lines for a pipe."""
    if screen.redraws:
        return LiveView(runtime, run)
    return Lines(screen)


class Lines:
    """One line on stderr per change of state."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def update(self, events: Sequence[dict[str, Any]]) -> None:
        """Print the events that change what a person would see."""
        for event in events:
            if is_shown(event):
                self._screen.say(f"{event['at'][11:19]}  {describe_event(event)}")


class LiveView:
    """A table of the tasks on stderr, redrawn in place; what needs the person is printed above it and stays."""

    def __init__(self, runtime: Runtime, run: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._runtime = runtime
        self._run = run
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._drawn = False

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, events: Sequence[dict[str, Any]]) -> None:
        """Redraw after a change, and print what a person must not miss."""
        from rich.text import Text

        for event in events:
            if event["kind"].startswith(_TOLD):
                self._console.print(Text(f"{event['at'][11:19]}  {describe_event(event)}"))
        if events or not self._drawn:
            self._live.update(self._render(), refresh=True)
            self._drawn = True

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        view = self._runtime.show(self._run)
        grid = Table.grid(padding=(0, 2))
        for task in view["tasks"]:
            state = "verified" if task["verified"] == "verified" else task["state"]
            grid.add_row(
                Text(task["name"], style="bold"),
                Text(state, style=STATE_STYLE.get(state, "")),
                Text(task["agent"]),
                Text(shown(task["title"])),
                Text(task["waiting_for"] and f"nightcrew approve {task['waiting_for']}", style="yellow"),
            )
        return grid
