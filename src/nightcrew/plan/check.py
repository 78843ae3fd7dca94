"""Check tasks against each other, and put them in order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from nightcrew.model import text
from nightcrew.model.errors import Problem
from nightcrew.model.plans import Task
from nightcrew.model.routes import ANY
from nightcrew.plan.loops import find_loops

COMMAND = "command"
SCRIPT = "script"


def check_tasks(tasks: Sequence[Task], *, agents: Collection[str]) -> list[Problem]:
    """Return everything wrong with the tasks as a whole, in the order of the file.

    Args:
        tasks: as ``parse_tasks`` gave them.
        agents: names of the agents that exist: adapters and those of config.yaml.
    """
    by_name: dict[str, Task] = {}
    problems: list[Problem] = []
    for task in tasks:
        first = by_name.setdefault(task.id, task)
        if first is not task:
            what = f"task {task.number} is there twice; the first stands in line {first.place.line}"
            problems.append(Problem(task.place, what, "give each task a number of its own"))
    for task in tasks:
        problems += _check_needs(task, by_name)
        if not task.done:
            problems += _check_agent(task, agents)
    problems += _check_loops(by_name)
    return sorted(problems, key=lambda problem: problem.place)


def _check_needs(task: Task, by_name: Mapping[str, Task]) -> list[Problem]:
    places = task.depends_places or (task.place,) * len(task.depends)
    return [
        Problem(
            place,
            f"task {task.number} depends on {_spell(name)}, which does not exist",
            _suggest(name, by_name),
        )
        for name, place in zip(task.depends, places, strict=True)
        if name not in by_name
    ]


def _suggest(name: str, by_name: Mapping[str, Task]) -> str:
    """The nearest number: ``1`` for ``1.0`` and the other way round, else one edit away."""
    related = (name.partition(".")[0], f"{name}.0", f"{name}.1")
    near = next((other for other in related if other in by_name), "") or _nearest(name, by_name)
    return (
        f"did you mean {by_name[near].number}?" if near else "tick or remove the dependency, or add the task"
    )


def _nearest(name: str, by_name: Mapping[str, Task]) -> str:
    """Among few tasks any that is one edit away; among many only a neighbour in counting would be a guess."""
    return text.closest(name, by_name) if len(by_name) <= 200 else ""


def _spell(name: str) -> str:
    head, dot, rest = name.removeprefix("T").partition(".")
    return f"{int(head)}{dot}{rest}"


def _check_agent(task: Task, agents: Collection[str]) -> list[Problem]:
    place = task.agent_place or task.place
    if task.agent == ANY and task.agent_place is None and ANY not in agents:
        # Nobody is there who could be chosen for it.
        hint = "add `- Run: <command>`, `- Script: <file.yaml>` or `- Agent: <name>` below it"
        return [Problem(task.place, f"task {task.number} does not say what to run", hint)]
    if task.agent not in agents:
        near = text.closest(task.agent, agents)
        known = f"known agents: {', '.join(sorted(agents))}"
        hint = f"did you mean `{near}`? {known}" if near else known
        return [Problem(place, f"unknown agent `{text.shown(task.agent)}`", hint)]
    return [*_check_run(task), *_check_script(task), *_check_prompt(task)]


def _check_run(task: Task) -> list[Problem]:
    if task.agent == COMMAND and not task.run and not task.agent_place:
        hint = "add `- Run: <command>`, `- Script: <file.yaml>` or `- Agent: <name>` below it"
        return [Problem(task.place, f"task {task.number} does not say what to run", hint)]
    if task.agent == COMMAND and not task.run:
        return [Problem(task.place, f"task {task.number} has no `Run:`", "add `- Run: <command>` below it")]
    if task.agent != COMMAND and task.run:
        what = f"`Run:` is for the agent `{COMMAND}`, and task {task.number} has `{text.shown(task.agent)}`"
        return [
            Problem(task.run_place or task.place, what, "write `- Prompt:`, or drop one of the two lines")
        ]
    return []


def _check_script(task: Task) -> list[Problem]:
    if task.agent == SCRIPT and not task.script:
        return [
            Problem(
                task.place, f"task {task.number} has no `Script:`", "add `- Script: <file.yaml>` below it"
            )
        ]
    if (
        task.agent != SCRIPT
        and task.script
        and not (task.agent == COMMAND and task.run and not task.agent_place)
    ):
        what = f"`Script:` is for the agent `{SCRIPT}`, and task {task.number} has `{text.shown(task.agent)}`"
        return [Problem(task.script_place or task.place, what, "drop one of the two lines")]
    return []


def _check_prompt(task: Task) -> list[Problem]:
    if task.prompt and task.agent in (COMMAND, SCRIPT):
        what = f"`Prompt:` of task {task.number} would not be used: the agent `{task.agent}` takes none"
        return [Problem(task.place, what, "write it as plain text below the task, or name another agent")]
    return []


def _check_loops(by_name: Mapping[str, Task]) -> list[Problem]:
    needs = {name: [need for need in task.depends if need in by_name] for name, task in by_name.items()}
    problems = []
    for loop in find_loops(needs):
        numbers = [by_name[name].number for name in loop]
        first = by_name[loop[0]]
        edge = first.depends.index(loop[1 % len(loop)])
        what = f"tasks wait for each other: {' → '.join([*numbers, numbers[0]])}"
        if len(loop) == 1:
            what = f"task {numbers[0]} depends on itself: {numbers[0]} → {numbers[0]}"
        place = first.depends_places[edge] if first.depends_places else first.place
        problems.append(Problem(place, what, "take one `Depends:` out of the loop"))
    return problems


def waves(tasks: Sequence[Task]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the tasks that are not done, in waves: each wave needs only what is in earlier ones.

    Tasks of a wave stand in the order of the file. Tasks in a loop, which ``check_tasks`` refuses, are left out.
    """
    open_tasks = {task.id: task for task in tasks if not task.done}
    missing = {name: {n for n in task.depends if n in open_tasks} for name, task in open_tasks.items()}
    dependents: dict[str, list[str]] = {name: [] for name in open_tasks}
    for name, needs in missing.items():
        for need in needs:
            dependents[need].append(name)
    position = {name: index for index, name in enumerate(open_tasks)}
    found: list[tuple[str, ...]] = []
    ready = [name for name, needs in missing.items() if not needs]
    while ready:
        found.append(tuple(ready))
        freed = []
        for name in ready:
            for dependent in dependents[name]:
                missing[dependent].discard(name)
                if not missing[dependent]:
                    freed.append(dependent)
        ready = sorted(freed, key=position.__getitem__)
    return tuple(found)
