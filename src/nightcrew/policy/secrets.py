"""Secrets in texts, found by the forms that key issuers use, and blotted out before anything is stored.

What is kept of a secret is its first four and last two characters, so that a person can tell which one it was. Digests
and commit ids have no such form and stay as they are, and so does an honest text: this runs over everything we store.
The table of forms is the one that changes are scanned with (``scanning.forms``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from nightcrew.policy.scanning.assigned import as_searched, find_assigned, lower
from nightcrew.policy.scanning.blot import BLOT, blot
from nightcrew.policy.scanning.forms import BEARER, FORMS, GATE, PRIVATE_KEY, URL, Form
from nightcrew.policy.scanning.marks import find_names
from nightcrew.policy.scanning.noise import REFERENCE, is_varied
from nightcrew.policy.scanning.placed import find_commands

__all__ = ["BLOT", "blot", "redact"]

Match = re.Match[str]


def redact(text: str) -> str:
    """Return ``text`` with every secret blotted out; what is not a secret is unchanged, twice is the same as once."""
    while (blotted := _redact_once(text)) != text:
        # What was blotted out may have stood in front of another secret and hidden its beginning.
        text = blotted
    return text


def _redact_once(text: str) -> str:
    if GATE.search(text):
        for form in FORMS:
            if any(needle in text for needle in form.needles):
                text = _blot_form(form, text)
    if "PRIVATE KEY" in text:
        text = PRIVATE_KEY.sub(_blot_pem, text)
    if "://" in text and "@" in text:
        text = URL.sub(_blot_url, text)
    lowered = lower(text)
    if "bearer" in lowered or "basic" in lowered:
        text = BEARER.sub(_blot_bearer, text)
    ends, commands = find_names(as_searched(text))
    text = _blot_spans(text, ((value.start, value.end) for value in find_assigned(text, ends)))
    return _blot_spans(text, sorted(find_commands(text, commands))) if commands else text


def _blot_form(form: Form, text: str) -> str:
    if form.varied:
        return form.pattern.sub(lambda match: blot(match[0]) if is_varied(match[0]) else match[0], text)
    return form.pattern.sub(_blot_match, text)


def _blot_match(match: Match) -> str:
    return blot(match[0])


def _blot_pem(match: Match) -> str:
    return f"{match[1]}{BLOT}{match[3]}"


def _blot_url(match: Match) -> str:
    password = match[2]
    return match[0] if REFERENCE.match(password) else f"{match[1]}:{blot(password)}@"


def _blot_bearer(match: Match) -> str:
    # "basic authentication", "token verification" are words, not credentials.
    return (
        match[0] if match[3].isalpha() and not match[3].isupper() else f"{match[1]}{match[2]}{blot(match[3])}"
    )


def _blot_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    position = 0
    for start, end in spans:
        if start >= position:
            parts += [text[position:start], blot(text[start:end])]
            position = end
    return "".join([*parts, text[position:]]) if parts else text
