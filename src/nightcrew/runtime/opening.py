"""What the work of a run is done with: its repository under the rules that are stored with its plan."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from nightcrew.model.isolation import Level
from nightcrew.model.records import PlanRecord, RunRecord
from nightcrew.runtime.isolating import confinement_of
from nightcrew.runtime.rules import rules_from_plain

if TYPE_CHECKING:
    from nightcrew.engine.workspace import Workspace
    from nightcrew.runtime.parts import Parts


def open_workspace(parts: Parts, run: RunRecord) -> Workspace:
    """Return what the attempts of a run work with: its repository under the rules stored with its plan."""
    from nightcrew.engine.workspace import Workspace
    from nightcrew.host.shell import parse
    from nightcrew.policy.prices import prices_in_force
    from nightcrew.runtime.crew.programs import find_program
    from nightcrew.runtime.inside import find_binds, find_python, find_variables
    from nightcrew.runtime.trees.canaries import read_key
    from nightcrew.runtime.upkeep.collecting import make_room

    with parts.journal.read() as tx:
        plan = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    rules = rules_from_plain(plan.policies)
    repository = parts.repository_of(run)
    confinement = confinement_of(run)
    overlay = Level(run.isolation or Level.S3).mounts and parts.isolation_by(confinement).overlay
    binds = find_binds(repository.root)
    return Workspace(
        root=repository.root,
        confinement=confinement,
        shadows=parts.shadows(repository, overlay=overlay, environment=rules.settings.environment),
        store=parts.store(repository),
        policy=rules.policy,
        roles={name: rules.under(name).policy for name in rules.roles},
        settings=rules.settings,
        parse_shell=parse,
        agent_binds=binds,
        transcripts=parts.state_of(repository) / "runs",
        python=find_python(),
        env=find_variables(parts.env, rules.settings, repository.root, binds),
        redact=parts.keyring.redact,
        read_key=parts.keyring.read,
        prices=prices_in_force(rules.settings.prices, parts.clock.now()),
        find_program=cache(partial(find_program, path=parts.env.path, root=repository.root)),
        make_room=partial(make_room, parts, repository),
        git=parts.git(repository),
        canary_key=read_key(parts.env.state),
    )
