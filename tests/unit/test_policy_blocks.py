"""Blocks of policy.yaml that hold single values, exceptions of rules, and Aurora's file as ours."""

from __future__ import annotations

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Verdict
from nightcrew.model.errors import InvalidInput
from nightcrew.policy.aurora import import_policy
from nightcrew.policy.judge import judge
from nightcrew.policy.load import layer, parse_policy
from nightcrew.policy.rules import Policy, Terms

WHOLE = """version: 1
budget: {usd: 25, tokens: 1000, warn_at_percent: 70}
agent_recovery: {timeout: 10m, max_retries: 1}
destructive: {git_force_push: ask, drop_table: allow, file_delete: {decision: ask, max_files: 3}}
safety: {max_files_modified: 7, max_lines_changed: 70, auto_branch: true, branch_prefix: n/}
anomalies: {scope_multiplier: 2, unexpected_file_types: ["*.x"], decision: ask}
approvals: {high: {approvers: [ada], reason: true, timeout: 8h}}
gates: [{id: g.tests, run: make test, reason: why}]
"""


def decide(policy: Policy, line: str) -> tuple[str, str]:
    decision = judge(policy, Action("exec", command=line), parse=parse)
    return str(decision.verdict), decision.rule


def problems_of(*texts: str, ceiling: bool = False) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        layer([parse_policy(text, f"p{n}", ceiling=ceiling and not n) for n, text in enumerate(texts)])
    return [str(problem) for problem in caught.value.problems]


def test_every_block_is_read() -> None:
    policy = layer([parse_policy(WHOLE, "p")])
    values = {name: placed.value for name, placed in policy.settings.items()}
    assert (
        values
        | {
            "budget.usd": 25.0,
            "budget.tokens": 1000,
            "budget.warn_at_percent": 70,
            "agent_recovery.timeout": 600.0,
            "agent_recovery.max_retries": 1,
            "limits.soft.deleted": 3,
            "limits.soft.files": 7,
            "limits.soft.lines": 70,
            "safety.auto_branch": True,
            "safety.branch_prefix": "n/",
            "anomalies.scope_multiplier": 2.0,
            "anomalies.unexpected_file_types": ("*.x",),
            "anomalies.decision": Verdict.ASK,
            "approvals.high": Terms(("ada",), True, 28800.0),
        }
        == values
    )
    assert [(g.value.id, g.value.run) for g in policy.gates] == [("g.tests", "make test")]
    assert policy.settings["limits.soft.files"].source == "p:5"


def test_short_names_change_the_rules_they_stand_for() -> None:
    policy = layer([parse_policy(WHOLE, "p")])
    assert decide(policy, "git push -f") == ("ask", "git.force_push")
    assert decide(policy, "psql -c 'drop table x'") == ("allow", "destructive.sql_drop")
    assert decide(policy, "rm a.txt") == ("ask", "destructive.file_delete")
    assert decide(policy, "touch a.txt")[0] == "allow"
    rule = next(rule for rule in policy.rules if rule.id == "git.force_push")
    assert (rule.source, rule.reason) == ("p:4", "rewrites or deletes history that others may have")


PROBLEMS = [
    ("destructive: {git_forcepush: ask}", "p0:1:15: destructive: unknown key 'git_forcepush'"),
    ("destructive: {git_force_push: allow}", "p0:1:15: rule 'git.force_push' cannot be weaker than ask (fixed in defaults.yaml:"),
    ("destructive: {drop_table: ask}\ncommands: [{id: destructive.sql_drop, decision: ask, reason: r}]", "p0:2:17: commands[1].id: a rule 'destructive.sql_drop' stands already in line 1"),
    ("safety: {max_files_modified: 3}\nlimits: {soft: {files: 4}}", "p0:1:10: safety.max_files_modified: says limits.soft.files again (line 2)"),
    ("safety: {branch_prefix: '-x'}", "p0:1:25: safety.branch_prefix: '-x' cannot begin the name of a branch"),
    ("agent_recovery: {timeout: soon}", "p0:1:27: agent_recovery.timeout: "),
    ("agent_recovery: {timeout: never}", "p0:1:27: agent_recovery.timeout: must be more than nothing"),
    ("approvals: {huge: {reason: true}}", "p0:1:13: approvals: unknown key 'huge'"),
    ("approvals: {high: {approvers: []}}", "p0:1:31: approvals.high.approvers: must have at least 1 item(s)"),
    ("budget: {usd: 0}", "p0:1:15: budget.usd: must be more than 0"),
    ("gates: [{id: a, run: x}, {id: a, run: y}]", "p0:1:31: gates[2].id: a gate 'a' stands already"),
    ("anomalies: {scope_multiplier: 0.5}", "p0:1:31: anomalies.scope_multiplier: must be at least 1"),
    ("commands: [{id: a, when: {sql: burn}, decision: ask, reason: r}]", "p0:1:32: commands[1].when.sql: the text 'burn' has the wrong form"),
    ("dependencies: [{id: a, when: {do: burn}, decision: ask, reason: r}]", "p0:1:35: dependencies[1].when.do: the text 'burn' has the wrong form"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), PROBLEMS, ids=[row[1].split(": ", 1)[1] for row in PROBLEMS])
