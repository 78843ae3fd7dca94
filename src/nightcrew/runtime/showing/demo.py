"""``demo``: the whole job in a throw-away repository, by the commands a person would type, every step checked."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nightcrew.host.clock import SystemClock
from nightcrew.host.files import remove_tree
from nightcrew.host.git import Git
from nightcrew.host.locks import FileLock
from nightcrew.host.procs import run
from nightcrew.model.errors import NightcrewError, SandboxUnavailable
from nightcrew.runtime.isolating import choose
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.rules import read_rules
from nightcrew.runtime.settings.environment import Environment, read_environment
from nightcrew.runtime.showing.demo_project import ASKS, FAILS, TASKS_FILE, read_demo_files
from nightcrew.runtime.views import show

Say = Callable[[str], None]

#: One step of the demo, generously; all of it takes about ten seconds.
_STEP_S: Final = 120.0
#: How long the background host may take to end when nothing is left to do.
_ENGINE_S: Final = 30.0
_DROPPED: Final = ("NIGHTCREW_DATABASE", "NIGHTCREW_CRASH_AT", "VIRTUAL_ENV_PROMPT")
_EDIT: Final = ("notes.txt", "my own notes, never committed\n")


class DemoFailed(NightcrewError):
    """A step did not do what it says."""

    default_code = "demo.failed"


@dataclass
class Stage:
    """Where the demo happens, and how a command is shown and run in it."""

    folder: Path
    say: Say
    env: Mapping[str, str]
    parts: Parts
    flags: tuple[str, ...] = ()
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def repository(self) -> Path:
        """The throw-away repository."""
        return self.folder / "ledger"

    @property
    def git(self) -> Git:
        """Git in it."""
        return Git(str(self.repository / ".git"), env=self.env, work_tree=str(self.repository), trusted=True)

    def explain(self, text: str) -> None:
        """Say what comes next."""
        self.say("")
        self.say(f"# {text}")

    def nightcrew(self, *arguments: str, expect: int = 0) -> str:
        """Show a command, run it for real, show what it printed, and check how it ended.

        Raises:
            DemoFailed: another exit code than expected.
        """
        self.say(f"$ nightcrew {shlex.join(arguments)}")
        code, text = self._run(arguments)
        for line in text.splitlines():
            self.say(f"  {line}")
        if code != expect:
            raise DemoFailed(
                f"`nightcrew {shlex.join(arguments)}` ended with {code}, {expect} was expected",
                where=text.splitlines()[-5:],
            )
        self.steps.append({"command": ["nightcrew", *arguments], "exit": code})
        return text

    def look(self) -> dict[str, Any]:
        """Return the run as ``show R-1 --json`` would: how the demo checks itself."""
        return show(self.parts, "R-1")

    def check(self, what: str, good: bool) -> None:
        """Say what was checked.

        Raises:
            DemoFailed: it is not so.
        """
        if not good:
            raise DemoFailed(f"not so: {what}")
        self.say(f"  checked: {what}")
        self.steps.append({"checked": what})

    def _run(self, arguments: Sequence[str]) -> tuple[int, str]:
        extra = self.flags if arguments[0] == "run" else ()
        argv = [sys.executable, "-m", "nightcrew", *arguments, *extra]
        # One stream, so that what is said and what is printed stay in order.
        merged = ["/bin/sh", "-c", 'exec "$@" 2>&1', "sh", *argv]
        done = run(merged, env=self.env, cwd=self.repository, timeout_s=_STEP_S)
        return done.code, done.stdout.decode("utf-8", "replace")


def run_demo(env: Environment, *, say: Say, keep: bool, unsandboxed: bool) -> dict[str, Any]:
    """Do the whole job once and return ``{ok, exit, repository, kept, steps}``.

    Raises:
        DemoFailed: a step did not do what it says; the place is kept and named.
        SandboxUnavailable: this machine cannot confine agents as the shipped settings require.
    """
    folder = Path(tempfile.mkdtemp(prefix="nightcrew-demo-"))
    flags = ("--allow-unsandboxed",) if unsandboxed else ()
    variables = _environment(env, folder)
    parts = Parts(read_environment(variables), folder / "ledger")
    stage = Stage(folder, say, variables, parts, flags)
    try:
        _make_repository(stage)
        _tell_isolation(stage, unsandboxed=unsandboxed)
        _play(stage)
        _end_engine(stage)
    except SandboxUnavailable:
        remove_tree(folder, inside=folder.parent)
        raise
    except NightcrewError as error:
        error.where = (*error.where, f"the demo's place is kept: {folder}")
        raise
    finally:
        parts.close()
    _say_end(stage, keep=keep)
    if not keep:
        remove_tree(folder, inside=folder.parent)
    return {
        "ok": True,
        "exit": 0,
        "repository": str(stage.repository),
        "kept": keep,
        "steps": stage.steps,
    }


def _environment(env: Environment, folder: Path) -> dict[str, str]:
    kept = {
        key: value
        for key, value in env.variables.items()
        if key not in _DROPPED and not key.startswith("GIT_")
    }
    return {
        **kept,
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }


def _make_repository(stage: Stage) -> None:
    for name, data in read_demo_files().items():
        path = stage.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    git = Git("", env=stage.env, work_tree=str(stage.repository), trusted=True)
    git.run("init", "--quiet", "--initial-branch=main")
    for key, value in (("user.name", "Demo"), ("user.email", "demo@localhost")):
        stage.git.run("config", key, value)
    stage.git.run("add", "--all")
    stage.git.run("commit", "--quiet", "--message", "ledger 1.0")
    (stage.repository / _EDIT[0]).write_text(_EDIT[1], encoding="utf-8")
    stage.say(f"A small Python project in a fresh repository: {stage.repository}")
    stage.say("One of its tests fails, a feature and a page are missing; tasks.md says who does what.")


def _tell_isolation(stage: Stage, *, unsandboxed: bool) -> None:
    choice = choose(stage.parts, read_rules(stage.parts.env, stage.repository), unsandboxed=unsandboxed)
    stage.say(f"Isolation on this machine: {choice.level} (what that holds: nightcrew doctor)")
    for line in choice.missing:
        stage.say(f"  weaker than it could be: {line}")


def _play(stage: Stage) -> None:
    before = stage.git.text("rev-parse", "HEAD")
    _play_run(stage)
    _play_approval(stage)
    promotion = _play_promotion(stage, before)
    _play_undo(stage, promotion, before)
    stage.explain("Every step is in a hash-chained journal.")
    stage.nightcrew("audit", "verify")


def _play_run(stage: Stage) -> None:
    stage.explain("Plan it, approve the plan (--yes), run it. What a rule asks for still waits for a person.")
    stage.nightcrew("run", "-f", TASKS_FILE, "--yes", expect=5)
    tasks = _tasks(stage)
    stage.check(
        "T01, T02 and T03 succeeded, proven by their acceptance",
        _are(tasks, ("T01", "T02", "T03"), "verified"),
    )
    stage.check(
        f"{FAILS} failed its acceptance although its agent says that all is well", _failed(tasks[FAILS])
    )
    stage.check(f"{ASKS} waits for a person and holds nobody up", tasks[ASKS]["state"] == "awaiting_approval")
    stage.check("your repository is untouched so far", _is_clean(stage))
    stage.explain(f"Why did {FAILS} fail?")
    stage.nightcrew("why", f"R-1/{FAILS}")


def _play_approval(stage: Stage) -> None:
    stage.explain("Somebody must decide:")
    stage.nightcrew("inbox")
    stage.nightcrew("approve", "A-1")
    stage.explain("The decision made work go on; follow it to the end.")
    stage.nightcrew("resume", "R-1", expect=10)
    tasks = _tasks(stage)
    stage.check(f"{ASKS} was done after the approval", _are(tasks, (ASKS,), "verified"))
    stage.check("exit code 10 says that a task failed", tasks[FAILS]["state"] == "failed")


def _play_promotion(stage: Stage, before: str) -> str:
    stage.explain("The morning after: what needs a look comes first.")
    stage.nightcrew("review", "R-1", "--plain")
    stage.nightcrew("accept", "R-1")
    stage.explain("Promote what is accepted: one commit, nothing else is touched.")
    stage.nightcrew("promote", "R-1", "--yes")
    after = stage.git.text("rev-parse", "HEAD")
    changed = stage.git.text("diff", "--name-only", before, after).splitlines()
    stage.check(
        "the branch has one new commit", stage.git.text("rev-list", "--count", f"{before}..{after}") == "1"
    )
    stage.check(
        "it holds the results of T01 to T04",
        {"ledger/amounts.py", "docs/usage.md", "CHANGELOG.md"} <= set(changed),
    )
    stage.check(f"it does not hold what {FAILS} did", "ledger/totals.py" not in changed)
    stage.check(
        "the files are there, and your own untracked notes too",
        _is_clean(stage) and (stage.repository / "docs/usage.md").exists(),
    )
    promoted: list[str] = stage.look()["promotions"]
    return promoted[0]


def _play_undo(stage: Stage, promotion: str, before: str) -> None:
    stage.explain("Changed your mind? Everything has an undo.")
    stage.nightcrew("undo", promotion, "--yes")
    stage.check(
        "the repository is exactly what it was",
        stage.git.text("rev-parse", "HEAD") == before and _is_clean(stage),
    )


def _tasks(stage: Stage) -> dict[str, dict[str, Any]]:
    return {task["name"]: task for task in stage.look()["tasks"]}


def _are(tasks: Mapping[str, dict[str, Any]], names: Sequence[str], verified: str) -> bool:
    return all(tasks[name]["state"] == "succeeded" and tasks[name]["verified"] == verified for name in names)


def _failed(task: dict[str, Any]) -> bool:
    return bool(task["state"] == "failed" and any(not proof["passed"] for proof in task["evidence"]))


def _is_clean(stage: Stage) -> bool:
    """Tell whether the working tree is what is committed, plus the untracked file that the demo put there."""
    status = stage.git.text("status", "--porcelain")
    return (
        status == f"?? {_EDIT[0]}" and (stage.repository / _EDIT[0]).read_text(encoding="utf-8") == _EDIT[1]
    )


def _end_engine(stage: Stage) -> None:
    """Wait until the background host, started by the approval, has nothing left to do and is gone."""
    clock = SystemClock()
    lock = FileLock(stage.folder / "state" / "nightcrew" / "engine.lock")
    deadline = clock.monotonic() + _ENGINE_S
    while lock.holder():
        if clock.monotonic() > deadline:
            raise DemoFailed("the background host did not end by itself", where=[lock.holder()])
        clock.sleep(0.1)


def _say_end(stage: Stage, *, keep: bool) -> None:
    stage.say("")
    if keep:
        stage.say(f"Look around: cd {stage.repository}")
        stage.say(
            f"             export XDG_STATE_HOME={stage.folder / 'state'} XDG_CONFIG_HOME={stage.folder / 'config'}"
        )
        stage.say("             nightcrew log R-1")
        stage.say(f"Remove it:   rm -r {stage.folder}")
    else:
        stage.say(f"Removed {stage.folder} (keep it: nightcrew demo --keep).")
    stage.say("Repeat it on your own repository: nightcrew init, write tasks.md, nightcrew run -f tasks.md")
