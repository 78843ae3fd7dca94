"""``aider`` and ``mini``: agents without a protocol, with the command line that each needs to work alone at night.

They are the ``command`` adapter with words that we know: they ask for nothing while they run, so their change is what is
judged. What they would keep beside their work (histories, caches, a line in .gitignore) stays out of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from nightcrew.agents.adapter import AgentSession, Capabilities, Desk, Job, Launch, ModelAccess
from nightcrew.agents.command import CommandSession
from nightcrew.agents.launching import find_argv
from nightcrew.agents.prompts import read_prompt, write_prompt
from nightcrew.agents.reaching import describe_access
from nightcrew.model.actions import Action
from nightcrew.model.errors import UsageError
from nightcrew.model.isolation import Bind
from nightcrew.model.settings import AgentSetting

#: Its own files, in the home directory inside, which is gone with the attempt.
_NOTES: Final = "/home/agent"
#: What is broken into lines for a terminal is no JSON any more.
_WIDE: Final = {"COLUMNS": "1000000"}
#: A question that it is to answer, in a file there.
_QUESTION: Final = "question.md"
#: In the names of variables that lead to a model.
_LEADS: Final = "_API_"
#: Providers in the order of preference; these programs put them before a model's name.
_PROVIDERS: Final = ("openai", "anthropic", "gemini")


@dataclass(frozen=True, slots=True)
class Preset:
    """One such agent.

    Attributes:
        name: of its adapter and its program. write_words: prompt, model (empty for its own choice) and environment → the
            words behind the program. env: variables it needs. note: in words, for a person.
        files: name in its home directory → what is there, read-only.
        write_question: file with the prompt, model and environment → the words behind the program for a question whose answer
            is a text; None when it always works.
    """

    name: str
    write_words: Callable[[str, str, Mapping[str, str]], tuple[str, ...]]
    env: Mapping[str, str]
    note: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    write_question: Callable[[str, str, Mapping[str, str]], tuple[str, ...]] | None = None


def _write_aider(prompt: str, model: str, env: Mapping[str, str]) -> tuple[str, ...]:
    # One message, edits as text.
    return (f"--message={prompt}", "--edit-format", "diff", *_write_alone(model, env))


def _ask_aider(file: str, model: str, env: Mapping[str, str]) -> tuple[str, ...]:
    # One question in the mode that edits nothing; in a file, because a command line has an end.
    return ("--message-file", file, "--chat-mode", "ask", *_write_alone(model, env))


def _write_alone(model: str, env: Mapping[str, str]) -> tuple[str, ...]:
    # No questions. It commits nothing and asks nobody whether it is the newest.
    return (
        *(("--model", model) if model else ()),
        *("--yes-always", "--map-tokens", "0", "--no-stream"),
        *("--no-auto-commits", "--no-dirty-commits", "--no-gitignore", "--no-suggest-shell-commands"),
        # What the repository sets for it could name programs to run.
        *("--no-auto-lint", "--no-auto-test", "--no-notifications"),
        *("--no-check-update", "--no-show-release-notes", "--analytics-disable", "--no-show-model-warnings"),
        *("--no-pretty", "--no-fancy-input", "--no-detect-urls"),
        *("--input-history-file", f"{_NOTES}/aider.input"),
        *("--chat-history-file", f"{_NOTES}/aider.chat.md"),
        # A file called .env in the repository stands above the environment, and a word of the command line above that.
        *(
            word
            for name, value in sorted(env.items())
            if _LEADS in name
            for word in ("--set-env", f"{name}={value}")
        ),
    )


def _write_mini(prompt: str, model: str, env: Mapping[str, str]) -> tuple[str, ...]:
    return (
        *(("--model", model) if model else ()),
        *(f"--task={prompt}", "--yolo", "--exit-immediately", "--output", f"{_NOTES}/mini.json"),
    )


AIDER: Final = Preset(
    name="aider",
    write_words=_write_aider,
    env={"AIDER_CACHE_DIR": f"{_NOTES}/.aider", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    # Without it it looks for prices of models in the network, and waits there for long.
    files={".aider/caches/model_prices_and_context_window.json": b'{"none": {}}'},
    write_question=_ask_aider,
    note="aider, one message: it edits files and runs nothing; it asks for nothing, its whole change is judged",
)
MINI: Final = Preset(
    name="mini",
    write_words=_write_mini,
    env={
        "MSWEA_CONFIGURED": "true",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_GLOBAL_CONFIG_DIR": f"{_NOTES}/.mini",
    },
    note="mini-swe-agent: one shell command after the other, none of them asked for; its whole change is judged",
)


class PresetAdapter:
    """See the module's own words."""

    def __init__(self, preset: Preset) -> None:
        self._preset = preset

    @property
    def name(self) -> str:
        """Of the preset."""
        return self._preset.name

    @property
    def capabilities(self) -> Capabilities:
        """The same of all that have no protocol; a model makes another attempt worth while."""
        return Capabilities(
            approvals="none",
            fail_closed=True,
            deny_continues=False,
            resume="none",
            deterministic=False,
            needs_network=True,
            structured_output="none" if self._preset.write_question is None else "prompt",
            note=self._preset.note,
        )

    def find_program(self, setting: AgentSetting) -> str:
        """Its own, or what the setting's argv begins with."""
        return setting.argv[0] if setting.argv else self._preset.name

    def questions(self, job: Job) -> tuple[Action, ...]:
        """Its program by name, once; what it is told is bound by its digest."""
        told = hashlib.sha256(write_prompt(job).encode("utf-8", "surrogateescape")).hexdigest()
        program = self.find_program(job.setting)
        return (Action(kind="exec", command=program, purpose="run", detail=f"prompt sha256:{told}"),)

    def prepare(self, job: Job) -> Launch:
        """Return the command line with the task in it."""
        env = {**self._preset.env, **(_WIDE if job.schema else {}), **job.setting.env}
        model = "" if _names_model(job.setting) else _choose_model(job, _need_any(job))
        if job.model is not None:
            env = {**describe_access(job.model), **env}
        program = job.program
        shown = dict(self._preset.files) if job.mounted else {}
        words = self._write_words(job, model, env, shown)
        files = {path.rpartition("/")[2]: data for path, data in shown.items()}
        binds = [Bind(str(job.private / path.rpartition("/")[2]), f"{_NOTES}/{path}") for path in shown]
        return Launch(
            argv=(*find_argv(job, self._preset.name), *words),
            env=env,
            binds=(*(program.binds if program else ()), *binds),
            files=files,
            search=program.search if program else (),
        )

    def _write_words(
        self, job: Job, model: str, env: Mapping[str, str], shown: dict[str, bytes]
    ) -> tuple[str, ...]:
        """Return the words behind the program; a question becomes one more file that is shown."""
        if not job.schema or self._preset.write_question is None:
            return self._preset.write_words(write_prompt(job), model, env)
        shown[_QUESTION] = read_prompt(job).encode("utf-8", "surrogateescape")
        where = f"{_NOTES}/{_QUESTION}" if job.mounted else str(job.private / _QUESTION)
        return self._preset.write_question(where, model, env)

    def open(self, job: Job, desk: Desk) -> AgentSession:
        """Return the session: it waits for the end."""
        return CommandSession(b"")


