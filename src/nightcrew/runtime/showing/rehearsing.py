"""``rehearse``: a night with the real agents, a scripted model and no key, on a copy of the repository.

Everything is the product itself: the same plan, sandbox, policy, gateway and journal, in a folder of its own. Only the
providers are others (all of them our own scripted model), and a person's answers are given by the rehearsal. The
person's repository, state and settings are read and never written; nothing of a rehearsal can be promoted.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.host.clock import SystemClock
from nightcrew.host.files import remove_tree
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.host.procs import Conversation, run
from nightcrew.model.errors import Exit, NightcrewError, UsageError
from nightcrew.model.yamltext import read_document
from nightcrew.runtime.showing.playing import (
    Fault,
    Order,
    is_played,
    play,
    read_fault,
    without_gates,
    write_tasks,
)

if TYPE_CHECKING:
    from nightcrew.model.plans import Task
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.plans.planning import Draft
    from nightcrew.runtime.rules import Rules
    from nightcrew.runtime.settings.environment import Environment

Say = Callable[[str], None]

#: Longest rehearsal between two answers; each of its processes has its own, shorter deadline.
_RUN_S: Final = 4 * 3600.0
_STEP_S: Final = 120.0
_MODEL_S: Final = 30.0
_ENGINE_S: Final = 60.0
#: Rounds of answers; a night that asks more often than this is not going to end.
_ROUNDS: Final = 200
#: What an agent is told to use where the person has named no model; any name does.
_MODELS: Final = {"anthropic": "claude-opus-4-5", "openai": "gpt-5.5", "gemini": "gemini-2.5-pro"}
#: Of the person's own settings: what would reach somebody, or wait as long as a real night may.
_DROPPED: Final = ("providers", "webhook", "notify", "timeouts")
_NOT_PASSED: Final = ("NIGHTCREW_DATABASE", "NIGHTCREW_CRASH_AT", "VIRTUAL_ENV_PROMPT")
_ANSWERS: Final = {"approve": ("approve",), "deny": ("deny", "-m", "rehearsal")}


@dataclass
class Stage:
    """Where it happens.

    Attributes:
        folder: everything is below it. env: of every command. say: told what goes on.
    """

    folder: Path
    env: Mapping[str, str]
    say: Say
    refused: list[dict[str, str]] = field(default_factory=list)

    @property
    def repository(self) -> Path:
        """The copy."""
        return self.folder / "repository"

    def command(self, *arguments: str, limit_s: float = _STEP_S) -> tuple[int, str, str]:
        """Run one of our own commands there; exit code, data and talk."""
        argv = [sys.executable, "-m", "nightcrew", *arguments]
        done = run(argv, env=self.env, cwd=self.repository, timeout_s=limit_s)
        return done.code, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")

    def ask(self, *arguments: str) -> Any:
        """Return what a command prints as JSON.

        Raises:
            NightcrewError: it printed none.
        """
        code, data, talk = self.command(*arguments, "--json")
        try:
            return json.loads(data)
        except ValueError:
            raise NightcrewError(
                f"`nightcrew {' '.join(arguments)}` ended with {code} in the rehearsal",
                code="rehearsal.failed",
                where=talk.splitlines()[-8:],
            ) from None


def rehearse(parts: Parts, order: Order, say: Say) -> dict[str, Any]:
    """Rehearse a tasks file and return what would be asked, denied and done.

    Raises:
        UsageError: an option, the tasks file, a setting or the scenario is no good; nothing was started.
    """
    from nightcrew.runtime.plans.planning import read_draft

    faults = [read_fault(text) for text in order.faults]
    draft = read_draft(parts, order.file, stand_in=order.agent)
    _check_agent(parts, draft, order)
    folder = Path(tempfile.mkdtemp(prefix="nightcrew-rehearsal-"))
    stage = Stage(folder, _environment(parts.env, folder), say)
    try:
        _copy_repository(parts, draft, stage)
        tasks = _write_files(stage, draft, order, faults)
        with _scripted_model(stage, draft.rules, parts.env):
            played = _run(stage, order)
        report = _report(stage, tasks, order, played)
    finally:
        if not order.keep:
            remove_tree(folder, inside=folder.parent)
    return {**report, "kept": str(folder) if order.keep else ""}


def _check_agent(parts: Parts, draft: Draft, order: Order) -> None:
    """Refuse an agent that does not exist, or that has no model that could be scripted."""
    from nightcrew.agents.adapters import find_adapter, find_setting
    from nightcrew.runtime.crew.programs import find_program

    if order.scenario and not Path(order.scenario).is_file():
        raise UsageError(
            f"there is no scenario {order.scenario}", hint="its form: nightcrew.testing.scenario"
        )
    names = [order.agent] if order.agent else [task.agent for task in draft.plan.tasks if is_played(task)]
    if not names:
        raise UsageError(
            "no task of this file has a model to be played",
            hint="a `Run:` line needs no rehearsal with an agent: nightcrew forecast, nightcrew run",
        )
    for name in dict.fromkeys(names):
        setting = find_setting(name, draft.rules.settings.agents)
        adapter = find_adapter(setting)
        if not adapter.capabilities.needs_network and not order.agent and adapter.name == "script":
            raise UsageError(
                "a task with a script has no agent with a model: say whom to rehearse it with",
                hint="nightcrew rehearse tasks.md --agent claude",
            )
        if not adapter.capabilities.needs_network:
            raise UsageError(f"the agent {name} asks no model: there is nothing to be played")
        program = adapter.find_program(setting)
        if program and find_program(program, path=parts.env.path, root=draft.repository.root) is None:
            raise UsageError(
                f"{program} is not installed", code="agent.missing", hint="nightcrew agent detect"
            )


def _environment(env: Environment, folder: Path) -> dict[str, str]:
    kept = {
        key: value
        for key, value in env.variables.items()
        if key not in _NOT_PASSED and not key.startswith("GIT_")
    }
    places = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return {**kept, **places, "COLUMNS": "100", "NO_COLOR": "1"}


def _copy_repository(parts: Parts, draft: Draft, stage: Stage) -> None:
    """Clone the repository at its base commit, with the rules that its working tree holds."""
    root = Path(draft.repository.root)
    git = Git("", env=stage.env, work_tree=str(stage.folder), trusted=True)
    git.run("clone", "--quiet", "--no-tags", str(root), str(stage.repository), timeout_s=_RUN_S)
    if (root / ".nightcrew").is_dir():
        shutil.copytree(
            root / ".nightcrew", stage.repository / ".nightcrew", symlinks=True, dirs_exist_ok=True
        )
    own = stage.folder / "config" / "nightcrew"
    own.mkdir(parents=True)
    for name in ("policy.yaml", "roles", "agents"):
        found = parts.env.config / name
        if found.is_dir():
            shutil.copytree(found, own / name, symlinks=True)
        elif found.is_file():
            shutil.copyfile(found, own / name)


def _write_files(stage: Stage, draft: Draft, order: Order, faults: Sequence[Fault]) -> list[Task]:
    """Write the tasks as they are rehearsed, and what the model says to each."""
    gates = [gate.value.run for gate in draft.rules.policy.gates]
    tasks = [without_gates(task, gates) for task in draft.plan.tasks]
    text = write_tasks(draft.plan.title, tasks, order.agent)
    (stage.folder / "tasks.md").write_text(text, encoding="utf-8")
    if order.scenario:
        shutil.copyfile(order.scenario, stage.folder / "scenario.json")
    else:
        made = [play(task, stage.repository, order.also, faults) for task in tasks if is_played(task)]
        (stage.folder / "scenario.json").write_text(json.dumps(made), encoding="ascii")
    return tasks


@contextmanager
def _scripted_model(stage: Stage, rules: Rules, env: Environment) -> Iterator[None]:
    """Serve the scenario, and make it every provider, until the end of the block."""
    argv = [
        sys.executable,
        "-m",
        "nightcrew.testing.models",
        str(stage.folder / "scenario.json"),
        "--until-eof",
    ]
    model = Conversation(argv, env=stage.env, cwd=stage.folder)
    try:
        with model:
            url = model.receive_line(timeout_s=_MODEL_S).decode("ascii")
        settings = _make_settings(rules, url)
        own = stage.folder / "config" / "nightcrew" / "config.yaml"
        own.write_text(json.dumps(settings, indent=1), encoding="ascii")
        yield
    except NightcrewError as error:
        if error.code != "program.ended":
            raise
        raise UsageError(
            "the scenario cannot be played", hint="its form: nightcrew.testing.scenario", where=error.where
        ) from None
    finally:
        model.end()


def _make_settings(rules: Rules, url: str) -> dict[str, Any]:
    """Return the person's own settings, with the scripted model as every provider and short waits."""
    found = next((each for each in rules.texts if (each.kind, each.layer) == ("config", "user")), None)
    document = read_document(found.text, found.source, []) if found else None
    plain = dict(document.value or {}) if document else {}
    settings = {name: value for name, value in plain.items() if name not in _DROPPED}
    approvals = {name: value for name, value in settings.get("approvals", {}).items() if name == "require"}
    models: dict[str, tuple[str, str]] = {name: (name, model) for name, model in _MODELS.items()}
    models |= {
        each.name: (each.wire, each.model or _MODELS[each.wire]) for each in rules.settings.providers.values()
    }
    return {
        **settings,
        "version": 1,
        "providers": {
            name: {"url": url, "wire": wire, "key": "none", "model": model}
            for name, (wire, model) in models.items()
        },
        **({"approvals": approvals} if approvals else {}),
        "timeouts": {"idle": "90s", "hard": "15m"},
        "retries": {
            "attempts": 2,
            "first_wait": "1s",
            "longest_wait": "5s",
            "provider_waits": ["1s", "2s", "5s"],
        },
    }


