"""One content → the secrets in it, each with its place. Pure.

A content is searched as bytes read as Latin-1, so that places are the same in both and nothing fails to decode. Only what
stands around runs of key characters is compared with the forms, and only where one may begin at all (``marks``), which
makes an ordinary text cost little more than reading it.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from nightcrew.policy.scanning import noise
from nightcrew.policy.scanning.assigned import find_assigned
from nightcrew.policy.scanning.blot import BLOT, blot
from nightcrew.policy.scanning.forms import BEARER, FORMS, PRIVATE_KEY, RUN, URL, Form
from nightcrew.policy.scanning.placed import find_commands, find_placed
from nightcrew.policy.scanning.runs import RANDOM_LENGTH, Run, Seen, look
from nightcrew.policy.scanning.weigh import judge_assigned, judge_url, tells_of_secrets

Severity = Literal["high", "medium", "low"]

_KEPT_DIGITS: Final = 20
# Forms begin at most this many characters before a long run, and what decides about them ends this many behind it.
_BEFORE: Final = 64
_BEHIND: Final = 400
# The end of `bearer` or `basic`, and the blank behind it.
_BEFORE_CREDENTIAL: Final = frozenset(last + blank for last in "rRcC" for blank in " \t")
_MIN_ARMOURED: Final = 40
_NAME_PARTS: Final = re.compile(r"[^A-Za-z0-9_-]+")
_ARMOUR: Final = re.compile(rb"(?<![A-Za-z0-9+/=-])[A-Za-z0-9+/=]{16,}")


@dataclass(frozen=True, slots=True)
class Secret:
    """What looks like a secret.

    Attributes:
        rule: id of the form, ``assigned``, ``placed``, ``entropy``, ``private_key``, ``url.password`` or ``bearer``.
        title: what it is, for a person.
        severity: ``high``: it has the form of a key; ``medium``: its name or place says so; ``low``: only worth knowing.
        line: counted from 1; of what was unwrapped, the line of the wrapping.
        shown: first four and last two characters.
        fingerprint: of rule and value; stable, and of no use to get the value back where that is long enough.
        inside: where in the content: members of archives and encodings, outermost first; empty for the text itself.
    """

    rule: str
    title: str
    severity: Severity
    line: int
    shown: str
    fingerprint: str
    inside: tuple[str, ...] = ()


class Hit(NamedTuple):
    """A secret at ``[start, end)`` of a text."""

    start: int
    end: int
    rule: str
    title: str
    severity: Severity


def fingerprint(rule: str, value: bytes) -> str:
    """Return the name under which a secret can be allowed: 20 hexadecimal digits of SHA-256 over rule and value."""
    return hashlib.sha256(rule.encode() + b"\0" + value).hexdigest()[:_KEPT_DIGITS]


def scan_text(data: bytes, path: str, seen: Seen) -> Iterator[Secret]:
    """Yield the secrets of one text, in the order they stand in it.

    Args:
        data: the text in any encoding that holds ASCII as it is.
        path: its name, which tells settings from code and generated files from written ones.
        seen: in ``data``, at first sight.
    """
    text = data.decode("latin-1")
    end = -1
    line, counted = 1, 0
    for hit in sorted(_find_all(text, data, path, seen), key=lambda h: (h.start, -h.end)):
        if hit.start < end:
            continue
        end = hit.end
        line, counted = line + data.count(b"\n", counted, hit.start), hit.start
        value = data[hit.start : hit.end]
        if hit.rule == "private_key":
            # However its lines are broken, and whatever quotes stand around them.
            value = noise.armoured(value.decode("latin-1")).encode()
        yield Secret(
            hit.rule,
            hit.title,
            hit.severity,
            line,
            blot(value.decode("utf-8", "replace")),
            fingerprint(hit.rule, value),
        )


def blot_out(data: bytes) -> tuple[bytes, int]:
    """Return a text with its secrets blotted out, line by line as it was, and how many there were.

    Meant for showing a change to a person: what only might be one by its name in code stays readable.
    """
    text = data.decode("latin-1")
    pieces: list[bytes] = []
    end = count = 0
    for hit in sorted(_find_all(text, data, "", look(data)), key=lambda h: (h.start, -h.end)):
        if hit.start < end or hit.severity == "low":
            continue
        held = data[hit.start : hit.end]
        pieces += [data[end : hit.start], _hide(held, hit.rule)]
        end, count = hit.end, count + 1
    return b"".join([*pieces, data[end:]]), count


def hide_in_name(path: str) -> str:
    """Return the name of a file as it may be shown."""
    # A short one holds none, and there are many of them.
    if not any(len(part) >= RUN for part in _NAME_PARTS.split(path)):
        return path
    return blot_out(path.encode("utf-8", "surrogateescape"))[0].decode("utf-8", "surrogateescape")


def _hide(held: bytes, rule: str) -> bytes:
    if rule == "private_key":
        return _ARMOUR.sub(BLOT.encode(), held)
    return blot(held.decode("utf-8", "replace")).encode()


def _find_all(text: str, data: bytes, path: str, seen: Seen) -> Iterator[Hit]:
    """Yield hits of every kind; where they overlap, the first that begins, and of those the longest, is the one."""
    found = list(_find_formed(text, data, seen.runs)) if seen.marks.formed else []
    if seen.marks.address:
        found += _find_in_urls(text)
    if seen.marks.webhook:
        found += _find_broken(text)
    if seen.marks.armour:
        found += _find_armoured(text)
    yield from found
    if noise.is_locked(path):
        return
    is_free = _find_gaps(found)
    for hit in (*_find_assigned(text, seen.marks.ends, path), *_find_random(text, data, seen.runs)):
        # A form names a secret better than the name of its variable does.
        if is_free(hit.start, hit.end):
            found.append(hit)
            yield hit
    if placed := (*find_commands(text, seen.marks.command), *find_placed(text, path)):
        # What has a form or a telling name keeps the fingerprint that it has by these.
        is_free = _find_gaps(found)
        for start, end in placed:
            if is_free(start, end):
                yield Hit(start, end, "placed", "password by its place", "medium")


def _find_gaps(found: list[Hit]) -> Callable[[int, int], bool]:
    """Put hits in order, and return what tells whether none of them overlaps a stretch of the text."""
    found.sort(key=lambda hit: hit.start)
    starts, reached = [hit.start for hit in found], list(accumulate((hit.end for hit in found), max))

    def is_free(start: int, end: int) -> bool:
        before = bisect_left(starts, end)
        return not before or reached[before - 1] <= start

    return is_free


def _find_formed(text: str, data: bytes, runs: Sequence[Run]) -> Iterator[Hit]:
    done = 0
    for run in runs:
        start, _, body, _ = run
        found: list[tuple[Form, int, int]] = []
        # In the order of their frequency, and without a call where nothing is to be done: this is the innermost loop.
        if text[start : start + 2] in _FRONTS:
            found += _match_front(text, start)
        if b"-" in body:
            found += _match_after_dashes(run, text)
        if run.may_be_inside(data):
            found += _match_inside(run, text)
        for form, first, last in found:
            if first >= done and not noise.is_stub(text[first:last]):
                done = last
                yield Hit(first, last, form.id, form.title, "low" if form.low else "high")
        if text[start - 2 : start] in _BEFORE_CREDENTIAL and (span := _match_bearer(run, text)):
            yield Hit(*span, "bearer", "HTTP credential", "medium")


def _find_random(text: str, data: bytes, runs: Sequence[Run]) -> Iterator[Hit]:
    """Yield what only looks random, on a line that speaks of secrets."""
    for run in runs:
        if run.end - run.start < RANDOM_LENGTH or run.text.isupper():
            continue  # too short, or without a small letter: asked here because most runs end here
        if tells_of_secrets(text, run.start) and run.is_random():
            start, end = run.widen(data)
            if not noise.is_placeholder(text[start:end]):
                yield Hit(start, end, "entropy", "random text beside words about secrets", "medium")


def _match_after_dashes(run: Run, text: str) -> Iterator[tuple[Form, int, int]]:
    dash = run.text.find(b"-")
    while dash >= 0:
        start = run.start + dash + 1
        if text[start : start + 2] in _FRONTS:
            yield from _match_front(text, start)
        dash = run.text.find(b"-", dash + 1)


def _match_front(text: str, start: int) -> Iterator[tuple[Form, int, int]]:
    """Compare what begins at ``start`` with the forms that begin with their needle."""
    for form in _FRONTS[text[start : start + 2]]:
        match = form.pattern.match(text, start) if text.startswith(form.needles, start) else None
        if match is not None and (not form.varied or noise.is_varied(match[0])):
            yield form, match.start(), match.end()
            return


def _match_inside(run: Run, text: str) -> Iterator[tuple[Form, int, int]]:
    first, last = max(0, run.start - _BEFORE), run.end + _BEHIND
    near = text[first : run.end + 8]
    if not _ANY_INSIDE.search(near):
        return
    for needle, form in _INSIDE:
        if needle in near:
            for match in form.pattern.finditer(text, first, last):
                if not form.varied or noise.is_varied(match[0]):
                    yield form, match.start(), match.end()


def _find_broken(text: str) -> Iterator[Hit]:
    """Yield what has a form whose body may be broken up by other characters: every place of its mark is looked at."""
    for mark, forms in _BROKEN.items():
        place = text.find(mark)
        while place >= 0:
            end = place + len(mark)
            for form in forms:
                match = form.pattern.match(text, max(0, place - form.needles[0].find(mark)))
                if match is not None and not noise.is_stub(match[0]):
                    yield Hit(match.start(), match.end(), form.id, form.title, "high")
                    end = max(end, match.end())
            place = text.find(mark, end)


def _find_armoured(text: str) -> Iterator[Hit]:
    for match in PRIVATE_KEY.finditer(text):
        body = noise.armoured(match[2])
        if len(body) >= _MIN_ARMOURED and not noise.is_placeholder(body[:200]):
            title = "encrypted private key" if "ENCRYPTED" in match[0][:4000] else "private key"
            yield Hit(match.start(), match.end(), "private_key", title, "high")


def _find_in_urls(text: str) -> Iterator[Hit]:
    place = text.find("://")
    while place >= 0:
        match = URL.match(text, place + 3)
        if match is not None and (severity := judge_url(match[2], text[match.end() : match.end() + 80])):
            yield Hit(match.start(2), match.end(2), "url.password", "password in a URL", severity)
        place = text.find("://", place + 3)


def _match_bearer(run: Run, text: str) -> tuple[int, int] | None:
    """Return where the value of an HTTP credential stands, if the run begins one."""
    for word in ("bearer", "basic"):
        match = BEARER.match(text, max(0, run.start - len(word) - 1), run.end + _BEHIND)
        if match is not None and noise.is_varied(match[3]) and not noise.is_placeholder(match[3]):
            return match.span(3)
    return None


def _find_assigned(text: str, ends: Sequence[int], path: str) -> Iterator[Hit]:
    settings = noise.is_settings(path) if ends else False
    for value in find_assigned(text, ends):
        severity = judge_assigned(text, value, settings=settings)
        if severity:
            yield Hit(value.start, value.end, "assigned", "value of a secret's name", severity)


def _by_front() -> dict[str, tuple[Form, ...]]:
    fronts: dict[str, tuple[Form, ...]] = {}
    for form in FORMS:
        if not form.inside and not form.broken:
            for front in sorted({needle[:2] for needle in form.needles}):
                fronts[front] = (*fronts.get(front, ()), form)
    return fronts


_FRONTS: Final = _by_front()
_BROKEN: Final = {
    mark: tuple(form for form in FORMS if form.broken and mark in form.needles[0]) for mark in ("whsec_",)
}
_INSIDE: Final = tuple((needle, form) for form in FORMS if form.inside for needle in form.needles)
_ANY_INSIDE: Final = re.compile("|".join(re.escape(needle) for needle, _ in _INSIDE))
