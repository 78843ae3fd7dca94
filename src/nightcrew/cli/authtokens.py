"""``nightcrew auth token``: what programs decide with."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import UsageError
from nightcrew.model.people import SCOPES
from nightcrew.model.units import parse_duration
from nightcrew.runtime.api import Runtime

_EXITS = (3, 4, 6, 8)


@make(
    "add",
    example="nightcrew auth token add --scope decide:low --expires 30d --note 'night bot'\n"
    "NIGHTCREW_TOKEN=nct_... nightcrew approve A-1",
    exits=_EXITS,
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(SCOPES)),
    required=True,
    help="What it may decide; several may be given.",
)
@click.option(
    "--expires", default="90d", metavar="TIME", help="How long it is good for, or never.", show_default=True
)
@click.option("--note", default="", help="What it is for.")
@proof_options
def add(
    runtime: Runtime, screen: Screen, *, scopes: tuple[str, ...], expires: str, note: str, **options: Any
) -> None:
    """Make a token with which a program decides in your name; it is shown once, and only its hash is kept.

    A token is never a second factor: what needs one, it cannot do.
    """
    try:
        seconds = parse_duration(expires)
    except ValueError as error:
        raise UsageError(f"--expires: {error}", hint="write such as 30d, or never") from error
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("auth", auth=True))
    done = runtime.people.add_token(scopes, note=note, expires_s=seconds, proof=proof)
    if screen.json:
        screen.emit(done)
        return
    until = f", until {done['expires_at']}" if done["expires_at"] else ""
    screen.verb("Made", f"{done['id']} of {done['person']} for {', '.join(done['scopes'])}{until}")
    screen.data(done["token"])
    screen.hint("it is not shown again; a program has it in NIGHTCREW_TOKEN")


@make("list", example="nightcrew auth token list", exits=(4,))
def list_tokens(runtime: Runtime, screen: Screen) -> None:
    """List tokens, without what is secret of them."""
    found = runtime.people.list_tokens()
    if screen.json:
        screen.emit(found)
        return
    if not found:
        screen.say("there are no tokens")
    rows = [
        [each["id"], each["person"], " ".join(each["scopes"]), each["expires_at"] or "never", each["note"]]
        for each in found
    ]
    for line in table(rows):
        screen.data(line)


@make("revoke", example="nightcrew auth token revoke K-1", exits=_EXITS)
@click.argument("name", metavar="K-1")
def revoke(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Have a token count no more, at once; needs no factor, because it only takes away."""
    done = runtime.people.revoke_token(name)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Revoked", f"{done['id']} of {done['person']}")


token = group("token", purpose="What programs decide with.", commands=[add, list_tokens, revoke])
