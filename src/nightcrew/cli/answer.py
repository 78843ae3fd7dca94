"""``nightcrew answer``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from nightcrew.cli.approve import say_engine
from nightcrew.cli.asking import ask
from nightcrew.cli.inbox import describe_item
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import NotFound, UsageError, WaitingForHuman
from nightcrew.model.text import shown
from nightcrew.runtime.api import Runtime

_MAX_BYTES: Final = 64 << 10


@make(
    "answer",
    example="nightcrew answer A-19 'Use port 8080.'\nnightcrew answer A-19 --choice 2\n"
    "nightcrew answer A-19 --choice 1 --choice 3\nnightcrew answer A-19 --digest 9c2e yes",
    exits=(3, 4, 5, 6, 7),
)
@click.argument("name", metavar="[A-19]", required=False)
@click.argument("text", nargs=-1)
@click.option(
    "--choice",
    "choices",
    type=click.IntRange(1),
    multiple=True,
    metavar="N",
    help="Take the choice with this number; again for another one, where several may be taken.",
)
@click.option(
    "--digest", default="", help="Refuse unless what is answered has this digest (a prefix will do)."
)
@click.option(
    "--signed",
    metavar="FILE",
    type=click.Path(),
    default="",
    help="A signed answer document instead; - reads it from stdin.",
)
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Answer a question that an agent asked you (A-19): in words of your own, or with one of its choices.

    The task went on waiting without holding anything; with the answer it goes on by itself, and its agent is told. An answer
    permits nothing: what the agent does with it is decided by the policy as ever. To let it go unanswered: nightcrew deny.
    """
    if options["signed"]:
        _answer_signed(runtime, screen, options)
        return
    if not options["name"]:
        raise UsageError("which question? nothing was recorded", hint="see what waits: nightcrew inbox")
    found = runtime.resolve(options["name"], kinds="A")
    text = " ".join(options["text"])
    if not text.strip() and not options["choices"]:
        text, options["choices"] = _ask(runtime, screen, found)
    done = runtime.answer(found, text=text, choices=options["choices"], digest=options["digest"])
    if not screen.json:
        screen.verb("Answered", shown(f"{found}  {done['task']}: {done['answer']}"))
    _go_on(runtime, screen, found, start=not options["no_start"])


def _ask(runtime: Runtime, screen: Screen, found: str) -> tuple[str, tuple[int, ...]]:
    """Ask on the terminal; a number takes a choice, anything else is an answer in words."""
    item = runtime.show(found)
    if not screen.interactive or item["state"] != "pending" or item["kind"] != "question":
        return "", ()
    for line in describe_item(item):
        screen.data(line)
    typed = ask(screen, "Your answer: ")
    if not typed:
        raise WaitingForHuman(
            f"{found} is not answered", code="answer.waiting", hint=f"nightcrew answer {found} TEXT"
        )
    choices = item["question"].get("choices", [])
    taken = typed.isascii() and typed.isdigit() and 1 <= int(typed[:4]) <= len(choices)
    return ("", (int(typed),)) if taken else (typed, ())


def _answer_signed(runtime: Runtime, screen: Screen, options: dict[str, Any]) -> None:
    if options["name"] or options["text"] or options["choices"] or options["digest"]:
        raise UsageError("--signed brings its own answer: give nothing else; nothing was recorded")
    done = runtime.people.answer_signed(_read(options["signed"]))
    if not screen.json:
        screen.verb("Answered", shown(f"{done['id']}  {done['state']} by {done['decided_by']}"))
    _go_on(runtime, screen, done["id"], start=not options["no_start"])


def _read(file: str) -> str:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file}; nothing was recorded", code="file.missing") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", code="file.unreadable") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{file} is larger than {_MAX_BYTES >> 10} KiB: no answer; nothing was recorded")
    return data.decode("utf-8", "replace")


def _go_on(runtime: Runtime, screen: Screen, found: str, *, start: bool) -> None:
    woken = runtime.nudge(found, start=start)
    if screen.json:
        screen.emit({**runtime.show(found), "engine": woken})
    else:
        say_engine(screen, woken)
