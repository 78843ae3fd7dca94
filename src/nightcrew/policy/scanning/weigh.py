"""How much a name, a URL or a neighbourhood says about a value being a secret. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

from nightcrew.policy.scanning import noise
from nightcrew.policy.scanning.assigned import Value

Weight = Literal["", "high", "medium", "low"]

# What follows in such a name is told about the secret, and is not the secret.
_ABOUT: Final = re.compile(
    r"(?i)(?:word|wd|phrase)?s?[_.-]?(?P<about>urls?|uris?|endpoint|types?|names?|paths?|files?|filename|dir|ids?|counts?|length|len|size|limits?|field|label"
    r"|ttl|expir\w*|prefix|suffix|regexp?|pattern|header|params?|placeholder|hint|errors?|message|title|izer\w*|ize\w*|arn"
    r"|policy|format|class|kind|env|var|refs?|version|bytes|bits|algo\w*|alg|scopes?|status|state|count\w*|usage|budget|role"
    r"|per\w*|vault|manager|store|provider|source|index|position|start|end|text)?s?['\"\]]{0,2}\s*(?:=|:)"
)
# `--password=x` of a command, and variables that programs read one from.
_PLACE: Final = re.compile(r"(?:(?<!\S)--(?:[a-z]{1,12}-){0,3}pass|PGPASS|MYSQL_PWD)\Z")
_LONGEST_NAME: Final = 60
_LOCAL: Final = re.compile(r"(?:localhost|127\.|\[::1\]|0\.0\.0\.0|host[:/]|hostname|db[:/]|example\.)")
_WORDS: Final = (
    "auth",
    "cred",
    "secret",
    "token",
    "passw",
    "bearer",
    "api_key",
    "apikey",
    "api-key",
    "private",
    "webhook",
    "dsn",
)
_DIGESTS: Final = ("sha", "integrity", "digest", "checksum", "commit")
_NEIGHBOURHOOD: Final = 80


def judge_assigned(text: str, value: Value, *, settings: bool) -> Weight:
    """Return how likely an assigned value is a secret; empty when it is none.

    Args:
        text: where it stands.
        value: its place.
        settings: the file holds values rather than code.
    """
    held = text[value.start : value.end]
    rest = _ABOUT.match(text, value.name_end, value.start)
    if rest is not None and rest["about"]:
        return ""
    if noise.is_placeholder(held) or held.lower() in noise.COMMON or len(held) < 6:
        return ""
    if noise.is_digest(held):
        return "medium" if len(held) >= 32 and "-" not in held and not held.isdigit() else ""
    if noise.is_varied(held) and len(held) >= 12:
        return "medium"
    if value.tight and _PLACE.search(text, max(0, value.name_end - _LONGEST_NAME), value.name_end):
        return "medium"
    return _judge_word(held, value, settings=settings)


def _judge_word(held: str, value: Value, *, settings: bool) -> Weight:
    """A value that no generator made: a person's password, or a piece of code."""
    mixed = any(c.isalpha() for c in held) and any(not c.isalpha() and c not in "_-./:" for c in held)
    if settings and (value.tight or value.quoted or mixed):
        return "medium" if mixed or value.tight else "low"
    if value.quoted and mixed and len(held) >= 8 and not re.search(r"[/\\(){}\[\]<>@]|\.\w+\Z", held):
        return "medium"
    return "low" if value.quoted and mixed else ""


def judge_url(password: str, behind: str) -> Weight:
    """Return how likely the password of a URL is one; ``behind`` is what follows the ``@``."""
    if noise.is_placeholder(password) or len(set(password)) < 3:
        return ""
    if password.lower() in noise.COMMON or _LOCAL.match(behind):
        return "low"
    return "high" if any(c.isdigit() for c in password) or len(password) >= 12 else "medium"


def tells_of_secrets(text: str, start: int) -> bool:
    """Tell whether the line before ``start`` speaks of secrets, and not of digests."""
    first = max(0, start - _NEIGHBOURHOOD)
    before = text[max(first, text.rfind("\n", first, start) + 1) : start].lower()
    return any(word in before for word in _WORDS) and not any(word in before for word in _DIGESTS)
