"""``nightcrew audit verify``."""

from __future__ import annotations

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count
from nightcrew.runtime.api import Runtime


@make("verify", example="nightcrew audit verify", exits=(12,))
def verify(runtime: Runtime, screen: Screen) -> None:
    """Verify the hash chains of the journal; the first bad record is named."""
    result = runtime.verify()
    if screen.json:
        screen.emit(result)
        return
    screen.data(f"{count(result['events'], 'record')} in {count(result['chains'], 'chain')}, intact")


command = group("audit", purpose="The journal.", commands=[verify])
