"""``policy test | diff | import | show``: what a policy says, proven by its examples and beside another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightcrew.model import canonical
from nightcrew.model.actions import Verdict, strictest
from nightcrew.model.errors import NotFound, ShellSyntaxError, UsageError
from nightcrew.runtime.people.factors import require_factor
from nightcrew.runtime.people.terms import need_person
from nightcrew.runtime.rules import POLICY_FILE, Rules, check_file, read_rules

if TYPE_CHECKING:
    from nightcrew.model.people import Proof
    from nightcrew.policy.rules import Policy, Rule
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]

_BOUNDS = ("limits.", "agent_recovery.", "budget.", "approvals.", "safety.auto_branch")
"""Values that bound something: none of it is looser than any."""


def read_candidate(parts: Parts, file: Path | None) -> Rules:
    """Return the rules in force here, or those that would be with ``file`` as the repository's own.

    Raises:
        NotFound: there is no such file. InvalidInput: with all its problems.
    """
    root = parts.find_root()
    if file is None:
        return read_rules(parts.env, root)
    return replace(check_file(parts.env, parts.cwd / file), root=str(root or ""))


def test_policy(parts: Parts, file: Path | None) -> View:
    """Return what every example of every rule does, by itself and under the whole policy."""
    rules = read_candidate(parts, file)
    tested = [_test_rule(rules, rule) for rule in rules.policy.rules]
    examples = [example for rule in tested for example in rule["examples"]]
    failed = [example for example in examples if not example["ok"]]
    return {
        "ok": not failed,
        "digest": rules.policy.digest,
        "rules": len(tested),
        "examples": len(examples),
        "failed": failed,
        "without_examples": [rule["id"] for rule in tested if not rule["examples"]],
        "tested": tested,
    }


def _test_rule(rules: Rules, rule: Rule) -> View:
    from nightcrew.policy.matching import Matcher

    matcher = Matcher(replace(rules.policy, rules=(rule,)))
    found = []
    for example in rule.examples:
        matched, wrong = _try(rule, example.text, matcher)
        found.append(
            {
                "rule": rule.id,
                "text": example.text,
                "source": str(example.place),
                "expected": "match" if example.matches else "no match",
                "ok": not wrong and matched is example.matches,
                "problem": wrong,
                **_decide(rules, rule, example.text),
            }
        )
    return {"id": rule.id, "decision": str(rule.decision), "source": rule.source, "examples": found}


def _try(rule: Rule, text: str, matcher: Any) -> tuple[bool, str]:
    from nightcrew.host.shell import parse
    from nightcrew.policy.examples import matches_text

    try:
        return matches_text(rule.subject, text, matcher, parse), ""
    except (ValueError, ShellSyntaxError) as error:
        return False, str(error)


def _decide(rules: Rules, rule: Rule, text: str) -> Mapping[str, str]:
    """Return what the whole policy says of an example; of what is judged on a change alone it is the rule's own."""
    from nightcrew.model.actions import Action
    from nightcrew.policy.examples import read_file_example
    from nightcrew.runtime.plans.judging import judge_action

    if rule.subject == "command":
        action = Action("exec", command=text)
    elif rule.subject == "file":
        effect, content = read_file_example(text)
        if content or effect.path.startswith("//"):
            return {}
        action = Action(effect.do, paths=(effect.path,), detail="x" if effect.do == "symlink" else "")
    else:
        return {}
    decision = judge_action(action, rules)
    return {"decision": str(decision.verdict), "decided_by": decision.rule}


def diff_policies(old: Rules, new: Rules) -> View:
    """Return in what two policies differ, each difference with what it means: tighter, looser or other."""
    rules = list(_diff_rules(old.policy, new.policy))
    values = list(_diff_values(old.policy, new.policy))
    globs = [*_diff_globs(old.policy, new.policy), *_diff_gates(old.policy, new.policy)]
    changes = [*rules, *values, *globs]
    return {
        "same": not changes,
        "old": old.policy.digest,
        "new": new.policy.digest,
        "changes": changes,
        "looser": sum(change["effect"] == "looser" for change in changes),
        "tighter": sum(change["effect"] == "tighter" for change in changes),
    }


def _diff_rules(old: Policy, new: Policy) -> Iterator[View]:
    before, after = ({rule.id: rule for rule in reversed(each.rules)} for each in (old, new))
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was is not None and now is not None and _plain(was) == _plain(now):
            continue
        yield {
            "what": "rule",
            "name": name,
            "old": _tell_rule(was),
            "new": _tell_rule(now),
            "effect": _weigh_rules(was, now),
            "source": (now or was).source,  # type: ignore[union-attr]  # one of them is there
        }


