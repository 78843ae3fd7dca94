"""``nightcrew role ...``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO, Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.options import group
from nightcrew.cli.proving import proof_options, read_proof
from nightcrew.cli.screen import Screen, table
from nightcrew.model.errors import Exit, UsageError
from nightcrew.model.text import count, shown
from nightcrew.runtime.api import Runtime

_STYLE = {"allow": "green", "ask": "yellow", "deny": "red"}
_HEADINGS = {
    "autonomous": "by itself, where the policy allows it",
    "requires_approval": "only after a yes",
    "forbidden": "never",
    "base": "never, or only after a yes, under every role (base restrictions)",
}
_FILE = click.Path(path_type=Path)


@make("list", example="nightcrew role list")
def list_(runtime: Runtime, screen: Screen) -> None:
    """List the roles that tasks can name: those of this repository, your own, and the shipped ones."""
    result = runtime.roles.every()
    if screen.json:
        screen.emit(result)
        return
    rows = [
        [each["name"], each["title"], "+".join(each["layers"]), each["sources"][-1]]
        for each in result["roles"]
    ]
    for line in table(rows, header=["role", "title", "from", "file"]):
        screen.data(line)
    if result["default"]:
        screen.say(f"tasks that name none have the role {result['default']} (config.yaml: roles.default)")
    screen.hint("use one: `- Role: qa` below a task, or nightcrew run --role qa")


@make("show", example="nightcrew role show qa", exits=(3,))
@click.argument("name")
def show(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Show what a role may do by itself, asks for and never does, its limits and hours, each with its file:line.

    What is base holds under every role, and no role can weaken it.
    """
    result = runtime.roles.show(name)
    if screen.json:
        screen.emit(result)
        return
    screen.data(f"{result['name']}  {shown(result['title'])}   digest {result['digest'][:12]}")
    if result["description"]:
        screen.data(f"  {shown(result['description'])}")
    for key, heading in _HEADINGS.items():
        entries = result["authority"].get(key, [])
        if entries:
            screen.data(f"{heading}:")
        for each in entries:
            decision = screen.paint(each["decision"].ljust(5), _STYLE[each["decision"]], sys.stdout)
            screen.data(f"  {decision}  {each['id']:<34} {shown(each['reason'])}   {each['source']}")
    for value in result["values"]:
        note = f"   {value['note']}" if value["note"] else ""
        screen.data(f"{value['name']}: {shown(value['value'])}   {value['source']}{note}")


