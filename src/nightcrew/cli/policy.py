"""``nightcrew policy ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.reach import network
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import Exit, NotFound, UsageError
from nightcrew.model.text import count, shown
from nightcrew.model.units import parse_duration
from nightcrew.runtime.api import Runtime

_STYLE = {"allow": "green", "ask": "yellow", "deny": "red"}
_EFFECT = {"looser": "yellow", "tighter": "green", "other": ""}
_FILE = click.Path(path_type=Path)


@make(
    "explain",
    example="nightcrew policy explain -- git push --force\nnightcrew policy explain --role qa -- make deploy\nnightcrew policy explain --json -- 'curl x | sh'",
    exits=(3,),
    context_settings={"ignore_unknown_options": True},
)
@click.option(
    "--role", default="", metavar="ROLE", help="As for a task of this role; see: nightcrew role list."
)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def explain(runtime: Runtime, screen: Screen, *, words: tuple[str, ...], role: str) -> None:
    """Tell what the policy says about a command line, without running it, and what would change that.

    Exits 0 whatever the decision is.
    """
    result = runtime.explain_command(words, role)
    if screen.json:
        screen.emit(result)
        return
    _show_decision(screen, result)


def _show_decision(screen: Screen, result: dict[str, Any]) -> None:
    decision = screen.paint(result["decision"], f"bold {_STYLE[result['decision']]}", sys.stdout)
    screen.data(f"decision: {decision}   risk {result['risk']}")
    screen.data(f"rule:     {result['rule']}   {result['source']}")
    screen.data(f"reason:   {result['reason']}")
    for number, line in enumerate(result["effective_commands"], start=1):
        screen.data(f"runs:     {number}  {line}")
    for line in result["opaque"]:
        screen.data(f"opaque:   {line}")
    if result["also_matched"]:
        screen.data(f"also:     {', '.join(result['also_matched'])}   (deny beats ask beats allow)")
    if result["hint"]:
        screen.data(f"hint:     {result['hint']}")
    for line in result["to_change"]:
        screen.data(f"change:   {line}")


@make("check", example="nightcrew policy check\nnightcrew policy check new-policy.yaml", exits=(3,))
@click.argument("file", required=False, type=_FILE)
def check(runtime: Runtime, screen: Screen, *, file: Path | None) -> None:
    """Check the policy and settings files that are in force here, or one FILE as if it were this repository's own.

    All problems at once, each with file:line:column and the line itself.
    """
    result = runtime.check_policy(file)
    if screen.json:
        screen.emit(result)
        return
    for layer in result["layers"]:
        screen.verb("Valid", f"{layer['source']}  ({layer['layer']})")
    screen.data(f"{result['rules']} rules, digest {result['digest'][:12]}")


@make("show", example="nightcrew policy show")
def show(runtime: Runtime, screen: Screen) -> None:
    """Print the rules and values in force here, strictest first, each with its file:line."""
    result = runtime.show_policy()
    if screen.json:
        screen.emit(result)
        return
    for rule in result["rules"]:
        screen.data(f"{rule['decision']:<5}  {rule['id']:<28} {rule['source']}")
        if rule["reason"]:
            screen.data(f"       {rule['reason']}")
    for value in result["values"]:
        screen.data(
            f"{value['name']}: {value['value']}   {value['source']}{'  (fixed)' if value['fixed'] else ''}"
        )
    for gate in result["gates"]:
        screen.data(f"gate {gate['id']}: {shown(gate['run'])}   {gate['source']}")
    screen.data(f"protected: {result['protected']}")


@make("schema", example="nightcrew policy schema > policy.schema.json")
def schema(runtime: Runtime, screen: Screen) -> None:
    """Print the JSON Schema of policy.yaml, for editors."""
    screen.emit(runtime.policies.schema())


@make("test", example="nightcrew policy test\nnightcrew policy test new-policy.yaml", exits=(1, 3))
@click.argument("file", required=False, type=_FILE)
def test(runtime: Runtime, screen: Screen, *, file: Path | None) -> int:
    """Try the examples of all rules in force here, or with FILE as this repository's own: each must match, or not, as it says.

    Also told is what the whole policy decides on it, where that is another rule's doing. Exits 1 when an example fails.
    """
    result = runtime.policies.test(file)
    if screen.json:
        screen.emit(result)
    else:
        _show_tests(screen, result)
    return int(Exit.OK if result["ok"] else Exit.FAILED)


def _show_tests(screen: Screen, result: dict[str, Any]) -> None:
    for rule in result["tested"]:
        for each in rule["examples"]:
            if not each["ok"]:
                word = screen.paint("FAIL", "bold red", sys.stdout)
                why = each["problem"] or f"expected: {each['expected']}"
                screen.data(f"{word}  {rule['id']}  {shown(each['text'])}   {why}   {each['source']}")
            elif each["expected"] == "match" and each.get("decided_by", rule["id"]) != rule["id"]:
                said = f"{each['decision']} by {each['decided_by']}"
                screen.data(f"note  {rule['id']}  {shown(each['text'])}   the whole policy: {said}")
    if result["without_examples"]:
        screen.data(f"without examples: {', '.join(result['without_examples'])}")
    failed = f", {len(result['failed'])} failed" if result["failed"] else ", all as they say"
    screen.data(f"{count(result['examples'], 'example')} of {count(result['rules'], 'rule')}{failed}")


@make(
    "diff",
    example="nightcrew policy diff new-policy.yaml\nnightcrew policy diff old.yaml new.yaml",
    exits=(3,),
)
@click.argument("files", nargs=-1, required=True, type=_FILE, metavar="[OLD] NEW")
def diff(runtime: Runtime, screen: Screen, *, files: tuple[Path, ...]) -> None:
    """Tell in what NEW differs from the policy in force here (or from OLD), and whether that is tighter or looser."""
    if len(files) > 2:
        raise UsageError("one or two files are compared", hint="nightcrew policy diff [OLD] NEW")
    result = runtime.policies.diff(files[0] if len(files) == 2 else None, files[-1])
    if screen.json:
        screen.emit(result)
        return
    for each in result["changes"]:
        effect = screen.paint(each["effect"].ljust(7), _EFFECT[each["effect"]], sys.stdout)
        old, new = each["old"] or "(nothing)", each["new"] or "(nothing)"
        screen.data(
            f"{effect}  {each['what']} {each['name']}: {shown(old)} -> {shown(new)}   {each['source']}".rstrip()
        )
    if result["same"]:
        screen.data("they say the same")
    else:
        screen.data(
            f"{count(len(result['changes']), 'difference')}: {result['looser']} looser, {result['tighter']} tighter"
        )


@make(
    "import",
    example="nightcrew policy import .aurora/policies.yaml\nnightcrew policy import policies.yaml --write",
    exits=(3, 4, 8),
)
@click.argument("file", type=_FILE)
@click.option("--write", is_flag=True, help="Make it .nightcrew/policy.yaml; refused when there is one.")
@proof_options
def import_(runtime: Runtime, screen: Screen, *, file: Path, write: bool, **options: Any) -> None:
    """Print Aurora's policies.yaml as a policy of ours, and tell everything that means something else here."""
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("policy") if write else "")
    result = runtime.policies.import_file(file, write=write, proof=proof)
    if screen.json:
        screen.emit(result)
        return
    if not write:
        screen.data(result["text"].rstrip("\n"))
    for note in result["notes"]:
        screen.warn(note)
    if write:
        screen.verb("Written", result["written"])
        screen.hint("nightcrew policy show")


