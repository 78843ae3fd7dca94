"""How well an agent fits a task: words of the task found in what is said of the agent. Pure, and the same every time.

It is a help for choosing, not a judgement: what an agent may do says policy, what it did says the acceptance.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_WORD: Final = re.compile(r"[a-z0-9][a-z0-9+#]*")
_ENDINGS: Final = ("ations", "ation", "ings", "ing", "ers", "ies", "er", "ed", "es", "s")
_SHORTEST: Final = 3
#: Words that say nothing about what a task is.
_SILENT: Final = """
    a about agent agents all also an and any are as at be been by can code coding do does each file files for from
    get has have help how i if in into is it its make more must new no not of on one only or other our over per please
    project repository run runs should so some such task tasks than that the their them then there these this to
    up use used user uses using want we what when where which who will with work works write you your
"""
STOP: Final = frozenset(_SILENT.split())
#: Field → what a word found in it counts.
WEIGHTS: Final[Mapping[str, float]] = {
    "name": 3.0,
    "good_at": 3.0,
    "skills": 3.0,
    "role": 2.0,
    "when_to_use": 2.0,
    "description": 1.5,
    "goal": 1.0,
    "examples": 1.0,
    "category": 1.0,
}
#: From so much on a fit is excellent, or acceptable.
EXCELLENT: Final = 4.5
ACCEPTABLE: Final = 2.0
_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Profile:
    """What is said of an agent.

    Attributes:
        name: of the agent. fields: name of a field of WEIGHTS → its text.
        general: it does any coding task, also one that nothing is said about.
    """

    name: str
    fields: Mapping[str, str]
    general: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """How well an agent fits.

    Attributes:
        quality: ``excellent``, ``acceptable`` or ``insufficient``. score: for comparing. why: in words.
    """

    quality: str
    score: float
    why: str


def match(task: str, profile: Profile) -> Fit:
    """Return how well an agent fits the words of a task."""
    wanted = _spell(task)
    found: dict[str, float] = {}
    for field, text in profile.fields.items():
        has = set(find_words(text))
        for word in wanted:
            if word in has:
                found[word] = max(found.get(word, 0.0), WEIGHTS.get(field, 1.0))
    score = round(sum(found.values()), 2)
    best = sorted(found, key=lambda word: (-found[word], word))[:_SHOWN]
    words = ", ".join(wanted[word] for word in best)
    if score >= EXCELLENT and len(found) > 1:
        return Fit("excellent", score, f"it is said to be good at {words}")
    if score >= ACCEPTABLE:
        return Fit("acceptable", score, f"something said of it fits: {words}")
    if profile.general:
        return Fit("acceptable", score, "it does any coding task")
    return Fit(
        "insufficient", score, f"too little said of it fits: {words}" if words else "nothing said of it fits"
    )


def describe_quality(fields: Iterable[str]) -> str:
    """Return how well an agent can be matched at all, by how much is said of it: filled fields of WEIGHTS."""
    said = {each for each in fields if each != "name"}
    if said & {"skills", "when_to_use", "good_at"} and len(said) > 1:
        return "excellent"
    return "acceptable" if said else "insufficient"


def rank(task: str, profiles: Sequence[Profile]) -> list[tuple[Profile, Fit]]:
    """Return the profiles with their fit, best first; equal ones in the order given."""
    fits = [(profile, match(task, profile)) for profile in profiles]
    return sorted(fits, key=lambda pair: (_ORDER[pair[1].quality], -pair[1].score))


_ORDER: Final[Mapping[str, int]] = {"excellent": 0, "acceptable": 1, "insufficient": 2}


def order_quality(quality: str) -> int:
    """Return 0 for the best quality, more for lesser ones."""
    return _ORDER.get(quality, len(_ORDER))


@lru_cache(maxsize=512)
def find_words(text: str) -> tuple[str, ...]:
    """Return the words of a text that say something, in their plain form, in order."""
    return tuple(_spell(text))


def _spell(text: str) -> dict[str, str]:
    """Return the words of a text that say something: plain form → as it was written first."""
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    found: dict[str, str] = {}
    for word in _WORD.findall(split):
        if word not in STOP and len(word) > 1:
            found.setdefault(_stem(word), word)
    return found


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > _SHORTEST else word
