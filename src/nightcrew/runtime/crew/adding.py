"""``agent add``: one more agent in config.yaml, with everything else in the file left as it stands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightcrew.host.files import write_atomic
from nightcrew.model.errors import InvalidInput, UsageError
from nightcrew.runtime.rules import CONFIG_FILE
from nightcrew.runtime.settings.config import parse_settings

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def add_agent(
    parts: Parts, name: str, adapter: str, argv: Sequence[str], *, repository: bool
) -> dict[str, Any]:
    """Write an agent into the person's own config.yaml, or the repository's.

    Raises:
        UsageError: the name is taken there, or the file would not be valid with it; nothing was written.
    """
    file = _find_file(parts, repository=repository)
    before = file.read_text("utf-8") if file.exists() else ""
    known = _read(before, file, repository=repository).agents
    if name in known:
        raise UsageError(
            f"{file} has an agent called {name} already; nothing was written",
            code="agent.exists",
            hint=f"edit the entry {name} below agents: in {file}",
        )
    after = _insert(before, _make_entry(name, adapter, argv))
    try:
        added = _read(after, file, repository=repository).agents.get(name)
    except InvalidInput as error:
        raise UsageError(
            f"{file} would not be valid with it; nothing was written",
            code="agent.invalid",
            where=[str(problem) for problem in error.problems],
            hint="see docs/formats/config.md, or write the entry by hand",
        ) from None
    if added is None:
        raise UsageError(
            f"{file} is written in a way that cannot be added to by a program; nothing was written",
            code="agent.file",
            hint=f"add by hand, below agents:  {name}: {{adapter: {adapter}, argv: {json.dumps(list(argv))}}}",
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, after.encode("utf-8"), 0o644 if not file.exists() else file.stat().st_mode & 0o777)
    return {"name": name, "adapter": adapter, "argv": list(argv), "file": str(file)}


def _find_file(parts: Parts, *, repository: bool) -> Path:
    if not repository:
        return parts.env.config / "config.yaml"
    root = parts.find_root()
    if root is None:
        raise UsageError(
            "there is no repository here", hint="without --repository it goes into your own config.yaml"
        )
    return root / CONFIG_FILE


def _read(text: str, file: Path, *, repository: bool) -> Any:
    return parse_settings(text, str(file), repository=repository)


def _make_entry(name: str, adapter: str, argv: Sequence[str]) -> list[str]:
    lines = [f"  {name}:", f"    adapter: {adapter}"]
    if argv:
        # JSON is YAML: every word quoted, whatever is in it.
        lines.append(f"    argv: {json.dumps(list(argv), ensure_ascii=False)}")
    return lines


def _insert(text: str, entry: Sequence[str]) -> str:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.split("#")[0].rstrip() == "agents:":
            return "\n".join([*lines[: number + 1], *entry, *lines[number + 1 :]]) + "\n"
    head = lines or ["version: 1"]
    return "\n".join([*head, "agents:", *entry]) + "\n"
