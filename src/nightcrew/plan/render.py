"""A plan as plain text for the person who approves it: nothing that will run is shortened or left out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from nightcrew.model.plans import Flag, Plan, Step, Task
from nightcrew.model.text import count, fit, hang, measure, pad, shorten_id, shown
from nightcrew.plan.check import waves

MIN_WIDTH: Final = 60
_PATHS_AT_MOST: Final = 30
"""Names of uncommitted paths that are shown; the digest covers all of them, and --json has them."""
_GAP: Final = "  "
_HEADER: Final = ("task", "title", "needs", "agent", "scope", "acceptance", "flags")
_FLOORS: Final = (4, 8, 5, 7, 6, 10, 5)
_ELASTIC: Final = (1, 4, 5)
"""Columns that are cut first: the title is a label, scope and acceptance stand in full elsewhere."""

# Kind of flag → short word for the table, heading of its list. In the order shown: worst first.
_KINDS: Final = {
    "forbidden": ("forbidden", "forbidden by policy"),
    "asks": ("asks", "will ask you"),
    "opaque": ("opaque", "cannot be known before it runs"),
    "hidden": ("hidden", "invisible characters"),
    "network": ("network", "may reach the network"),
    "carried": ("carried", "programs that come with the repository, and that its agent runs unasked"),
    "role": ("role", "what its role means for it"),
    "gap": ("gap", "gaps: agents that are missing, or cannot be used now"),
    "routed": ("routed", "agents that were chosen, and why"),
    "persona": ("persona", "roles from Markdown files: words only, no more rights, tools or keys"),
    "overlap": ("overlap", "may collide: side by side in the same paths"),
    "unseen": ("unseen", "not asked for one by one: the sandbox, the change and your review are what holds"),
    "unverified": ("unverified", "unverified: no acceptance"),
    "no_scope": ("no scope", "no scope: may change any path that policy leaves open"),
}


def render_plan(
    plan: Plan,
    flags: Sequence[Flag],
    *,
    run_id: str,
    isolation: str,
    width: int = 100,
    remarks: Sequence[str] = (),
    choices: Sequence[str] = (),
    named: str | None = "",
) -> str:
    """Return the plan as text.

    Args:
        plan: what would run.
        flags: what a person should see first; every flag's command is shown in full.
        run_id: ``R-7``; empty for a preview that nobody can approve.
        isolation: what confines the tasks, in words.
        width: columns of the screen; below MIN_WIDTH it is taken as MIN_WIDTH.
        remarks: what is known of how it came about, one line each; anybody's words.
        choices: what a person can do beside saying yes or no.
        named: digest that a yes must name, empty when it need not; None when nobody is asked for one any more.
    """
    page = _Page(plan, tuple(flags), max(width, MIN_WIDTH))
    lines = [
        *page.head(run_id, isolation),
        *(line for each in remarks for line in hang(" ", shown(each), page.width)),
        *page.waves(),
        *page.commands(),
        *page.flags(),
        *(() if named is None else page.foot(run_id, named)),
        *(line for each in choices for line in hang(" ", each, page.width)),
    ]
    return "\n".join(lines)


class _Page:
    def __init__(self, plan: Plan, flags: tuple[Flag, ...], width: int) -> None:
        self.plan = plan
        self.flag_list = flags
        self.width = width
        self.order = waves(plan.tasks)
        self.tasks = {task.id: task for task in plan.tasks}
        self.by_task: dict[str, Counter[str]] = {}
        for flag in flags:
            self.by_task.setdefault(flag.task, Counter())[flag.kind] += 1

    def head(self, run_id: str, isolation: str) -> Iterator[str]:
        digest = self.plan.digest
        total = sum(map(len, self.order))
        facts = [
            count(total, "task"),
            count(len(self.order), "wave"),
            f"base {shorten_id(self.plan.base_commit) or 'none'}",
            f"digest {shorten_id(digest, 6)} (type {digest[:4]})",
        ]
        yield from hang(f"{run_id} " if run_id else "", f'"{shown(self.plan.title)}"', self.width)
        yield from hang(" ", _GAP.join(facts), self.width)
        yield from hang(" ", f"from {shown(self.plan.source)}", self.width)
        yield from hang(" ", f"isolation {shown(isolation)}", self.width)
        if self.plan.budget:
            yield from hang(" ", f"budget {shown(self.plan.budget)} for all that models cost", self.width)
        yield from self._included()
        done = [task.id for task in self.plan.tasks if task.done]
        if done:
            yield from hang(" done already: ", " ".join(done), self.width)

    def _included(self) -> Iterator[str]:
        """The user's uncommitted work that is part of the base."""
        paths = self.plan.included
        if not paths:
            return
        head = f" base: {shorten_id(self.plan.head_commit)} and {count(len(paths), 'uncommitted path')}: "
        names = [shown(path) for path in paths[:_PATHS_AT_MOST]]
        more = len(paths) - len(names)
        yield from hang(head, ", ".join([*names, *([f"and {more} more"] if more > 0 else [])]), self.width)

    def waves(self) -> Iterator[str]:
        rows = {name: self._row(self.tasks[name]) for wave in self.order for name in wave}
        widths = _fit_columns([_HEADER, *rows.values()], self.width - 1)
        for index, wave in enumerate(self.order, 1):
            yield ""
            yield f"wave {index}: {count(len(wave), 'task')}{' side by side' if len(wave) > 1 else ''}"
            yield " " + _join(_HEADER, widths)
            yield from (" " + _join(rows[name], widths) for name in wave)

    def _row(self, task: Task) -> tuple[str, ...]:
        counts = self.by_task.get(task.id, Counter())
        words = [f"{_KINDS[k][0]}{f' {counts[k]}' if counts[k] > 1 else ''}" for k in _KINDS if counts[k]]
        cells = (
            task.id,
            task.title,
            " ".join(task.depends),
            task.agent,
            " ".join(task.scope) or "anywhere",
            "; ".join(task.accept),
            ", ".join(words),
        )
        return tuple(shown(cell) or "-" for cell in cells)

    def commands(self) -> Iterator[str]:
        """Everything that will be executed, in full."""
        yield ""
        yield "what will run, in full (approved with this plan)"
        for name in (name for wave in self.order for name in wave):
            for label, content in _describe(self.tasks[name]):
                yield from _block(f" {name} {label}", content, self.width)

    def flags(self) -> Iterator[str]:
        counts = Counter(flag.kind for flag in self.flag_list)
        yield ""
        summary = [f"{_KINDS[k][0]}: {counts[k]}" for k in ("forbidden", "asks", "unverified")]
        yield _GAP.join(summary)
        for kind, (_, heading) in _KINDS.items():
            chosen = [flag for flag in self.flag_list if flag.kind == kind]
            if not chosen:
                continue
            if kind in ("unverified", "no_scope"):
                yield from hang(" ", f"{heading}: {' '.join(flag.task for flag in chosen)}", self.width)
                continue
            yield f" {heading}"
            for flag in chosen:
                yield from self._flag(flag)

    def _flag(self, flag: Flag) -> Iterator[str]:
        rule = f"rule {flag.rule} ({flag.source})" if flag.rule else ""
        why = ": ".join(part for part in (rule, flag.text) if part)
        if flag.action:
            yield from _block(f"  {flag.task}", flag.action, self.width)
            yield from hang("      ", shown(why), self.width)
        else:
            yield from hang(f"  {flag.task} ", shown(why), self.width)

    def foot(self, run_id: str, named: str) -> Iterator[str]:
        if not run_id:
            return
        yield ""
        if any(flag.kind == "forbidden" for flag in self.flag_list):
            yield from hang(
                " ",
                "a forbidden command stops the whole plan: change the tasks file and run it anew",
                self.width,
            )
        else:
            approve = f"nightcrew approve {run_id}{f' --digest {named[:12]}' if named else ''}"
            yield from hang(" ", f"{approve} | nightcrew deny {run_id} -m why", self.width)


