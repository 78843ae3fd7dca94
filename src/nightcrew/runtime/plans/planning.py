"""From a tasks file to a plan that a person can approve: read, checked, judged, recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.errors import NotFound, Problem, UsageError
from nightcrew.model.ids import RUN, join_task
from nightcrew.model.plans import Flag, Plan, Step, Task
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.model.text import count
from nightcrew.model.trees import Repository
from nightcrew.runtime.crew.assigning import (
    assign_agents,
    choose_slots,
    find_unassigned,
    find_unusable,
    flag_agents,
    note_routes,
)
from nightcrew.runtime.money.budgeting import budget_task, choose_run_budget, limits_of
from nightcrew.runtime.money.stopping import check_fallback, conditions_of
from nightcrew.runtime.people.identity import need_scope
from nightcrew.runtime.plans.carried import flag_carried
from nightcrew.runtime.plans.judging import judge_task
from nightcrew.runtime.plans.networking import check_agents, check_network
from nightcrew.runtime.plans.secrecy import find_secrets, find_secrets_in_rules
from nightcrew.runtime.roles import KEY as ROLES
from nightcrew.runtime.roles import (
    assume_roles,
    cap_task,
    describe_roles,
    digest_rules,
    flag_roles,
    keep_used,
)
from nightcrew.runtime.rules import Rules, describe_difference, read_rules
from nightcrew.runtime.trees.starting import Start, find_start, keep_base, tell_about_promotion

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Writer
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan as read and judged; nothing is recorded yet.

    Attributes:
        plan: the plan.
        flags: what a person should see before approving it.
        rules: the rules it was judged under.
        start: where it would run, and what it would start from.
        notes: one line each about what a person might expect otherwise.
        slots: agents with a limit of their own → attempts at once.
    """

    plan: Plan
    flags: tuple[Flag, ...]
    rules: Rules
    start: Start
    notes: tuple[str, ...]
    slots: Mapping[str, int] = field(default_factory=dict)

    @property
    def repository(self) -> Repository:
        """Where it would run."""
        return self.start.repository

    @property
    def forbidden(self) -> list[str]:
        """One line per part that a rule forbids: ``file:line rule reason``."""
        return [_tell_forbidden(flag) for flag in self.flags if flag.kind == "forbidden"]


def read_draft(
    parts: Parts,
    file: str,
    *,
    title: str = "",
    include_dirty: bool = False,
    budget: str = "",
    role: str = "",
    agents: Mapping[str, int] | None = None,
    stand_in: str = "",
) -> Draft:
    """Read, check and judge a tasks file against the repository and rules around the working directory.

    Args:
        include_dirty: start from the user's uncommitted work too, not from HEAD alone.
        budget: what models may cost, ``25usd``; as configured when empty.
        role: of tasks that name none; as configured when empty.
        agents: those that may be chosen, each with its attempts at once (0: no limit); all when None or empty. stand_in: see ``assign_agents``.

    Raises:
        InvalidInput: all problems of the tasks file, its scripts or the rules; nothing was created.
        NotFound: no such file.
        DeniedByPolicy, DriftError: the uncommitted work cannot be taken along.
    """
    from nightcrew.plan.tasksfile import decode

    path = parts.cwd / file
    written = Written(decode(_read(path, file), file), file, path.parent)
    start = find_start(parts, include_dirty=include_dirty)
    rules = read_rules(parts.env, Path(start.repository.root))
    draft = make_draft(parts, written, start, rules, Wish(title, budget, role, agents or {}, stand_in))
    return replace(draft, notes=(*start.notes, *_notes(parts, start, rules, path)))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of a run beside its tasks.

    Attributes:
        title: what it is for; the heading of the tasks when empty. budget, role, agents, stand_in: see ``read_draft``.
    """

    title: str = ""
    budget: str = ""
    role: str = ""
    agents: Mapping[str, int] = field(default_factory=dict)
    stand_in: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A tasks file, wherever it came from.

    Attributes:
        text: its content. source: its name in messages. folder: that scripts are looked up from.
        steps: script → its steps where they are known already.
    """

    text: str
    source: str
    folder: Path
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)


