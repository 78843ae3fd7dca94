"""A planner's answer to a goal: its shape, and what is wrong with it in words that a planner can act on. Pure.

Nothing of an answer is believed: it becomes a tasks file like one that a person wrote, and is checked, judged, shown and
approved as such. What a person would not let a stranger write into that file (command lines to run, scripts, budgets) the shape
has no place for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from nightcrew.model import ids
from nightcrew.model.errors import Place
from nightcrew.model.plans import Task
from nightcrew.model.text import find_hidden, shown
from nightcrew.plan import values
from nightcrew.plan.loops import find_loops
from nightcrew.plan.write import write_tasks

COMPLEXITY: Final = ("SIMPLE", "MEDIUM", "COMPLEX", "CRITICAL")
MAX_TASKS: Final = 60
#: So many problems are told to a planner at once.
_TOLD: Final = 25
_NUMBER: Final = r"^[1-9][0-9]{0,3}(\.(0|[1-9][0-9]{0,2}))?$"


@cache
def goal_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of an answer; given to planners that can be held to one."""
    text = {"type": "string", "minLength": 1}
    globs = {"type": "array", "maxItems": 40, "items": {**text, "maxLength": 300}}
    lines = {"type": "array", "maxItems": 10, "items": {**text, "maxLength": 2000}}
    files = dict.fromkeys(("create", "modify", "delete"), globs)
    task = {
        "id": {"type": "string", "pattern": _NUMBER},
        "title": {**text, "maxLength": 200},
        "description": {**text, "maxLength": 12_000},
        "agent": {"type": "string", "maxLength": 100},
        "depends": {"type": "array", "maxItems": 40, "items": {"type": "string", "pattern": _NUMBER}},
        "scope": {**globs, "minItems": 1},
        "accept": {**lines, "minItems": 1},
        "files": {"type": "object", "additionalProperties": False, "properties": files},
        "install": lines,
        "network": globs,
        "minutes": {"type": "number", "minimum": 0, "maximum": 10_000},
    }
    needed = ["id", "title", "description", "depends", "scope", "accept"]
    item = {"type": "object", "additionalProperties": False, "required": needed, "properties": task}
    top = {
        "summary": {"type": "string", "maxLength": 4000},
        "complexity": {"enum": list(COMPLEXITY)},
        "gaps": {"type": "array", "maxItems": 20, "items": {**text, "maxLength": 500}},
        "tasks": {"type": "array", "minItems": 1, "maxItems": MAX_TASKS, "items": item},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["summary", "complexity", "gaps", "tasks"],
        "properties": top,
    }


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a plan must keep to, as the person says.

    Attributes:
        agents: names that a task may have beside ``any``.
        within: globs that all of it must stay in; empty for anywhere. never: globs that none of it may touch.
        exists: tells whether a path is in the base.
        lacks_program: says why a command cannot be run, empty when it can.
    """

    agents: Collection[str] = ()
    within: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    exists: Callable[[str], bool] = field(default=lambda path: True)
    lacks_program: Callable[[str, Collection[str], bool], str] = field(
        default=lambda line, made, installs: ""
    )


@dataclass(frozen=True, slots=True)
class Goals:
    """An answer that has the right shape.

    Attributes:
        summary, complexity, gaps: as the planner said them.
        tasks: in its order. minutes: what it thinks each takes, by task name.
        files: task name → what it says it will create, modify and delete.
    """

    summary: str
    complexity: str
    gaps: tuple[str, ...]
    tasks: tuple[Task, ...]
    minutes: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    def write(self, title: str) -> str:
        """Return it as a tasks file."""
        return write_tasks(title, self.tasks)


def read_goals(
    plain: Mapping[str, Any], bounds: Bounds, keep: Sequence[Task] = ()
) -> tuple[Goals | None, list[str]]:
    """Return an answer, None when it has no usable shape, and what is wrong with it in words.

    Args:
        keep: tasks that stay exactly as they are, whatever the answer says of them.
    """
    plain = _leave_out(plain, {task.id for task in keep})
    problems = list(_check_shape(plain, may_be_empty=bool(keep)))
    if problems:
        return None, problems[:_TOLD]
    made = tuple(_make_task(each, bounds) for each in plain["tasks"])
    pairs = list(zip(made, plain["tasks"], strict=True))
    files = {
        task.id: {kind: tuple(each.get("files", {}).get(kind, ())) for kind in ("create", "modify", "delete")}
        for task, each in pairs
    }
    minutes = {task.id: float(each["minutes"]) for task, each in pairs if "minutes" in each}
    tasks = tuple(sorted((*keep, *made), key=lambda task: ids.sort_key(task.id))) if keep else made
    goals = Goals(plain["summary"], plain["complexity"], tuple(plain["gaps"]), tasks, minutes, files)
    problems = [*_check_graph(tasks), *(said for task in made for said in _check_task(task, goals, bounds))]
    problems += _check_writable(goals) if not problems else []
    return goals, problems[:_TOLD]


def _leave_out(plain: Mapping[str, Any], names: Collection[str]) -> Mapping[str, Any]:
    """Return an answer without what it says of some tasks."""
    tasks = plain.get("tasks")
    if not names or not isinstance(tasks, list):
        return plain

    def is_named(each: Any) -> bool:
        number = each.get("id") if isinstance(each, dict) else None
        return isinstance(number, str) and ids.is_task_number(number) and ids.name_task(number) in names

    return {**plain, "tasks": [each for each in tasks if not is_named(each)]}


def _check_shape(plain: Mapping[str, Any], *, may_be_empty: bool) -> Iterator[str]:
    import jsonschema  # late: only where something is planned

    checker = jsonschema.Draft202012Validator(goal_schema())
    for error in sorted(
        checker.iter_errors(plain), key=lambda each: [str(part) for part in each.absolute_path]
    ):
        if may_be_empty and plain.get("tasks") == [] and list(error.absolute_path) == ["tasks"]:
            continue
        where = "/".join(str(part) for part in error.absolute_path)
        yield f"{where or 'the object'}: {shown(error.message[:200])}"


def _make_task(plain: Mapping[str, Any], bounds: Bounds) -> Task:
    name = ids.name_task(plain["id"])
    title = " ".join(plain["title"].split())
    listed = plain.get("files", {})
    changed = [path for kind in listed.values() for path in kind]
    return Task(
        id=name,
        number=plain["id"],
        title=title,
        place=Place("plan"),
        agent=plain.get("agent", "").removeprefix("@") or "any",
        # All that its agent is told stands in one place, which is shown in full.
        prompt=f"{title}\n\n{plain['description'].strip()}",
        depends=tuple(dict.fromkeys(ids.name_task(each) for each in plain["depends"])),
        scope=tuple(dict.fromkeys((*plain["scope"], *(f"!{glob}" for glob in bounds.never)))),
        accept=tuple(plain["accept"]),
        install=tuple(plain.get("install", ())),
        network=tuple(plain.get("network", ())),
        files=len(set(changed)),
        creates=tuple(dict.fromkeys(listed.get("create", ()))),
        modifies=tuple(dict.fromkeys(listed.get("modify", ()))),
        deletes=tuple(dict.fromkeys(listed.get("delete", ()))),
    )


def _check_graph(tasks: Sequence[Task]) -> Iterator[str]:
    known: dict[str, Task] = {}
    for task in tasks:
        if task.id in known:
            yield f"task {task.number}: this id is there twice"
        known.setdefault(task.id, task)
    for task in tasks:
        for need in task.depends:
            if need not in known:
                yield f"task {task.number}: depends on {_spell(need)}, which is no task of the plan"
    needs = {name: [need for need in task.depends if need in known] for name, task in known.items()}
    for loop in find_loops(needs):
        numbers = [known[name].number for name in loop]
        yield f"tasks wait for each other: {' -> '.join([*numbers, numbers[0]])}"


def _check_task(task: Task, goals: Goals, bounds: Bounds) -> Iterator[str]:
    said = f"task {task.number}: "
    if task.agent not in (*bounds.agents, "any"):
        offered = ", ".join(sorted(bounds.agents)) or "none"
        yield f"{said}there is no agent {shown(task.agent)} to choose; offered are: any, {offered}"
    for glob in task.scope:
        if wrong := values.check_glob(glob):
            yield f"{said}the scope {shown(glob)} {wrong}"
    if all(glob.startswith("!") for glob in task.scope):
        yield f"{said}the scope only excludes"
    prose = task.prompt.replace("\n", " ").replace("\t", " ")
    if hidden := find_hidden(" ".join((prose, *task.accept, *task.install, *task.scope))):
        yield f"{said}invisible characters: {' '.join(hidden)}"
    yield from (said + each for each in _check_files(task, goals.files[task.id], bounds))
    made = [path for each in goals.files.values() for path in each["create"]]
    for line in (*task.install, *task.accept):
        if lacking := bounds.lacks_program(line, made, bool(task.install)):
            yield f"{said}the command `{shown(line)[:200]}` cannot be run: {lacking}"


def _check_files(task: Task, files: Mapping[str, tuple[str, ...]], bounds: Bounds) -> Iterator[str]:
    """Yield where the files it names contradict its scope, the bounds, or what is there."""
    for kind, paths in files.items():
        for path in paths:
            if wrong := values.check_glob(path) or ("begins with `!`" if path.startswith("!") else ""):
                yield f"the path {shown(path)} in files.{kind} {wrong}"
            elif not match(path, task.scope):
                yield f"{shown(path)} in files.{kind} is outside of its own scope"
            elif kind == "create" and bounds.exists(path):
                yield f"{shown(path)} in files.create is there already: modify it"
            elif kind != "create" and not bounds.exists(path) and not _is_glob(path):
                yield f"{shown(path)} in files.{kind} does not exist"
    if bounds.within:
        for glob in (each for each in task.scope if not each.startswith("!")):
            if not values.check_glob(glob) and not lies_within(glob, bounds.within):
                yield f"the scope {shown(glob)} goes beyond what was allowed: {' '.join(bounds.within)}"


def match(path: str, globs: Sequence[str]) -> bool:
    """Tell whether a path matches globs as in .gitignore."""
    import pathspec  # late: only when there is something to match

    return pathspec.GitIgnoreSpec.from_lines(globs).match_file(path)


def _is_glob(path: str) -> bool:
    return any(character in path for character in "*?[")


#: Stands in a path for what a wildcard may be: no character of text, so no literal of another glob matches it.
_ANY: Final = "\ufdd0"
#: A glob with more `**` than this is not looked through.
_MOST_STARS: Final = 4
#: What matches some characters and not others, or so many of them: nothing is certain of a wildcard held against it.
_PICKY: Final = frozenset("?[\\")


def lies_within(glob: str, globs: Sequence[str]) -> bool:
    """Tell whether all that a glob can match is matched by one of others, as far as that can be told for certain."""
    if glob in globs:
        return True
    parts = [part for part in glob.strip("/").split("/") if part]
    if not parts or parts.count("**") > _MOST_STARS:
        return False
    # Without a slash inside, a glob matches in every folder.
    found: list[list[str]] = [[]] if "/" in glob.rstrip("/") else [[], [_ANY]]
    for number, part in enumerate(parts):
        if part == "**":
            ways = [[_ANY], [_ANY, _ANY]] if number == len(parts) - 1 else [[], [_ANY]]
        else:
            ways = [[_ANY if _is_glob(part) or "\\" in part else part]]
        found = [[*path, *way] for path in found for way in ways]
    below = [_ANY] if glob.endswith("/") else []
    paths = ["/".join([*path, *below]) for path in found]
    certain = [each for each in globs if not any(_ANY in path for path in paths) or not _PICKY & set(each)]
    # One glob must match all: two that match the folders looked at need not match those between or below them.
    return any(all(match(path, [each]) for path in paths) for each in certain)


def _check_writable(goals: Goals) -> Iterator[str]:
    for task in goals.tasks:
        try:
            write_tasks("plan", (task,))
        except ValueError as error:
            yield f"task {task.number}: cannot be written down: {shown(str(error))}"


def _spell(name: str) -> str:
    head, dot, rest = name.removeprefix("T").partition(".")
    return f"{int(head)}{dot}{rest}"
