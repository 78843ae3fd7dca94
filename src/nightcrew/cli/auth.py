"""``nightcrew auth``: who may decide, and how they prove it."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.authtokens import token
from nightcrew.cli.authtotp import totp
from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_either, read_new_pin, read_proof
from nightcrew.cli.screen import Screen, table
from nightcrew.runtime.api import Runtime

_EXITS = (3, 4, 6, 8)


@make("whoami", example="nightcrew auth whoami\nnightcrew auth whoami --json", exits=(4,))
def whoami(runtime: Runtime, screen: Screen) -> None:
    """Tell under which name your decisions are recorded, which factors you have, and what needs one."""
    view = runtime.people.whoami()
    if screen.json:
        screen.emit(view)
        return
    how = {"token": "by a token", "login": "logged in on this terminal", "account": "by this account"}
    screen.data(f"{view['person']}  {how[view['via']]} ({view['account']})")
    if view["scopes"] is not None:
        screen.data(f"  for     {', '.join(view['scopes'])}")
    screen.data(f"  factors {describe_factors(view)}")
    needs = [f"{name} ({kind})" for name, kind in view["needs"].items() if kind]
    screen.data(f"  needed  {', '.join(needs) or 'for nothing: see factors in docs/guides/people.md'}")
    if view["reset_asked_at"]:
        screen.warn(
            f"somebody asked at {view['reset_asked_at']} to forget everybody (auth reset): any right PIN or code takes it back"
        )


def describe_factors(view: dict[str, Any]) -> str:
    """Return a person's factors in one line."""
    words = {"pin": "PIN", "totp": "authenticator"}
    said = [words[each] for each in view["methods"]]
    said += [f"{view['backup_codes']} backup codes left"] if "totp" in view["methods"] else []
    said += ["an authenticator to confirm"] if view["to_confirm"] else []
    said += [f"to be set by {view['invited_until']}"] if view["invited_until"] else []
    said += [f"locked out until {view['locked_until']}"] if view["locked_until"] else []
    return ", ".join(said) or "none"


@make("login", example="nightcrew auth login ada", exits=_EXITS)
@click.argument("name", metavar="PERSON")
@proof_options
def login(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Be somebody else on this terminal, for eight hours; needs a factor of theirs.

    Only this terminal session is meant: another terminal, or a program in a session of its own, is not logged in.
    """
    proof = read_proof(runtime, screen, options, needed="") or read_either(runtime, screen, name)
    done = runtime.people.login(name, proof)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Logged in", f"{done['person']} on this terminal, until {done['until']}")
        screen.hint("be yourself again: nightcrew auth logout")


@make("logout", example="nightcrew auth logout", exits=(4,))
def logout(runtime: Runtime, screen: Screen) -> None:
    """Be your account again on this terminal."""
    done = runtime.people.logout()
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Logged out" if done["was_logged_in"] else "Nobody", f"you are {done['person']}")


@make(
    "switch", example="nightcrew auth switch totp --pin\nnightcrew auth switch pin --otp 123456", exits=_EXITS
)
@click.argument("method", type=click.Choice(["pin", "totp"]))
@proof_options
def switch(runtime: Runtime, screen: Screen, *, method: str, **options: Any) -> None:
    """Take the other factor in place of the one you have; the old one is needed, and goes when the new one counts."""
    from nightcrew.cli.authtotp import show_secret

    from_stdin = options["pin_stdin"]
    proof = read_proof(runtime, screen, options, needed="any")
    if method == "totp":
        show_secret(screen, runtime.people.set_totp(proof=proof, switch=True))
        return
    pin = read_new_pin(screen, from_stdin=from_stdin, after_proof=False)
    done = runtime.people.set_pin(pin, proof=proof, switch=True)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Switched", f"{done['person']} has a PIN now, and no authenticator")


@make("reset", example="nightcrew auth reset", exits=(4, 7))
def reset(runtime: Runtime, screen: Screen) -> None:
    """Forget everybody, when a factor is lost: takes effect a day later, unless somebody proves who they are until then.

    The first call asks for it, a call after the day does it. Both are recorded.
    """
    done = runtime.people.reset()
    if screen.json:
        screen.emit(done)
    elif done["state"] == "asked":
        screen.verb("Asked", f"the same command after {done['until']} forgets everybody", "yellow")
        screen.say("              any right PIN or code until then takes it back")
    else:
        screen.verb("Reset", "nobody has a factor now, and there are no tokens", "yellow")


# -- people ----------------------------------------------------------------------------------------------------


@make("list", example="nightcrew auth user list\nnightcrew auth user list --json", exits=(4,))
def list_people(runtime: Runtime, screen: Screen) -> None:
    """List everybody who may decide, with their factors."""
    found = runtime.people.everybody()
    if screen.json:
        screen.emit(found)
        return
    if not found:
        screen.say("nobody but your account: nightcrew auth user add NAME")
    for line in table([[each["person"], each["account"] or "-", describe_factors(each)] for each in found]):
        screen.data(line)


@make("add", example="nightcrew auth user add grace\nnightcrew auth user add ada --account ada", exits=_EXITS)
@click.argument("name", metavar="PERSON")
@click.option(
    "--account", default="", metavar="NAME", help="Account of this machine that is them without logging in."
)
@proof_options
def add_person(runtime: Runtime, screen: Screen, *, name: str, account: str, **options: Any) -> None:
    """Add a person who may decide; prints the code that they set their first factor with, once."""
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("auth", auth=True))
    done = runtime.people.add(name, account=account, proof=proof)
    if screen.json:
        screen.emit(done)
        return
    screen.verb("Added", f"{name}; their first factor needs this code until {done['code_until']}:")
    screen.data(done["code"])
    screen.hint(f"they type: nightcrew auth pin set --for {name} --otp CODE   (or totp set)")


@make("remove", example="nightcrew auth user remove grace", exits=_EXITS)
@click.argument("name", metavar="PERSON")
@proof_options
def remove_person(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Remove a person with their factors and tokens; what they have decided stays on record."""
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("auth", auth=True))
    done = runtime.people.remove(name, proof=proof)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Removed", f"{done['person']}, and {done['tokens']} of their tokens")


