"""Asking a person to prove who they are: ``--otp``, ``--pin``, ``--pin-stdin``, or a question on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from nightcrew.cli.screen import Screen
from nightcrew.model.errors import NotAuthenticated, UsageError
from nightcrew.model.people import Proof
from nightcrew.runtime.api import Runtime

_DIGITS = 6
F = TypeVar("F", bound=Callable[..., Any])


def proof_options(function: F) -> F:
    """Give a command the options that a second factor is given with."""
    for option in (
        click.option("--pin-stdin", is_flag=True, help="Read your PIN from standard input."),
        click.option("--pin", is_flag=True, help="Ask for your PIN (needs a terminal; it is not shown)."),
        click.option(
            "--otp",
            default="",
            metavar="CODE",
            help="Code of your authenticator, or one of your backup codes.",
        ),
    ):
        function = option(function)
    return function


def read_proof(runtime: Runtime, screen: Screen, options: dict[str, Any], *, needed: str) -> Proof | None:
    """Take the options out of ``options`` and return what was given; ask on a terminal when something is needed.

    Args:
        needed: factor that will be needed: empty for none, ``any``, ``pin`` or ``totp``.
    """
    otp, ask_pin, from_stdin = options.pop("otp"), options.pop("pin"), options.pop("pin_stdin")
    if from_stdin:
        return Proof(pin=sys.stdin.readline().rstrip("\r\n"), otp=otp)
    if ask_pin:
        return Proof(pin=read_hidden(screen, "PIN: "), otp=otp)
    if otp or not needed or not screen.interactive:
        return Proof(otp=otp) if otp else None
    return _ask(runtime, screen, needed)


def read_proof_of(runtime: Runtime, screen: Screen, name: str, options: dict[str, Any]) -> Proof | None:
    """Return what somebody else proves themselves with, asked for on a terminal when nothing was given; None without a name."""
    if not name or options["otp"] or options["pin"] or options["pin_stdin"] or not screen.interactive:
        return None
    return read_either(runtime, screen, name)


def read_either(runtime: Runtime, screen: Screen, name: str) -> Proof:
    """Ask for a PIN or a code; six digits are a code where the person has an authenticator."""
    typed = read_hidden(screen, f"PIN or code of {name}: ")
    everybody = runtime.people.everybody()
    person = next((each for each in everybody if each["person"].casefold() == name.casefold()), None)
    methods = person["methods"] if person else []
    plain = typed.replace(" ", "")
    code = "-" in typed or methods == ["totp"] or ("totp" in methods and len(plain) == _DIGITS)
    return Proof(otp=typed) if code or not plain.isdigit() else Proof(pin=typed)


def _ask(runtime: Runtime, screen: Screen, needed: str) -> Proof | None:
    """Ask for the factor that this person has; nothing where they have none, so that the error says how to set one."""
    who = runtime.people.whoami()
    methods = who["methods"]
    if "totp" in methods and needed in ("any", "totp"):
        typed = read_hidden(screen, f"code of the authenticator of {who['person']}: ")
        return Proof(otp=typed) if typed else None
    if "pin" in methods and needed in ("any", "pin"):
        typed = read_hidden(screen, f"PIN of {who['person']}: ")
        return Proof(pin=typed) if typed else None
    return None


def read_hidden(screen: Screen, question: str) -> str:
    """Ask for one line on the terminal without showing it.

    Raises:
        NotAuthenticated: there is no terminal.
    """
    import getpass

    if not screen.has_terminal:
        raise NotAuthenticated(
            "there is no terminal to ask on; nothing was done",
            code="auth.terminal",
            hint="--pin-stdin reads the PIN from standard input",
        )
    sys.stdout.flush()
    return getpass.getpass(screen.paint(question, "bold"), stream=sys.stderr).strip()


def read_new_pin(screen: Screen, *, from_stdin: bool, after_proof: bool) -> str:
    """Return a new PIN: typed twice, or a line of standard input.

    Args:
        after_proof: the PIN there is now was read from the line before.
    """
    if from_stdin:
        typed = sys.stdin.readline().rstrip("\r\n")
        if not typed:
            second = "second" if after_proof else "first"
            raise UsageError(
                f"the {second} line of standard input must be the new PIN; nothing was set", code="auth.pin"
            )
        return typed
    typed = read_hidden(screen, "new PIN (4 to 12 digits): ")
    if typed != read_hidden(screen, "the same again: "):
        raise UsageError("these were two different ones; nothing was set", code="auth.pin")
    return typed
