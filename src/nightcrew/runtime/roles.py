"""Roles of the tasks of a plan: which one each has, what follows for it, and what a person is told before approving."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model import canonical
from nightcrew.model.actions import Verdict
from nightcrew.model.errors import NotFound, Problem
from nightcrew.model.network import AllowList, NetRequest
from nightcrew.model.plans import Flag, Task
from nightcrew.model.text import closest, count, shown
from nightcrew.model.usage import Budget, parse_budget
from nightcrew.runtime.settings.rolefiles import find_role, find_shipped, known_roles, shipped_source

if TYPE_CHECKING:
    from nightcrew.model.records import RunRecord, TaskRecord
    from nightcrew.policy.roles.role import Role
    from nightcrew.runtime.rules import Rules

#: Where the record of a run keeps what it must know of its roles: ``settings["roles"][name]``.
KEY: Final = "roles"
_CERTAIN: Final = (
    "When you are done, end your last message with a line of its own that says how sure you are, from 0 to 1, that the task "
    "is done and right, such as: confidence: 0.8"
)


def assume_roles(
    tasks: Sequence[Task], rules: Rules, role: str = "", problems: list[Problem] | None = None
) -> tuple[Task, ...]:
    """Return tasks with the role that is in force for each: its own, else the one given, else the configured one.

    Args:
        role: of tasks that name none, as a person gave it for this run.
        problems: unknown and missing roles are added here; such a task is returned without one.

    Raises:
        NotFound: there is no role as given or configured.
    """
    for name in (role, rules.settings.role):
        if name:
            find_role(rules.roles, name)
    wrong = [] if problems is None else problems
    return tuple(_assume(task, rules, role or rules.settings.role, wrong) for task in tasks)


def _assume(task: Task, rules: Rules, role: str, problems: list[Problem]) -> Task:
    if task.done:
        return replace(task, role="")
    name = task.role or role
    place = task.role_place or task.place
    if not name:
        if rules.settings.require_role:
            said = f"task {task.number} has no role, and config.yaml requires one (roles.required)"
            problems.append(Problem(place, said, "add `- Role: …`; see: nightcrew role list"))
        return task
    try:
        found = find_role(rules.roles, name)
    except NotFound:
        known = known_roles(rules.roles)
        near = closest(name, known)
        hint = f"known roles: {', '.join(known)}"
        hint = f"did you mean `{near}`? {hint}" if near else hint
        problems.append(Problem(place, f"unknown role `{shown(name)}`", hint))
        return replace(task, role="")
    model = next((each.model for each in found if each.model), "")
    return replace(task, role=name, model=task.model or model, brief=_brief(found))


def _brief(roles: Sequence[Role]) -> str:
    """Return what an agent is told of its role; a repository's words are marked as what they are."""
    from nightcrew.policy.suspicion import mark

    parts = []
    for role in roles:
        said = f"Your role for this task: {role.title or role.name}. {role.description}".strip()
        rules = [f"- never: {rule.reason}" for rule in role.forbidden]
        rules += [
            f"- only after a yes, which is asked for you: {rule.reason}" for rule in role.requires_approval
        ]
        text = "\n".join([said, *dict.fromkeys(rules)])
        ours = role.layer != "repository"
        parts.append(
            text
            if ours
            else mark(text, f"the role {role.name} as the repository describes it ({role.source})")
        )
    if any(role.confidence for role in roles):
        parts.append(_CERTAIN)
    return "\n\n".join(parts)


def keep_used(rules: Rules, tasks: Sequence[Task]) -> Rules:
    """Return the rules with the roles of these tasks alone, the shipped ones among them as texts: so they are recorded."""
    from nightcrew.policy.roles.putting import shipped_text
    from nightcrew.runtime.rules import Text

    used = {task.role for task in tasks if task.role and not task.done}
    kept = {name: find_role(rules.roles, name) for name in sorted(used)}
    sources = {role.source for files in kept.values() for role in files}
    texts = [text for text in rules.texts if text.kind != "role" or text.source in sources]
    there = {text.source for text in texts}
    missing = [
        name for name in sorted(used) if find_shipped(name) and shipped_source(name) in sources - there
    ]
    texts += [Text("role", "shipped", shipped_source(name), shipped_text(name)) for name in missing]
    return replace(rules, texts=tuple(texts), roles=kept)


def digest_rules(rules: Rules) -> str:
    """Return the digest of the policy with the roles it is used under; without any it is that of the policy."""
    if not rules.roles:
        return rules.policy.digest
    return canonical.digest(
        [rules.policy.digest, {name: rules.under(name).policy.digest for name in rules.roles}]
    )


def cap_task(task: Task, rules: Rules) -> Task:
    """Return a task that may cost and take no more than its role allows."""
    if not task.role or task.done:
        return task
    for role in find_role(rules.roles, task.role):
        caps = role.caps.value if role.caps else None
        if caps is None:
            continue
        if caps.task:
            own = parse_budget(task.budget) if task.budget else Budget()
            task = replace(task, budget=own.narrow(caps.task).describe())
        if caps.attempt_s:
            task = replace(
                task, timeout_s=min(task.timeout_s or rules.settings.limits.hard_s, caps.attempt_s)
            )
    return task


