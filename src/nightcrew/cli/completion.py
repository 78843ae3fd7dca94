"""``nightcrew completion``."""

from __future__ import annotations

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime


@make("completion", example='eval "$(nightcrew completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(runtime: Runtime, screen: Screen, *, shell: str) -> None:
    """Print the completion script of a shell; put it into the start file of that shell."""
    from click.shell_completion import get_completion_class

    from nightcrew.cli.app import app

    found = get_completion_class(shell)
    if found is None:  # click knows all three; only a future click could take one away
        raise click.UsageError(f"no completion for {shell}")
    screen.data(found(app, {}, "nightcrew", "_NIGHTCREW_COMPLETE").source())
