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
_PLACES: Final = {
    "opencode": (".opencode/plugin", ".opencode/plugins", ".opencode/tool", ".opencode/tools"),
}
#: Adapter → what leads elsewhere when it is a link: nobody can say what lies there by the time it is followed.
_LINKED: Final = {"opencode": (".opencode",)}
#: Adapter → files of settings that may name such programs, and the word that does.
_SETTINGS: Final = {
    "opencode": (
        ("opencode.json", "opencode.jsonc", ".opencode/opencode.json", ".opencode/opencode.jsonc"),
        b'"plugin',
    )
}
#: Kind of a link in a tree of git.
_LINK: Final = b"120000"
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

    def list_paths(*places: str) -> list[tuple[str, bool]]:
        listed = git.run("ls-tree", "-r", "-z", commit, "--", *places).stdout.split(b"\0")
        pairs = [each.partition(b"\t") for each in listed if each]
        return [(name.decode("utf-8", "surrogateescape"), head.startswith(_LINK)) for head, _, name in pairs]

    def may_name(path: str) -> bool:
        data = git.run("cat-file", "blob", f"{commit}:{path}").stdout
        # A word can be spelled with escapes; what is too long is not read.
        return word in data or b"\\u" in data or len(data) > _MAX_BYTES

    files, word = _SETTINGS[adapter]
    names = [name for name, _ in list_paths(*_PLACES[adapter])]
    names += [name for name, is_link in list_paths(*_LINKED[adapter]) if is_link and name not in names]
    settings = [(name, is_link) for name, is_link in list_paths(*files) if name not in names]
    return [*names, *(name for name, is_link in settings if is_link or may_name(name))]
