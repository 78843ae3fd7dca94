"""Examples of rules, checked when the policy is read: what a rule says it matches, it must match."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, cast, get_args

from nightcrew.model.errors import Problem, ShellSyntaxError
from nightcrew.policy.contents import find_dialect
from nightcrew.policy.dependencies import parse_example
from nightcrew.policy.lines.starts import Do, Effect
from nightcrew.policy.lines.walk import read_line
from nightcrew.policy.matching import Matcher
from nightcrew.policy.network import read_request
from nightcrew.policy.rules import Example, Policy, Rule, Subject
from nightcrew.policy.sqltext import find_acts

Parse = Callable[[str], Mapping[str, Any]]


def check_examples(policy: Policy, parse: Parse) -> Iterator[Problem]:
    """Yield a problem for every example that does not do what it says."""
    for rule in policy.rules:
        if rule.when is None or not rule.examples:
            continue
        matcher = Matcher(replace(policy, rules=(rule,)))
        for example in rule.examples:
            wrong = _check(rule, example, matcher, parse)
            if wrong:
                yield Problem(
                    example.place, f"rule {rule.id}: {wrong}", f"the rule is in line {rule.place.line}"
                )


def _check(rule: Rule, example: Example, matcher: Matcher, parse: Parse) -> str:
    try:
        found = _matches(rule, example.text, matcher, parse)
    except ShellSyntaxError as error:
        return f"the example is not a command line: {error.message}"
    except ValueError as error:
        return str(error)
    if found == example.matches:
        return ""
    return "matches this, and says it does not" if found else "does not match its own example"


def _matches(rule: Rule, text: str, matcher: Matcher, parse: Parse) -> bool:
    return matches_text(rule.subject, text, matcher, parse)


def matches_text(subject: Subject, text: str, matcher: Matcher, parse: Parse) -> bool:
    """Tell whether any rule of a matcher matches an example of its subject, as it is written in a policy.

    Raises:
        ValueError: it is not written as an example of that subject is.
        ShellSyntaxError: it is not a command line.
    """
    if subject == "command":
        return any(matcher.rules_for_start(start) for start in read_line(text, parse=parse).starts)
    if subject == "dependency":
        return bool(matcher.rules_for_dependency(parse_example(text)))
    if subject == "net":
        return bool(matcher.rules_for_request(read_request(text)))
    effect, content = read_file_example(text)
    if matcher.rules_for_effect(effect):
        return True
    acts = find_acts(content, find_dialect(effect.path))
    return any(acts & wanted for _, wanted in matcher.rules_for_content(effect))


def read_file_example(text: str) -> tuple[Effect, str]:
    """Return what ``write some/path`` or ``write some/path: content`` is about.

    Raises:
        ValueError: it is not written like that.
    """
    do, _, rest = text.partition(" ")
    path, _, content = rest.partition(": ")
    if do not in get_args(Do) or not path.strip():
        raise ValueError(
            f"the example must be like: write some/path (write, delete, chmod or symlink), not {text!r}"
        )
    return Effect(cast(Do, do), path.strip()), content
