"""Who does which task: `Agent: any`, tasks without an agent, and Markdown agents become agents of a plan.

It is settled when the plan is made, so that the plan shows who does what and why, and a person approves that. What is
chosen can only be an agent that the person could name; a Markdown agent adds words to its prompt and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NotAuthenticated, Problem, UsageError
from nightcrew.model.lifecycle import TASK_FINAL
from nightcrew.model.plans import Flag, Task
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.routes import ANY, Persona, Route
from nightcrew.model.text import closest, shown
from nightcrew.runtime.crew.finding import (
    WORDLESS,
    Listed,
    describe_markdown,
    describe_program,
    find_listed,
    find_markdown,
    open_manifest,
    read_markdown,
)

if TYPE_CHECKING:
    from nightcrew.agents.markdown import MarkdownAgent
    from nightcrew.agents.routing import Candidate
    from nightcrew.journal.transaction import Writer
    from nightcrew.model.usage import Provider
    from nightcrew.runtime.parts import Parts
    from nightcrew.runtime.rules import Rules

#: Kind of the event that says who got a task, and why.
ROUTED: Final = "agent.routed"
_OPEN_RUNS: Final = ("approved", "running", "paused")
_MOST_SLOTS: Final = 64
_ALTERNATIVES: Final = 3


def read_slots(text: str) -> dict[str, int]:
    """Return what ``--agents claude:2,codex:1`` says: name → attempts at once, 0 for no limit of its own.

    Raises:
        UsageError: it cannot be understood; nothing was started.
    """
    found: dict[str, int] = {}
    for item in (each.strip() for each in text.split(",") if each.strip()):
        name, colon, number = item.partition(":")
        good = not colon or (
            number.isascii() and number.isdigit() and len(number) <= 2 and 1 <= int(number) <= _MOST_SLOTS
        )
        if not name or not good or name in found:
            why = "is there twice" if name in found else f"is not NAME or NAME:1 to NAME:{_MOST_SLOTS}"
            raise UsageError(
                f"--agents: `{shown(item)}` {why}; nothing was started",
                code="agents.option",
                hint="nightcrew run -f tasks.md --agents claude:2,codex:1",
            )
        found[name] = int(number) if colon else 0
    return found


def assign_agents(
    parts: Parts,
    rules: Rules,
    tasks: Sequence[Task],
    problems: list[Problem],
    wanted: Mapping[str, int] | None = None,
    stand_in: str = "",
) -> tuple[Task, ...]:
    """Return the tasks with an agent each: as named, or as chosen.

    Args:
        problems: what stands in the way of it is added here.
        wanted: agents that may be chosen, as ``read_slots`` gives them; None or empty for all.
        stand_in: who gets what names no agent; chosen when empty.

    Raises:
        UsageError: ``wanted`` or ``stand_in`` names an agent that does not exist.
    """
    from nightcrew.agents.adapters import ADAPTERS

    names = {*ADAPTERS, *rules.settings.agents}
    for name in (*(wanted or ()), *([stand_in] if stand_in else ())):
        if name not in names:
            near = closest(name, names)
            raise UsageError(
                f"{'--agent' if name == stand_in else '--agents'}: there is no agent called {shown(name)!r}; nothing was started",
                code="agents.option",
                hint=f"did you mean {near}?" if near else "nightcrew agent list",
            )
    if stand_in:
        tasks = [replace(task, agent=stand_in) if task.agent == ANY else task for task in tasks]
    if all(task.done or task.agent in names for task in tasks):
        return tuple(tasks)
    crew = _Crew.gather(parts, rules, wanted or {})
    crew.busy.update(task.agent for task in tasks if not task.done and task.agent in names)
    return tuple(task if task.done or task.agent in names else crew.assign(task, problems) for task in tasks)


def find_unassigned(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return what stands for an agent in tasks that got none; of each of them ``assign_agents`` has told why."""
    return (ANY,) if any(task.agent == ANY and not task.done for task in tasks) else ()


