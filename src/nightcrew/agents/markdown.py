"""Markdown agents: a text with front matter that says who somebody is and what they are good at.

Many tools keep such files in a folder of theirs. Here one is a role in words that any agent can take on. What it asks for
beside words (tools, a model, permissions, hooks, servers) is named and not given: a file permits nothing. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model.errors import Place, Problem
from nightcrew.model.text import shown
from nightcrew.model.yamltext import read_document

#: Longest file that is read, and longest text that goes into a prompt.
MAX_BYTES: Final = 64 << 10
TEXT_LIMIT: Final = 32_000
NAME_LIMIT: Final = 64
#: Longest value of the fields that say what somebody is, in characters.
LIMITS: Final[Mapping[str, int]] = {"role": 200, "goal": 500, "when_to_use": 1000}
CATEGORIES: Final = ("eng", "qa", "product", "general")
#: Keys that ask for more than words, as the tools spell them.
IGNORED: Final = frozenset(
    {
        "tools",
        "allowedtools",
        "disallowedtools",
        "model",
        "mode",
        "permission",
        "permissions",
        "permissionmode",
    }
    | {"hooks", "mcp", "mcpservers", "env", "command", "args", "argv", "sandbox", "network", "approvalpolicy"}
    | {"isolation", "background", "memory", "providers", "secrets", "authority", "autonomous", "approvals"}
    | {"allow", "allowed", "caps", "budget", "rules", "policy"}
)
_FENCE: Final = "---"
_MOST_BRACKETS: Final = 200
_LINE: Final = re.compile(r"(?P<key>[A-Za-z][\w-]*)[ \t]*:[ \t]*(?P<value>.*)\Z")
_ITEM: Final = re.compile(r"[ \t]*-[ \t]+(?P<value>.*)\Z")
_NOT_NAME: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class MarkdownAgent:
    """One file.

    Attributes:
        name: small letters, digits and hyphens. source: the file, as a person knows it.
        tool: whose folder it lies in. own: the folder is the person's own, not a repository's.
        role, goal, description, when_to_use, category, skills, examples: as it says; empty where it does not.
        text: below the front matter. ignored: keys that ask for more than words.
        problem: why it cannot be used, in words with its place; empty when it can.
    """

    name: str
    source: str
    tool: str = ""
    own: bool = True
    role: str = ""
    goal: str = ""
    description: str = ""
    when_to_use: str = ""
    category: str = ""
    skills: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    text: str = ""
    ignored: tuple[str, ...] = ()
    problem: str = ""

    @property
    def about(self) -> str:
        """What it is for, in one line."""
        found = next(
            (each for each in (self.role, self.description, self.goal, self.when_to_use) if each), ""
        )
        return shown(" ".join(found.split()))


def read_agent(text: str, source: str, stem: str, *, tool: str = "", own: bool = True) -> MarkdownAgent:
    """Return the agent of a file; what is wrong with it stands in ``problem``.

    Args:
        text: content. source: file name for messages. stem: name of the file without its ending.
    """
    head, body, first = _split(text)
    fields = _read_fields(head, source, first)
    name = make_name(str(fields.get("id") or fields.get("name") or stem))
    texts = {
        key: _text(fields.get(key)) for key in ("role", "goal", "description", "when_to_use", "category")
    }
    return MarkdownAgent(
        name=name,
        source=source,
        tool=tool,
        own=own,
        **texts,
        skills=_texts(fields.get("skills")),
        examples=_texts(fields.get("examples")),
        text=body.strip(),
        ignored=tuple(
            sorted(key for key in fields if key.replace("_", "").replace("-", "").lower() in IGNORED)
        ),
        problem=_find_problem(name, texts, head, body, Place(source, 1, 1)),
    )


def make_name(text: str) -> str:
    """Return a text as the name of an agent: small letters, digits and hyphens."""
    return _NOT_NAME.sub("-", text.strip().lower()).strip("-")[:NAME_LIMIT].strip("-")


def _split(text: str) -> tuple[str, str, int]:
    """Return front matter, the text below it, and the line that the front matter begins in."""
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != _FENCE:
        return "", "\n".join(lines), 1
    for number, line in enumerate(lines[1:], 1):
        if line.strip() in (_FENCE, "..."):
            return "\n".join(lines[1:number]), "\n".join(lines[number + 1 :]), 2
    return "", "\n".join(lines), 1


def _read_fields(head: str, source: str, first: int) -> dict[str, Any]:
    """Return the front matter: as YAML, or line by line where it is only nearly that (a colon in a sentence)."""
    problems: list[Problem] = []
    # Brackets that are opened within a line cost the square of their number, and anybody's repository brings such files.
    crowded = head.count("[") + head.count("{") > _MOST_BRACKETS
    document = None if crowded else read_document(head, source, problems)
    if not problems and document is not None and isinstance(document.value, dict):
        return {str(key): value for key, value in document.value.items()}
    return _read_lines(head)


def _read_lines(head: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    key = ""
    for line in head.splitlines():
        if match := _LINE.match(line):
            key = match["key"]
            found.setdefault(key, match["value"].strip().strip("'\""))
        elif key and (item := _ITEM.match(line)):
            before = found[key] if isinstance(found[key], list) else []
            found[key] = [*before, item["value"].strip().strip("'\"")]
        elif key and line.startswith((" ", "\t")) and isinstance(found[key], str):
            found[key] = f"{found[key].removesuffix('|').removesuffix('>')} {line.strip()}".strip()
    return found


def _find_problem(name: str, texts: Mapping[str, str], head: str, body: str, place: Place) -> str:
    if not name:
        return f"{place}: it has no name"
    if "\0" in head or "\0" in body or any("\0" in each for each in texts.values()):
        # No program can be given one: every attempt would fail, and open the breaker of whoever took the role on.
        return f"{place}: it has a NUL character in it"
    for key, limit in LIMITS.items():
        if len(texts[key]) > limit:
            return f"{place}: `{key}` has {len(texts[key])} characters; at most {limit} are taken"
    if texts["category"] and texts["category"] not in CATEGORIES:
        return f"{place}: `category` is one of {', '.join(CATEGORIES)}, not {shown(texts['category'][:40])}"
    if len(body) > TEXT_LIMIT:
        return f"{place}: its text has {len(body)} characters; at most {TEXT_LIMIT} go into a prompt"
    if not body.strip() and not any(texts.values()):
        return f"{place}: it says nothing"
    return "" if head or body.strip() else f"{place}: it says nothing"


def _text(value: Any) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    return ""


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    return tuple(each for one in value if (each := _text(one))) if isinstance(value, list) else ()
