"""A real engine on a real repository for tests: git, SQLite, DBOS, shadows and sandbox, without the runtime above it.

Not a test module. ``Rig(root)`` may be made again on the same root, in this or another process: that is how tests
continue after a crash.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nightcrew.checkpoint.store import Store
from nightcrew.engine.engine import Engine
from nightcrew.engine.workspace import Workspace
from nightcrew.host.clock import SystemClock, stamp
from nightcrew.host.git import Git
from nightcrew.host.repository import discover
from nightcrew.host.shell import parse
from nightcrew.journal.journal import Journal
from nightcrew.model import canonical
from nightcrew.model.errors import Place
from nightcrew.model.isolation import Bind, Limits
from nightcrew.model.plans import Plan, Step, Task
from nightcrew.model.records import ApprovalRecord, AttemptRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.model.settings import Retries, Settings
from nightcrew.policy.load import default_policy
from nightcrew.sandbox.launcher import Launcher
from nightcrew.shadow.shadows import Shadows

QUICK = Settings(
    retries=Retries(attempts=2, base_s=0.1, cap_s=0.2),
    limits=Limits(grace_s=0.5, hard_s=30.0, idle_s=20.0),
)


def task(number: str, run: str = "", **fields: Any) -> Task:
    """Return a task ``T<number>`` with a ``Run:`` line (or ``steps``: then of the script agent)."""
    if "steps" in fields:
        fields = {"agent": "script", **fields, "steps": tuple(Step(*step) for step in fields["steps"])}
    for name in ("depends", "accept", "scope"):
        value = fields.get(name, ())
        fields[name] = (value,) if isinstance(value, str) else tuple(value)
    place = Place("tasks.md", int(number))
    return Task(
        id=f"T{int(number):02d}", number=number, title=f"Task {number}", place=place, run=run, **fields
    )


class Rig:
    """Everything a host needs, on ``root``; ``with rig.hosting() as engine`` hosts."""

    def __init__(
        self, root: Path, *, settings: Settings = QUICK, files: Mapping[str, str] | None = None
    ) -> None:
        self.root = root
        self.repo = root / "repo"
        self.state = root / "state"
        self.settings = settings
        self.env = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}
        if not self.repo.exists():
            self._make_repository(
                files or {"a.txt": "hello\n", ".gitignore": "ignored/\n", "leak.sh": "echo KEY=1 > .env\n"}
            )
        self.clock = SystemClock()
        self.journal = Journal.open(f"sqlite:///{self.state}/nightcrew.db", clock=self.clock)
        self.repository = discover(self.repo, env=self.env)
        self.plain_copies = False
        self._launcher: Launcher | None = None

    @property
    def launcher(self) -> Launcher:
        if self._launcher is None:
            # Without the machine's other back ends: what these tests need is our own.
            self._launcher = Launcher.start(variables={"PATH": ""})
        return self._launcher

    def close(self) -> None:
        if self._launcher is not None:
            self._launcher.close()
        self.journal.close()

    def engine(self) -> Engine:
        return Engine(
            self.journal,
            state_dir=self.state,
            launcher=self.launcher,
            clock=self.clock,
            open_workspace=self.open_workspace,
        )

    @contextmanager
    def hosting(self) -> Iterator[Engine]:
        engine = self.engine()
        engine.launch()
        try:
            yield engine
        finally:
            engine.close()

    def open_workspace(self, run: RunRecord) -> Workspace:
        place = self.state / self.repository.key
        prefixes = {sys.base_prefix, os.path.realpath(sys.base_prefix)} - {"/usr"}
        return Workspace(
            root=self.repository.root,
            shadows=Shadows(place, self.repository, env=self.env, mode=self.mode),
            store=Store(place / "objects", self.repository, env=self.env),
            policy=default_policy(),
            settings=self.settings,
            parse_shell=parse,
            agent_binds=tuple(Bind(prefix, prefix) for prefix in sorted(prefixes)),
            transcripts=place / "runs",
            python=os.path.realpath(sys.executable),
        )

    @property
    def mode(self) -> Any:
        return "overlay" if not self.plain_copies and self.launcher.probe(self.state).overlay else "copy"

    # -- making and reading runs

    def add_run(self, *tasks: Task, max_parallel: int = 4, level: str = "") -> str:
        """Record an approved run of these tasks and return its id."""
        repository = self.repository
        level = level or str(self.launcher.probe(self.state).level)
        plan = Plan("test", "tasks.md", repository.head, "p", tasks)
        tree = Git(repository.git_dir, env=self.env, trusted=True).text(
            "rev-parse", f"{repository.head}^{{tree}}"
        )
        with self.journal.write() as tx:
            name = tx.next_id("R")
            run = RunRecord(
                id=name, state="draft", title="test", repo_path=repository.root, repo_key=repository.key,
                base_commit=repository.head, base_tree=tree, plan_version=1, plan_digest=plan.digest,
                policy_digest="p", requester="tester", created_at=stamp(self.clock.now()), isolation=level,
                max_parallel=max_parallel,
            )  # fmt: skip
            run = tx.add(run, "run.created")
            run = tx.change(run, "plan.proposed", state="awaiting_approval")
            tx.add(PlanRecord(f"{name}/P1", name, 1, plan.digest, canonical.to_plain(plan)), "plan.recorded")
            for position, each in enumerate(tasks):
                state = "skipped" if each.done else "pending"
                record = TaskRecord(
                    f"{name}/{each.id}", name, each.id, position, state, each.title, each.agent
                )
                tx.add(record, "task.created")
            tx.change(run, "plan.approved", state="approved")
        return name

    def run(self, engine: Engine, *tasks: Task, until: Any = "final", **options: Any) -> str:
        """Record a run, have it executed and wait for its end."""
        name = self.add_run(*tasks, **options)
        engine.submit(name)
        engine.wait(name, until=until)
        return name

    def wait_for(self, is_so: Callable[[], bool], run: str, *, wait_s: float = 60.0) -> None:
        """Wait until something is so; when it does not come about, the failure shows where the run stands and why."""
        deadline = time.monotonic() + wait_s
        while not is_so():
            if time.monotonic() > deadline:
                faulthandler.dump_traceback(file=sys.__stderr__)
                with self.journal.read() as tx:
                    heard = [f"{event.seq} {event.kind} {event.task}" for event in tx.events(run=run)]
                said = "\n".join([f"{run} is {self.run_state(run)}", str(self.states(run)), *heard])
                raise AssertionError(f"waited in vain for {wait_s:.0f} s\n{said}")
            time.sleep(0.02)

    def tasks(self, run: str) -> list[TaskRecord]:
        with self.journal.read() as tx:
            return tx.find(TaskRecord, run=run)

    def task(self, task: str) -> TaskRecord:
        with self.journal.read() as tx:
            return tx.need(TaskRecord, task)

    def states(self, run: str) -> dict[str, str]:
        return {each.name: each.state for each in self.tasks(run)}

    def run_state(self, run: str) -> str:
        with self.journal.read() as tx:
            return tx.need(RunRecord, run).state

    def attempts(self, task: str) -> list[AttemptRecord]:
        with self.journal.read() as tx:
            return tx.find(AttemptRecord, task=task)

    def approvals(self, **equals: Any) -> list[ApprovalRecord]:
        with self.journal.read() as tx:
            return tx.find(ApprovalRecord, **equals)

    def kinds(self, run: str) -> list[str]:
        with self.journal.read() as tx:
            return [event.kind for event in tx.events(run=run)]

    def answer(self, approval: str, answer: str, reason: str = "") -> None:
        """Decide as a person does: compare-and-swap and event."""
        with self.journal.write() as tx:
            old = tx.need(ApprovalRecord, approval)
            uses = 1 if answer == "approved" else 0
            new = replace(old, state=answer, answer=reason, decided_by="user:tester", uses=uses)
            fields = {name: getattr(new, name) for name in ("state", "answer", "decided_by", "uses")}
            tx.change(old, "approval.decided", actor="user:tester", **fields)

    def read(self, task: str, path: str) -> str | None:
        """Return a file of a task's result."""
        place = self.state / self.repository.key / "objects"
        data = Store(place, self.repository, env=self.env).read(self.task(task).tree, path)
        return None if data is None else data.decode()

    def shadows_left(self) -> list[str]:
        """Return what is left of shadows; what was discarded is taken off the disk in the background, and waited for."""
        place, deadline = self.state / self.repository.key / "shadows", time.monotonic() + 10
        while any(place.glob(".gone-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        return sorted(path.name for path in place.glob("*"))

    def sweep_half_removed(self) -> None:
        """Remove what a killed host was just removing: the next opening of the repository does so.

        What has lost its lock already may be another's, who is just about to be done: it is left for a minute, which is over here.
        """
        for left in (self.state / self.repository.key / "shadows").glob(".gone-*"):
            with contextlib.suppress(FileNotFoundError):
                if not (left / "lock").exists():
                    os.utime(left, (time.time() - 120,) * 2)
        with self.journal.read() as tx:
            run = tx.find(RunRecord)[-1]
        self.open_workspace(run).shadows.sweep()

    def _make_repository(self, files: Mapping[str, str]) -> None:
        self.repo.mkdir(parents=True)
        for name, text in files.items():
            path = self.repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "tester")
        self.git("config", "user.email", "tester@example.invalid")
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "-m", "base")

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.repo, env=self.env, check=True, capture_output=True)


def find_processes(marker: str) -> Sequence[int]:
    """Return the processes of this machine that have ``marker`` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                # It has ended meanwhile.
                continue
    return found
