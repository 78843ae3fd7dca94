"""Write tasks as a tasks file (format: docs/formats/tasks.md) that reads back as the very same tasks. Pure.

Nothing in a text can become a line of its own: what has a line break, or could be read as something else, stands in a fenced
block whose fence is longer than any in it. What cannot be written so is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from nightcrew.model.ids import find_origin
from nightcrew.model.plans import Task
from nightcrew.plan import keys, lines

#: Task fields that are lists of items, and how they are joined.
_ITEM = re.compile(r"[^\s,`]+\Z")
_PLAIN = re.compile(r"[^\s`](?:[^`\r\n]*[^\s`])?\Z")
_COMMENT: Final = ("<!--", "-->")
_LONG: Final = 2000


def write_tasks(title: str, tasks: Sequence[Task]) -> str:
    """Return a tasks file with these tasks.

    Raises:
        ValueError: a text cannot stand in such a file; says which.
    """
    parts = [f"# {one_line(title) or 'Plan'}\n"]
    parts += ["\n".join(_write(task)) for task in tasks]
    return "\n".join(parts) + "\n"


def one_line(text: str) -> str:
    """Return a text as a title can have it: on one line, and nothing in it that opens or closes a comment."""
    line = " ".join(text.split())
    for mark in _COMMENT:
        line = line.replace(mark, " ".join(mark))
    return line.rstrip("#").strip()


def _write(task: Task) -> Iterator[str]:
    box = "x" if task.done else " "
    yield f"- [{box}] {task.number}. {one_line(task.title)}"
    if not (task.run and task.agent == "command") and not (task.script and task.agent == "script"):
        yield from _value("Agent", f"@{task.persona.name}" if task.persona else task.agent)
    for key, text in (("Run", task.run), ("Script", task.script), ("Prompt", task.prompt)):
        yield from _value(key, text)
    if task.depends:
        yield f"  - Depends: {', '.join(_spell(name) for name in task.depends)}"
    yield from _items("Fallback", task.fallback)
    yield from _items("Scope", task.scope)
    yield from _items("Network", task.network)
    for command in task.install:
        yield from _value("Install", command)
    for command in task.accept:
        yield from _value("Accept", command)
    yield from _files(task)
    if task.timeout_s is not None:
        yield f"  - Timeout: {task.timeout_s:g}s"
    for key, text in (("Budget", task.budget), ("Role", task.role), ("Model", task.model)):
        yield from _value(key, text)
    if task.description and task.description != task.prompt:
        yield ""
        yield from _prose(task.description)


def _files(task: Task) -> Iterator[str]:
    for key, listed in (("Creates", task.creates), ("Modifies", task.modifies), ("Deletes", task.deletes)):
        yield from _items(key, listed)
    if task.files:
        yield f"  - Files: {task.files}"


def _spell(name: str) -> str:
    """Return the number of a task as it is typed: ``T02.1`` → ``2.1``."""
    head, dot, rest = find_origin(name).removeprefix("T").partition(".")
    return f"{int(head)}{dot}{rest}"


def _value(key: str, text: str) -> Iterator[str]:
    if not text:
        return
    if "\0" in text:
        raise ValueError(f"a NUL character in {key}")
    plain = _PLAIN.match(text) and len(text) < _LONG and not any(mark in text for mark in _COMMENT)
    if plain:
        yield f"  - {key}: `{text}`"
        return
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    yield f"  - {key}:"
    yield f"    {fence}"
    yield from (f"    {line}" for line in _lines(text))
    yield f"    {fence}"


def _lines(text: str) -> list[str]:
    if "\r" in text:
        raise ValueError("a carriage return in a text")
    return text.split("\n")


def _items(key: str, items: Sequence[str]) -> Iterator[str]:
    if not items:
        return
    for item in items:
        if "`" in item or "\n" in item or "\r" in item or item != item.strip() or not item:
            raise ValueError(f"{item!r} in {key}")
    yield f"  - {key}: {', '.join(item if _ITEM.match(item) else f'`{item}`' for item in items)}"


def _prose(text: str) -> Iterator[str]:
    """Yield a description; a block is the only place where no line of it can be taken for anything else."""
    written = [f"  {line}" if line else "" for line in _lines(text)]
    if all(_is_prose(line.strip()) for line in _lines(text)):
        yield from written
        return
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    yield from (f"  {fence}", *written, f"  {fence}")


def _is_prose(body: str) -> bool:
    """Tell whether a line inside a task is read as nothing but its description."""
    if "<!--" in body or lines.match_fence(body) or lines.match_box(body) or lines.is_broken_box(body):
        return False
    width = lines.match_bullet(body)
    return (keys.read_bullet(body[width:]) if width else keys.read_prose(body)) is None
