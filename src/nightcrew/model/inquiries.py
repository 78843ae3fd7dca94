"""What an agent asks the person it works for: a question in words, with choices or without. Kind ``question`` of an approval.

An answer tells the agent something and permits nothing: it is never a grant for an action.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.model import canonical
from nightcrew.model.actions import Action

#: Kind of an approval, and of the action that stands for asking.
QUESTION: Final = "question"
#: Longest question and longest choice, in characters; a person has to read all of it, and nothing of it is cut.
TEXT_LIMIT: Final = 4000
CHOICE_LIMIT: Final = 500
CHOICES_LIMIT: Final = 20
#: Longest answer, in characters.
ANSWER_LIMIT: Final = 8000


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question of an agent.

    Attributes:
        text: what it wants to know, in its own words.
        choices: what it offers; empty for none.
        several: more than one choice may be taken.
        free: words of the person's own are an answer too.
    """

    text: str
    choices: tuple[str, ...] = ()
    several: bool = False
    free: bool = True

    @property
    def action(self) -> Action:
        """The action that an answer is bound to: all of the question is in its digest."""
        return Action(kind=QUESTION, purpose=QUESTION, detail=f"sha256:{canonical.digest(self)}")

    def show(self) -> str:
        """Return it as a person reads it: the text, then each choice with its number."""
        return "\n".join([self.text, *(f"  {number}. {each}" for number, each in enumerate(self.choices, 1))])

    def find_fault(self) -> str:
        """Return why it cannot be put to a person, in words; empty when it can."""
        if not self.text.strip():
            return "it does not say what it asks"
        if len(self.text) > TEXT_LIMIT:
            return f"a question has at most {TEXT_LIMIT} characters"
        if len(self.choices) > CHOICES_LIMIT:
            return f"a question has at most {CHOICES_LIMIT} choices"
        if any(not each.strip() or len(each) > CHOICE_LIMIT for each in self.choices):
            return f"a choice has between 1 and {CHOICE_LIMIT} characters"
        if not self.choices and not self.free:
            return "it leaves no way to answer"
        return ""

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Inquiry:
        """Return the question that was stored as ``plain``."""
        return cls(
            text=str(plain.get("text", "")),
            choices=tuple(str(each) for each in plain.get("choices", ())),
            several=bool(plain.get("several", False)),
            free=bool(plain.get("free", True)),
        )


def join_choices(chosen: Sequence[str]) -> str:
    """Return several choices as one answer."""
    return ", ".join(chosen)
