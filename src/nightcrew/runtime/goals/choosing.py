"""Who is asked for a plan, and whether their model can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightcrew.model.errors import UsageError
from nightcrew.model.settings import AgentSetting
from nightcrew.runtime.rules import Rules, read_rules

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts


def choose_planner(parts: Parts, rules: Rules, wanted: str) -> str:
    """Return the agent that is asked for a plan.

    Raises:
        UsageError: it cannot be asked, or nobody can be.
    """
    from nightcrew.agents.adapters import find_setting
    from nightcrew.agents.answers import takes_questions
    from nightcrew.runtime.crew.finding import find_listed

    own = read_rules(parts.env, None).settings
    named = wanted or rules.settings.planning.agent
    if named:
        setting = find_setting(named, rules.settings.agents)
        if not takes_questions(setting.adapter, setting.argv):
            raise UsageError(
                f"the agent {named} cannot be asked for a plan: it takes no words",
                code="planner.unfit",
                where=["nothing was recorded"],
                hint="nightcrew agent list; then: --planner NAME",
            )
        if not wanted and setting != own.agents.get(named, AgentSetting(named)):
            raise UsageError(
                f"the agent {named} is not yours but the repository's, and would begin before you have approved anything",
                code="planner.foreign",
                where=["nothing was recorded"],
                hint=f"name it yourself if you want that: --planner {named}",
            )
        return named
    for each in find_listed(parts, rules):
        fits = takes_questions(each.setting.adapter, each.setting.argv)
        # What only the repository says of an agent is not run before a person has seen it.
        if fits and not each.problem and each.setting == own.agents.get(each.name, AgentSetting(each.name)):
            return each.name
    raise UsageError(
        "there is no agent that could make a plan of a goal; nothing was recorded",
        code="planner.none",
        where=[
            "a coding agent on PATH with a provider of models in your config.yaml is found by itself: nightcrew agent detect",
            "or name one: `planner: {agent: NAME}` in config.yaml, or --planner NAME",
        ],
        hint="without one, write the tasks yourself: nightcrew run -f tasks.md (docs/formats/tasks.md)",
    )


def check_key(parts: Parts, rules: Rules, planner: str) -> None:
    """See that the model of a planner can be asked, before anything is recorded.

    Raises:
        UsageError, NotAuthenticated: it cannot.
    """
    from nightcrew.agents.adapters import find_adapter, find_setting
    from nightcrew.engine.work.gateway import choose_providers

    setting = find_setting(planner, rules.settings.agents)
    needs_model = find_adapter(setting).capabilities.needs_network
    for name in choose_providers(setting, rules.settings.providers, needs_model=needs_model):
        parts.keyring.read(rules.settings.providers[name])