def _names_model(setting: AgentSetting) -> bool:
    """Tell whether a setting names a model by itself, and how it is reached."""
    return "--model" in setting.argv or "OPENAI_API_BASE" in setting.env


def _need_any(job: Job) -> ModelAccess:
    if job.model is not None and any(name in job.model.base_urls for name in _PROVIDERS):
        return job.model
    raise UsageError(
        f"the agent {job.task.agent} has no way to a model: none of {', '.join(_PROVIDERS)} is configured",
        code="agent.no_model",
        where=[str(job.task.place)],
        hint="name where a key is in your own config.yaml, under providers (docs/formats/config.md)",
    )


def _choose_model(job: Job, access: ModelAccess) -> str:
    """Return the model as these programs name it: ``provider/model``.

    Raises:
        UsageError: nobody has named one.
    """
    named = [name for name in _PROVIDERS if name in access.base_urls]
    wanted = job.task.model
    if "/" in wanted:
        return wanted
    provider = next((name for name in named if access.models.get(name)), named[0])
    model = wanted or access.models.get(provider, "")
    if not model:
        raise UsageError(
            f"{job.task.agent} must be told which model to use for task {job.task.number}",
            where=[str(job.task.place)],
            hint="add a `Model:` line (provider/model) to the task, or name one for the provider in your own config.yaml",
        )
    return f"{provider}/{model}"
