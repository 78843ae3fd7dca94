"""Write docs/reference/*.md from the code, and docs/index.md from the README.

Usage: ``uv run python docs/generate_reference.py [--check]``. With ``--check`` nothing is written; the exit code is 1 when
a page is not what the code says.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from nightcrew.cli.app import app as root
from nightcrew.model.errors import Exit

DOCS = Path(__file__).resolve().parent
EXITS = {
    Exit.OK: "done",
    Exit.FAILED: "failed",
    Exit.USAGE: "usage or invalid input; nothing was done",
    Exit.NOT_FOUND: "no such id, file or repository",
    Exit.AUTHENTICATION: "a factor is missing or wrong",
    Exit.WAITING: "waiting for a human",
    Exit.DENIED: "denied by policy",
    Exit.STALE: "stale, drift or conflict; nothing was changed",
    Exit.LIMIT: "a limit or budget was reached",
    Exit.ENGINE: "the engine is locked or unavailable",
    Exit.TASKS_FAILED: "finished, and some tasks did not succeed",
    Exit.ISOLATION: "the required isolation is unavailable; nothing was started",
    Exit.JOURNAL: "the journal is damaged",
    Exit.INTERNAL: "internal error; a report was written",
    Exit.INTERRUPTED: "interrupted; `nightcrew resume` goes on",
}


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every visible command below ``group`` with its full name, groups before their members."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")


def render_commands() -> str:
    """Return the page of all commands: the help text of each, as the program prints it."""
    lines = [
        "# Commands",
        "",
        "Generated from the code. Every command has `--help`, `--json` and `-C DIR`.",
        "",
    ]
    for name, command in commands(root, "nightcrew"):
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
        lines += [f"## {name}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines)


def render_scripting() -> str:
    """Return the page of exit codes and of the promises to scripts."""
    lines = ["# Exit codes and JSON", "", "Generated from the code.", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {int(code)} | {EXITS[code]} |" for code in Exit]
    lines += [
        "",
        "An unknown code means failure. Data goes to stdout, talk to stderr. With `--json` an error is one object on stdout:",
        "",
        "```json",
        '{"ok": false, "error": {"code": "drift.overlap", "message": "…", "where": ["…"], "hint": "…", "exit": 7}}',
        "```",
        "",
        "Ids count up per state directory and never change: `R-1` run, `R-1/T01` task, `A-1` approval, `C-1` checkpoint,",
        "`M-1` promotion, `E-1` event.",
        "",
    ]
    return "\n".join(lines)


def render_index() -> str:
    """Return the README as front page, its links into docs/ made relative."""
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return text.replace("[ARCHITECTURE.md](ARCHITECTURE.md)", "ARCHITECTURE.md in the repository")


def render_decisions() -> str:
    """Return the list of decisions, one line each, from their first headings."""
    pages = sorted(path for path in (DOCS / "decisions").glob("[0-9]*.md"))
    titles = [
        (path.name, path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")) for path in pages
    ]
    return "\n".join(["# Decisions", "", *(f"- [{title}]({name})" for name, title in titles), ""])


def main() -> int:
    """Write or check the generated pages."""
    pages = {
        DOCS / "reference" / "commands.md": render_commands(),
        DOCS / "reference" / "scripting.md": render_scripting(),
        DOCS / "decisions" / "index.md": render_decisions(),
        DOCS / "index.md": render_index(),
    }
    stale = [
        path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(
                f"{path.relative_to(DOCS.parent)} is not what the code says: uv run python docs/generate_reference.py"
            )
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pages[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
