"""What the rules say of a task before it runs: of its command line, its recorded steps, its acceptance, and of its agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import Place
from nightcrew.model.plans import Flag, Task
from nightcrew.runtime.plans.networking import flag_network
from nightcrew.runtime.rules import Rules
from nightcrew.runtime.settings.project import read_project


def actions_of(task: Task, rules: Rules) -> Iterator[tuple[Action, Place]]:
    """Yield what a task is known to want before it runs: its command line, its recorded steps, its acceptance."""
    from nightcrew.agents.adapter import Job
    from nightcrew.agents.adapters import find_adapter, find_setting
    from nightcrew.agents.script import HARMLESS, describe_step

    setting = find_setting(task.agent, rules.settings.agents)
    # Questions depend on the task and the setting alone; the places of the attempt are not known yet.
    job = Job(task=task, setting=setting, cwd="", python="", private=Path("/nonexistent"))
    for action in find_adapter(setting).questions(job):
        yield action, task.run_place or task.agent_place or task.place
    for step in task.steps:
        if step.do not in HARMLESS and (step.do != "question" or step.path):
            yield describe_step(step), task.script_place or task.place
    for line, place in zip(task.install, task.install_places, strict=True):
        yield Action(kind="exec", command=line, purpose="install"), place
    for number, line in enumerate(task.accept):
        places = task.accept_places
        yield (
            Action(kind="exec", command=line, purpose="accept"),
            places[number] if number < len(places) else task.place,
        )


def judge_action(action: Action, rules: Rules) -> Decision:
    """Return what the policy says about one action."""
    from nightcrew.host.shell import parse
    from nightcrew.policy.judge import judge

    return judge(rules.policy, action, parse=parse, root=rules.root, project=read_project(rules.root))


def judge_task(task: Task, rules: Rules) -> Iterator[Flag]:
    """Yield all that the rules, with those of its role, say about a task before it runs."""
    own = rules.under(task.role)
    yield from flag_task(task, own)
    yield from flag_network(task, own)


def flag_task(task: Task, rules: Rules) -> Iterator[Flag]:
    yield from _flag_agent(task, rules)
    for action, place in actions_of(task, rules):
        decision = judge_action(action, rules)
        if decision.verdict is Verdict.ALLOW:
            continue
        kind = "forbidden" if decision.verdict is Verdict.DENY else "opaque" if decision.opaque else "asks"
        where = f"{place.file}:{place.line}"
        yield Flag(
            task=task.id,
            kind=kind,
            text=f"{where}: {decision.reason}",
            rule=decision.rule,
            source=decision.source,
            action=action.describe(),
            digest=action.digest,
        )


def _flag_agent(task: Task, rules: Rules) -> Iterator[Flag]:
    """Yield a flag for an agent that acts by itself and does not ask for every action."""
    from nightcrew.agents.adapters import find_adapter, find_setting

    setting = find_setting(task.agent, rules.settings.agents)
    asks = find_adapter(setting).capabilities.approvals
    if asks == "all" or (setting.adapter == "command" and not setting.argv):
        return
    needed = rules.settings.require_approvals
    place = task.agent_place or task.place
    words = {"risky": "asks only for what it finds risky itself", "none": "asks for nothing while it runs"}
    text = f"{place.file}:{place.line}: the agent {task.agent} {words[asks]}"
    if needed == "all" or (needed == "risky" and asks == "none"):
        yield Flag(task.id, "forbidden", text, rule="approvals.require", source="config.yaml")
    else:
        yield Flag(task.id, "unseen", text)
