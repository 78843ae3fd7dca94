"""Tasks that run side by side and may change the same paths; how large a plan is. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

from nightcrew.model.plans import Flag, Task
from nightcrew.model.text import shown
from nightcrew.plan.check import waves

#: Beyond these every pair and every path is not looked at: the forecast of conflicts while the run goes on does that.
_TASKS: Final = 80
_PATHS: Final = 50_000
_NAMED: Final = 3


def find_overlaps(
    tasks: Sequence[Task], paths: Collection[str], *, ignore: Sequence[str] = ()
) -> Iterator[Flag]:
    """Yield a flag for each pair of tasks that may run side by side and change the same paths.

    Args:
        tasks: of the plan. paths: of its base. ignore: prefixes of paths that do not count.
    """
    import pathspec  # late: only where something is planned

    open_tasks = [task for task in tasks if not task.done and task.scope]
    if len(open_tasks) > _TASKS or len(paths) > _PATHS:
        return
    above = _close(tasks)
    specs = {task.id: pathspec.GitIgnoreSpec.from_lines(task.scope) for task in open_tasks}
    touched = {name: set(spec.match_files(paths)) for name, spec in specs.items()}
    for one, other in combinations(open_tasks, 2):
        if one.id in above[other.id] or other.id in above[one.id]:
            continue
        common = sorted(
            path for path in touched[one.id] & touched[other.id] if not path.startswith(tuple(ignore))
        )
        new = [each for each in one.scope if each in other.scope and not each.startswith("!")]
        names = [shown(path) for path in (*new, *common)][:_NAMED]
        if names:
            more = len(new) + len(common) - len(names)
            said = ", ".join(names) + (f" and {more} more" if more > 0 else "")
            yield Flag(other.id, "overlap", f"it runs beside {one.id}, and both may change {said}")


def _close(tasks: Sequence[Task]) -> Mapping[str, set[str]]:
    """Return everything each task builds on, directly or not."""
    found: dict[str, set[str]] = {task.id: set() for task in tasks}
    by_name = {task.id: task for task in tasks}
    for wave in waves(tasks):
        for name in wave:
            for need in by_name[name].depends:
                found[name] |= {need, *found.get(need, ())}
    return found


def weigh(tasks: Sequence[Task], flags: Sequence[Flag]) -> str:
    """Return how complex a plan is by what is in it: ``SIMPLE``, ``MEDIUM``, ``COMPLEX`` or ``CRITICAL``."""
    open_tasks = [task for task in tasks if not task.done]
    kinds = {flag.kind for flag in flags}
    if kinds & {"forbidden", "network", "hidden"} or len(open_tasks) > 30:
        return "CRITICAL"
    deep = len(waves(tasks))
    if len(open_tasks) > 8 or deep > 4 or "asks" in kinds or "opaque" in kinds:
        return "COMPLEX"
    return "SIMPLE" if len(open_tasks) <= 2 else "MEDIUM"
