"""An answer as somebody gave it, before it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nightcrew.model.people import Proof

COMMAND_LINE: Final = "command line"
"""How a person answers who proves themselves where they answer."""
SIGNED: Final = ("webhook", "signed answer")
"""How somebody answers whom a signature proves to be who they are."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as it was given.

    Attributes:
        answer: ``approved`` or ``denied``; a denial needs a reason.
        reason: in words. scope: ``once``, ``task`` or ``run``: how often an approval may be used.
        digest: refuse unless the digest of what was shown begins like this.
        by: who says it; whoever asks when empty. Somebody else than that must prove it.
        via: how. proof: their second factor.
        only: answer this question alone, not the others of the run that are about exactly the same.
    """

    answer: str
    reason: str = ""
    scope: str = "once"
    digest: str = ""
    by: str = ""
    via: str = COMMAND_LINE
    proof: Proof | None = None
    only: bool = False
