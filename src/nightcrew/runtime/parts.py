"""The composition: which part is made of what, each made when it is first needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nightcrew.host.clock import Clock, SystemClock
from nightcrew.model.errors import NotFound, UsageError
from nightcrew.model.isolation import Confinement, IsolationReport
from nightcrew.model.records import RunRecord
from nightcrew.model.trees import Repository
from nightcrew.runtime.settings.environment import Environment

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.host.git import Git
    from nightcrew.host.locks import FileLock
    from nightcrew.journal.journal import Journal
    from nightcrew.promote.promoter import Promoter
    from nightcrew.runtime.replies import Registered
    from nightcrew.runtime.settings.keys import Keyring
    from nightcrew.sandbox.launcher import Launcher
    from nightcrew.shadow.shadows import Shadows


class Parts:
    """Everything the operations of the runtime are made of.

    Args:
        env: what the process was told.
        cwd: directory that relative paths and the repository are looked up from.
        clock: the only clock.
        say: where to tell a person about something that was repaired on the way.
    """

    def __init__(
        self,
        env: Environment,
        cwd: Path,
        *,
        clock: Clock | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.env = env
        self.cwd = cwd
        self.clock = clock or SystemClock()
        self.say = say or _say_nothing
        self.callbacks: list[Registered] = []
        self._repositories: dict[str, Repository] = {}
        self._stores: dict[str, Store] = {}
        self._recovered: set[str] = set()
        self._reports: dict[Confinement, IsolationReport] = {}

    @cached_property
    def journal(self) -> Journal:
        """The memory; opened (and created, private) on first use."""
        from nightcrew.journal.journal import Journal

        return Journal.open(self.env.database, clock=self.clock, redact=self.keyring.redact)

    @cached_property
    def keyring(self) -> Keyring:
        """The user's keys to providers of models, as far as they were needed."""
        from nightcrew.policy.secrets import redact
        from nightcrew.runtime.settings.keys import Keyring

        return Keyring(self.env.variables, self.env.home, redact)

    @cached_property
    def repository(self) -> Repository:
        """The repository around ``cwd``."""
        return self.repository_at(self.cwd)

    @cached_property
    def launcher(self) -> Launcher:
        """The helper that builds sandboxes; first use must be in the main thread, before other threads exist."""
        from nightcrew.sandbox.launcher import Launcher

        return Launcher.start(
            python=sys.executable, scratch=self.env.state / "scratch", variables=self.env.variables
        )

    @cached_property
    def isolation(self) -> IsolationReport:
        """What this host can enforce without anything being set up for it, found out by trying it."""
        return self._probe(Confinement())

    def isolation_by(self, confinement: Confinement) -> IsolationReport:
        """Return what a back end can enforce here; of ``auto`` the strongest one."""
        if confinement.backend == "auto":
            return self.isolation
        if confinement.backend == "nightcrew" and self.isolation.backend == "nightcrew":
            return self.isolation
        if confinement not in self._reports:
            self._reports[confinement] = self._probe(confinement)
        return self._reports[confinement]

    def _probe(self, confinement: Confinement) -> IsolationReport:
        from nightcrew.host.files import ensure_private_directory

        ensure_private_directory(self.env.state)
        return self.launcher.probe(self.env.state, confinement)

    @property
    def engine_lock(self) -> FileLock:
        """The lock whose holder hosts the engine."""
        from nightcrew.host.locks import FileLock

        return FileLock(self.env.state / "engine.lock")

    @property
    def engine_holder(self) -> str:
        """Who hosts the engine, as ``process 4711``; empty when nobody does."""
        return self.engine_lock.holder()

    def repository_at(self, path: Path) -> Repository:
        """Discover the repository around ``path``; an unfinished promotion in it is finished or taken back first.

        A directory without git that nightcrew has worked in counts as one, with our private history of it.
        """
        known = self._repositories.get(str(path))
        if known is None:
            known = self._discover(path)
            self._repositories[str(path)] = known
            self._recover(known)
        return known

    def repository_to_start(self) -> Repository:
        """Return the repository around ``cwd`` for a new run; in a directory without git, begin a private history.

        Raises:
            UsageError: neither is possible here: home, a system directory, a bare repository.
        """
        from nightcrew.host.private import make_private

        try:
            return self.repository
        except NotFound as error:
            if error.code != "repository.missing" or not self.cwd.is_dir():
                raise
        made = make_private(self.cwd, self.env.state, self.env.variables, home=self.env.home)
        self._repositories[str(self.cwd)] = made
        return made

    def refresh(self, repository: Repository) -> Repository:
        """Return a private repository with the head it has now."""
        from nightcrew.host.private import describe_private

        found = describe_private(repository.root, Path(repository.git_dir), self.env.variables)
        self._repositories[str(self.cwd)] = self._repositories[repository.root] = found
        return found

    def _discover(self, path: Path, *, need_commit: bool = True) -> Repository:
        from nightcrew.host.private import find_private
        from nightcrew.host.repository import discover

        try:
            return discover(path, env=self.env.variables, need_commit=need_commit)
        except NotFound:
            found = find_private(path, self.env.state, self.env.variables)
            if found is None:
                raise
            return found

    def find_root(self) -> Path | None:
        """Return the working tree around ``cwd``, see ``find_here``."""
        found = self.find_here()
        return None if found is None else Path(found.root)

    def find_here(self) -> Repository | None:
        """Return the repository around ``cwd``, also one without a commit; None when there is none.

        Raises:
            UsageError: bare, inside a git directory, or owned by somebody else.
        """
        try:
            return self._discover(self.cwd, need_commit=False)
        except NotFound:
            return None

    def recover_here(self) -> None:
        """Finish or take back a promotion that was cut off in the repository around ``cwd``, if there is one."""
        try:
            repository = self._discover(self.cwd, need_commit=False)
        except (NotFound, UsageError):
            # No repository, or one that we would not write into either: there is nothing of ours to finish.
            return
        self._recover(repository)

    def repository_of(self, run: RunRecord) -> Repository:
        """Return the repository a run belongs to; one that began without git stays with our history of it."""
        from nightcrew.host.private import GIT, describe_private

        private = self.env.state / run.repo_key / GIT
        if not private.is_dir():
            return self.repository_at(Path(run.repo_path))
        known = self._repositories.get(str(private))
        if known is None:
            known = describe_private(run.repo_path, private, self.env.variables)
            self._repositories[str(private)] = known
            self._recover(known)
        return known

    def state_of(self, repository: Repository) -> Path:
        """Return our directory for a repository."""
        return self.env.state / repository.key

    def git(self, repository: Repository) -> Git:
        """Return git on the user's own repository."""
        from nightcrew.host.git import Git

        return Git(repository.git_dir, env=self.env.variables, work_tree=repository.root, trusted=True)

    def store(self, repository: Repository) -> Store:
        """Return the checkpoint store of a repository."""
        from nightcrew.checkpoint.store import Store

        if repository.key not in self._stores:
            place = self.state_of(repository) / "objects"
            self._stores[repository.key] = Store(place, repository, env=self.env.variables)
        return self._stores[repository.key]

    def shadows(self, repository: Repository, *, overlay: bool, environment: tuple[str, ...]) -> Shadows:
        """Return the shadows of a repository, made in the best way its state directory allows."""
        from nightcrew.shadow.ladder import choose_mode
        from nightcrew.shadow.shadows import Shadows

        place = self.state_of(repository)
        return Shadows(
            place,
            repository,
            env=self.env.variables,
            mode=choose_mode(place, overlay=overlay),
            environment=environment,
            # A snapshot of the working tree is a commit that only our store has.
            own_objects=str(place / "objects" / "objects"),
        )

    def promoter(self, repository: Repository) -> Promoter:
        """Return the only thing that may write into the repository."""
        from nightcrew.promote.promoter import Promoter

        return Promoter(
            repository,
            store_git_dir=str(self.state_of(repository) / "objects"),
            state_dir=self.state_of(repository),
            env=self.env.variables,
            clock=self.clock,
        )

    def _recover(self, repository: Repository) -> None:
        # Invariant: whoever touches the repository first finds it exactly old or exactly new.
        if repository.key in self._recovered or not self.state_of(repository).exists():
            return
        self._recovered.add(repository.key)
        promoter = self.promoter(repository)
        for line in promoter.recover():
            self.say(line)
        from nightcrew.runtime.settling import reconcile

        for line in reconcile(self.journal, self.clock, promoter, repository, self.state_of(repository)):
            self.say(line)

    def close(self) -> None:
        """Close what was opened; may be called twice."""
        for store in self._stores.values():
            store.close()
        if "launcher" in self.__dict__:
            self.launcher.close()
            del self.__dict__["launcher"]
        if "journal" in self.__dict__:
            self.journal.close()


def _say_nothing(text: str) -> None:
    """Nobody listens."""
