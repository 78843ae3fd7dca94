"""``agent test``: start an agent in the sandbox and speak its protocol up to the moment it would be given a task.

It needs no key and no model, and the agent is asked to do nothing: the way to a model that it is given leads nowhere, and
the first prompt is not sent. What it shows is that the program is there with all it needs, starts in the sandbox of this
machine, takes our callbacks and opens a conversation.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from nightcrew.host.files import remove_tree
from nightcrew.model.actions import Action
from nightcrew.model.errors import Place, UsageError
from nightcrew.model.isolation import Bind, Level, Limits, Outcome, Process, SandboxSpec, Stillness
from nightcrew.model.plans import Task

if TYPE_CHECKING:
    from nightcrew.agents.adapter import Adapter, AgentSession, Answer, Job, Reply
    from nightcrew.model.inquiries import Inquiry
    from nightcrew.model.settings import AgentSetting
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: What the prompt would be; seeing it means that all before it went well.
_PROMPT: Final = "nightcrew-agent-test-7f1c: do nothing"
_LIMITS: Final = Limits(idle_s=60.0, hard_s=120.0, spawn_s=30.0)
#: A port of the sandbox's own loopback that nobody listens at.
_NOWHERE: Final = "http://127.0.0.1:9"


def try_agent(parts: Parts, rules: Rules, name: str) -> dict[str, Any]:
    """Start an agent and report how far it came.

    Raises:
        UsageError: there is no such agent, or it has no protocol that could be tried.
        SandboxUnavailable: nothing can be confined here.
    """
    from nightcrew.agents.adapters import find_adapter, find_setting
    from nightcrew.model import canonical

    setting = find_setting(name, rules.settings.agents)
    adapter = find_adapter(setting)
    if adapter.capabilities.approvals == "none" or setting.adapter == "script":
        raise UsageError(
            f"the agent {name} speaks no protocol that could be tried",
            code="agent.no_protocol",
            hint="give it a small task: nightcrew run -f tasks.md",
        )
    # Not below /tmp, which inside is another one.
    parts.env.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=parts.env.state))
    try:
        job = _make_job(parts, rules, name, setting, adapter, folder)
        trial = _Trial(adapter.open(job, _RefusingDesk()))
        outcome = _run(parts, rules, job, adapter, trial)
    finally:
        # An agent has written into it: not by plain removal, which follows what it may have left there.
        remove_tree(folder, inside=parts.env.state)
    return {
        "name": name,
        "adapter": setting.adapter,
        "program": job.program.path if job.program else "",
        "works": trial.reached,
        "text": _describe(trial, outcome),
        "took_s": round(outcome.duration_s, 2),
        "isolation": str(parts.isolation.level),
        "said": trial.said[-2000:].decode("utf-8", "replace") if not trial.reached else "",
        "capabilities": canonical.to_plain(adapter.capabilities),
    }


def _make_job(
    parts: Parts, rules: Rules, name: str, setting: AgentSetting, adapter: Adapter, folder: Path
) -> Job:
    from nightcrew.agents.adapter import Job, ModelAccess
    from nightcrew.runtime.crew.programs import find_program
    from nightcrew.runtime.inside import find_python

    for each in ("work", "memory", "files"):
        (folder / each).mkdir(mode=0o700)
    program = adapter.find_program(setting)
    place = Place(f"nightcrew agent test {name}", 1)
    found = find_program(program, path=parts.env.path, root=rules.root or "/nonexistent")
    if program and found is None and not program.startswith("/"):
        raise UsageError(f"{program} is not installed", code="agent.missing", hint="nightcrew agent detect")
    urls = dict.fromkeys(("anthropic", "openai", "gemini"), _NOWHERE)
    return Job(
        task=Task(id="T01", number="1", title=name, place=place, agent=name, prompt=_PROMPT, model="trial"),
        setting=setting,
        cwd=str(folder / "work"),
        python=find_python(),
        private=folder / "files",
        mounted=parts.isolation.level is not Level.S0,
        model=ModelAccess(urls, "nightcrew-placeholder"),
        program=found,
        memory=folder / "memory",
    )


def _run(parts: Parts, rules: Rules, job: Job, adapter: Adapter, trial: _Trial) -> Outcome:
    from nightcrew.runtime.inside import find_binds, find_variables

    launch = adapter.prepare(job)
    for name, data in launch.files.items():
        (job.private / name).write_bytes(data)
    binds = find_binds(rules.root or "/nonexistent")
    env = {"HOME": "/home/agent", **find_variables(parts.env, rules.settings, job.cwd, binds), **launch.env}
    if launch.search:
        env["PATH"] = ":".join((*launch.search, env["PATH"]))
    spec = SandboxSpec(
        argv=launch.argv,
        cwd=job.cwd,
        env=env,
        binds=(*binds, *launch.binds, Bind(job.cwd, job.cwd, writable=True)),
        limits=replace(_LIMITS, memory_bytes=rules.settings.limits.memory_bytes),
        level=parts.isolation.level,
    )
    return parts.launcher.run(spec, trial, cancel=threading.Event())


def _describe(trial: _Trial, outcome: Outcome) -> str:
    if trial.reached:
        return (
            f"started in the sandbox, took our callbacks, opened a conversation in {outcome.duration_s:.1f} s"
        )
    if outcome.ending == "exited":
        end = trial.session.conclude(outcome)
        return end.reason or f"ended with exit code {outcome.exit_code}"
    return trial.session.conclude(outcome).reason if outcome.ending == "stopped" else outcome.detail


class _RefusingDesk:
    """Nothing is allowed: an agent that was asked for nothing wants nothing."""

    def ask(self, action: Action) -> Answer:
        from nightcrew.agents.adapter import Answer

        return Answer("deny", "this is only a trial")

    def inquire(self, inquiry: Inquiry) -> Reply:
        from nightcrew.agents.adapter import Reply

        return Reply("refused", "this is only a trial")

    def freeze(self, action: Action, reason: str) -> Answer:
        from nightcrew.agents.adapter import Answer

        return Answer("wait", reason)

    def rest(self) -> bool:
        return True

    def finished(self, action: Action) -> None:
        return

    def note(self, kind: str, text: str) -> None:
        return


class _Trial:
    """Passes everything on between an agent and its session, but not the prompt."""

    def __init__(self, session: AgentSession) -> None:
        self.session = session
        self.reached = False
        self.said = b""
        self._process: Process | None = None

    def started(self, process: Process) -> None:
        self._process = process
        self.session.started(self)

    def feed(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        self.said = (self.said + data)[-8000:]
        if not self.reached:
            self.session.feed(stream, data)

    # -- as the process that the session sees

    def write(self, data: bytes) -> None:
        if self._process is None:
            return
        if _PROMPT.encode("ascii") in data:
            self.reached = True
            self._process.stop("it would be given a task now")
        else:
            self._process.write(data)

    def close_stdin(self) -> None:
        if self._process is not None:
            self._process.close_stdin()

    def stop(self, reason: str) -> None:
        if self._process is not None:
            self._process.stop(reason)

    def prepare_to_freeze(self) -> None:
        return

    def frozen(self, limit_s: float) -> AbstractContextManager[Stillness]:
        raise NotImplementedError("a trial takes no checkpoints")
