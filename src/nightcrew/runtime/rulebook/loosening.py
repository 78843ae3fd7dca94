"""What would change a decision, in words a person can act on: which line of which file, and who may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightcrew.model import canonical
from nightcrew.model.actions import Decision, Verdict
from nightcrew.policy.rules import Policy, Rule
from nightcrew.runtime.rulebook.replaying import exact_pattern, reads_input
from nightcrew.runtime.rules import POLICY_FILE

_BUILT_IN = "built in"
_FOR_GOOD: Mapping[str, str] = {
    "base.outside": "nothing: a task never writes outside the repository",
    "base.symlink": "nothing: no link may leave the tree",
    "base.submodule": "nothing: a nested repository cannot be promoted",
    "base.refused": "nothing: such a file cannot be captured",
}


def tell_ways(policy: Policy, decision: Decision, command: str) -> list[str]:
    """Return what would change a decision, nearest first; empty where it is allowed already.

    Args:
        command: the command line that was decided on; empty for anything else.
    """
    if decision.verdict is Verdict.ALLOW:
        return []
    name = decision.rule
    if name in _FOR_GOOD:
        return [_FOR_GOOD[name]]
    if name.startswith("role"):
        return _tell_role(name, decision)
    if name == "protected_path":
        return [_tell_protected(policy, decision)]
    if name.startswith("defaults.") or name == "no_rule":
        return [f"{POLICY_FILE}: a rule of your own for it, with decision: allow"]
    rule = next((rule for rule in policy.rules if rule.id == name), None)
    if rule is not None:
        return _tell_rule(rule, decision, alone=not reads_input(policy, command))
    placed = policy.settings.get(name)
    if placed is not None:
        return [_tell_value(name, placed.source, fixed=placed.fixed)]
    return [] if decision.source == _BUILT_IN else [f"change {decision.source}"]


def _tell_role(name: str, decision: Decision) -> list[str]:
    if name.startswith("role:base."):
        return [f"nothing: it holds under every role ({decision.source})"]
    shipped = (
        "; it is shipped: nightcrew role new makes it yours" if decision.source.startswith("roles/") else ""
    )
    return [
        f"{decision.source}: the authority of the role{shipped}",
        "or another role for the task: - Role: …",
    ]


def _tell_protected(policy: Policy, decision: Decision) -> str:
    for placed in policy.protected_paths:
        if placed.source == decision.source:
            glob = placed.value.lstrip("!")
            return f'{POLICY_FILE}: safety: {{protected_paths: ["!{glob}"]}} opens it for every task'
    return f"nothing: {decision.source} protects it for good"


def _tell_rule(rule: Rule, decision: Decision, *, alone: bool) -> list[str]:
    weakest = rule.floor or Verdict.ALLOW
    if weakest is rule.decision:
        return [f"nothing: {rule.source} keeps it at {rule.decision}"]
    ways = []
    commands = decision.effective_commands
    # Of what a program reads its effective command says nothing: an exception would hold for whatever is put in.
    exact = alone and not decision.opaque and len(commands) == 1
    if rule.subject == "command" and exact and rule.floor is None:
        entry = {"id": rule.id, "decision": str(rule.decision), "reason": rule.reason}
        exception = {**entry, "unless": {"command": exact_pattern(commands[0])}}
        ways.append(f"{POLICY_FILE}: commands: [{canonical.encode_plain(exception)}]   (this command alone)")
    block = {"command": "commands", "file": "files", "dependency": "dependencies"}.get(
        rule.subject, "network: rules"
    )
    to = " or ".join(word for word in ("allow", "ask") if _is_between(word, weakest, rule.decision))
    ways.append(
        f"{POLICY_FILE}: {block}: the rule {rule.id} again, with decision: {to}   (all that the rule is about)"
    )
    if rule.floor is not None:
        ways[-1] += f"; never weaker than {rule.floor}"
    return ways


def _is_between(word: str, weakest: Verdict, now: Verdict) -> bool:
    order = ["allow", "ask", "deny"]
    return order.index(str(weakest)) <= order.index(word) < order.index(str(now))


def _tell_value(name: str, source: str, *, fixed: bool) -> str:
    if fixed:
        return f"only whoever owns {source}: it fixes {name} for everybody"
    return f"{POLICY_FILE}: {name} (now from {source})"


def view_values(policy: Policy) -> list[dict[str, Any]]:
    """Return the single values of a policy by name, each with its place."""
    return [
        {
            "name": name,
            "value": "unlimited" if placed.value is None else _plain(placed.value),
            "source": placed.source,
            "fixed": placed.fixed,
        }
        for name, placed in sorted(policy.settings.items())
    ]


def _plain(value: Any) -> str:
    plain = canonical.to_plain(value)
    return plain if isinstance(plain, str) else canonical.encode_plain(plain)