def make_draft(parts: Parts, written: Written, start: Start, rules: Rules, wish: Wish) -> Draft:
    """Read, check and judge tasks; whoever wrote them, this is the only way into a plan.

    Raises:
        InvalidInput: all problems; nothing was created.
    """
    from nightcrew.plan.check import check_tasks
    from nightcrew.plan.flags import flag_tasks
    from nightcrew.plan.tasksfile import read_tasks, refuse

    found = read_tasks(written.text, written.source)
    problems = list(found.problems)
    tasks = tuple(_take_steps(task, written, problems) for task in found.tasks)
    tasks = assume_roles(tasks, rules, wish.role, problems)
    tasks = assign_agents(parts, rules, tasks, problems, wish.agents, wish.stand_in)
    rules = keep_used(rules, tasks)
    tasks = tuple(obey_policy(task, rules.under(task.role).policy) for task in tasks)
    problems += check_tasks(tasks, agents=(*known_agents(rules), *find_unassigned(tasks)))
    problems += [problem for task in tasks for problem in find_secrets(task)]
    problems += [problem for task in tasks for problem in check_network(task, rules)]
    problems += [problem for task in tasks for problem in check_fallback(task, rules)]
    problems += check_agents(rules)
    problems += find_secrets_in_rules(rules)
    if problems:
        raise refuse(written.source, sorted(set(problems), key=lambda problem: problem.place))
    plan = Plan(
        title=wish.title or found.title,
        source=written.source,
        base_commit=start.commit,
        policy_digest=digest_rules(rules),
        tasks=tuple(cap_task(budget_task(task, rules), rules) for task in tasks),
        head_commit=start.head,
        included=start.included,
        budget=choose_run_budget(rules, wish.budget),
    )
    judged = (flag for task in tasks if not task.done for flag in judge_task(task, rules))
    flags = (*judged, *flag_roles(tasks, rules), *flag_tasks(tasks))
    flags = (*flags, *flag_carried(parts, rules, start, tasks))
    unusable = find_unusable(parts, rules, tasks)
    flags = (*flags, *(flag for task in tasks if not task.done for flag in flag_agents(task, unusable)))
    return Draft(plan, flags, rules, start, (), choose_slots(rules, tasks, wish.agents))


def _take_steps(task: Task, written: Written, problems: list[Problem]) -> Task:
    known = written.steps.get(task.script)
    return read_steps(task, written.folder, problems) if known is None else replace(task, steps=known)


def record(
    parts: Parts,
    draft: Draft,
    *,
    level: str,
    max_parallel: int | None,
    unsandboxed: bool = False,
    confined: Mapping[str, Any] | None = None,
) -> str:
    """Record a draft as a run that waits for approval (or that failed, when a rule forbids part of it); return its id.

    Args:
        parts, draft: where, what.
        level: isolation level that the run will have. confined: what gives it, see ``isolating.Choice.to_settings``.
        max_parallel: tasks at once; as configured when None.
        unsandboxed: a person has allowed S0.
    """
    need_scope(parts, "plan")
    with parts.journal.write() as tx:
        run = _make_run(parts, tx.next_id(RUN), draft)
        run = replace(
            run,
            max_parallel=max_parallel or draft.rules.settings.max_parallel,
            isolation=level,
            settings={
                "unsandboxed": unsandboxed,
                "budget": limits_of(draft.plan, draft.rules),
                "stop": conditions_of(draft.rules),
                ROLES: describe_roles(draft.rules),
                **({"agents": dict(draft.slots)} if draft.slots else {}),
                **(confined or {}),
            },
        )
        actor = f"user:{parts.env.user}"
        tx.add(run, "run.created", actor=actor, data={"title": run.title, "source": draft.plan.source})
        _add_plan(tx, run, draft, actor)
        if draft.forbidden:
            reason = "a rule forbids part of the plan"
            cancel_tasks(tx, run.id, reason, "policy")
            tx.change(
                run,
                "run.failed",
                actor="policy",
                data={"forbidden": draft.forbidden},
                state="failed",
                reason=reason,
            )
        else:
            tx.change(
                run, "plan.proposed", actor=actor, data={"digest": run.plan_digest}, state="awaiting_approval"
            )
    if not draft.forbidden and (problem := keep_base(parts, run.id, draft.start)):
        parts.say(problem)
    return run.id


def describe_limits(draft: Draft) -> dict[str, Any]:
    """Return what the record of a run says of the limits of its plan."""
    return {
        "budget": limits_of(draft.plan, draft.rules),
        ROLES: describe_roles(draft.rules),
        **({"agents": dict(draft.slots)} if draft.slots else {}),
    }


def cancel_tasks(tx: Writer, run: str, reason: str, actor: str) -> None:
    """Cancel the tasks of a run that will never start."""
    for task in tx.find(TaskRecord, run=run, state="pending"):
        tx.change(
            task, "task.cancelled", actor=actor, data={"reason": reason}, state="cancelled", reason=reason
        )


def obey_policy(task: Task, policy: Policy) -> Task:
    """Return a task with what the policy wants of every task: its gates as acceptance, and no longer than it allows."""
    if task.done:
        return task
    gates = [gate for gate in policy.gates if gate.value.run not in task.accept]
    most = policy.settings.get("agent_recovery.timeout")
    long = most is not None and task.timeout_s is not None and task.timeout_s > most.value
    return replace(
        task,
        accept=(*task.accept, *(gate.value.run for gate in gates)),
        accept_places=(*task.accept_places, *(gate.place for gate in gates)),
        timeout_s=most.value if most is not None and long else task.timeout_s,
    )


def known_agents(rules: Rules) -> tuple[str, ...]:
    """Return every name that ``Agent:`` may have."""
    from nightcrew.agents.adapters import ADAPTERS

    return tuple(sorted({*ADAPTERS, *rules.settings.agents}))