def _plain(rule: Rule) -> View:
    return {**canonical.to_plain(rule), "place": None, "examples": None, "reason": None, "hint": None}


def _tell_rule(rule: Rule | None) -> str:
    if rule is None:
        return ""
    return f"{rule.decision} (risk {rule.risk})" + (
        f" unless {len(rule.unless)} exceptions" if rule.unless else ""
    )


def _weigh_rules(was: Rule | None, now: Rule | None) -> str:
    if was is None or now is None:
        there = now or was
        if there is None or there.decision is Verdict.ALLOW:
            return "other"
        return "tighter" if now else "looser"
    if was.decision is not now.decision:
        return "tighter" if strictest(was.decision, now.decision) is now.decision else "looser"
    if was.when == now.when and len(was.unless) != len(now.unless):
        more = len(now.unless) > len(was.unless)
        return "looser" if more is (now.decision is not Verdict.ALLOW) else "tighter"
    return "other"


def _diff_values(old: Policy, new: Policy) -> Iterator[View]:
    from nightcrew.policy.layers import is_looser

    for name in sorted({*old.settings, *new.settings}):
        was, now = old.settings.get(name), new.settings.get(name)
        if was is not None and now is not None and was.value == now.value:
            continue
        effect = "other"
        if was is not None and now is not None:
            effect = "looser" if is_looser(now.value, was.value) else "tighter"
        elif name.startswith(_BOUNDS):
            effect = "tighter" if now is not None else "looser"
        there = now or was
        yield {
            "what": "value",
            "name": name,
            "old": _tell_value(was.value) if was else "",
            "new": _tell_value(now.value) if now else "",
            "effect": effect,
            "source": there.source if there else "",
        }


def _tell_value(value: Any) -> str:
    plain = canonical.to_plain(value)
    return "unlimited" if plain is None else plain if isinstance(plain, str) else canonical.encode(plain)


def _diff_globs(old: Policy, new: Policy) -> Iterator[View]:
    for block in ("fixed_paths", "protected_paths", "handoff_paths"):
        before, after = ([placed.value for placed in getattr(each, block)] for each in (old, new))
        for glob in sorted({*before, *after}):
            if (glob in before) == (glob in after):
                continue
            gained = glob in after
            yield {
                "what": block,
                "name": glob,
                "old": "" if gained else glob,
                "new": glob if gained else "",
                "effect": "tighter" if gained is not glob.startswith("!") else "looser",
                "source": "",
            }


def _diff_gates(old: Policy, new: Policy) -> Iterator[View]:
    before, after = ({placed.value.id: placed.value.run for placed in each.gates} for each in (old, new))
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        effect = "other" if name in before and name in after else "tighter" if name in after else "looser"
        was, now = before.get(name, ""), after.get(name, "")
        yield {"what": "gate", "name": name, "old": was, "new": now, "effect": effect, "source": ""}


def import_file(parts: Parts, file: Path, *, write: bool, proof: Proof | None = None) -> View:
    """Return Aurora's policies.yaml as our policy, checked; with ``write`` it becomes the repository's own.

    Raises:
        NotFound: no such file, or no repository to write into. InvalidInput: with all problems of the file.
        UsageError: the repository has a policy already; nothing was written.
    """
    from nightcrew.host.files import write_atomic
    from nightcrew.host.shell import parse
    from nightcrew.policy.aurora import import_policy
    from nightcrew.policy.load import layer, parse_policy
    from nightcrew.runtime.rules import read_file

    text = read_file(parts.cwd / file, str(file))
    if text is None:
        raise NotFound(f"there is no file {file}", code="file.missing")
    imported = import_policy(text, str(file))
    policy = layer([parse_policy(imported.text, POLICY_FILE, parse=parse)])
    target = ""
    if write:
        root = parts.find_root()
        if root is None:
            raise NotFound("there is no repository here to write a policy for", hint="nightcrew init")
        path = root / POLICY_FILE
        if path.exists() or path.is_symlink():
            raise UsageError(
                f"{POLICY_FILE} is there already; nothing was written",
                code="policy.exists",
                hint=f"nightcrew policy import {file} > new-policy.yaml, then put the two together",
            )
        need_person(parts, "admin")
        require_factor(parts, "policy", proof, root=root)
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, imported.text.encode(), mode=0o644)
        target = POLICY_FILE
    notes: Sequence[str] = [str(note) for note in imported.notes]
    return {"text": imported.text, "notes": list(notes), "written": target, "digest": policy.digest}