def _describe(task: Task) -> Iterator[tuple[str, str]]:
    """Label and content of everything of a task that will be executed or handed to an agent."""
    timeout = "" if task.timeout_s is None else f"{task.timeout_s:g} s"
    bounds = (("timeout", timeout), ("fallback", ", ".join(task.fallback)), ("budget", task.budget))
    extra = [
        f"{key} {value}" for key, value in (("role", task.role), ("model", task.model), *bounds) if value
    ]
    yield from ([("run", task.run)] if task.run else [])
    if task.script:
        yield "script", "\n".join([task.script, *map(describe_step, task.steps)])
    if task.persona is not None:
        yield f"role {task.persona.name}", task.persona.text
    if task.prompt:
        yield "prompt", task.prompt
    if extra:
        yield "with", ", ".join(extra)
    named = (
        ("scope", task.scope),
        ("creates", task.creates),
        ("modifies", task.modifies),
        ("deletes", task.deletes),
    )
    for label, listed in (*named, ("network", task.network)):
        if listed:
            yield label, " ".join(listed)
    yield from (("install", command) for command in task.install)
    yield from (("accept", command) for command in task.accept)


def describe_step(step: Step) -> str:
    """A step in one line, its commands in full; of file contents the size (the digest covers every byte)."""
    tail = " (goes on when denied)" if step.on_denied == "continue" else ""
    if step.do in ("write", "append"):
        size = len(step.text.encode("utf-8", "surrogateescape"))
        return f"- {step.do} {step.path} ({count(size, 'byte')}){tail}"
    if step.do == "question":
        offered = f" [{' | '.join(step.choices)}]" if step.choices else ""
        return f"- asks you: {step.text}{offered}{f' (into {step.path})' if step.path else ''}{tail}"
    return f"- {' '.join(part for part in (step.do, step.path, step.text) if part)}{tail}"


def _block(label: str, content: str, width: int) -> Iterator[str]:
    """A command with its label. A line too long goes on behind ``…``; a line without it is a line of its own."""
    blank = " " * measure(label)
    for index, line in enumerate(content.split("\n")):
        yield from hang(f"{label if index == 0 else blank}  ", shown(line, keep="\t").expandtabs(4), width)


def _fit_columns(rows: Iterable[Sequence[str]], width: int) -> list[int]:
    """Column widths: as the cells need, cut back one by one where there is most to spare until all fit."""
    widths = [
        max(floor, *(measure(cell) for cell in column))
        for floor, column in zip(_FLOORS, zip(*rows, strict=True), strict=True)
    ]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    for columns in (_ELASTIC, range(len(widths))):
        while excess > 0:
            index = max(columns, key=lambda i: widths[i] - _FLOORS[i])
            if widths[index] <= _FLOORS[index]:
                break
            widths[index] -= 1
            excess -= 1
    return widths


def _join(cells: Sequence[str], widths: Sequence[int]) -> str:
    *front, last = zip(cells, widths, strict=True)
    return _GAP.join([*(pad(cell, size) for cell, size in front), fit(*last)]).rstrip()