# -- PIN -------------------------------------------------------------------------------------------------------


@make(
    "set",
    example="nightcrew auth pin set\nnightcrew auth pin set --for grace --otp abcd-efgh-ijkl-mnop\n"
    "printf '4711\\n1904\\n' | nightcrew auth pin set --pin-stdin   # the old one, then the new one",
    exits=_EXITS,
)
@click.option("--for", "name", default="", metavar="PERSON", help="Whose; yours when left out.")
@proof_options
def set_pin(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Set a PIN of 4 to 12 digits, or another one; who has a factor gives it first.

    It is kept as an argon2id hash in a file that only you can read. Five wrong ones in a row lock you out for 15 minutes, and each
    further time for twice as long. With --pin-stdin the old PIN (if there is one) and the new one are lines of standard input.
    """
    from_stdin = options.pop("pin_stdin")
    mine = runtime.people.whoami() if not name else _find(runtime, name)
    has_pin = "pin" in mine["methods"]
    if from_stdin:
        options["pin_stdin"] = has_pin and not options["otp"]
        proof = read_proof(runtime, screen, options, needed="")
    else:
        options["pin_stdin"] = False
        proof = read_proof(runtime, screen, options, needed="any" if mine["methods"] else "")
    pin = read_new_pin(screen, from_stdin=from_stdin, after_proof=bool(proof and proof.pin))
    done = runtime.people.set_pin(pin, name=name, proof=proof)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Set", f"a PIN for {done['person']}")


def _find(runtime: Runtime, name: str) -> dict[str, Any]:
    found = [each for each in runtime.people.everybody() if each["person"].casefold() == name.casefold()]
    return found[0] if found else {"methods": []}


@make("remove", example="nightcrew auth pin remove --pin", exits=_EXITS)
@proof_options
def remove_pin(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Remove your PIN; needs it, or your authenticator."""
    proof = read_proof(runtime, screen, options, needed="any")
    done = runtime.people.remove_factor("pin", proof=proof)
    if screen.json:
        screen.emit(done)
    else:
        screen.verb("Removed", f"the PIN of {done['person']}")


command = group(
    "auth",
    purpose="Who may decide, and how they prove it: people, PIN, authenticator, tokens.",
    commands=[
        whoami,
        login,
        logout,
        group("user", purpose="People who may decide.", commands=[list_people, add_person, remove_person]),
        group("pin", purpose="Your PIN.", commands=[set_pin, remove_pin]),
        totp,
        token,
        switch,
        reset,
    ],
)
