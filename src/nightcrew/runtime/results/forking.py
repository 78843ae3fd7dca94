"""Another answer to a task: a fork starts where a checkpoint was, with another agent or other words, beside the original.

A fork is a task of its own in the same run: its plan gets a new version, with its own digest, that a person says yes to. It
costs what opening a shadow costs; nothing is copied. Of all answers to a task one can be accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nightcrew.host import crash
from nightcrew.model import canonical
from nightcrew.model.errors import DeniedByPolicy, Problem, StaleError, UsageError
from nightcrew.model.ids import find_origin, join_task, name_fork
from nightcrew.model.plans import Flag, Plan, Task
from nightcrew.model.records import CheckpointRecord, PlanRecord, RunRecord, TaskRecord
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.plans.judging import flag_task
from nightcrew.runtime.plans.planning import known_agents, read_steps
from nightcrew.runtime.plans.secrecy import find_secrets
from nightcrew.runtime.plans.versions import last_version
from nightcrew.runtime.results.restoring import need_kept
from nightcrew.runtime.rules import Rules, rules_from_plain
from nightcrew.runtime.trees.adopting import refuse_kept, reopen

if TYPE_CHECKING:
    from nightcrew.journal.transaction import Reader
    from nightcrew.runtime.parts import Parts


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is different in the fork; what is empty stays as in the task it is made of.

    Attributes:
        agent: name of the adapter or of a configured agent. prompt: text for agents that take one.
        run: command line of the ``command`` agent. script: recording of the ``script`` agent, as a path.
    """

    agent: str = ""
    prompt: str = ""
    run: str = ""
    script: str = ""

    @property
    def meant_agent(self) -> str:
        """The agent that was named, or that only the other options can mean."""
        return self.agent or ("command" if self.run else "script" if self.script else "")


@dataclass(frozen=True, slots=True)
class Fork:
    """What forking would make.

    Attributes:
        run: as read. source: checkpoint it starts from. origin: task that this is a checkpoint of.
        task: line of the plan. plan: the whole new plan. before: record of the plan as it is.
        flags: what a person should see of it.
    """

    run: RunRecord
    source: CheckpointRecord
    origin: TaskRecord
    task: Task
    plan: Plan
    before: PlanRecord
    flags: tuple[Flag, ...]

    def to_plain(self) -> dict[str, Any]:
        """Return it for a person and for JSON."""
        from nightcrew.plan.render import describe_step

        return {
            "task": join_task(self.run.id, self.task.id),
            "from": self.source.id,
            "origin": self.origin.id,
            "agent": self.task.agent,
            "run": self.task.run,
            "prompt": self.task.prompt,
            "steps": [describe_step(step) for step in self.task.steps],
            "accept": list(self.task.accept),
            "flags": [canonical.to_plain(flag) for flag in self.flags],
            "digest": self.plan.digest,
            "plan": self.before.version + 1,
        }


def plan_fork(parts: Parts, name: str, wanted: Wanted) -> Fork:
    """Return what forking a checkpoint would make; nothing is changed.

    Raises:
        NotFound: there is no such checkpoint, or it was pruned.
        UsageError: the agent is not known, or cannot do with what it is given.
        DeniedByPolicy: a rule forbids what it is to run.
        StaleError: the task is promoted, or its run is over for good.
    """
    from nightcrew.plan.flags import flag_tasks

    with parts.journal.read() as tx:
        source = tx.need(CheckpointRecord, name)
        origin = tx.need(TaskRecord, source.task)
        run = tx.need(RunRecord, source.run)
        record = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
        number = _count(tx, run.id, origin.name) + 1
    need_kept(source)
    refuse_kept(run, origin)
    plan, rules = Plan.from_plain(record.body), rules_from_plain(record.policies)
    task = _make_task(parts, rules, plan, plan.task(origin.name), wanted, number, name)
    flags = (*flag_task(task, rules.under(task.role)), *flag_tasks((task,)))
    forbidden = [flag for flag in flags if flag.kind == "forbidden"]
    if forbidden:
        raise DeniedByPolicy(
            "a rule forbids what the fork is to run; nothing was changed",
            where=[f"{flag.action}: {flag.text} (rule {flag.rule}, {flag.source})" for flag in forbidden],
            hint=f"nightcrew policy explain -- {forbidden[0].action}",
        )
    return Fork(run, source, origin, task, _insert(plan, task), record, flags)


