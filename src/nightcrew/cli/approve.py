"""``nightcrew approve``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.asking import ask_digest, ask_plan_digest
from nightcrew.cli.options import command as make
from nightcrew.cli.proving import proof_options, read_proof, read_proof_of
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import UsageError
from nightcrew.runtime.api import Runtime

#: Risks that need more than the command: the person looks at the thing and types how its digest begins.
_RISKY = ("high", "critical")


@make(
    "approve",
    example="nightcrew approve R-1\nnightcrew approve A-1\nnightcrew approve A-1 --scope task\n"
    "nightcrew approve A-1 -m 'reviewed' --otp 123456\nnightcrew approve A-1 --as grace --pin\nnightcrew approve R-1 --otp 123456",
    exits=(3, 4, 5, 6, 7, 8),
)
@click.argument("name", metavar="R-1|A-1")
@click.option(
    "--digest", default="", help="Refuse unless what is decided has this digest (a prefix will do)."
)
@click.option(
    "--with-asks", is_flag=True, help="With a plan: also approve the questions that its flags announce."
)
@click.option(
    "--scope",
    type=click.Choice(["once", "task", "run"]),
    default="once",
    help="For once, for this task, or for any task of the run that wants exactly this.",
)
@click.option("-m", "reason", default="", help="Why.")
@click.option(
    "--as", "by", default="", metavar="PERSON", help="Somebody else's answer; needs a factor of theirs."
)
@click.option(
    "--only", is_flag=True, help="Not the other questions of the run that are about exactly the same."
)
@proof_options
@click.option("--no-start", is_flag=True, help="Only record it; start no background host.")
def command(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Approve the plan of a run (R-1) or an action that waits (A-1); work goes on by itself.

    The answer is bound to the digest of what was shown and used once. On a terminal a plan asks for the first digits of its digest.
    One answer serves every open question of the run that is about exactly the same. The policy says who may say yes, how many
    must, and whether that needs a reason or a second factor (approvals in policy.yaml); --yes has no meaning here.
    """
    found = runtime.resolve(options["name"], kinds="RA")
    more: dict[str, Any] = {}
    if found.startswith("R-"):
        done = _approve_plan(runtime, screen, found, options)
        if done["state"] == "pending":
            if screen.json:
                screen.emit({**runtime.show(found), "approval": done, "engine": "recorded"})
            return
        more = {"approval": done}
    else:
        more = {"also": _approve_action(runtime, screen, found, options)}
    woken = runtime.nudge(found, start=not options["no_start"])
    shown = runtime.show(found)
    if screen.json:
        screen.emit({**shown, **more, "engine": woken})
    elif shown["state"] != "pending":
        say_engine(screen, woken)


def _approve_plan(runtime: Runtime, screen: Screen, run: str, options: dict[str, Any]) -> dict[str, Any]:
    for name in ("scope", "only"):
        if options[name] not in ("once", "", False):
            raise UsageError(f"--{name} belongs to an action (A-1), not to a plan")
    plan = runtime.plan_view(run)
    needs = plan["asked"].get("needs", {})
    plan = plan["offered"] or plan
    via = "command line"
    if screen.interactive and not options["digest"]:
        runtime.check_plan_open(run)
        screen.data(runtime.plan_text(run, width=screen.width))
        digest, via = ask_plan_digest(screen, run, plan["digest"]), "terminal"
    else:
        if "before" in plan and not options["digest"]:
            raise UsageError(
                f"P{plan['version']} of {run} is a new plan of a run that goes on; name the digest of what you have seen",
                hint=f"nightcrew plan {run}, then: nightcrew approve {run} --digest {plan['digest'][:12]}",
            )
        digest = options["digest"] or plan["digest"]
    by = options["by"]
    proof = read_proof_of(runtime, screen, by, options) or read_proof(
        runtime, screen, options, needed="" if by else needs.get("factor", "")
    )
    done = runtime.approve_plan(
        run,
        digest=digest,
        via=via,
        with_asks=options["with_asks"],
        reason=options["reason"],
        by=by,
        proof=proof,
    )
    if not screen.json:
        tell_plan(screen, run, plan["digest"], done)
    return done


def tell_plan(screen: Screen, run: str, digest: str, done: dict[str, Any]) -> None:
    """Say what a yes to a plan has done."""
    what = f"plan of {run}, digest {digest[:12]}"
    if done["state"] != "pending":
        screen.verb("Approved", what)
        return
    votes = done["votes"]
    screen.verb("Counted", what, "yellow")
    by = ", ".join(each["by"] for each in votes)
    screen.say(
        f"              {len(votes)} of {done['quorum']} say yes ({by}); {done['quorum'] - len(votes)} more must"
    )


def _approve_action(runtime: Runtime, screen: Screen, approval: str, options: dict[str, Any]) -> list[str]:
    if options["with_asks"]:
        raise UsageError("--with-asks belongs to a plan (R-1), not to an action")
    item = runtime.show(approval)
    if item["kind"] == "question":
        raise UsageError(
            f"{approval} is a question of an agent: there is nothing to approve",
            code="gate.question",
            hint=f"nightcrew answer {approval} TEXT",
        )
    if screen.interactive and not options["digest"] and item["state"] == "pending" and item["risk"] in _RISKY:
        options["digest"] = ask_digest(screen, item)
    by = options.pop("by")
    needed = item["needs"]["factor"] or ("any" if by else "")
    proof = read_proof_of(runtime, screen, by, options) or read_proof(
        runtime, screen, options, needed="" if by else needed
    )
    done = runtime.decide(
        approval,
        answer="approved",
        reason=options["reason"],
        scope=options["scope"],
        digest=options["digest"],
        proof=proof,
        only=options["only"],
        by=by,
    )
    if not screen.json:
        tell_decided(screen, done, options["scope"])
    also: list[str] = done["also"]
    return also


def tell_decided(screen: Screen, done: dict[str, Any], scope: str) -> None:
    """Say what a yes has done."""
    what = f"{done['id']}  {done['task']}  {scope}: {done['action']}"
    if done["state"] == "pending":
        votes = done["votes"]
        by = ", ".join(each["by"] for each in votes)
        screen.verb("Counted", f"{what}", "yellow")
        left = done["needs"]["quorum"] - len(votes)
        screen.say(
            f"              {len(votes)} of {done['needs']['quorum']} say yes ({by}); {left} more must"
        )
    else:
        screen.verb("Approved", what)
    if done["also"]:
        screen.say(f"              and {', '.join(done['also'])}, which ask for exactly the same")


def say_engine(screen: Screen, woken: str) -> None:
    """Say what goes on because of a decision."""
    words = {
        "woken": "the running engine goes on with it",
        "started": "a background host was started and goes on with it",
        "recorded": "recorded; nothing goes on with it now",
    }
    screen.verb("Engine", words[woken], "cyan")
    if woken == "recorded":
        screen.hint("go on: nightcrew resume")
