"""Which sub-bullet of a task is a key, and which is prose. Pure.

The rule (docs/formats/tasks.md, "Keys and prose"): a bullet that starts with one word and a colon is a key, and an
unknown one is an error; so is anything that is nearly a known key. What is left is description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nightcrew.model import text

KEYS: Final[Mapping[str, str]] = {
    "agent": "Agent",
    "run": "Run",
    "script": "Script",
    "prompt": "Prompt",
    "depends": "Depends",
    "scope": "Scope",
    "accept": "Accept",
    "network": "Network",
    "install": "Install",
    "files": "Files",
    "creates": "Creates",
    "modifies": "Modifies",
    "deletes": "Deletes",
    "budget": "Budget",
    "timeout": "Timeout",
    "role": "Role",
    "model": "Model",
    "fallback": "Fallback",
}
"""Lower-case key → as written in messages."""

REPEATABLE: Final = frozenset(
    {"depends", "scope", "accept", "network", "install", "creates", "modifies", "deletes"}
)
IN_COMMENTS: Final = frozenset({"agent", "depends", "model"})
"""Keys that Aurora's HTML comments may carry. A command must be where a reader of the rendered page sees it."""

_KEY = re.compile(
    r"(?P<open>[*_`]{0,3})(?P<words>[^\W\d_](?:[\w-]*[^\W_])?(?:[ \t]+[\w-]*[^\W_]){0,2})(?P<close>[*_`]{0,3})"
    r"[ \t]*(?P<sep>[:：=])(?P<rest>.*)$",
    re.DOTALL,
)
_PLAIN_TEXT: Final = f"keys are {', '.join(KEYS.values())}; for plain text drop the bullet or the colon"
_ID = r"`?T?[0-9]+(?:\.[0-9]+)*`?"
_IDS = re.compile(rf"{_ID}(?:(?:[ \t]*,[ \t]*|[ \t]+){_ID})*$")
# ``Key value`` without the colon, where the value can be nothing else than the value of that key.
_COLONLESS: Final[Mapping[str, re.Pattern[str]]] = {
    "depends": _IDS,
    "timeout": re.compile(r"[0-9]+[ \t]*[smhSMH]?$"),
    "agent": re.compile(r"[`@]*(?:command|script)`?$|`?@[\w-]+`?$"),
    "script": re.compile(r"`?\S+\.ya?ml`?$"),
    "accept": re.compile(r"`[^`]+`$"),
    "install": re.compile(r"`[^`]+`$"),
    "run": re.compile(r"`[^`]+`$"),
    "scope": re.compile(r"`[^`]+`$"),
}


@dataclass(frozen=True, slots=True)
class Key:
    """What a line turned out to be.

    Attributes:
        name: known key in lower case, empty when there is an error.
        value: the text after the colon; ``at`` its offset in the line.
        error, hint: what is wrong, when it is nearly a key; ``meant`` the known key it is near to.
    """

    name: str
    value: str = ""
    at: int = 0
    error: str = ""
    hint: str = ""
    meant: str = ""


def read_bullet(content: str) -> Key | None:
    """Read the text of a sub-bullet: a key, an error, or None for prose."""
    found = _KEY.match(content)
    if found is None:
        return _read_veiled(content) or _read_colonless(content)
    words, name = found["words"], _squeeze(found["words"])
    known = name in KEYS and words.lower() == name
    if known and found["sep"] == ":":
        return _read_known(name, found)
    near = name if known else _find_near(words, name)
    if near:
        return _wrong(f"unknown key `{text.shown(words)}{found['sep']}`", near)
    if found["sep"] == ":" and " " not in words and (not found["rest"] or found["rest"][0] in " \t"):
        return Key("", error=f"unknown key `{text.shown(words)}:`", hint=_PLAIN_TEXT)
    return None


def read_prose(content: str) -> Key | None:
    """Read a line without a bullet: an error when it is a key that somebody forgot to make a bullet of, else None."""
    found = _KEY.match(content)
    if found is None or " " in found["words"]:
        return None
    name = found["words"].lower()
    near = name if name in KEYS else text.closest(name, KEYS) if len(name) > 4 else ""
    if not near or text.distance(name, near) > 1 or found["rest"][:1] in ("/", ":"):
        return None
    return _wrong(f"`{found['words']}{found['sep']}` is not a sub-bullet", near)


def read_comment(content: str) -> Key | None:
    """Read the inside of an HTML comment: one of Aurora's keys, an error, or None for a comment that is only that."""
    key = read_bullet(content)
    if key is None or not (key.name or key.meant):
        return None
    if key.name and key.name not in IN_COMMENTS:
        shown = KEYS[key.name]
        return _wrong(f"`{shown}:` in a comment would be hidden from readers of the page", key.name)
    return key


def _read_known(name: str, found: re.Match[str]) -> Key:
    if "`" in found["open"] and "`" not in found["close"]:
        return _wrong(f"`{KEYS[name]}:` and its value are inside one pair of backticks", name)
    rest, at = found["rest"], found.start("rest")
    if found["open"] and not found["close"] and rest.startswith(found["open"]):  # **Agent:** value
        rest, at = rest[len(found["open"]) :], at + len(found["open"])
    value = rest.lstrip(" \t")
    return Key(name, value, at + len(rest) - len(value))


def _read_veiled(content: str) -> Key | None:
    """A key that only shows up once invisible characters are taken out (``Ag<U+200B>ent:``) is an error."""
    bare = "".join(c for c in content if c == "\t" or not text.is_hidden(c))
    key = read_bullet(bare) if bare != content else None
    if key is None:
        return None
    error = f"invisible characters in the key: {' '.join(text.find_hidden(content))}"
    return (
        _wrong(error, key.name or key.meant) if key.name or key.meant else Key("", error=error, hint=key.hint)
    )


def _read_colonless(content: str) -> Key | None:
    first, _, rest = content.partition(" ")
    pattern = _COLONLESS.get(first.lower())
    if pattern is None or not pattern.match(rest.strip()):
        return None
    return _wrong(f"`{first}` has no colon", first.lower())


def _find_near(words: str, name: str) -> str:
    """The known key that ``words`` before a colon or ``=`` stand for: misspelt, joined (``Time out``) or extended."""
    near = text.closest(name, KEYS)
    if near or " " not in words:
        return near
    first = words.split(maxsplit=1)[0].lower()
    return first if first in KEYS else text.closest(first, KEYS) if len(first) > 4 else ""


def _squeeze(words: str) -> str:
    return re.sub(r"[\s_-]+", "", words).lower()


def _wrong(error: str, meant: str) -> Key:
    return Key("", error=error, hint=f"write `- {KEYS[meant]}: …`", meant=meant)