def _run(stage: Stage, order: Order) -> str:
    """Run the tasks and answer what is asked, until nothing more happens; return the run's id."""
    # A scripted model makes no plans.
    flags = ("--no-replan", *(("--allow-unsandboxed",) if order.unsandboxed else ()))
    code, data, talk = stage.command(
        "run", "-f", str(stage.folder / "tasks.md"), "--yes", "--json", *flags, limit_s=_RUN_S
    )
    try:
        name = str(json.loads(data)["id"])
    except (ValueError, KeyError, TypeError):
        raise _not_begun(code, (talk or data).splitlines()[-12:]) from None
    for _ in range(_ROUNDS):
        if not _answer_all(stage, order):
            break
        stage.command("resume", name, "--json", limit_s=_RUN_S)
    _end_engine(stage, name)
    return name


def _not_begun(code: int, where: Sequence[str]) -> NightcrewError:
    """Return why a rehearsal did not begin, with the exit code that the run itself ended with."""
    error = NightcrewError(
        "the rehearsal could not begin; nothing was done", code="rehearsal.failed", where=where
    )
    error.exit = Exit(code) if code in set(Exit) and code != Exit.OK else Exit.FAILED
    return error


def _answer_all(stage: Stage, order: Order) -> bool:
    """Answer every question that waits; tell whether any answer was taken."""
    taken = False
    known = {each["id"] for each in stage.refused}
    for item in stage.ask("inbox"):
        words = _ANSWERS.get(order.answer)
        if words is None or item["id"] in known:
            continue
        code, _, talk = stage.command(words[0], item["id"], *words[1:])
        if code == 0:
            stage.say(f"{words[0]}: {item['task'] or item['run']}: {item['action']}")
            taken = True
        else:
            why = next(iter(talk.strip().splitlines()), "")
            stage.refused.append({"id": item["id"], "action": item["action"], "reason": why})
    return taken


