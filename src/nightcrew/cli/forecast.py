"""``nightcrew forecast``."""

from __future__ import annotations

import sys
from typing import Any

import click

from nightcrew.cli.asking import ask
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_LETTERS = {"a": "approved", "d": "denied", "w": ""}


@make(
    "forecast",
    example="nightcrew forecast R-1\nnightcrew forecast R-1 --allow 1,3 --deny 2 -m 'open a pull request instead'",
    exits=(3, 6, 7),
)
@click.argument("run", metavar="R-1")
@click.option("--allow", default="", metavar="N,N", help="Say yes to these questions in advance, once each.")
@click.option("--deny", default="", metavar="N,N", help="Say no to these questions in advance.")
@click.option("-m", "reason", default="", help="Why; a no needs it, and the agent is told.")
@click.option("--digest", default="", help="Refuse unless the plan has this digest (a prefix will do).")
def command(
    runtime: Runtime, screen: Screen, *, run: str, allow: str, deny: str, reason: str, digest: str
) -> None:
    """Tell which questions the plan of a run will raise, before anybody has left, and take answers in advance.

    An answer holds for exactly that action of that task, once, and only for this plan. Questions marked `likely` were asked by
    earlier tasks of the same agent; what an agent will really do is not in its plan. On a terminal you are asked for answers.
    """
    name = runtime.resolve(run, kinds="R")
    view = runtime.policies.forecast(name)
    answers = dict.fromkeys(_read_numbers(allow), "approved")
    for number in _read_numbers(deny):
        if number in answers:
            raise UsageError(f"question {number} stands in both --allow and --deny")
        answers[number] = "denied"
    if not screen.json:
        show_forecast(screen, view)
    if not answers and screen.interactive and view["open"]:
        answers, reason = _ask(screen, view, reason)
    if answers:
        given = digest or view["digest"]
        view = runtime.policies.answer_ahead(name, answers, digest=given, reason=reason)
        if not screen.json:
            screen.verb(
                "Recorded", f"{count(len(answers), 'answer')} in advance, bound to plan {view['digest'][:12]}"
            )
    elif digest and not view["digest"].startswith(digest.lower()):
        raise UsageError(f"the digest of the plan is {view['digest'][:12]}, not {shown(digest)}")
    if screen.json:
        screen.emit(view)
    elif view["state"] == "awaiting_approval":
        screen.hint(f"nothing runs until the plan is approved: nightcrew approve {name}")


def _read_numbers(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
        raise UsageError(f"{shown(text)!r} are no numbers of questions", hint="such as --allow 1,3")
    return [int(word) for word in words]


def show_forecast(screen: Screen, view: dict[str, Any]) -> None:
    """Print a forecast."""
    questions = view["questions"]
    sure = sum(question["kind"] != "likely" for question in questions)
    screen.data(
        f"{view['run']}  plan {view['digest'][:12]}  {count(sure, 'question')} foreseen, {view['open']} open"
    )
    for each in questions:
        answer = screen.state(each["answer"] or ("when it is there" if each["kind"] == "change" else "open"))
        what = each["action"] or each["reason"]
        likely = "  likely" if each["kind"] == "likely" else ""
        screen.data(f"{each['number']:>3}  {each['task']:<6} {each['risk']:<8} {answer}{likely}")
        for line in shown(what, keep="\n").split("\n"):
            screen.data(f"       {line}")
        screen.data(
            f"       rule {each['rule']} ({each['source']})"
            + (f": {each['reason']}" if each["action"] else "")
        )
    for each in view["forbidden"]:
        screen.data(
            f"  -  {each['task']:<6} {screen.paint('forbidden', 'red', sys.stdout)}  {shown(each['action'])}"
        )
        screen.data(f"       rule {each['rule']} ({each['source']}): {each['reason']}")


def _ask(screen: Screen, view: dict[str, Any], reason: str) -> tuple[dict[int, str], str]:
    """Return what a person types: one letter per open question. Enter leaves all of them open."""
    open_ones = [q["number"] for q in view["questions"] if not q["answer"] and q["kind"] != "change"]
    if not open_ones:
        return {}, reason
    numbers = " ".join(str(number) for number in open_ones)
    typed = (
        ask(screen, f"Questions {numbers}: one letter each, a allow, d deny, w wait for me: ").lower().split()
    )
    if not typed:
        return {}, reason
    if len(typed) != len(open_ones) or any(letter not in _LETTERS for letter in typed):
        raise UsageError(f"{len(open_ones)} letters of a, d and w were expected; nothing was recorded")
    answers = {
        number: _LETTERS[letter] for number, letter in zip(open_ones, typed, strict=True) if letter != "w"
    }
    if "denied" in answers.values() and not reason:
        reason = ask(screen, "Why not (the agent is told): ")
    return answers, reason
