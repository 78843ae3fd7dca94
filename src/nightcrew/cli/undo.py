"""``nightcrew undo``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

import click

from nightcrew.cli.asking import confirm
from nightcrew.cli.guard import allowing_handoff, answer_guard, show_guard
from nightcrew.cli.options import command as make
from nightcrew.cli.promote import show_paths
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen, short_branch
from nightcrew.model.errors import WaitingForHuman
from nightcrew.model.text import count
from nightcrew.runtime.api import Runtime
from nightcrew.runtime.landing.promoting import Publication


@make(
    "undo",
    example="nightcrew undo M-1\nnightcrew undo M-1 --yes\nnightcrew undo M-1 --inverse --yes",
    exits=(3, 4, 5, 6, 7, 8, 130),
)
@click.argument("name", metavar="M-1")
@click.option("--dry-run", is_flag=True, help="Show what would happen; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--inverse", is_flag=True, help="With --yes: also when it is a new change, because commits came after it."
)
@click.option("--unproven", is_flag=True, help="Do not run acceptance on what an inverse leaves; recorded.")
@allowing_handoff
@proof_options
def command(runtime: Runtime, screen: Screen, *, name: str, **options: Any) -> None:
    """Take a promotion back: exactly as it was while nothing came after it, else its inverse as a new commit.

    An inverse is a change that nobody has seen yet: it is shown as a diff, needs a yes of its own, acceptance of the tasks
    that stay is run on it, and secrets and paths that something executes are looked at as at a promotion. Only paths that
    the promotion changed are touched. The undo is a promotion itself and can be undone.
    """
    found = runtime.resolve(name, kinds="M")
    take_back(runtime, screen, found, Way("undo", found, **options))


@dataclass(frozen=True, slots=True)
class Way:
    """How something is to be taken back.

    Attributes:
        word: the command that was typed, ``undo`` or ``redo``; ``name`` the id it was given.
        dry_run, yes, inverse, unproven, allow_handoff: its options.
    """

    word: str
    name: str
    dry_run: bool
    yes: bool
    inverse: bool
    unproven: bool
    allow_handoff: tuple[str, ...]
    otp: str = field(default="", repr=False)
    pin: bool = False
    pin_stdin: bool = False

    @property
    def again(self) -> str:
        """Return the command as it was typed, without its yes."""
        allowed = [f"--allow-handoff {shlex.quote(each)}" for each in self.allow_handoff]
        return " ".join(["nightcrew", self.word, self.name, *allowed])


def take_back(runtime: Runtime, screen: Screen, promotion: str, way: Way) -> None:
    """Undo a promotion, which is also how an undo is taken back."""
    again = way.again
    with runtime.undoing(promotion, dry_run=way.dry_run or not (way.yes or screen.interactive)) as prepared:
        _show(screen, prepared, way)
        if way.dry_run:
            if screen.json:
                screen.emit({**prepared.view, "diff": "" if prepared.exact else prepared.diff()})
            else:
                screen.say("dry run: nothing was changed")
            return
        if not prepared.exact and way.yes and not way.inverse:
            raise WaitingForHuman(
                f"nothing was done: commits came after {promotion}, so its inverse is a new change and needs a yes of its own",
                code="undo.inverse",
                hint=f"look: {again} --dry-run   then: {again} --inverse --yes",
            )
        more = "" if prepared.exact else " --inverse"
        answer_guard(screen, prepared, way.allow_handoff, yes=way.yes, otherwise=f"{again}{more} --yes")
        one = len(prepared.view["paths"]) == 1
        exact, inverse = ("is", "gets") if one else ("are", "get")
        what = (
            f"{exact} taken back"
            if prepared.exact
            else f"{inverse} the inverse of {promotion} as a new commit"
        )
        confirm(
            screen,
            f"{count(len(prepared.view['paths']), 'path')} {what}.",
            yes=way.yes,
            otherwise=f"{again}{more} --yes",
        )
        factor = {"otp": way.otp, "pin": way.pin, "pin_stdin": way.pin_stdin}
        prepared.prove_person(read_proof(runtime, screen, factor, needed=prepared.needs_factor()))
        if not way.unproven:
            prepared.prove(lambda line: screen.verb("Proving", line, "cyan"))
        elif not prepared.exact:
            screen.verb("Unproven", "acceptance was not run on what it leaves", "yellow")
        done = prepared.publish()
    if screen.json:
        screen.emit(done)
        return
    now = f"is at {done['new_commit'][:12]}" if done["new_commit"] else "is removed"
    verb, back = ("Undone", "redo") if way.word == "undo" else ("Redone", "undo")
    screen.verb(verb, f"{way.name} by {done['id']}  {short_branch(done)} {now}")
    screen.hint(f"take it back: nightcrew {back} {way.name}")


def _show(screen: Screen, prepared: Publication, way: Way) -> None:
    view = prepared.view
    place = view["old_commit"] or view["start"]
    screen.verb(way.word.capitalize(), f"{way.name} on {short_branch(view)} at {place[:12]}", "cyan")
    for note in view["notes"]:
        screen.verb("Note", note, "yellow")
    show_paths(screen, view["paths"])
    show_guard(screen, view)
    if not prepared.exact and not screen.json:
        screen.verb("Inverse", "commits came after it, so this is a new change:", "yellow")
        screen.data(prepared.diff().rstrip("\n"))
