"""Follow a run to its end: a live view on a terminal, one line per change in a pipe, and the exit code."""

from __future__ import annotations

from typing import Any

from nightcrew.cli.failure import as_json
from nightcrew.cli.inbox import describe_items
from nightcrew.cli.progress import make_progress
from nightcrew.cli.screen import Screen
from nightcrew.cli.show import show_run
from nightcrew.model.errors import Exit, LimitReached, NightcrewError, WaitingForHuman
from nightcrew.runtime.api import Runtime


def follow_run(runtime: Runtime, screen: Screen, run: str, *, wait: bool) -> int:
    """Drive or follow ``run`` until it is over (or only a human can go on) and return the exit code."""
    progress = make_progress(runtime, screen, run)
    try:
        with progress:
            ending = runtime.drive(run, on_change=progress.update, wait=wait or screen.interactive)
    except KeyboardInterrupt:
        return _interrupted(runtime, screen, run)
    view = runtime.show(run)
    return _waiting(runtime, screen, view) if ending == "waiting" else _finished(screen, view)


def _finished(screen: Screen, view: dict[str, Any]) -> int:
    good = all(task["state"] in ("succeeded", "skipped") for task in view["tasks"])
    code = Exit.OK if good and view["state"] not in ("failed", "cancelled") else Exit.TASKS_FAILED
    if view["stopped"] and not good:
        # A budget, or the end of the night, has ended it for good; what was finished can be reviewed.
        code = Exit.LIMIT
    if screen.json:
        screen.emit(view)
        return int(code)
    show_run(screen, view)
    run = view["id"]
    if not good:
        bad = next((t["id"] for t in view["tasks"] if t["state"] in ("failed", "blocked", "cancelled")), run)
        screen.hint(f"why: nightcrew why {bad}   again: nightcrew retry {bad}")
    if any(task["state"] == "succeeded" for task in view["tasks"]):
        screen.hint(
            f"look at the results: nightcrew review {run}   then: nightcrew accept {run}, nightcrew promote {run}"
        )
    return int(code)


def _waiting(runtime: Runtime, screen: Screen, view: dict[str, Any]) -> int:
    run = view["id"]
    items = [item for item in runtime.inbox() if item["run"] == run]
    paused = [task["id"] for task in view["tasks"] if task["state"] == "paused"]
    error: NightcrewError = WaitingForHuman(
        f"all that is left of {run} waits for you",
        code="run.waiting",
        where=[f"{item['id']}: {item['action']}" for item in items]
        + [f"{each} is paused" for each in paused],
        hint=f"answer, and it goes on by itself; stay until the end with: nightcrew resume {run} --wait",
    )
    exhausted = view["usage"]["exhausted"]
    if exhausted and not items:
        error = LimitReached(
            next(iter(exhausted.values())),
            code="budget.spent",
            where=[f"{each} is paused; what it did is kept" for each in paused],
            hint=f"{_find_hint(view, next(iter(exhausted)))}   or end it: nightcrew cancel {run}",
        )
    elif view["stopped"] and not items:
        error = LimitReached(
            f"{run}: {view['stopped']['reason']}",
            code=f"stop.{view['stopped']['condition']}",
            where=[f"{each} is paused; what it did is kept" for each in paused],
            hint=f"look at the results: nightcrew review {run}   go on: nightcrew resume {run}   end it: nightcrew cancel {run}",
        )
    elif view["state"] == "paused" or not items:
        error = WaitingForHuman(
            f"{run} is {'paused' if view['state'] == 'paused' else 'waiting'}: {view['reason'] or 'tasks are paused'}",
            code="run.paused",
            where=[f"{each} is paused; what it did is kept" for each in paused],
            hint=f"go on: nightcrew resume {run if view['state'] == 'paused' or not paused else paused[0]}",
        )
    if screen.json:
        screen.emit({**view, "ok": False, "error": as_json(error)})
        return int(error.exit)
    for line in describe_items(items):
        screen.say(line)
    raise error


def _find_hint(view: dict[str, Any], key: str) -> str:
    return next((str(each["extend"]) for each in view["usage"]["budgets"] if each["key"] == key), "")


def _interrupted(runtime: Runtime, screen: Screen, run: str) -> int:
    if screen.json:
        screen.emit(runtime.show(run))
    screen.verb("Interrupted", f"{run}: agents are stopped, finished tasks are kept", "yellow")
    screen.hint(f"nightcrew resume {run}")
    return int(Exit.INTERRUPTED)
