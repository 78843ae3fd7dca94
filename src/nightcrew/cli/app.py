"""The group of all commands: names and one line each stand here, the code of a command is imported when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

import click

from nightcrew import __version__
from nightcrew.cli.options import shared_options
from nightcrew.cli.screen import Screen

# group title → name → (module, one line)
GROUPS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Set up": {
        "init": ("init", "Write a commented policy and settings for this repository."),
        "doctor": ("doctor", "Tell what this machine can enforce, and how to mend each gap."),
        "agent": ("agent", "List, find, match, try and add agents."),
        "keys": ("keys", "List your providers of models, try their keys, show prices."),
        "demo": ("demo", "See the whole job in a throw-away repository."),
        "gc": ("gc", "Give up old checkpoints and whatever else nothing needs."),
    },
    "Hand over": {
        "run": ("run", "Plan, approve and run a goal, or the tasks of a file."),
        "forecast": ("forecast", "Tell what a run will ask, and take answers in advance."),
        "rehearse": ("rehearse", "Play a night with a real agent, a scripted model and no key."),
        "plan": ("plan", "Show, make and change plans: of a run, a file, a goal."),
    },
    "Decide": {
        "inbox": ("inbox", "List what waits for you."),
        "approve": ("approve", "Approve a plan or an action."),
        "answer": ("answer", "Answer a question that an agent asked you."),
        "deny": ("deny", "Deny a plan or an action, with a reason."),
    },
    "People": {
        "auth": ("auth", "Say who may decide, and how they prove it."),
    },
    "Watch": {
        "ps": ("ps", "List runs."),
        "show": ("show", "Show a run, task, approval, checkpoint or promotion."),
        "log": ("log", "Print what happened in a run or task."),
        "events": ("events", "Print the journal."),
        "stats": ("stats", "Show what checkpoints cost."),
    },
    "Control": {
        "pause": ("pause", "Pause a run or a task, keeping what it has done."),
        "resume": ("resume", "Go on with paused, interrupted or waiting runs."),
        "cancel": ("cancel", "Cancel a run or a task."),
        "extend": ("extend", "Give a run or a task another budget."),
        "budget": ("budget", "Show budgets, and what was spent by day, agent or model."),
        "retry": ("retry", "Run a task again from the start."),
        "checkpoint": ("checkpoint", "List, compare and restore checkpoints."),
    },
    "Review and release": {
        "review": ("review", "Show every task of a run, what needs a look first."),
        "diff": ("diff", "Show what a task changed."),
        "accept": ("accept", "Accept results, so that they can be promoted."),
        "reject": ("reject", "Reject the result of a task."),
        "rollback": ("rollback", "Take one task out of what a run would land."),
        "promote": ("promote", "Put accepted results into your repository, or into a file."),
        "undo": ("undo", "Take a promotion back."),
        "redo": ("redo", "Put a promotion back that was undone."),
    },
    "Explain": {
        "why": ("why", "Explain a state, decision or event."),
        "role": ("role", "List, show, write, check and try the roles of tasks."),
        "policy": ("policy", "Explain, check, test, replay and suggest the policy."),
        "secrets": ("secrets", "Search for secrets, and let one land."),
        "blame": ("blame", "Tell which task, agent and approvals a line comes from."),
        "audit": ("audit", "Search, verify, sign, export and bundle the journal."),
        "completion": ("completion", "Print the completion script of a shell."),
    },
}
HIDDEN: Final[dict[str, tuple[str, str]]] = {
    "hook": ("hook", "Answer an agent's own command hook."),
    "engine": ("engine", "Host the engine in the background."),
}
COMMANDS: Final = {name: entry for group in GROUPS.values() for name, entry in group.items()} | HIDDEN


class LazyCommands(click.Group):
    """A group that imports ``nightcrew.cli.<module>:command`` when a command is really used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the visible names in the order of the job."""
        return [name for name in COMMANDS if name not in HIDDEN]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = import_module(f"nightcrew.cli.{COMMANDS[cmd_name][0]}").command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and suggest a near name when there is none."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            tail = f" Did you mean `nightcrew {near[0]}`?" if near else ""
            raise click.UsageError(f"there is no command {name!r}.{tail}", ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by purpose, without importing them."""
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(11), line) for name, (_, line) in group.items()])


EXIT_CODES: Final = (
    "Exit codes: 0 ok, 1 failed, 2 usage or invalid input, 3 not found, 4 authentication, "
    "5 waiting for a human (nothing done), 6 denied by policy, 7 stale, drift or conflict, 8 limit reached, "
    "9 engine locked or unavailable, 10 finished with failed tasks, 11 required isolation unavailable, "
    "12 journal damaged, 70 internal error (report written), 130 interrupted."
)


@click.command(
    cls=LazyCommands,
    epilog=f"\b\nExample:\n  nightcrew init\n  nightcrew run -f tasks.md\n\n{EXIT_CODES}",
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    params=shared_options(),
)
@click.version_option(__version__, "-V", "--version", prog_name="nightcrew", message="%(prog)s %(version)s")
@click.pass_context
def app(ctx: click.Context, /, **given: Any) -> None:
    """Your coding agents take the night shift; you stay in charge.

    Runs coding agents in sandboxed copies of your repository, under a policy, and lets you review and promote what they did.
    """
    ctx.obj = given
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run(arguments: list[str]) -> int:
    """Run one command line; every error becomes words and an exit code here."""
    from nightcrew.cli.failure import describe_failure

    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    screen = Screen(json="--json" in own, color="--no-color" not in own and _color_allowed())
    try:
        result = app.main(args=arguments, prog_name="nightcrew", standalone_mode=False)
    except BaseException as error:
        if isinstance(error, GeneratorExit | SystemExit):
            raise
        return describe_failure(error, arguments, screen)
    return result if isinstance(result, int) else 0


def _color_allowed() -> bool:
    from nightcrew.model.errors import NightcrewError
    from nightcrew.runtime.settings.environment import read_environment

    try:
        return read_environment().color
    except NightcrewError:  # no home directory: the command will say so itself
        return False