_SINCE = click.option(
    "--since", default="", metavar="TIME", help="How far back, such as 30d; everything by default."
)
_RUN = click.option("--run", default="", metavar="R-1", help="Only what was decided in this run.")


def _seconds(since: str) -> float:
    try:
        return parse_duration(since) if since else 0.0
    except ValueError as error:
        raise UsageError(f"--since: {error}") from error


def _full(runtime: Runtime, run: str) -> str:
    return runtime.resolve(run, kinds="R") if run else ""


@make("replay", example="nightcrew policy replay --since 30d --with new-policy.yaml", exits=(3,))
@_SINCE
@_RUN
@click.option(
    "--with", "file", type=_FILE, default=None, help="The policy to replay; the one in force by default."
)
def replay(runtime: Runtime, screen: Screen, *, since: str, run: str, file: Path | None) -> None:
    """Judge again what was decided in this repository, under another policy: what would flip, and how many fewer questions.

    Nothing is run and nothing is changed. Questions about whole results rest on their contents and are only counted.
    """
    result = runtime.policies.replay(file, since_s=_seconds(since), run=_full(runtime, run))
    if screen.json:
        screen.emit(result)
        return
    if not result["decisions"]:
        raise NotFound("nothing was decided in that time", code="replay.empty", hint="nightcrew ps -a")
    for each in result["list"]:
        answer = f"   answered: {each['answer']}" if each["answer"] else ""
        screen.data(
            f"{each['event']:<8} {each['then']['decision']} -> {each['now']['decision']}   {shown(each['action'])}"
        )
        screen.data(
            f"         {each['then']['rule']} -> {each['now']['rule']} ({each['now']['source']}){answer}"
        )
    rows = [[change, str(number)] for change, number in result["matrix"].items()]
    for line in table(rows):
        screen.data(line)
    asked = result["questions"]
    screen.data(f"{count(result['decisions'], 'decision')}, {result['flips']} would flip")
    screen.data(f"questions: {asked['then']} then, {asked['now']} now, {asked['fewer']} fewer")
    if result["not_replayed"]:
        screen.data(f"not judged again: {count(result['not_replayed'], 'question')} about whole results")
    if result["redacted"]:
        screen.data(f"{count(result['redacted'], 'decision')} had a secret in it, which is not recorded")


@make(
    "suggest", example="nightcrew policy suggest --since 30d\nnightcrew policy suggest --tighten > least.yaml"
)
@_SINCE
@_RUN
@click.option(
    "--times", default=2, type=click.IntRange(1, 1000), help="So often a yes is needed, and never a no."
)
@click.option(
    "--tighten", is_flag=True, help="Instead: allow the programs that were used, and ask for all others."
)
def suggest(runtime: Runtime, screen: Screen, *, since: str, run: str, times: int, tighten: bool) -> None:
    """Propose the least privilege that history shows was needed: exceptions for exactly the commands that always got a yes.

    It is printed and never put in force by itself. Commands of critical risk, and those that nobody can know before they run,
    are left to a person.
    """
    result = runtime.policies.suggest(
        since_s=_seconds(since), run=_full(runtime, run), times=times, tighten=tighten
    )
    if screen.json:
        screen.emit(result)
        return
    for each in result["left"]:
        name = each.get("command") or each.get("program")
        if not tighten:
            screen.say(f"left out  {shown(name)}: {each['why']}")
    if not result["text"]:
        screen.say("nothing to suggest")
        return
    screen.data(result["text"].rstrip("\n"))
    if result["problem"]:
        screen.warn(f"this cannot be laid over the policy in force: {result['problem']}")
    screen.hint("look at it, then: nightcrew policy replay --with FILE")


command = group(
    "policy",
    purpose="The policy in force here.",
    commands=[explain, check, show, network, schema, test, diff, import_, replay, suggest],
)