def _end_engine(stage: Stage, name: str) -> None:
    """Have a host that an answer has started end: nothing of a rehearsal goes on behind it."""
    lock = FileLock(stage.folder / "state" / "nightcrew" / "engine.lock")
    clock = SystemClock()
    deadline = clock.monotonic() + _ENGINE_S
    asked = False
    while lock.holder():
        if clock.monotonic() > deadline:
            raise NightcrewError("the background host of the rehearsal did not end", where=[lock.holder()])
        if not asked and clock.monotonic() > deadline - _ENGINE_S / 2:
            asked = True
            stage.command("cancel", name)
        clock.sleep(0.1)


def _report(stage: Stage, tasks: Sequence[Task], order: Order, name: str) -> dict[str, Any]:
    view = stage.ask("show", name)
    code, data, _ = stage.command("events", "--kinds", "policy.decided", "--json")
    decided = [json.loads(line) for line in data.splitlines()] if code == 0 else []
    asked = _pick(decided, "ask")
    rows = [_describe_task(task, view, tasks) for task in view["tasks"]]
    waits = [
        task["id"] for task in rows if task["state"] in ("awaiting_approval", "awaiting_answer", "paused")
    ]
    bad = [task["id"] for task in rows if task["state"] in ("failed", "blocked", "cancelled")]
    exit_ = Exit.TASKS_FAILED if bad else Exit.WAITING if waits else Exit.OK
    return {
        "ok": exit_ is Exit.OK,
        "exit": int(exit_),
        "agent": order.agent,
        "run": name,
        "isolation": view["isolation"],
        "tasks": rows,
        "asked": asked,
        "denied": _pick(decided, "deny"),
        "allowed": sum(each["data"].get("verdict") == "allow" for each in decided),
        "refused": stage.refused,
        "faults": list(order.faults),
        "usage": view["usage"],
    }


def _describe_task(task: Mapping[str, Any], view: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    known = {each.id: each for each in tasks}
    name = str(task["id"]).partition("/")[2]
    return {
        "id": name,
        "title": task["title"],
        "agent": task["agent"],
        "played": name in known and is_played(known[name]),
        "state": task["state"],
        "reason": task["reason"],
        "attempts": task["attempts"],
    }


def _pick(decided: Sequence[Mapping[str, Any]], verdict: str) -> list[dict[str, str]]:
    """Return what got a verdict, each once per task, in the order it came."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for event in decided:
        data = event["data"]
        if data.get("verdict") == verdict:
            task = str(event["task"]).partition("/")[2]
            found.setdefault(
                (task, data["digest"]),
                {
                    "task": task,
                    **{key: data.get(key, "") for key in ("action", "rule", "source", "reason", "risk")},
                },
            )
    return list(found.values())