def test_every_problem_has_its_place(text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems_of(text)), problems_of(text)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ("budget: {usd: 5}", "budget: {usd: 6}"),
        ("agent_recovery: {max_retries: 1}", "agent_recovery: {max_retries: 2}"),
        ("safety: {auto_branch: true}", "safety: {auto_branch: false}"),
        ("anomalies: {unexpected_file_types: [a, b]}", "anomalies: {unexpected_file_types: [a]}"),
        ("anomalies: {decision: ask}", "anomalies: {decision: allow}"),
        ("approvals: {high: {approvers: [ada]}}", "approvals: {high: {approvers: [eve]}}"),
        ("gates: [{id: a, run: x}]", "gates: [{id: a, run: 'true'}]"),
        ("destructive: {git_push: deny}", "destructive: {git_push: ask}"),
    ],
)
def test_a_ceiling_can_only_be_tightened(outer: str, inner: str) -> None:
    assert problems_of(outer, inner, ceiling=True)
    if not outer.startswith(("approvals", "gates")):  # of these any difference is taken for looser
        layer([parse_policy(inner, "in", ceiling=True), parse_policy(outer, "out")])


def test_an_exception_takes_out_exactly_what_it_names() -> None:
    text = (
        "commands:\n  - id: net.python_packages\n    unless: {command: '^pip install limits$'}\n    decision: ask\n    reason: r\n"
        "  - {id: git.force_push, unless: {args: docs}, decision: deny, reason: r}\n"
        "files: [{id: a, when: {paths: x/}, unless: {paths: x/ok, do: write}, decision: deny, reason: r}]\n"
    )
    policy = layer([parse_policy(text, "p")])
    assert decide(policy, "pip install limits")[0] == "allow"
    assert decide(policy, "pip install limits other") == ("ask", "net.python_packages")
    assert decide(policy, "sudo pip install limits") == ("ask", "shell.root")
    assert decide(policy, "git push -f origin docs") == ("ask", "git.force_push"), (
        "a floor holds for exceptions too"
    )
    assert decide(policy, "git push -f origin main") == ("deny", "git.force_push")
    assert [decide(policy, line)[0] for line in ("touch x/ok", "touch x/no", "rm x/ok")] == [
        "allow",
        "deny",
        "deny",
    ]
    deeper = layer(
        [
            policy,
            parse_policy(
                "commands: [{id: net.python_packages, unless: {command: flask$}, decision: ask, reason: r}]",
                "q",
            ),
        ]
    )
    assert [decide(deeper, f"pip install {name}")[0] for name in ("limits", "flask", "x")] == [
        "allow",
        "allow",
        "ask",
    ]


AURORA = """budget:
  monthly_limit_usd: 100
  warn_at_percent: 80
  hard_limit_action: warn
agent_recovery:
  timeout_seconds: 300
  max_retries: 2
  fallback_to_llm: true
destructive:
  file_delete:
    action: prompt
    max_files: 5
  git_force_push: {action: allow}
  git_push_main: perhaps
  drop_table: deny
  truncate: prompt
safety:
  auto_branch: true
  branch_prefix: aurora/
  max_files_modified: 20
  max_lines_changed: 1000
  protected_paths: [.git/, node_modules/, vendor/, .env, "*.pem", "*.key"]
anomalies:
  scope_multiplier: 3
  unexpected_file_types: ["*.sql", "*.sh", Dockerfile]
"""


def test_auroras_file_becomes_ours_and_says_what_means_something_else() -> None:
    imported = import_policy(AURORA, "a")
    policy = layer([parse_policy(imported.text, "p", parse=parse)])
    assert decide(policy, "git push --force") == ("ask", "git.force_push")
    assert decide(policy, "git push origin main")[0] == "ask"
    assert decide(policy, "psql -c 'DROP TABLE x'") == ("deny", "destructive.sql_drop")
    assert decide(policy, "psql -c 'TRUNCATE x'") == ("ask", "destructive.sql_truncate")
    assert decide(policy, "rm README.md") == ("ask", "destructive.file_delete")
    assert decide(policy, "touch vendor/x") == ("deny", "protected_path")
    assert policy.settings["agent_recovery.timeout"].value == 300.0
    places = [(note.place.line, note.message.partition(":")[0]) for note in imported.notes]
    assert places == [
        (4, "budget.hard_limit_action"),
        (8, "agent_recovery.fallback_to_llm"),
        (13, "destructive.git_force_push"),
        (14, "destructive.git_push_main"),
        (22, "safety.protected_paths"),
    ]


def test_a_file_that_is_not_auroras_is_refused_with_every_problem() -> None:
    with pytest.raises(InvalidInput) as caught:
        import_policy("budget: {monthly: 3}\nsafety: all\ncommands: []\n", "a")
    assert [str(p) for p in caught.value.problems] == [
        "a:1:10: budget: unknown key 'monthly'",
        "a:2:9: safety: expected a mapping (key: value), found the text 'all'",
        "a:3:1: unknown key 'commands'",
    ]


def test_an_empty_file_of_auroras_says_nothing() -> None:
    assert import_policy("", "a").text.splitlines()[1:] == ["version: 1"]
