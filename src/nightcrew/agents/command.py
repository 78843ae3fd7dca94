"""``command``: any command line, confined and judged by its result.

Without a setting of its own it runs the task's ``Run:`` line with plain ``bash -c``: no ``-e`` and no ``pipefail``,
because the line was judged and shown as the person wrote it and must mean the same as in their own shell. A named
agent of config.yaml is an argv template: ``{prompt}`` stands for the task's text and ``{prompt_file}`` for a file that
holds it; with ``prompt: stdin`` the text is written to its standard input instead.

Such an agent asks nothing while it runs. Policy judges its command line before it starts and its whole change after.
"""

from __future__ import annotations

import hashlib
import shlex
from typing import Final, Literal

from nightcrew.agents.adapter import (
    INSIDE,
    AgentEnd,
    AgentSession,
    Capabilities,
    Desk,
    Job,
    Launch,
    Standing,
)
from nightcrew.agents.prompts import read_prompt
from nightcrew.agents.reaching import describe_access
from nightcrew.model.actions import Action
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind, Outcome, Process
from nightcrew.model.settings import AgentSetting

PROMPT_FILE: Final = "prompt.md"


class CommandSession:
    """Writes the prompt if it goes to stdin, then only waits for the end."""

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin

    def started(self, process: Process) -> None:
        """Give it its input and close stdin, so that a program that reads it sees the end."""
        if self._stdin:
            process.write(self._stdin)
        process.close_stdin()

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Output is kept in the transcript by the engine and means nothing here."""

    def standing(self) -> Standing:
        """It asks nothing, so nobody knows."""
        return Standing()

    def conclude(self, outcome: Outcome) -> AgentEnd:
        """Exit code 0 is the only end that counts."""
        if outcome.exit_code == 0:
            return AgentEnd("finished", progress={"finished": True})
        return AgentEnd("failed", f"the command ended with exit code {outcome.exit_code}")


class CommandAdapter:
    """See the module's own words."""

    name: Final = "command"
    capabilities: Final = Capabilities(
        approvals="none",
        fail_closed=True,
        deny_continues=False,
        resume="none",
        deterministic=True,
        needs_network=False,
        note="asks nothing while it runs: its line is judged before, its whole change after",
    )

    def find_program(self, setting: AgentSetting) -> str:
        """The first word of a template."""
        return setting.argv[0] if setting.argv else ""

    def questions(self, job: Job) -> tuple[Action, ...]:
        """The command line itself; for a template the prompt is bound by its digest."""
        if not job.setting.argv:
            return (Action(kind="exec", command=job.task.run, purpose="run"),)
        prompt = hashlib.sha256(read_prompt(job).encode("utf-8", "surrogateescape")).hexdigest()
        return (
            Action(
                kind="exec",
                command=shlex.join(job.setting.argv),
                purpose="run",
                detail=f"prompt sha256:{prompt}",
            ),
        )

    def prepare(self, job: Job) -> Launch:
        """Return ``bash -c <Run>`` or the filled template."""
        if not job.setting.argv:
            return _prepare_line(job)
        inside, bind, files = _place_prompt(job)
        argv = tuple(_fill(word, read_prompt(job), inside) for word in job.setting.argv)
        env = {**describe_access(job.model), **job.setting.env}
        if job.program is None:
            return Launch(argv=argv, env=env, binds=bind, files=files)
        return Launch(
            argv=(job.program.path, *argv[1:]),
            env=env,
            binds=(*job.program.binds, *bind),
            files=files,
            search=job.program.search,
        )

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session; only ``prompt: stdin`` writes anything."""
        wants_stdin = bool(job.setting.argv) and job.setting.prompt == "stdin"
        return CommandSession(read_prompt(job).encode("utf-8", "surrogateescape") if wants_stdin else b"")


def _prepare_line(job: Job) -> Launch:
    if not job.task.run:
        raise UsageError(
            f"task {job.task.number} has no command to run",
            where=[str(job.task.place)],
            hint="add a `Run:` line below it, or choose another `Agent:`",
        )
    return Launch(argv=("bash", "-c", job.task.run), env=dict(job.setting.env))


def _place_prompt(job: Job) -> tuple[str, tuple[Bind, ...], dict[str, bytes]]:
    """Return where the prompt's file is seen by the agent, its bind, and the file to write."""
    if job.setting.prompt != "file" and not any("{prompt_file}" in word for word in job.setting.argv):
        return "", (), {}
    outside = str(job.private / PROMPT_FILE)
    files = {PROMPT_FILE: read_prompt(job).encode("utf-8", "surrogateescape")}
    if not job.mounted:
        return outside, (), files
    inside = f"{INSIDE}/{PROMPT_FILE}"
    return inside, (Bind(outside, inside),), files


def _fill(word: str, prompt: str, prompt_file: str) -> str:
    """Replace the placeholders in one pass, so that a prompt that contains one is not filled again."""
    return prompt_file.join(piece.replace("{prompt}", prompt) for piece in word.split("{prompt_file}"))
