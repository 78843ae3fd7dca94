"""``policy replay`` and ``policy suggest``: decisions of the past under other rules, and what they teach."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model import canonical
from nightcrew.model.actions import Action, Decision, Verdict
from nightcrew.model.errors import InvalidInput, NotFound, ShellSyntaxError
from nightcrew.policy.linear import LONGEST
from nightcrew.runtime.rulebook.history import History, Past
from nightcrew.runtime.rules import Rules

if TYPE_CHECKING:
    from nightcrew.policy.lines.starts import Start
    from nightcrew.policy.rules import Policy, Rule

View = dict[str, Any]

_SHOWN: Final = 200
"""At most so many decisions that flip are listed; the counts are about all of them."""


def replay(old: Rules, new: Rules, history: History) -> View:
    """Return what the new rules would have said to what was decided; the old ones are those in force here."""
    from nightcrew.runtime.plans.judging import judge_action

    flips: list[View] = []
    matrix: Counter[str] = Counter()
    asked_then: set[tuple[str, str]] = set()
    asked_now: set[tuple[str, str]] = set()
    for past in history.past:
        decision = judge_action(past.action, _under(new, past.role))
        verdict = str(decision.verdict)
        matrix[f"{past.verdict} -> {verdict}"] += 1
        if past.verdict == "ask":
            asked_then.add(past.question)
        if verdict == "ask":
            asked_now.add(past.question)
        if verdict != past.verdict:
            flips.append(_tell_flip(past, decision, history))
    return {
        "decisions": len(history.past),
        "not_replayed": history.changes,
        "redacted": sum(not past.exact for past in history.past),
        "flips": len(flips),
        "matrix": dict(sorted(matrix.items())),
        "questions": {
            "then": len(asked_then),
            "now": len(asked_now),
            "fewer": len(asked_then) - len(asked_now),
        },
        "policy": {"in_force": old.policy.digest, "replayed": new.policy.digest},
        "list": flips[:_SHOWN],
    }


def _under(rules: Rules, role: str) -> Rules:
    """Return rules as they are for tasks of a role; a role that is gone adds nothing to them."""
    try:
        return rules.under(role)
    except NotFound:
        return rules


def _tell_flip(past: Past, decision: Decision, history: History) -> View:
    return {
        "event": past.event.id,
        "at": past.event.at,
        "task": past.event.task,
        "action": past.action.describe(),
        "then": {
            "decision": past.verdict,
            "rule": past.event.data["rule"],
            "source": past.event.data["source"],
        },
        "now": {"decision": str(decision.verdict), "rule": decision.rule, "source": decision.source},
        "answer": history.answers.get(past.question, ""),
    }


# --- suggest ----------------------------------------------------------------------------------------------------------


def suggest(rules: Rules, history: History, *, times: int) -> View:
    """Return the least exceptions that would have saved the questions that were always answered with yes.

    Args:
        times: so often a yes is needed, and never a no.
    """
    asked: dict[str, list[Past]] = {}
    for past in history.past:
        if past.verdict == "ask" and past.action.kind == "exec":
            asked.setdefault(past.action.command, []).append(past)
    taken, left = [], []
    for command, pasts in asked.items():
        answers = [
            history.answers.get(past.question, "open") for past in {p.question: p for p in pasts}.values()
        ]
        why = _why_not(rules, command, pasts, answers, times)
        entry = {"command": command, "answers": dict(Counter(answers))}
        if why:
            left.append({**entry, "why": why})
        else:
            taken.append({**entry, "rules": _asking_rules(rules, command)})
    return _finish(rules, _write_exceptions(rules, taken), taken, left)


def _why_not(rules: Rules, command: str, pasts: Sequence[Past], answers: Sequence[str], times: int) -> str:
    """Return why no exception is suggested for a command; empty when one is."""
    asking = next(
        (each.event.data["rule"] for each in pasts if str(each.event.data["rule"]).startswith("role")), ""
    )
    if asking:
        return f"it was asked about by a role ({asking}), which no exception of the policy opens"
    yes = sum(answer == "approved" for answer in answers)
    if yes < times or yes < len(answers):
        return f"{yes} of {len(answers)} answered with yes" + (
            f", {times} needed" if yes == len(answers) else ""
        )
    if not all(past.exact for past in pasts):
        return "a secret was taken out of it"
    from nightcrew.runtime.plans.judging import judge_action

    decision = judge_action(Action("exec", command=command), rules)
    if decision.verdict is not Verdict.ASK:
        return f"the policy says {decision.verdict} to it now"
    if decision.opaque:
        return "nobody can say what it does before it runs"
    if decision.risk == "critical":
        return "its risk is critical: a person should see it every time"
    if reads_input(rules.policy, command):
        return "what it does depends on what it is given to read, which no exception for a command looks at"
    return "" if _asking_rules(rules, command) else f"{decision.rule} takes no exceptions"


def _asking_rules(rules: Rules, command: str) -> dict[str, list[str]]:
    """Return the rules that ask about a command, each with the starts of it that it asks about."""
    return {name: starts for name, starts in _match_starts(rules.policy, command).items() if starts}


def reads_input(policy: Policy, command: str) -> bool:
    """Tell whether a program that a rule asks about or denies reads a pipe, a document or a file.

    Its effective command does not tell what, so an exception for that would hold for anything that is put in.
    """
    return any(start.stdin.kind != "none" for _, start in _find_refused(policy, command))


def _match_starts(policy: Policy, command: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rule, start in _find_refused(policy, command):
        if rule.decision is Verdict.ASK:
            found.setdefault(rule.id, []).append(start.effective)
    return found


def _find_refused(policy: Policy, command: str) -> Iterator[tuple[Rule, Start]]:
    """Yield the program starts of a command line with the rules that do not allow them."""
    from nightcrew.host.shell import parse
    from nightcrew.policy.lines.walk import read_line
    from nightcrew.policy.matching import matcher_of

    try:
        line = read_line(command, parse=parse)
    except ShellSyntaxError:
        return
    for start in line.starts:
        for rule in matcher_of(policy).rules_for_start(start):
            if rule.decision is not Verdict.ALLOW:
                yield rule, start


def _write_exceptions(rules: Rules, taken: Iterable[Mapping[str, Any]]) -> list[str]:
    gathered: dict[str, list[str]] = {}
    for entry in taken:
        for rule, starts in entry["rules"].items():
            known = gathered.setdefault(rule, [])
            known += [each for each in starts if each not in known and len(exact_pattern(each)) <= LONGEST]
    by_id = {rule.id: rule for rule in rules.policy.rules}
    lines = ["commands:"] if gathered else []
    for name, starts in gathered.items():
        lines += [
            f"  - id: {name}",
            "    decision: ask",
            f"    reason: {_quote(by_id[name].reason)}",
            "    unless:",
        ]
        lines += [f"      - command: {_quote(exact_pattern(each))}" for each in starts]
        lines += ["    examples:", "      not_match:", *(f"        - {_quote(each)}" for each in starts)]
    return lines


def exact_pattern(command: str) -> str:
    """Return a regular expression that matches exactly this effective command."""
    # re.escape puts a backslash before blanks and slashes too, which need none.
    return "^" + re.sub(r"\\([ /\-#&~])", r"\1", re.escape(command)) + "$"


def _quote(text: str) -> str:
    """Return a text as YAML; JSON is YAML."""
    return canonical.encode_plain(text)


def tighten(rules: Rules, history: History) -> View:
    """Return the least that was needed: programs that no rule speaks of and that were used are allowed, all others ask."""
    used: Counter[str] = Counter()
    for past in history.past:
        if past.action.kind == "exec" and "deny" not in (past.verdict, history.answers.get(past.question)):
            used.update(_find_unnamed(rules.policy, past.action.command))
    taken: list[View] = [{"program": program, "times": times} for program, times in sorted(used.items())]
    lines = ["defaults:", "  commands: ask"] if history.past else []
    if taken:
        names = ", ".join(_quote(each["program"]) for each in taken)
        lines += [
            "commands:",
            "  - id: project.used",
            f"    when: {{program: [{names}]}}",
            "    decision: allow",
            "    risk: low",
            "    reason: used by earlier tasks of this project",
        ]
    return _finish(rules, lines, taken, [])


def _find_unnamed(policy: Policy, command: str) -> set[str]:
    """Return the programs of a command line that no rule speaks of: what holds for them is the default."""
    from nightcrew.host.shell import parse
    from nightcrew.policy.lines.walk import read_line
    from nightcrew.policy.matching import matcher_of

    try:
        starts = read_line(command, parse=parse).starts
    except ShellSyntaxError:
        return set()
    rules_for = matcher_of(policy).rules_for_start
    return {start.program for start in starts if start.program and not start.opaque and not rules_for(start)}


def _finish(rules: Rules, lines: Sequence[str], taken: Sequence[View], left: Sequence[View]) -> View:
    """Return a suggestion, proven to be a policy that can be laid over the one in force."""
    text = "\n".join(["version: 1", *lines]) + "\n" if lines else ""
    problem = ""
    if text:
        from nightcrew.host.shell import parse
        from nightcrew.policy.load import layer, parse_policy

        try:
            layer([rules.policy, parse_policy(text, "suggestion", parse=parse)])
        except InvalidInput as error:
            problem = "; ".join(str(each) for each in error.problems)
    return {"text": text, "taken": list(taken), "left": list(left), "problem": problem}
