"""``nightcrew auth totp``: an authenticator, with its QR code drawn in the terminal."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen
from nightcrew.runtime.api import Runtime

_EXITS = (3, 4, 6, 8)


@make("set", example="nightcrew auth totp set\nnightcrew auth totp confirm 123456", exits=_EXITS)
@click.option("--for", "name", default="", metavar="PERSON", help="Whose; yours when left out.")
@proof_options
def set_totp(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Show a QR code for an authenticator (six digits, 30 seconds); it counts when you confirm the code that it shows."""
    needed = runtime.people.needs("auth", auth=True) if not name else ""
    proof = read_proof(runtime, screen, options, needed=needed)
    show_secret(screen, runtime.people.set_totp(name=name, proof=proof), name)


def show_secret(screen: Screen, done: dict[str, Any], name: str = "") -> None:
    """Print the secret of an authenticator, once."""
    if screen.json:
        screen.emit(done)
        return
    drawn, width = draw(done["address"], plain=not _draws_blocks())
    if width <= screen.width:
        screen.data(drawn)
    else:
        screen.warn(f"this terminal is too narrow for a QR code, which has {width} columns: type the secret")
    screen.data(f"secret {done['secret']}")
    screen.say("Scan this with an authenticator, or type the secret there. It is not shown again.")
    screen.hint(f"then: nightcrew auth totp confirm CODE{f' --for {name}' if name else ''}")


def _draws_blocks() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def draw(text: str, *, plain: bool) -> tuple[str, int]:
    """Return a QR code as text, and its width: dark modules stay dark on a dark terminal, because what is light is drawn.

    Args:
        plain: without the half blocks of Unicode, twice as high.
    """
    import segno

    code = segno.make(text, error="m", micro=False)
    if not plain:
        out = io.StringIO()
        code.terminal(out, compact=True)
        return out.getvalue().rstrip("\n"), int(code.symbol_size(border=4)[0])
    rows = ["".join("  " if dark else "##" for dark in row) for row in code.matrix_iter(border=4)]
    return "\n".join(rows), len(rows[0])


@make("confirm", example="nightcrew auth totp confirm 123456", exits=_EXITS)
@click.argument("code", metavar="CODE")
@click.option("--for", "name", default="", metavar="PERSON", help="Whose; yours when left out.")
def confirm(runtime: Runtime, screen: Screen, *, code: str, name: str) -> None:
    """Have your authenticator count, because it shows the right code; prints ten backup codes, once."""
    done = runtime.people.confirm_totp(code, name=name)
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Set", f"an authenticator for {done['person']}")
    screen.say("Backup codes, each good once in place of a code. They are not shown again:")
    for each in done["backup_codes"]:
        screen.data(f"  {each}")


@make("remove", example="nightcrew auth totp remove --otp 123456", exits=_EXITS)
@proof_options
def remove(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Remove your authenticator and its backup codes; needs a code of it, a backup code, or your PIN."""
    proof = read_proof(runtime, screen, options, needed="any")
    done = runtime.people.remove_factor("totp", proof=proof)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Removed", f"the authenticator of {done['person']}")


totp = group("totp", purpose="Your authenticator: codes of six digits.", commands=[set_totp, confirm, remove])
