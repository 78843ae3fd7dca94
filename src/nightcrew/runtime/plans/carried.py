"""Programs that a repository carries for an agent, and that this agent runs without asking anybody: told with the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from nightcrew.model.plans import Flag, Task
from nightcrew.model.text import shown

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules
    from nightcrew.runtime.trees.starting import Start

#: Adapter → where such programs lie. opencode imports them, whatever its own switches say; of the others none is run.
_PLACES: Final = {"opencode": (".opencode/plugin", ".opencode/plugins")}
#: Adapter → files of settings that may name such programs, and the word that does.
_SETTINGS: Final = {
    "opencode": (
        ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"),
        b'"plugin',
    )
}
_NAMED: Final = 5
_MAX_BYTES: Final = 1 << 20


def flag_carried(parts: Parts, rules: Rules, start: Start, tasks: Sequence[Task]) -> Iterator[Flag]:
    """Yield a flag for each task whose agent would run programs that come with the repository."""
    from nightcrew.agents.adapters import find_setting

    found: dict[str, list[str]] = {}
    for task in tasks:
        if task.done:
            continue
        adapter = find_setting(task.agent, rules.settings.agents).adapter
        if adapter not in _PLACES:
            continue
        if adapter not in found:
            found[adapter] = _list_carried(parts, start, adapter)
        if paths := found[adapter]:
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            named = ", ".join(shown(path) for path in paths[:_NAMED])
            text = f"{task.agent} runs programs of this repository by itself, confined and without a question: {named}{more}"
            yield Flag(task.id, "carried", text)


def _list_carried(parts: Parts, start: Start, adapter: str) -> list[str]:
    git, commit = parts.git(start.repository), start.commit
    listed = git.run("ls-tree", "-r", "-z", "--name-only", commit, "--", *_PLACES[adapter])
    names = [each.decode("utf-8", "surrogateescape") for each in listed.stdout.split(b"\0") if each]
    files, word = _SETTINGS[adapter]
    listed = git.run("ls-tree", "-r", "-z", "--name-only", commit, "--", *files)
    settings = [each.decode("utf-8", "surrogateescape") for each in listed.stdout.split(b"\0") if each]
    contents = {
        each: git.run("cat-file", "blob", f"{commit}:{each}").stdout[:_MAX_BYTES] for each in settings
    }
    return [*names, *(each for each, data in contents.items() if word in data)]
