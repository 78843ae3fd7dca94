"""``nightcrew audit``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import click

from nightcrew.cli.lines import describe_event
from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import UsageError
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_FIELDS: Final = ("seq", "at", "kind", "run", "task", "attempt", "actor", "prev", "hash")

_OTHER_NAMES: Final = ("ts", "id", "event")


def _choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which events."""
    options = [
        click.option("--kind", "kinds", default="", metavar="K,..", help="These kinds; approval stands for approval.*"),
        click.option("--who", default="", metavar="WHO,..", help="By these: a user, an agent, engine, policy."),
        click.option("--run", default="", metavar="RUN", help="Of this run."),
        click.option("--task", default="", metavar="TASK", help="Of this task."),
        click.option("--since", default="", metavar="TIME", help="From: 30d, 2h, yesterday, 2025-11-20T18:30."),
        click.option("--until", default="", metavar="TIME", help="Until, not included; written the same."),
        click.option("--text", default="", metavar="TEXT", help="With this text anywhere, in any case."),
        click.option("--limit", type=click.IntRange(0), default=0, metavar="N", help="At most so many, oldest first."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _read_query(runtime: Runtime, given: dict[str, Any]) -> Any:
    from nightcrew.runtime.evidence.auditing import Query

    run = runtime.resolve(given["run"], kinds="R") if given["run"] else ""
    task = runtime.resolve(given["task"], kinds="T") if given["task"] else ""
    lists = {name: _split(given[name]) for name in ("kinds", "who")}
    return Query(**{**given, **lists, "run": run, "task": task})


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


@make(
    "query",
    example="nightcrew audit query --kind approval,promotion --who ann --since yesterday\n"
    "nightcrew audit query --run R-7 --text force-push --json\n"
    "nightcrew audit query --kind approval.decided --fields seq,at,id,answer,actor",
    exits=(3,),
)
@_choosing
@click.option("--fields", default="", metavar="F,..", help="Only these: fields of events, or of their data.")
def query(runtime: Runtime, screen: Screen, *, fields: str, **given: Any) -> None:
    """Search the journal; --json prints one JSON object per line, as recorded."""
    wanted = _split(fields)
    asked = _read_query(runtime, given)
    _check_fields(wanted, runtime.audit.query(asked))
    found = _tell_of_none(screen, runtime.audit.query(asked))
    if screen.json:
        for event in found:
            screen.emit_line({name: _field(event, name) for name in wanted} if wanted else event)
    elif wanted:
        rows = [[_cell(_field(event, name)) for name in wanted] for event in found]
        for line in table(rows, header=list(wanted)):
            screen.data(line)
    else:
        for event in found:
            screen.data(f"{event['at']}  {event['id']:<7} {describe_event(event)}")


def _tell_of_none(screen: Screen, found: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what was found; say so when it was nothing, for a typing error looks the same."""
    number = 0
    for number, event in enumerate(found, 1):  # noqa: B007
        yield event
    if not number:
        screen.say("no such event; all kinds that there are: nightcrew audit query --fields kind | sort -u")


def _check_fields(wanted: Sequence[str], found: Iterable[dict[str, Any]]) -> None:
    """Refuse names that no field of these events has; where there are no events, nothing is known of their data."""
    odd = [name for name in wanted if name not in (*_FIELDS, *_OTHER_NAMES)]
    known: set[str] = set()
    number = 0
    for number, event in enumerate(found if odd else (), 1):  # noqa: B007
        known.update(event["data"])
    unknown = [name for name in odd if name not in known]
    if not unknown or not number:
        return
    near = get_close_matches(unknown[0], [*_FIELDS, *sorted(known)], n=3)
    raise UsageError(
        f"no field {', '.join(unknown)} in these events",
        code="audit.field",
        where=[
            f"fields of every event: {', '.join((*_FIELDS, *_OTHER_NAMES))}",
            f"of their data: {', '.join(sorted(known)) or 'none'}",
        ],
        hint=f"did you mean {' or '.join(near)}?" if near else "",
    )


def _field(event: dict[str, Any], name: str) -> Any:
    """Return a field: of the event, else of its data; ``id`` is what the event is about, ``event`` its own."""
    if name in ("ts", "at"):
        return event["at"]
    if name == "event":
        return event["id"]
    if name == "id":
        return event["data"].get("id", event["id"])
    return event[name] if name in _FIELDS else event["data"].get(name)


def _cell(value: Any) -> str:
    text = (
        ", ".join(map(str, value)) if isinstance(value, list) else "-" if value in (None, "") else str(value)
    )
    return shown(text.replace("\n", " "))


@make(
    "verify",
    example="nightcrew audit verify\nnightcrew audit verify --against head-2025-11-20.json\n"
    "nightcrew audit verify --bundle R-7.tar.gz",
    exits=(4, 12),
)
@click.option(
    "--against", "heads", multiple=True, metavar="FILE", type=click.Path(path_type=Path),
    help="A signed head kept elsewhere; may be given several times.",
)  # fmt: skip
@click.option(
    "--bundle", metavar="FILE", type=click.Path(path_type=Path), help="Verify an evidence bundle instead."
)
@click.option(
    "--key",
    metavar="HEX",
    help="With --bundle: who must have signed it; `any`: whoever did. [default: this installation]",
)
def verify(
    runtime: Runtime, screen: Screen, *, heads: Sequence[Path], bundle: Path | None, key: str | None
) -> None:
    """Verify the journal: hash chains, signed heads, states of records; the first bad record is named (exit 12)."""
    if key is not None and bundle is None:
        raise UsageError("--key goes with --bundle", hint="a head file holds its key")
    if key is not None and not key.strip():
        raise UsageError("--key is empty; nothing was verified", hint="--key HEX, or --key any")
    if bundle is not None:
        _show_bundle(screen, runtime.audit.verify_bundle(bundle, (key or "").strip()), given=bool(key))
        return
    result = runtime.audit.verify(heads)
    if screen.json:
        screen.emit(result)
        return
    match = "matches" if result["signed"] == 1 else "match"
    signed = f", {count(result['signed'], 'signed head')} {match}" if result["signed"] else ""
    said = (
        f"{count(result['events'], 'record')} in {count(result['chains'], 'chain')}, intact{signed}, 0 gaps"
    )
    screen.data(said)
    if len(result["keys"]) > 1:
        screen.data(
            f"signed by {len(result['keys'])} keys of this installation, the last: {result['keys'][-1]}"
        )
    if result["unbound"]:
        screen.data(
            f"{count(result['unbound'], 'record')} not bound (older): only states are compared until they change"
        )
    if result["emptied"]:
        screen.data(
            f"{count(result['emptied'], 'event')} hold only their hashes: emptied by `nightcrew audit prune`"
        )


def _show_bundle(screen: Screen, found: dict[str, Any], *, given: bool) -> None:
    if screen.json:
        screen.emit(found)
        return
    span = f"E-{found['first']} to E-{found['last']}"
    screen.data(
        f"{found['run']}: {count(found['events'], 'event')} ({span}), {count(found['files'], 'file')}, intact"
    )
    by = "the key that was given" if given else "a key of this installation"
    by = by if found["key_compared"] else "a key that was compared with nothing"
    screen.data(f"signed at {found['signed_at']} by {by}: {found['key']}")


@make(
    "head",
    example="nightcrew audit head\nnightcrew audit head --sign -o head-2025-11-20.json",
    exits=(4, 7, 12),
)
@click.option("--sign", is_flag=True, help="Sign it with the key of this installation, and record that.")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write the signed head to FILE."
)
@click.option("--force", is_flag=True, help="Replace FILE.")
def head(runtime: Runtime, screen: Screen, *, sign: bool, output: Path | None, force: bool) -> None:
    """Print one value over all chains; signed and kept elsewhere, it shows later that nothing before it was rewritten.

    The key (Ed25519) is made when it is first needed, in the state directory, readable by you alone. Runs that end and promotions sign by
    themselves; a file on another machine is what somebody who can write this one cannot change.
    """
    if (output or force) and not sign:
        raise UsageError("--output and --force go with --sign", hint="nightcrew audit head --sign -o FILE")
    found = runtime.audit.sign(output, force=force) if sign else runtime.audit.head()
    if screen.json:
        screen.emit(found)
        return
    screen.data(f"head  {found['root']}")
    screen.data(f"over  {count(found['chains'], 'chain')}, up to E-{found['seq']}, at {found['at']}")
    screen.data(f"key   {found['key'] or 'none yet: it is made by --sign'}")
    if sign:
        screen.verb("Signed", f"recorded{' and written to ' + shown(str(output)) if output else ''}")
        if output:
            screen.hint(f"keep it elsewhere; later: nightcrew audit verify --against {shown(str(output))}")


@make(
    "export",
    example="nightcrew audit export > journal.jsonl\nnightcrew audit export --format csv --since 30d -o events.csv\n"
    "nightcrew audit export --format otel --run R-7",
    exits=(3,),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv", "otel"]),
    default="jsonl",
    help="jsonl: as recorded.",
)
@_choosing
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write to FILE instead of stdout."
)
def export(runtime: Runtime, screen: Screen, *, form: str, output: Path | None, **given: Any) -> None:
    """Write events for other programs: JSON lines as recorded, CSV, or OpenTelemetry logs (OTLP JSON lines)."""
    lines = runtime.audit.export(form, _read_query(runtime, given))
    if output is None:
        for line in lines:
            sys.stdout.write(line)
        return
    number = _write(output, lines)
    if screen.json:
        screen.emit({"file": str(output), "format": form, "lines": number})
    else:
        screen.verb("Written", f"{count(number, 'line')} to {shown(str(output))}")


def _write(output: Path, lines: Iterable[str]) -> int:
    number = 0
    try:
        with output.open("x", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
                number += 1
    except FileExistsError:
        raise UsageError(f"{output} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    return number


@make("bundle", example="nightcrew audit bundle R-7 -o R-7.tar.gz", exits=(3, 4, 7, 12))
@click.argument("run")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="RUN.tar.gz when not given."
)
@click.option("--force", is_flag=True, help="Replace FILE.")
def bundle(runtime: Runtime, screen: Screen, *, run: str, output: Path | None, force: bool) -> None:
    """Write the evidence of a run into one file, with a program that verifies it offline.

    Events, chain, signed head, plan, approvals, policies in force, receipts of promotions, git ids of all trees; not the contents of your
    files, and no transcripts. Secrets were taken out before anything was recorded. The verifier inside needs Python 3.8 and nothing else.
    """
    name = runtime.resolve(run, kinds="R")
    made = runtime.audit.bundle(name, output or Path(f"{name}.tar.gz"), force=force)
    if screen.json:
        screen.emit(made)
        return
    screen.verb(
        "Written", f"{shown(made['file'])}: {count(made['events'], 'event')}, {count(made['files'], 'file')}"
    )
    screen.say(f"signed by {made['key']}")
    screen.hint(f"anybody can check it: python3 verify_bundle.py {shown(made['file'])} --key {made['key']}")


@make(
    "prune",
    example="nightcrew audit prune --before 365d --dry-run\nnightcrew audit prune --before 2025-01-01",
    exits=(4, 12),
)
@click.option(
    "--before", required=True, metavar="TIME", help="Runs that were over by then: 365d, 2025-01-01."
)
@click.option("-n", "--dry-run", is_flag=True, help="Only tell.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(runtime: Runtime, screen: Screen, *, before: str, dry_run: bool, yes: bool) -> None:
    """Empty the events of old runs. Their numbers and hashes stay, under a signature, so every chain still verifies.

    Cannot be undone. Runs, plans, approvals and promotions stay as they are; so does everything that belongs to no run. Nothing else in
    nightcrew ever removes events.
    """
    told = runtime.audit.prune(before=before, dry_run=True)
    if not dry_run and told["runs"]:
        _confirm(screen, told, yes=yes)
        told = runtime.audit.prune(before=before)
    if screen.json:
        screen.emit(told)
    elif not told["runs"]:
        screen.data("nothing to empty")
    else:
        what = f"{count(told['events'], 'event')} of {', '.join(told['runs'])}"
        screen.verb("Dry run" if dry_run else "Emptied", what, "cyan" if dry_run else "green")


def _confirm(screen: Screen, told: dict[str, Any], *, yes: bool) -> None:
    if yes:
        return
    if not screen.interactive:
        raise UsageError("emptying events cannot be undone; nothing was emptied", hint="say it with --yes")
    what = f"{count(told['events'], 'event')} of {', '.join(told['runs'])}"
    if click.prompt(f"Empty {what}? It cannot be undone. Type `empty`", err=True) != "empty":
        raise UsageError("nothing was emptied")


class _Audit(click.Group):
    """Options right behind ``audit`` are those of a search."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line, with ``query`` where no command was named."""
        if args and args[0].startswith("--") and args[0] not in ("--help", "--json"):
            args = ["query", *args]
        return super().parse_args(ctx, args)


command = _Audit(
    "audit",
    help="The journal as evidence: search (also: nightcrew audit --kind ...), verify, sign, export, bundle, empty.",
    commands=[query, verify, head, export, bundle, prune],
)