@dataclass
class _Crew:
    """All that can be chosen from while one plan is made."""

    parts: Parts
    rules: Rules
    listed: tuple[Listed, ...]
    markdown: Mapping[str, MarkdownAgent]
    busy: Counter[str]
    open_breakers: Mapping[str, str]
    wanted: Mapping[str, int]
    last: str = ""
    keyless: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    """Why nobody can be chosen → the number of the first task of which that was said: it is long, and the same for many."""

    @classmethod
    def gather(cls, parts: Parts, rules: Rules, wanted: Mapping[str, int]) -> _Crew:
        manifest = open_manifest(parts)
        markdown = {each.name: each for each in find_markdown(parts, rules, manifest)}
        manifest.keep()
        busy, last = _look_at_runs(parts)
        listed = tuple(each for each in find_listed(parts, rules) if each.takes_words)
        return cls(parts, rules, listed, markdown, busy, find_open_breakers(parts), wanted, last)

    def assign(self, task: Task, problems: list[Problem]) -> Task:
        """Return a task with its agent, or as it is with a problem."""
        persona: Persona | None = None
        if task.agent != ANY:
            found = self.markdown.get(task.agent.lower())
            if found is None:
                return task  # nobody knows the name: told with what there is by the check of all tasks
            persona = self.load(found.name) if not found.problem else None
            if persona is None:
                place = task.agent_place or task.place
                why = found.problem or f"{found.source} has changed just now"
                problems.append(Problem(place, f"the agent {found.name} cannot be used: {why}"))
                return replace(task, agent=ANY)
        elif self.rules.settings.routing.strategy == "manual":
            said = f"task {task.number} names no agent, and none is chosen (routing.strategy: manual)"
            problems.append(Problem(task.agent_place or task.place, said, "add `- Agent: <name>`"))
            return task
        return self.route(task, persona, problems)

    def route(self, task: Task, persona: Persona | None, problems: list[Problem]) -> Task:
        """Choose an agent for a task."""
        from nightcrew.agents.routing import choose

        settings = self.rules.settings.routing
        strategy = "capability" if settings.strategy == "manual" else settings.strategy
        candidates = list(self.find_candidates(task, persona))
        chosen = choose(candidates, strategy, after=self.last)
        if chosen is None:
            problems.append(self.explain_nobody(task, candidates))
            return replace(task, agent=ANY)
        name, route = chosen
        self.busy[name] += 1
        self.last = name
        if persona is None:
            persona, route = self.find_persona(task, route)
        return replace(task, agent=name, route=route, persona=persona)

    def find_candidates(self, task: Task, persona: Persona | None) -> Iterator[Candidate]:
        """Yield every agent that takes words, with what speaks for and against it."""
        from nightcrew.agents.match import match
        from nightcrew.agents.routing import Candidate

        order = self.rules.settings.routing.order
        tool = self.markdown[persona.name].tool if persona is not None else ""
        for number, each in enumerate(self.listed):
            if (order and each.name not in order) or (self.wanted and each.name not in self.wanted):
                continue
            fit = match(_words(task), describe_program(each))
            # A role that somebody wrote for a tool is in that tool's own words.
            fit = replace(fit, score=fit.score + 1.0) if tool and each.setting.adapter == tool else fit
            yield Candidate(
                each.name,
                fit,
                problem=self.find_problem(task, each),
                asks=each.capabilities.approvals == "all",
                busy=self.busy[each.name],
                slots=self.wanted.get(each.name) or each.setting.slots,
                priority=each.setting.priority,
                order=order.index(each.name) if order else number,
                usd=self.find_cost(each),
            )

    def find_problem(self, task: Task, each: Listed) -> str:
        """Return why an agent cannot have a task, in words; empty when it can."""
        ranks = ("none", "risky", "all")
        needed = self.rules.settings.require_approvals
        if each.problem:
            return each.problem
        if each.name in self.open_breakers:
            return self.open_breakers[each.name]
        if missing := self.find_missing_key(each):
            return missing
        if ranks.index(each.capabilities.approvals) < ranks.index(needed):
            return f"it asks for too little (approvals.require: {needed})"
        for role in self.rules.roles.get(task.role, ()) if task.role else ():
            if role.agents and not any(fnmatchcase(each.name, str(glob)) for glob in role.agents):
                return f"it is no agent of the role {task.role}"
        return ""

    def find_missing_key(self, each: Listed) -> str:
        """Return which provider of an agent has no key, in words; empty when each has one, or it needs none."""
        from nightcrew.engine.work.gateway import choose_providers

        known = self.rules.settings.providers
        try:
            names = choose_providers(each.setting, known, needs_model=each.capabilities.needs_network)
        except UsageError as error:
            return error.message
        for name in names:
            if name not in self.keyless:
                self.keyless[name] = _try_key(self.parts, known[name])
            if self.keyless[name]:
                return self.keyless[name]
        return ""

    def find_cost(self, each: Listed) -> float | None:
        """Return what a million tokens of an agent cost, read and written alike; None when nobody knows."""
        from nightcrew.agents.discovery import PROGRAMS
        from nightcrew.policy.prices import Prices, shipped_prices

        if each.setting.cost:
            return each.setting.cost
        prices = Prices(shipped_prices(), self.rules.settings.prices)
        known = PROGRAMS.get(each.setting.adapter)
        for name in each.setting.providers or (known.providers if known is not None else ()):
            provider = self.rules.settings.providers.get(name)
            price = prices.find(provider.wire, provider.model) if provider and provider.model else None
            if price is not None:
                return round((price.input + price.output) / 2, 4)
        return None

    def find_persona(self, task: Task, route: Route) -> tuple[Persona | None, Route]:
        """Return the role that fits a task excellently, as far as the settings take one unasked; else tell of it."""
        from nightcrew.agents.match import rank

        usable = [each for each in self.markdown.values() if not each.problem]
        fits = rank(_words(task), [describe_markdown(each) for each in usable])
        best = next(((profile, fit) for profile, fit in fits if fit.quality == "excellent"), None)
        if best is None:
            return None, route
        (profile, fit), allowed = best, self.rules.settings.routing.personas
        if allowed == "all" or (allowed == "own" and self.markdown[profile.name].own):
            why = f"{route.reason}; in the role {profile.name}: {fit.why}"
            return self.load(profile.name), replace(route, reason=why, quality=fit.quality)
        said = f"the role {profile.name} ({self.markdown[profile.name].source}) would fit: {fit.why}; to take it: `- Agent: @{profile.name}`"
        return None, replace(route, gap="; ".join(part for part in (route.gap, said) if part))

    def load(self, name: str) -> Persona | None:
        """Return the role of a Markdown agent, read just now."""
        found = read_markdown(self.parts, self.rules, name)
        if found is None or found.problem:
            return None
        said = [f"{label}: {text}" for label, text in (("Role", found.role), ("Goal", found.goal)) if text]
        text = "\n".join([*said, found.text or found.description]).strip()
        return Persona(found.name, text, found.source, found.own, found.ignored)

    def explain_nobody(self, task: Task, candidates: Sequence[Candidate]) -> Problem:
        """Return the problem of a task that nobody can do."""
        place = task.agent_place or task.place
        reasons = "; ".join(f"{each.name}: {each.problem}" for each in candidates if each.problem)
        hint = "add `- Run: <command>`, `- Script: <file.yaml>` or `- Agent: <name>` below it, or see: nightcrew agent list"
        if task.agent_place is None:
            said = f"task {task.number} does not say what to run, and no agent can be chosen for it"
        else:
            said = f"no agent can be chosen for task {task.number}"
        first = self.told.setdefault(reasons, task.number)
        why = reasons if first == task.number else f"for the same reasons as for task {first}"
        return Problem(place, f"{said} ({why})" if reasons else said, hint)