def _tell_forbidden(flag: Flag) -> str:
    place, _, reason = flag.text.partition(": ")
    return f"{place}: {flag.task}: {flag.action}   rule {flag.rule} ({flag.source}): {reason}"


def read_steps(task: Task, folder: Path, problems: list[Problem]) -> Task:
    if not task.script:
        return task
    from nightcrew.model.errors import InvalidInput
    from nightcrew.plan.script import parse_script
    from nightcrew.plan.tasksfile import decode

    place = task.script_place or task.place
    try:
        data = _read(folder / task.script, task.script)
        return replace(task, steps=parse_script(decode(data, task.script), task.script))
    except InvalidInput as error:
        problems.extend(error.problems)
    except (NotFound, UsageError) as error:
        problems.append(Problem(place, error.message, "a path relative to the tasks file"))
    return task


def _read(path: Path, named: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {named}", code="file.missing", hint="nightcrew run --help"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {named}: {error.strerror}", code="file.unreadable") from error


def _notes(parts: Parts, start: Start, rules: Rules, tasks: Path) -> Iterator[str]:
    repository = start.repository
    if start.head:
        paths = count(len(start.included), "uncommitted path")
        yield f"{paths} taken along on top of {start.head[:12]}; promotion leaves them uncommitted"
    elif difference := describe_difference(parts, repository, rules):
        yield difference
    if not start.head and (dirty := _count_uncommitted(parts, repository, tasks)):
        yield f"{dirty} uncommitted {'change is' if dirty == 1 else 'changes are'} not part of the base {repository.head[:12]} (--include-dirty takes them along)"
    if repository.operation:
        yield f"a {repository.operation} is in progress; tasks start from {start.commit[:12]}"
    yield from tell_about_promotion(repository)


def _count_uncommitted(parts: Parts, repository: Repository, tasks: Path) -> int:
    status = parts.git(repository).run(
        "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=normal"
    )
    entries = [entry[3:].decode("utf-8", "surrogateescape") for entry in status.stdout.split(b"\0") if entry]
    own = {".nightcrew/", str(tasks.resolve())}
    return sum(
        not entry.startswith(".nightcrew") and str(Path(repository.root) / entry) not in own
        for entry in entries
    )


def _make_run(parts: Parts, name: str, draft: Draft) -> RunRecord:
    from nightcrew.host.clock import stamp

    return RunRecord(
        id=name,
        state="draft",
        title=draft.plan.title,
        repo_path=draft.repository.root,
        repo_key=draft.repository.key,
        base_commit=draft.plan.base_commit,
        base_tree=draft.start.tree,
        plan_version=1,
        plan_digest=draft.plan.digest,
        policy_digest=draft.plan.policy_digest,
        requester=parts.env.user,
        created_at=stamp(parts.clock.now()),
    )


def _add_plan(tx: Writer, run: RunRecord, draft: Draft, actor: str) -> None:
    plan = PlanRecord(
        id=f"{run.id}/P1",
        run=run.id,
        version=1,
        digest=draft.plan.digest,
        body=canonical.to_plain(draft.plan),
        flags=tuple(canonical.to_plain(flag) for flag in draft.flags),
        policies=draft.rules.to_plain(),
    )
    tx.add(plan, "plan.recorded", actor=actor, data={"digest": plan.digest, "tasks": len(draft.plan.tasks)})
    add_tasks(tx, run.id, draft.plan.tasks, actor)


def add_tasks(tx: Writer, run: str, tasks: Sequence[Task], actor: str, *, generation: int = 1) -> None:
    """Record the tasks of a plan that are not recorded yet, in the order written.

    Args:
        generation: that they begin with; another one than a task of the same name that is gone had.
    """
    for position, task in enumerate(tasks):
        made = replace(_make_task(run, position, task), generation=generation)
        if tx.get(TaskRecord, made.id) is None:
            data = {"title": task.title, "agent": task.agent, "state": made.state}
            tx.add(made, "task.created", actor=actor, data=data)
    note_routes(tx, run, tasks)


def _make_task(run: str, position: int, task: Task) -> TaskRecord:
    return TaskRecord(
        id=join_task(run, task.id),
        run=run,
        name=task.id,
        position=position,
        state="skipped" if task.done else "pending",
        title=task.title,
        agent=task.agent,
        reason="done already: its box is ticked" if task.done else "",
        role="" if task.done else task.role,
        fallback=task.fallback,
    )


def view_draft(draft: Draft) -> dict[str, Any]:
    """Return a draft for ``plan -f --json``."""
    return {
        "digest": draft.plan.digest,
        "notes": list(draft.notes),
        "included": list(draft.plan.included),
        "forbidden": draft.forbidden,
        "plan": canonical.to_plain(draft.plan),
        "flags": _plain_flags(draft.flags),
    }


def _plain_flags(flags: Sequence[Flag]) -> list[dict[str, Any]]:
    return [canonical.to_plain(flag) for flag in flags]
