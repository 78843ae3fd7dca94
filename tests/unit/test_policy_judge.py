"""File actions, other actions, absolute paths, and how the answer is put together."""

from __future__ import annotations

import time

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Decision
from nightcrew.policy.judge import judge, leaves_tree
from nightcrew.policy.load import default_policy, layer, parse_policy
from nightcrew.policy.rules import Policy

POLICY = layer([default_policy()])


def decide(action: Action, policy: Policy = POLICY, root: str = "") -> Decision:
    return judge(policy, action, parse=parse, root=root)


@pytest.mark.parametrize(
    ("kind", "path", "detail", "verdict", "rule"),
    [
        ("write", "src/a.py", "", "allow", "defaults.files"),
        ("delete", "src/a.py", "", "allow", "defaults.files"),
        ("chmod", "run.sh", "0755", "allow", "defaults.files"),
        ("read", "src/a.py", "", "allow", "defaults.files"),
        ("write", ".env", "", "deny", "protected_path"),
        ("write", "./sub/../.env", "", "deny", "protected_path"),
        ("delete", ".git/config", "", "deny", "protected_path"),
        ("chmod", ".nightcrew/policy.yaml", "", "deny", "protected_path"),
        ("delete", ".", "", "deny", "protected_path"),
        ("write", "../x", "", "deny", "base.outside"),
        ("write", "a/../../x", "", "deny", "base.outside"),
        ("write", "/etc/passwd", "", "deny", "base.outside"),
        ("write", "/repo/src/a", "", "allow", "defaults.files"),
        ("write", "/repo/.env", "", "deny", "protected_path"),
        ("write", "/repository/a", "", "deny", "base.outside"),
        ("symlink", "link", "src/a.py", "allow", "defaults.files"),
        ("symlink", "link", "/etc/passwd", "deny", "base.symlink"),
        ("symlink", "s/link", "../../x", "deny", "base.symlink"),
        ("symlink", "s/link", "../x", "allow", "defaults.files"),
        ("net", "", "example.org:443", "ask", "defaults.network"),
        ("change", "", "", "ask", "no_rule"),
        ("other", "", "", "ask", "no_rule"),
    ],
)
def test_actions_that_are_no_commands(kind: str, path: str, detail: str, verdict: str, rule: str) -> None:
    decision = decide(Action(kind, paths=(path,) if path else (), detail=detail), root="/repo")
    assert (str(decision.verdict), decision.rule) == (verdict, rule)


def test_one_bad_path_of_several_decides() -> None:
    decision = decide(Action("write", paths=("a", "b", ".env")))
    assert (decision.verdict, decision.rule) == ("deny", "protected_path")


def test_a_file_rule_is_used_for_file_actions_and_for_commands() -> None:
    text = "files:\n  - {id: gen, when: {paths: gen/, do: [write, delete]}, decision: ask, reason: made by a tool, hint: run it}\n"
    policy = layer([parse_policy(text, "p")])
    for action in (
        Action("write", paths=("gen/x",)),
        Action("exec", "echo x > gen/x"),
        Action("exec", "rm gen/x"),
    ):
        decision = decide(action, policy)
        assert (decision.verdict, decision.rule, decision.source, decision.hint) == (
            "ask",
            "gen",
            "p:2",
            "run it",
        )
    assert decide(Action("exec", "chmod +x gen/x"), policy).verdict == "allow"


def test_absolute_paths_into_the_repository_are_recognised() -> None:
    for line in (
        "echo x > /repo/.env",
        "rm -rf /repo/.git",
        "rm -rf /repo",
        "cd /repo/.git && touch x",
        "cp a /repo/.nightcrew/",
    ):
        assert decide(Action("exec", line), root="/repo").rule == "protected_path", line
    assert decide(Action("exec", "rm -rf /repo/build"), root="/repo").verdict == "allow"
    assert decide(Action("exec", "source /repo/.venv/bin/activate"), root="/repo").verdict == "allow"
    assert decide(Action("exec", "source /repo/.venv/bin/activate")).rule == "shell.opaque"


def test_the_answer_tells_everything() -> None:
    decision = decide(Action("exec", "echo cm0gLXJmIC8= | base64 -d | sh; sudo git -C x push origin main"))
    assert decision.verdict == "ask"
    assert decision.effective_commands == ("echo cm0gLXJmIC8=", "base64 -d", "sh", "git push origin main")
    assert decision.opaque == ("sh reads commands from a pipe: content is not known before it runs",)
    assert {"shell.opaque", "shell.root", "git.push", "git.push_main"} <= {
        decision.rule,
        *decision.also_matched,
    }
    assert decision.risk == "high"
    assert decision.hint


def test_a_rule_beats_a_default_of_the_same_verdict() -> None:
    decision = decide(Action("exec", "frobnicate; ls"))
    assert decision.rule == "shell.readonly"
    assert decide(Action("exec", "frobnicate")).rule == "defaults.commands"


def test_the_riskier_of_two_equal_answers_wins() -> None:
    text = (
        "commands:\n  - {id: low.one, when: {program: x}, decision: ask, reason: r, risk: low}\n"
        "  - {id: high.one, when: {args: y}, decision: ask, reason: r, risk: high}\n"
    )
    decision = decide(Action("exec", "x y"), layer([parse_policy(text, "p")]))
    assert (decision.rule, decision.also_matched) == ("high.one", ("low.one",))