def find_unusable(parts: Parts, rules: Rules, tasks: Sequence[Task]) -> dict[str, str]:
    """Return the agents that tasks name and that cannot be used now, each with why."""
    named = {task.agent for task in tasks if not task.done and task.agent not in WORDLESS}
    if not named:
        return {}
    found = {each.name: each.problem for each in find_listed(parts, rules) if each.name in named}
    held = find_open_breakers(parts)
    return {name: why for name, problem in found.items() if (why := problem or held.get(name, ""))}


def flag_agents(task: Task, unusable: Mapping[str, str]) -> Iterator[Flag]:
    """Yield what a person should see of how a task got its agent.

    Args:
        unusable: agents that cannot be used now, each with why.
    """
    if task.agent in unusable:
        place = task.agent_place or task.place
        said = f"{place.file}:{place.line}: {task.agent} cannot be used now: {unusable[task.agent]}"
        yield Flag(task.id, "gap", said)
    if task.route is not None:
        route = task.route
        others = ", ".join(
            f"{each.agent} ({each.quality})" for each in route.alternatives[:_ALTERNATIVES] if each.usable
        )
        said = f"{task.agent}: {route.quality} by {route.strategy}, confidence {route.confidence:g}: {route.reason}"
        yield Flag(task.id, "routed", f"{said}; instead of {others}" if others else said)
        if route.gap:
            yield Flag(task.id, "gap", route.gap)
    if task.persona is not None:
        whose = "yours" if task.persona.own else "the repository's"
        asked = (
            f"; asks for {', '.join(task.persona.ignored)}, gets nothing of it"
            if task.persona.ignored
            else ""
        )
        yield Flag(task.id, "persona", f"{task.persona.name} ({task.persona.source}, {whose}){asked}")


