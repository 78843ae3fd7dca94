"""Arguments that are ids are completed from the journal; which kinds, their placeholder says (``R-1|R-1/T01``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_ID = re.compile(r"(?<![\w/-])(?:R-[0-9]+(/T[0-9]+)?|([ACM])-[0-9]+|(ID|RUN|TASK))(?![\w/-])")
_WORDS: Final = {"ID": "RTACM", "RUN": "R", "TASK": "T"}


def find_kinds(parameter: click.Parameter) -> str:
    """Return the letters of the kinds of ids that a parameter takes, empty when it takes none."""
    shape = parameter.metavar or (parameter.name or "")
    found = ""
    for task, letter, word in _ID.findall("RUN" if shape == "run" else shape):
        found += "T" if task else letter or _WORDS.get(word, "R")
    return "".join(dict.fromkeys(found))


class Id(click.types.StringParamType):
    """A text that is the id of something; a shell completes it.

    Args:
        kinds: letters out of ``RTACM``.
        waiting: only what waits for an answer is offered.
    """

    def __init__(self, kinds: str, *, waiting: bool = False) -> None:
        self.kinds = kinds
        self.waiting = waiting

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the ids that begin like what was typed."""
        from click.shell_completion import CompletionItem

        from nightcrew.runtime.completing import list_ids

        return [CompletionItem(each) for each in list_ids(self.kinds, incomplete, waiting=self.waiting)]


def complete_ids(parameters: Sequence[click.Parameter]) -> None:
    """Let those of these parameters that take ids complete them."""
    for parameter in parameters:
        kinds = find_kinds(parameter)
        if kinds and parameter.type is click.STRING:
            # Who names questions by their ids answers them: what is decided already is of no use there.
            parameter.type = Id(kinds, waiting="A-" in (parameter.metavar or ""))