def fork(parts: Parts, name: str, wanted: Wanted, *, digest: str) -> dict[str, Any]:
    """Add a fork to its run; it starts as soon as there is a free slot.

    Args:
        digest: of the plan with the fork in it, as it was shown to the person who said yes.

    Raises:
        NotFound, UsageError, DeniedByPolicy, StaleError: as ``plan_fork``.
        StaleError: the plan would be another one than was shown; nothing was changed.
    """
    need_person(parts, "plan")
    planned = plan_fork(parts, name, wanted)
    run, task, plan = planned.run, planned.task, planned.plan
    actor = f"user:{parts.env.user}"
    with parts.store(parts.repository_of(run)).using(), parts.journal.write() as tx:
        now = tx.need(RunRecord, run.id)
        need_kept(tx.need(CheckpointRecord, planned.source.id))
        refuse_kept(now, tx.need(TaskRecord, planned.origin.id))
        if now.plan_version != run.plan_version or plan.digest != digest:
            raise StaleError(
                f"the plan of {run.id} has changed since it was looked at; nothing was done",
                code="record.changed",
                hint=f"nightcrew plan {run.id}",
            )
        # Beside those in force there may be versions that were offered.
        version = last_version(tx, run.id) + 1
        body = canonical.to_plain(plan)
        flags = (*planned.before.flags, *(canonical.to_plain(flag) for flag in planned.flags))
        amended = replace(
            planned.before,
            id=f"{run.id}/P{version}",
            version=version,
            digest=plan.digest,
            body=body,
            flags=flags,
        )
        name = join_task(run.id, task.id)
        tx.add(amended, "plan.amended", actor=actor, data={"digest": plan.digest, "task": name})
        tx.add(_make_record(planned, name), "task.forked", actor=actor, data={"from": planned.source.id})
        now = tx.change(now, "", plan_version=version, plan_digest=plan.digest)
        reopen(tx, now, actor)
    crash.point("runtime.forked")
    return planned.to_plain()


def _make_record(planned: Fork, name: str) -> TaskRecord:
    return TaskRecord(
        id=name,
        run=planned.run.id,
        name=planned.task.id,
        position=planned.origin.position,
        state="pending",
        title=planned.task.title,
        agent=planned.task.agent,
        role=planned.task.role,
        checkpoint=planned.source.id,
        forked_from=planned.source.id,
    )


def _make_task(
    parts: Parts, rules: Rules, plan: Plan, origin: Task, wanted: Wanted, number: int, source: str
) -> Task:
    agent = wanted.meant_agent or origin.agent
    fields: Mapping[str, Any] = {
        "id": name_fork(origin.id, number),
        "number": f"{origin.number.partition('F')[0]}F{number}",
        "title": f"{plan.task(find_origin(origin.id)).title} (fork at {source})",
        "agent": agent,
        "prompt": wanted.prompt or origin.prompt,
        "run": wanted.run or (origin.run if agent == origin.agent else ""),
        "script": wanted.script or (origin.script if agent == origin.agent else ""),
        "steps": () if wanted.script else origin.steps if agent == origin.agent else (),
    }
    task = replace(origin, **fields)
    problems: list[Problem] = []
    if wanted.script:
        task = read_steps(task, parts.cwd, problems)
    problems += _check(rules, task)
    if problems:
        raise UsageError(
            f"{agent} cannot do this fork; nothing was changed",
            code="fork.invalid",
            where=[problem.message for problem in problems],
            hint="nightcrew agent list",
        )
    return task


def _check(rules: Rules, task: Task) -> list[Problem]:
    """Return what is wrong with the fork as a task of a plan; what it depends on is there, so that is left out."""
    from nightcrew.plan.check import check_tasks

    alone = replace(task, depends=(), depends_places=())
    return [*check_tasks((alone,), agents=known_agents(rules)), *find_secrets(task)]


def _insert(plan: Plan, task: Task) -> Plan:
    """Return the plan with the fork behind the other answers to the same task."""
    last = max(n for n, each in enumerate(plan.tasks) if find_origin(each.id) == find_origin(task.id))
    return replace(plan, tasks=(*plan.tasks[: last + 1], task, *plan.tasks[last + 1 :]))


def _count(tx: Reader, run: str, name: str) -> int:
    origin = find_origin(name)
    return sum(find_origin(each.name) == origin for each in tx.find(TaskRecord, run=run)) - 1