def note_routes(tx: Writer, run: str, tasks: Sequence[Task]) -> None:
    """Write down who got which task, and why."""
    for task in tasks:
        if task.route is None or task.done:
            continue
        route = task.route
        data: dict[str, Any] = {
            "agent": task.agent,
            "strategy": route.strategy,
            "reason": route.reason,
            "quality": route.quality,
            "confidence": route.confidence,
            "alternatives": [
                f"{each.agent} ({each.quality}{'' if each.usable else ', not usable'}: {each.why})"
                for each in route.alternatives
            ],
        }
        data |= {"gap": route.gap} if route.gap else {}
        data |= {"role": task.persona.name} if task.persona is not None else {}
        tx.append(ROUTED, run=run, task=f"{run}/{task.id}", data=data)


def choose_slots(rules: Rules, tasks: Sequence[Task], wanted: Mapping[str, int]) -> dict[str, int]:
    """Return how many attempts of each agent there may be at once, of those with a limit of their own.

    Of those of the plan, and of those that were named: a task can be taken over by an agent that has none yet.
    """
    found = {}
    named = [name for name, number in wanted.items() if number]
    for name in dict.fromkeys([*(task.agent for task in tasks if not task.done), *named]):
        setting = rules.settings.agents.get(name)
        limits = [each for each in (wanted.get(name, 0), setting.slots if setting else 0) if each]
        if limits:
            found[name] = min(limits)
    return found


def describe_crew(parts: Parts, rules: Rules) -> list[dict[str, str]]:
    """Return whom a planner may offer: ``{name, quality, description}`` of every agent that can be used."""
    from nightcrew.runtime.crew.finding import list_agents

    return [
        {"name": each["name"], "quality": each["quality"], "description": each["text"]}
        for each in list_agents(parts, rules)
        if each["usable"] and each["quality"]
    ]


def match_agents(parts: Parts, rules: Rules, text: str) -> list[dict[str, Any]]:
    """Return every agent that takes words with how well it fits a text, best first: ``{name, kind, quality, score, why}``."""
    from nightcrew.agents.match import rank

    crew = _Crew.gather(parts, rules, {})
    usable = [each for each in crew.markdown.values() if not each.problem]
    profiles = [describe_program(each) for each in crew.listed] + [describe_markdown(each) for each in usable]
    problems = {each.name: each.problem or crew.open_breakers.get(each.name, "") for each in crew.listed}
    return [
        {
            "name": profile.name,
            "kind": "program" if profile.general else "markdown",
            "quality": fit.quality,
            "score": fit.score,
            "why": fit.why,
            "usable": not problems.get(profile.name),
            "problem": problems.get(profile.name, ""),
        }
        for profile, fit in rank(text, profiles)
    ]


def find_open_breakers(parts: Parts) -> dict[str, str]:
    """Return the agents that are given nothing just now because they failed, each with why."""
    from nightcrew.engine.course.breaker import find_hold, read_breakers

    now = parts.clock.now()
    with parts.journal.read() as tx:
        held = {agent: find_hold(tx, agent, now)[1] for agent in read_breakers(tx)}
    return {agent: why for agent, why in held.items() if why}


def _try_key(parts: Parts, provider: Provider) -> str:
    """Return why the key of a provider cannot be had, in words; a program that keeps it is believed, and not started."""
    if provider.key is not None and provider.key.kind == "command":
        return ""
    try:
        parts.keyring.read(provider)
    except NotAuthenticated as error:
        return error.message
    return ""


def _words(task: Task) -> str:
    return " ".join((task.title, task.description, task.prompt, *task.scope))


def _look_at_runs(parts: Parts) -> tuple[Counter[str], str]:
    """Return how many tasks of open runs each agent has or will have, and who was chosen last."""
    with parts.journal.read() as tx:
        busy = Counter(
            task.agent
            for run in tx.find(RunRecord, state=_OPEN_RUNS)
            for task in tx.find(TaskRecord, run=run.id)
            if task.state not in TASK_FINAL
        )
        last = tx.events(kinds=(ROUTED,), newest=True, limit=1)
    return busy, str(last[0].data.get("agent", "")) if last else ""