def role_budgets(rules: Rules) -> dict[str, Budget]:
    """Return what all tasks of each role may cost together in one run, where a role says so."""
    found = {name: _join_caps(files) for name, files in rules.roles.items()}
    return {name: budget for name, budget in found.items() if budget}


def _join_caps(roles: Sequence[Role]) -> Budget:
    return reduce(Budget.narrow, (role.caps.value.run for role in roles if role.caps), Budget())


def describe_roles(rules: Rules) -> dict[str, Any]:
    """Return what the record of a run keeps of its roles: when they work, what all their tasks may cost together."""
    return {name: _describe(files) for name, files in rules.roles.items()}


def _describe(roles: Sequence[Role]) -> dict[str, Any]:
    plain: dict[str, Any] = {"source": roles[0].source}
    caps = [role.caps for role in roles if role.caps is not None and role.caps.value.run]
    if caps:
        plain["caps"] = {"budget": _join_caps(roles).describe(), "source": caps[0].source}
    hours = [role.hours for role in roles if role.hours is not None]
    if hours:
        plain["hours"] = [{**canonical.to_plain(placed.value), "source": placed.source} for placed in hours]
    return plain


def flag_roles(tasks: Sequence[Task], rules: Rules) -> Iterator[Flag]:
    """Yield what a person should know of the roles of tasks before approving the plan; what is about a role, once."""
    from nightcrew.policy.roles.fitting import find_misfits

    told: set[str] = set()
    for task in tasks:
        if not task.role or task.done:
            continue
        for role in find_role(rules.roles, task.role):
            if role.source not in told:
                told.add(role.source)
                yield from _flag_role(task, role)
            for said, source in find_misfits(task, role):
                yield Flag(task.id, "role", said, rule=f"role:{role.name}", source=source)
        yield from _flag_hosts(task, rules)


def _flag_role(task: Task, role: Role) -> Iterator[Flag]:
    name = f"role:{role.name}"
    if role.hours is not None:
        said = f"the role {role.name} works {role.hours.value.describe()}; outside of that its tasks wait"
        yield Flag(task.id, "role", said, rule=f"{name}.working_hours", source=role.hours.source)
    if role.review is not None and role.review.value:
        said = f"each result of the role {role.name} must be accepted by its own id before it can be promoted"
        yield Flag(
            task.id, "role", said, rule=f"{name}.require_review_before_promote", source=role.review.source
        )
    yield from _flag_caps(task, role)


def _flag_caps(task: Task, role: Role) -> Iterator[Flag]:
    if role.caps is None:
        return
    caps = role.caps.value
    said = [f"one task {caps.task.describe()}"] if caps.task else []
    said += [f"all its tasks of this run {caps.run.describe()}"] if caps.run else []
    said += [f"one attempt {caps.attempt_s:g} s"] if caps.attempt_s else []
    if said:
        text = f"tasks of the role {role.name} may cost at most: {', '.join(said)}"
        yield Flag(task.id, "role", text, rule=f"role:{role.name}.caps", source=role.caps.source)


def _flag_hosts(task: Task, rules: Rules) -> Iterator[Flag]:
    """Yield the places of a task's ``Network:`` that its role denies."""
    from nightcrew.policy.network import judge_request, presets_of
    from nightcrew.policy.places import find_preset, read_item

    policy = rules.under(task.role).policy
    for number, text in enumerate(task.network):
        item = read_item(text)
        if item.asks:
            continue
        places = [item.place] if item.place else list(find_preset(item.preset, presets_of(policy)).places)
        for place in places:
            host = place.host.replace("*", "any")
            request = NetRequest("CONNECT", host, place.ports[0] if place.ports else 443)
            decision = judge_request(policy, request, AllowList(tuple(places)))
            if decision.verdict is Verdict.DENY and decision.rule.startswith("role:"):
                at = task.network_places[number] if number < len(task.network_places) else task.place
                yield Flag(
                    task.id,
                    "forbidden",
                    f"{at.file}:{at.line}: {decision.reason}",
                    rule=decision.rule,
                    source=decision.source,
                    action=f"Network: {text}",
                )
                break


def tell_role(run: RunRecord, task: TaskRecord) -> list[str]:
    """Return what ``why`` says of a task's role; empty for none."""
    from nightcrew.engine.course.shifts import waits_for_hours

    if not task.role:
        return []
    known = run.settings.get(KEY, {}).get(task.role, {})
    lines = [f"role {task.role} ({known.get('source') or 'of an earlier version'})"]
    lines += [
        f"role {task.role} works {tell_hours(hours)} ({hours['source']})" for hours in known.get("hours", ())
    ]
    if waits_for_hours(task):
        lines.append(f"it waits for its working hours, which begin at {task.opens_at}")
    if task.confidence is not None:
        lines.append(f"its agent says it is {task.confidence:.0%} sure; that allows nothing")
    return lines


def tell_hours(plain: Mapping[str, Any]) -> str:
    """Return recorded working hours in words."""
    from nightcrew.policy.roles.hours import read_hours

    return read_hours(plain).describe()


def tell_counts(role: Role) -> str:
    """Return how much of what a role says."""
    parts = [
        count(len(role.autonomous), "thing") + " by itself",
        f"{len(role.requires_approval)} after a yes",
        f"{len(role.forbidden)} never",
        f"otherwise {role.otherwise.value}",
    ]
    return ", ".join(parts)
