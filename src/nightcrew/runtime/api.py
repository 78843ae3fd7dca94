"""The library API: one method per thing that can be done; the command line is a thin skin over it.

Operations live in the modules beside this one and are imported when used, so that looking at runs does not load the
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nightcrew.host import crash
from nightcrew.model.errors import NotFound
from nightcrew.runtime.areas.deciders import Deciders
from nightcrew.runtime.areas.planners import Planners
from nightcrew.runtime.areas.rehearsals import Rehearsals
from nightcrew.runtime.parts import Parts
from nightcrew.runtime.settings.environment import Environment

if TYPE_CHECKING:
    from nightcrew.host.clock import Clock
    from nightcrew.model.isolation import Backend, Level
    from nightcrew.model.people import Proof
    from nightcrew.runtime.areas.agents import Agents
    from nightcrew.runtime.areas.checkpoints import Checkpoints
    from nightcrew.runtime.areas.models import Models
    from nightcrew.runtime.areas.money import Money
    from nightcrew.runtime.areas.policies import Policies
    from nightcrew.runtime.evidence.auditing import Audit
    from nightcrew.runtime.goals.filing import Wanted
    from nightcrew.runtime.hosting import OnChange
    from nightcrew.runtime.landing.promoting import Order, Publication
    from nightcrew.runtime.landing.rolling import Removal
    from nightcrew.runtime.resting import Rest
    from nightcrew.runtime.rulebook.rolekeeping import Roles
    from nightcrew.runtime.rules import Rules

View = dict[str, Any]


class Runtime(Planners, Deciders, Rehearsals):
    """Everything nightcrew can do, for one working directory.

    Args:
        env: from ``read_environment``.
        cwd: directory the repository and relative paths are looked up from.
        clock: the only clock; the system's by default.
        say: told about anything that was repaired on the way.
    """

    def __init__(
        self,
        env: Environment,
        *,
        cwd: Path,
        clock: Clock | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        from nightcrew.runtime.people.identity import identify

        self._parts = Parts(identify(env), cwd, clock=clock, say=say)
        if env.crash_at:
            name, _, hits = env.crash_at.partition(":")
            crash.arm(name, int(hits) if hits.isdigit() else 1)

    @classmethod
    def open(cls, directory: Path | str = ".") -> Runtime:
        """Return the runtime of a directory, with the environment of this process; ``close`` it."""
        from nightcrew.runtime.settings.environment import read_environment

        return cls(read_environment(), cwd=Path(directory).resolve())

    def close(self) -> None:
        """Close what was opened."""
        self._parts.close()

    # -- set up -----------------------------------------------------------------------------------------------

    def init(self, *, force: bool = False) -> View:
        """Write the commented templates into ``.nightcrew/``."""
        from nightcrew.runtime.upkeep.initializing import initialize

        return initialize(self._parts, force=force)

    def doctor(self) -> View:
        """Return what this machine can enforce, with the exit code doctor ends with."""
        from nightcrew.runtime.upkeep.doctor import examine

        return examine(self._parts)

    def attack(self, level: Level | None = None, backend: Backend | None = None) -> View:
        """Attack our own sandbox from inside and return what held, with the exit code ``doctor --attack`` ends with."""
        from nightcrew.runtime.upkeep.attacking import attack_self

        return attack_self(self._parts, level, backend)

    @property
    def agents(self) -> Agents:
        """Return everything that can be done with agents."""
        from nightcrew.runtime.areas.agents import Agents

        return Agents(self._parts)

    @property
    def roles(self) -> Roles:
        """Return everything that can be done with roles."""
        from nightcrew.runtime.rulebook.rolekeeping import Roles

        return Roles(self._parts)

    def demo(self, *, say: Callable[[str], None], keep: bool, unsandboxed: bool) -> View:
        """Do the whole job in a throw-away repository, checking every step."""
        from nightcrew.runtime.showing.demo import run_demo

        return run_demo(self._parts.env, say=say, keep=keep, unsandboxed=unsandboxed)

    # -- hand over --------------------------------------------------------------------------------------------

    def preview(self, file: str, *, width: int, include_dirty: bool = False, role: str = "") -> View:
        """Return what a tasks file would become; nothing is recorded."""
        from nightcrew.plan.render import render_plan
        from nightcrew.runtime.isolating import preview
        from nightcrew.runtime.plans.planning import read_draft, view_draft

        draft = read_draft(self._parts, file, include_dirty=include_dirty, role=role)
        isolation = preview(self._parts, draft.rules)
        text = render_plan(draft.plan, draft.flags, run_id="", isolation=isolation, width=width)
        return {**view_draft(draft), "isolation": isolation, "text": text}

    def plan(self, file: str, **wanted: Unpack[Wanted]) -> View:
        """Record a tasks file as a run that waits for approval: ``{id, digest, notes, forbidden}``.

        Args:
            file: its path. wanted: what is wanted of the run beside its tasks: ``title``, ``budget``, ``agents`` and others,
                see ``goals.filing.Wanted``.

        Raises:
            InvalidInput: with all problems; nothing was recorded.
            NotAuthenticated: a task needs a model, and its provider's key is not there; nothing was recorded.
            SandboxUnavailable: this machine cannot confine as required; nothing was recorded.
        """
        from nightcrew.runtime.goals.filing import plan_file

        return plan_file(self._parts, file, wanted)

    def plan_view(self, run: str) -> View:
        """Return the plan of a run: digest, flags, and all tasks as approved."""
        from nightcrew.runtime.views import view_plan

        return view_plan(self._parts, self.resolve(run, kinds="R"))

    def plan_text(self, run: str, *, width: int) -> str:
        """Return the plan of a run as text for a person."""
        from nightcrew.runtime.views import plan_text

        return plan_text(self._parts, self.resolve(run, kinds="R"), width=width)

    # -- watch ------------------------------------------------------------------------------------------------

    def resolve(self, text: str, *, kinds: str = "RTCAME") -> str:
        """Return the full id of what a person typed.

        Raises:
            NotFound: nothing has that id.
            UsageError: several have, or it is not an id.
        """
        meant = "T" if "/" in text else text.strip()[:1].upper()
        with self._parts.journal.read() as tx:
            try:
                return tx.resolve(text, meant if meant and meant in kinds else kinds)
            except NotFound as error:
                if "M" not in (meant, kinds):
                    raise
                from nightcrew.runtime.landing.numbering import explain_missing

                raise explain_missing(tx, text, error) from None

    def runs(self, *, everything: bool = False) -> list[View]:
        """Return runs, newest first; only open ones unless ``everything``."""
        from nightcrew.runtime.views import list_runs

        self._parts.recover_here()
        return list_runs(self._parts, everything=everything)

    def show(self, name: str) -> View:
        """Return what is known of a thing by its full id."""
        from nightcrew.runtime.views import show

        self._parts.recover_here()
        return show(self._parts, name)

    def log(self, name: str, *, follow: bool = False) -> Iterator[View]:
        """Yield the events of a run or task; with ``follow`` until the run is over."""
        from nightcrew.runtime.watching import log

        return log(self._parts, name, follow=follow)

    def events(self, *, after: int = 0, kinds: Sequence[str] = (), follow: bool = False) -> Iterator[View]:
        """Yield all events after a number; with ``follow`` without end."""
        from nightcrew.runtime.watching import events

        return events(self._parts, after=after, kinds=kinds, follow=follow)

    def stats(self, run: str = "") -> View:
        """Return what the checkpoints of a run, or of all runs, cost: latencies, degradations, disk."""
        from nightcrew.runtime.results.measuring import measure_checkpoints

        return measure_checkpoints(self._parts, run)

    # -- control ----------------------------------------------------------------------------------------------

    def find_resumable(self, run: str | None) -> str:
        """Return the run to go on with: the one named, or the newest that can go on or waits.

        Raises:
            StaleError: it is over, or its plan is not approved.
            NotFound: none is open.
        """
        from nightcrew.runtime.watching import find_resumable

        return find_resumable(self._parts, self.resolve(run, kinds="R") if run else "")

    def drive(self, run: str, *, on_change: OnChange, wait: bool) -> Rest:
        """Bring a run to rest, hosting the engine where nobody does; see ``hosting.drive``."""
        from nightcrew.runtime.hosting import drive

        return drive(self._parts, run, on_change=on_change, wait=wait)

    def host_in_background(self, runs: Sequence[str]) -> None:
        """Host the engine until nothing can go on without a human."""
        from nightcrew.runtime.hosting import host_in_background

        host_in_background(self._parts, runs)

    def cancel(self, name: str, *, reason: str = "") -> tuple[str, ...]:
        """Cancel a run or task; return the tasks that were cancelled, when their agents are dead."""
        from nightcrew.runtime.controlling import cancel

        return cancel(self._parts, name, reason=reason)

    def pause(self, name: str, *, reason: str = "") -> tuple[str, ...]:
        """Pause a run or task; return the tasks that are paused, when nothing of them runs any more."""
        from nightcrew.runtime.controlling import pause

        return pause(self._parts, name, reason=reason)

    def resume(self, name: str) -> tuple[str, ...]:
        """Let a paused run or task go on; return the tasks that were paused. Nothing is hosted by this."""
        from nightcrew.runtime.controlling import resume

        return resume(self._parts, name)

    @property
    def money(self) -> Money:
        """Return everything that can be done about budgets and what was spent."""
        from nightcrew.runtime.areas.money import Money

        return Money(self._parts)

    @property
    def models(self) -> Models:
        """Return everything that can be asked about models and who provides them."""
        from nightcrew.runtime.areas.models import Models

        return Models(self._parts)

    def retry(self, task: str, *, dependents: bool = False) -> tuple[str, ...]:
        """Have a task run again from the start; return it, what was blocked by it, and what else runs again."""
        from nightcrew.runtime.controlling import retry

        return retry(self._parts, task, dependents=dependents)

    def stale(self, run: str) -> dict[str, list[str]]:
        """Return the tasks whose result was built on another result of some task than that has now."""
        from nightcrew.runtime.views import view_stale

        return view_stale(self._parts, run)

    @property
    def checkpoints(self) -> Checkpoints:
        """Return everything that can be done with checkpoints."""
        from nightcrew.runtime.areas.checkpoints import Checkpoints

        return Checkpoints(self._parts)

    def removal(
        self, task: str, *, to: str = "", files: Sequence[str] = (), keep_valid: bool = False
    ) -> Removal:
        """Prepare to take a task out of the composed result; look at its ``view``, ``prove`` it, then ``apply`` it."""
        from nightcrew.runtime.landing.rolling import Reach, Removal

        target = self.resolve(to, kinds="C") if to else ""
        return Removal(self._parts, task, Reach(target, tuple(files), keep_valid))

    def undo_rollback(self, task: str) -> View:
        """Put back what the last rollback of a task took out."""
        from nightcrew.runtime.landing.rolling import undo_rollback

        return undo_rollback(self._parts, task)

    # -- review and release -----------------------------------------------------------------------------------

    def review(self, run: str) -> View:
        """Return the review of a run."""
        from nightcrew.runtime.results.reviewing import view_review

        return view_review(self._parts, run)

    def review_text(self, run: str, *, width: int) -> str:
        """Return the review of a run as text for a person."""
        from nightcrew.runtime.results.reviewing import review_text

        return review_text(self._parts, run, width=width)

    def diff(
        self,
        name: str,
        *,
        stat: bool = False,
        hunks: bool = False,
        exact: bool = False,
        paths: Sequence[str] = (),
    ) -> View:
        """Return what a task, or all succeeded tasks of a run together, changed: ``{raw, shown, hidden, json}``."""
        from nightcrew.runtime.results.differing import Form, diff_run, diff_task

        form = Form(stat, hunks, tuple(paths), exact)
        return (diff_task if "/" in name else diff_run)(self._parts, name, form)

    def accept(self, names: Sequence[str]) -> View:
        """Accept tasks, or the green ones of whole runs: ``{accepted, left_out, runs}``."""
        from nightcrew.runtime.results.reviewing import accept

        return accept(self._parts, names)

    def reject(self, task: str, *, reason: str) -> View:
        """Reject the result of a task."""
        from nightcrew.runtime.results.reviewing import reject

        return reject(self._parts, task, reason=reason)

    def promotion(
        self, run: str, order: Order, *, dry_run: bool = False
    ) -> AbstractContextManager[Publication]:
        """Prepare a promotion; look at its ``view``, then ``publish`` it."""
        from nightcrew.runtime.landing.promoting import open_promotion

        return open_promotion(self._parts, run, order, dry_run=dry_run)

    def find_redo(self, promotion: str) -> str:
        """Return the undo that must be undone so that a promotion is there again."""
        from nightcrew.runtime.landing.promoting import find_redo

        return find_redo(self._parts, promotion)

    def undoing(self, promotion: str, *, dry_run: bool = False) -> AbstractContextManager[Publication]:
        """Prepare the undo of a promotion; look at its ``view``, then ``publish`` it."""
        from nightcrew.runtime.landing.promoting import open_undo

        return open_undo(self._parts, promotion, dry_run=dry_run)

    # -- keep house -------------------------------------------------------------------------------------------

    def collect(self, *, dry_run: bool = False) -> View:
        """Give up what nothing needs any more; see ``collecting.collect``."""
        from nightcrew.runtime.upkeep.collecting import collect

        return collect(self._parts, dry_run=dry_run)

    # -- explain ----------------------------------------------------------------------------------------------

    def why(self, text: str) -> View:
        """Explain a thing: ``{id, state, what, because, history, next}``."""
        from nightcrew.runtime.rulebook.explaining import find_subject, why

        self._parts.recover_here()
        return why(self._parts, find_subject(text) or self.resolve(text))

    def blame(self, place: str) -> View:
        """Tell where the lines of ``FILE``, ``FILE:LINE`` or ``FILE:FIRST-LAST`` come from; see ``blaming.blame_place``."""
        from nightcrew.runtime.evidence.blaming import blame_place

        self._parts.recover_here()
        return blame_place(self._parts, place)

    def explain_command(self, words: Sequence[str], role: str = "") -> View:
        """Return what the policy says about a command line."""
        from nightcrew.runtime.rulebook.explaining import explain_command

        return explain_command(self._rules().under(role), words)

    def show_network(self) -> View:
        """Return where tasks may go here: presets, lists, internal hosts, rules, limits."""
        from nightcrew.runtime.plans.networking import show_network

        return show_network(self._rules())

    @property
    def policies(self) -> Policies:
        """Return everything that can be done with policies and forecasts."""
        from nightcrew.runtime.areas.policies import Policies

        return Policies(self._parts)

    def check_policy(self, file: Path | None = None) -> View:
        """Return the layers of rules in force, or as they would be with ``file`` as the repository's own.

        Raises:
            InvalidInput: with all problems.
        """
        from nightcrew.runtime.rules import check_file

        rules = self._rules() if file is None else check_file(self._parts.env, self._parts.cwd / file)
        layers = [{"kind": t.kind, "layer": t.layer, "source": t.source} for t in rules.texts]
        return {"ok": True, "digest": rules.policy.digest, "rules": len(rules.policy.rules), "layers": layers}

    def scan_secrets(self, target: str) -> View:
        """Search a task, a file or a folder for secrets.

        Raises:
            NotFound: there is no such thing.
        """
        from nightcrew.runtime.results.secretkeeping import scan_place

        return scan_place(self._parts, target)

    def allow_secret(
        self,
        fingerprint: str,
        *,
        reason: str,
        until: str = "",
        force: bool = False,
        proof: Proof | None = None,
    ) -> View:
        """Let one secret land, by its fingerprint, until a day.

        Raises:
            UsageError: no reason, a day that is over, or a policy that a program cannot add to.
            NotFound: nothing with this fingerprint was seen here, and ``force`` was not given.
        """
        from nightcrew.runtime.results.secretkeeping import allow_secret

        return allow_secret(self._parts, fingerprint, reason=reason, until=until, force=force, proof=proof)

    def show_policy(self) -> View:
        """Return the rules in force."""
        from nightcrew.runtime.rulebook.explaining import show_rules

        return show_rules(self._rules())

    @property
    def audit(self) -> Audit:
        """Return everything that can be done with the journal as evidence."""
        from nightcrew.runtime.evidence.auditing import Audit

        return Audit(self._parts)

    def _rules(self) -> Rules:
        from nightcrew.runtime.rules import read_rules

        return read_rules(self._parts.env, self._parts.find_root())