@make(
    "new",
    example="nightcrew role new qa\nnightcrew role new release-manager --from devops\nnightcrew role new night-qa --from qa --user",
    exits=(3, 4, 7, 8),
)
@click.argument("name")
@click.option(
    "--from", "template", default="", metavar="ROLE", help="What it begins with; NAME, or software-engineer."
)
@click.option("--user", is_flag=True, help="A role of your own, for all repositories, instead of this one's.")
@proof_options
def new(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Write a commented role file from a template, to be changed by hand. An existing file is not touched."""
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("role"))
    result = runtime.roles.new(options["name"], options["template"], user=options["user"], proof=proof)
    if screen.json:
        screen.emit(result)
        return
    screen.data(result["path"])
    screen.verb("Written", f"role {result['name']} from {result['template']}")
    screen.hint(
        f"change it: nightcrew role edit {result['name']}   try it: nightcrew role test {result['name']}"
    )


@make(
    "validate",
    example="nightcrew role validate\nnightcrew role validate .nightcrew/roles/qa.yaml",
    exits=(3,),
)
@click.argument("file", required=False, type=_FILE, metavar="[NAME|FILE]")
def validate(runtime: Runtime, screen: Screen, *, file: Path | None) -> None:
    """Check all role files here, one by name, or any FILE: all problems at once, each with file:line:column and the line.

    Also told is what a role says without effect, because the policy is stricter.
    """
    result = runtime.roles.validate(file)
    if screen.json:
        screen.emit(result)
        return
    for each in result["roles"]:
        screen.verb("Valid", f"{each['source']}  {each['counts']}")
    for note in result["notes"]:
        screen.warn(note)


@make("test", example="nightcrew role test qa\nnightcrew role test .nightcrew/roles/qa.yaml", exits=(1, 3))
@click.argument("name", metavar="NAME|FILE")
def test(runtime: Runtime, screen: Screen, *, name: str) -> int:
    """Try a role dry: its own examples, and a set of actions that every role must at least ask about. Nothing is run.

    Exits 1 when an example does not do as it says, or an action gets a weaker answer than it must.
    """
    result = runtime.roles.test(name)
    if screen.json:
        screen.emit(result)
    else:
        _show_test(screen, result)
    return int(Exit.OK if result["ok"] else Exit.FAILED)


def _show_test(screen: Screen, result: dict[str, Any]) -> None:
    for title, key in (("its own examples", "examples"), ("what every role is held to", "samples")):
        screen.data(f"{title}:")
        for each in result[key]:
            word = "ok" if each["ok"] else screen.paint("FAIL", "bold red", sys.stdout)
            decision = screen.paint(each["decision"].ljust(5), _STYLE[each["decision"]], sys.stdout)
            must = "" if each["ok"] else f"   must be: {each['expected']}"
            screen.data(
                f"  {word:<4}  {decision}  {shown(each['action'])}   {each['rule']} ({each['source']}){must}"
            )
    failed = sum(not each["ok"] for key in ("examples", "samples") for each in result[key])
    tried = count(len(result["examples"]) + len(result["samples"]), "action")
    screen.data(
        f"{tried} tried under role {result['name']}, {f'{failed} failed' if failed else 'all as they must be'}"
    )


@make("edit", example="nightcrew role edit qa\nnightcrew role edit qa --with new-qa.yaml", exits=(3, 4, 8))
@click.argument("name")
@click.option(
    "--with",
    "file",
    type=click.File("r", encoding="utf-8"),
    help="Take the text of FILE (- for stdin) instead of an editor.",
)
@proof_options
def edit(runtime: Runtime, screen: Screen, **options: Any) -> None:
    """Open a role file in your editor ($VISUAL, $EDITOR), and take the new text only when it is valid.

    With problems the file stays as it was, they are shown, and your text is kept beside it.
    """
    draft = runtime.roles.draft(options["name"])
    text = _edit(screen, draft, options["file"])
    if text == draft["text"]:
        screen.say(f"{draft['path']} is as it was")
        return
    proof = read_proof(runtime, screen, options, needed=runtime.people.needs("role"))
    result = runtime.roles.save(options["name"], text, proof=proof)
    if screen.json:
        screen.emit(result)
        return
    screen.verb("Saved", result["path"])


def _edit(screen: Screen, draft: dict[str, Any], file: IO[str] | None) -> str:
    if file is not None:
        return file.read()
    if not screen.interactive:
        raise UsageError(
            f"there is no terminal to edit {draft['path']} in",
            code="role.no_terminal",
            hint="nightcrew role edit NAME --with FILE",
        )
    return click.edit(draft["text"], extension=".yaml") or str(draft["text"])


@make("path", example="nightcrew role path qa", exits=(3,))
@click.argument("name")
def path(runtime: Runtime, screen: Screen, *, name: str) -> None:
    """Print where the file of a role is: this repository's, else your own."""
    found = runtime.roles.path(name)
    if screen.json:
        screen.emit(found)
        return
    screen.data(found["path"])


@make("schema", example="nightcrew role schema > role.schema.json")
def schema(runtime: Runtime, screen: Screen) -> None:
    """Print the JSON Schema of role files, for editors."""
    screen.emit(runtime.roles.schema())


command = group(
    "role",
    purpose="Roles: what kinds of workers may do by themselves, ask for, and never do.",
    commands=[list_, show, new, validate, test, edit, path, schema],
)