CONDITIONS = [
    ("{program: x}", ["x", "/usr/bin/x a", "sudo x"], ["y", "echo x", "x.sh"]),
    ("{program: 'py*'}", ["python", "pypy3 a"], ["happy"]),
    ("{program: x, not_program: x}", [], ["x"]),
    ("{not_program: [x, y]}", ["z"], ["x", "y a"]),
    (
        "{program: x, subcommand: add}",
        ["x add", "x -v add", "x --opt val add"],
        ["x", "x rm add"],
    ),
    (
        "{program: x, subcommand: remote add}",
        ["x remote add a", "x remote -v add"],
        ["x remote", "x add remote"],
    ),
    ("{program: x, flags: -f}", ["x -f", "x -rf", "x a -vf", "x -f=1"], ["x", "x -- -f", "x --f", "x f"]),
    (
        "{program: x, flags: --force}",
        ["x --force", "x --force=1", "x --forc", "x a --force"],
        ["x --forced", "x -- --force", "x -force", "x --"],
    ),
    ("{program: x, flags: -delete}", ["x -delete"], ["x -d", "x -deletes", "x --delete"]),
    ("{program: x, flags: [-a, --all]}", ["x -a", "x --all"], ["x -b"]),
    ("{program: x, args: 'a*'}", ["x abc", "x -v a"], ["x", "x ba"]),
    ("{program: x, args: ['a*', '*b']}", ["x a1 1b", "x ab"], ["x a1", "x 1b"]),
    ("{program: x, args: '-[ab]'}", ["x -a"], ["x -c"]),
    ("{command: '^x .*y$'}", ["x a y", "env x y"], ["x y a", "z x y"]),
    (
        "{text: '(?i)secret'}",
        ["x SECRET", "echo secret | y", "y <<< secret", "y <<E\nsecret\nE"],
        ["x", "y < secret"],
    ),
    ("{opaque: true}", ['eval "$x"'], ["ls"]),
    ("{program: sh, opaque: false}", ["sh x.sh"], ["cat x | sh"]),
    ("{program: sh, stdin: pipe}", ["cat x | sh", "cat x | sudo sh"], ["sh x", "sh < x"]),
    ("[{program: x}, {program: y, args: a}]", ["x", "y a"], ["y", "z a"]),
]


@pytest.mark.parametrize(("when", "matching", "others"), CONDITIONS, ids=[row[0] for row in CONDITIONS])
def test_the_vocabulary_of_command_rules(when: str, matching: list[str], others: list[str]) -> None:
    policy = parse_policy(
        f"defaults: {{commands: allow}}\ncommands:\n  - {{id: r, when: {when}, decision: deny, reason: r}}\n",
        "p",
    )
    for line in matching:
        assert decide(Action("exec", line), policy).rule == "r", line
    for line in others:
        assert decide(Action("exec", line), policy).rule != "r", line


def test_links() -> None:
    assert not leaves_tree("a/b", "../c")
    assert not leaves_tree("a", "b/c")
    assert leaves_tree("a", "..")
    assert leaves_tree("a/b", "../../c")
    assert leaves_tree("a", "/a")
    assert leaves_tree("a", "")
    # Behind a name nobody knows where `..` goes up from: it may be a link itself.
    assert leaves_tree("l", "a/b/c/../secret")
    assert leaves_tree("a/l", "../x/..")
    assert not leaves_tree("a/b/l", "../../c")
    assert not leaves_tree("a/l", ".././c/./d")
    assert leaves_tree("l", ".git/hooks/pre-commit")
    assert leaves_tree("sub/l", "../.GIT/config")
    assert not leaves_tree("l", ".github/workflows")


def test_a_decision_takes_little_time_with_a_hundred_rules() -> None:
    """The goal is 50 microseconds (median) on an idle machine; the bound leaves room for a busy one."""
    rules = "".join(
        f"  - {{id: own.r{n}, when: {{program: [tool{n}, other{n}], args: 'x*', flags: --force}}, decision: deny, reason: r}}\n"
        for n in range(80)
    )
    policy = layer([parse_policy(f"commands:\n{rules}", "p")])
    assert len(policy.rules) > 100
    for line in ("ls -la", "git push origin docs", "python -m pytest -q tests", "tool7 --force xyz"):
        action, taken = Action("exec", line), []
        decide(action, policy)
        for _ in range(300):
            before = time.perf_counter()
            decide(action, policy)
            taken.append(time.perf_counter() - before)
        assert sorted(taken)[150] < 500e-6, line


@pytest.mark.parametrize(
    "statement",
    [
        {"Cmd": {"Type": "FuncDecl", "Pos": {"Line": 1, "Col": 1}}},
        {"Cmd": {"Type": "CallExpr", "Args": [{"Parts": [{"Type": "Lit"}]}]}},
        {"Cmd": {}},
    ],
)
def test_a_construct_that_is_not_understood_is_never_allowed(statement: dict[str, object]) -> None:
    decision = judge(POLICY, Action("exec", "x"), parse=lambda _text: {"Stmts": [statement]})
    assert (decision.verdict, decision.rule) == ("ask", "shell.unparsable")


def test_a_function_without_a_name_is_no_bash() -> None:
    assert decide(Action("exec", "a;()a")).rule == "shell.unparsable"
