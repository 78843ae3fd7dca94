"""policy.yaml: every problem at its place, examples that are checked, layers that tighten and replace."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Verdict
from nightcrew.model.errors import InvalidInput
from nightcrew.policy.judge import judge
from nightcrew.policy.load import DEFAULTS, default_policy, layer, parse_policy, policy_schema
from nightcrew.policy.rules import CommandPattern, FilePattern, Policy

SHIPPED = files("nightcrew.policy").joinpath(DEFAULTS).read_text("utf-8")
TEMPLATE = files("nightcrew.runtime.upkeep").joinpath("templates", "policy.yaml").read_text("utf-8")

RULE = "commands:\n  - id: a.b\n    when: {program: x}\n    decision: ask\n    reason: r\n"


def problems_of(text: str, **options) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        parse_policy(text, "p", **options)
    return [str(p) for p in caught.value.problems]


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_rule_is_read_as_it_is_written() -> None:
    text = (
        "version: 1\ncommands:\n  - id: a.b\n    when:\n      - {program: [x, 'y*'], flags: -f, subcommand: 'a b'}\n      - {opaque: true}\n"
        "    decision: prompt\n    reason: because\n    risk: high\n    hint: do that\n    floor: ask\n"
        "files:\n  - {id: c, when: {paths: 'a/', do: write}, decision: deny, reason: r}\n"
    )
    policy = parse_policy(text, "p")
    first, second = policy.rules
    assert first.when == (
        CommandPattern(program=("x", "y*"), flags=("-f",), subcommand=("a b",)),
        CommandPattern(opaque=True),
    )
    assert (first.decision, first.risk, first.hint, first.floor) == (
        Verdict.ASK,
        "high",
        "do that",
        Verdict.ASK,
    )
    assert first.source == "p:3"
    assert second.when == (FilePattern(paths=("a/",), do=("write",)),)
    assert (second.subject, second.source) == ("file", "p:13")


@pytest.mark.parametrize("text", ["", "version: 1\n", "# nothing\n", "commands: []\nfiles: []\nsafety: {}\n"])
def test_a_policy_that_says_nothing_leaves_the_shipped_one(text: str) -> None:
    policy = parse_policy(text, "p")
    assert (policy.rules, dict(policy.settings)) == ((), {})
    assert layer([policy]).digest == layer([]).digest


PROBLEMS = [
    ("[]", "p:1:1: expected a mapping (key: value), found a list", ""),
    ("comands: []", "p:1:1: unknown key 'comands'", "did you mean 'commands'?"),
    ("commands: all", "p:1:11: commands: expected a list, found the text 'all'", ""),
    ("commands: [x]", "p:1:12: commands[1]: expected a mapping (key: value), found the text 'x'", ""),
    ("commands: [{id: a, when: {program: x}, decision: ask}]", "p:1:12: commands[1]: 'reason' is missing", "Why, in one sentence"),
    ("commands: [{when: {program: x}, decision: ask, reason: r}]", "p:1:12: commands[1]: 'id' is missing", "Name of the rule"),
    ("commands: [{id: a, when: {program: x}, reason: r}]", "p:1:12: commands[1]: 'decision' is missing", "allow, ask"),
    (RULE.replace("ask", "alow"), "p:4:15: commands[1].decision: expected one of allow, ask, deny, prompt, found the text 'alow'", "did you mean 'allow'?"),
    (RULE.replace("a.b", "A b"), "p:2:9: commands[1].id: the text 'A b' has the wrong form", "Name of the rule"),
    (RULE.replace("reason: r", "reason: ''"), "p:5:13: commands[1].reason: must not be empty", ""),
    (RULE.replace("program: x", "progam: x"), "p:3:12: commands[1].when: unknown key 'progam'", "did you mean 'program'?"),
    (RULE.replace("{program: x}", "{}"), "p:3:11: commands[1].when: must have at least 1 key(s)", ""),
    (RULE.replace("{program: x}", "[]"), "p:3:11: commands[1].when: must have at least 1 item(s)", ""),
    (RULE.replace("{program: x}", "[{program: x}, {progam: y}]"), "p:3:27: commands[1].when[2]: unknown key 'progam'", "did you mean 'program'?"),
    (RULE.replace("program: x", "program: 3"), "p:3:21: commands[1].when.program: expected a text or a list, found the number 3", 'put quotes around it: "3"'),
    (RULE.replace("program: x", "command: '('"), "p:3:21: commands[1].when.command: bad regular expression: missing )", "in single quotes"),
    (RULE.replace("program: x", "program: /usr/bin/x"), "p:3:21: commands[1].when.program: '/usr/bin/x' names a folder, and programs are matched by name", "write 'x'"),
    (RULE.replace("program: x", "not_program: [a, bin/]"), "p:3:29: commands[1].when.not_program[2]: 'bin/' names a folder, and programs are matched by name", "write '*'"),
    (RULE.replace("program: x", "text: '*'"), "p:3:18: commands[1].when.text: bad regular expression: nothing to repeat", "in single quotes"),
    (RULE.replace("program: x", "stdin: file"), "p:3:19: commands[1].when.stdin: expected one of pipe, found the text 'file'", ""),
    (RULE + "    risk: huge\n", "p:6:11: commands[1].risk: expected one of low, medium, high, critical, found the text 'huge'", ""),
    (RULE + "    floor: deny\n", "p:6:12: commands[1].floor: the decision is weaker than its floor deny", ""),
    (RULE + RULE[10:], "p:6:9: commands[2].id: a rule 'a.b' stands already in line 2", ""),
    (RULE + "files: [{id: a.b, when: {paths: x}, decision: ask, reason: r}]", "p:6:14: files[1].id: a rule 'a.b' stands already in line 2", ""),
    ("files: [{id: a, when: {do: write}, decision: ask, reason: r}]", "p:1:23: files[1].when: 'paths' is missing", "which paths"),
    ("files: [{id: a, when: {paths: x, do: burn}, decision: ask, reason: r}]", "p:1:38: files[1].when.do: the text 'burn' has the wrong form", "write, delete"),
    ("files: [{id: a, when: {paths: x, do: [burn]}, decision: ask, reason: r}]", "p:1:39: files[1].when.do[1]: expected one of write, delete", ""),
    ("files: [{id: a, when: {paths: [ok, ../x]}, decision: ask, reason: r}]", "p:1:36: files[1].when.paths[2]: bad glob '../x'", ""),
    ("safety: {protected_paths: ['!']}", "p:1:28: safety.protected_paths[1]: bad glob '!'", ""),
    ("safety: {protected_paths: x}", "p:1:27: safety.protected_paths: expected a list, found the text 'x'", ""),
    ("safety: {outside_scope: maybe}", "p:1:25: safety.outside_scope: expected one of allow, ask, deny, prompt", ""),
    ("defaults: {unparsable: allow}", "p:1:24: defaults.unparsable: expected one of ask, prompt, deny, found the text 'allow'", ""),
    ("limits: {soft: {files: -1}}", "p:1:24: limits.soft.files: must be at least 0, found the number -1", ""),
    ("limits: {soft: {files: many}}", "p:1:24: limits.soft.files: the text 'many' has the wrong form", "A whole number"),
    ("limits: {hard: {file_size: big}}", "p:1:28: limits.hard.file_size: 'big' is not a size", ""),
    ("limits: {hard: {flies: 1}}", "p:1:17: limits.hard: unknown key 'flies'", "did you mean 'files'?"),
    ("version: 2", "p:1:10: version: expected 1, found the number 2", ""),
    ("version: 1\nversion: 1", "p:2:1: key 'version' stands twice in this mapping", "the first is in line 1"),
    ("commands: [", "p:1:12: YAML: expected the node content, but found 'the end of the file'", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem", "hint"), PROBLEMS, ids=[row[1].split(": ", 1)[1] for row in PROBLEMS]
)
def test_problems(text: str, problem: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_policy(text, "p")
    [said] = caught.value.problems
    assert str(said).startswith(problem)
    assert said.hint.startswith(hint)


def test_all_problems_come_at_once_in_order() -> None:
    text = (
        "version: 3\n"
        "comands: []\n"
        "safety: {protected_paths: ['../x'], handoff: no}\n"
        "limits: {hard: {file_size: big, lines: x}}\n"
        "commands:\n"
        "  - {id: a, when: {command: '('}, decision: alow, reason: r}\n"
        "  - {id: a, when: {program: x}, decision: ask, reason: r}\n"
        "  - {id: b, when: {program: x}, decision: ask}\n"
    )
    with pytest.raises(InvalidInput) as caught:
        parse_policy(text, "p")
    assert [p.place.line for p in caught.value.problems] == [1, 2, 3, 3, 4, 4, 6, 6, 7, 8]


# --- examples -----------------------------------------------------------------------------------------------------------


def with_examples(block: str) -> str:
    return f"{RULE}    examples:\n{block}"


def test_examples_that_hold() -> None:
    text = with_examples("      match: [x a, 'sudo x', 'bash -c \"x\"']\n      not_match: [y, echo x]\n")
    assert parse_policy(text, "p", parse=parse).rules[0].examples


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("      match: [y]\n", "p:7:15: rule a.b: does not match its own example"),
        ("      not_match: [echo y, x]\n", "p:7:27: rule a.b: matches this, and says it does not"),
        ("      match: ['x (']\n", "p:7:15: rule a.b: the example is not a command line"),
    ],
)
def test_examples_that_fail_are_problems(block: str, problem: str) -> None:
    [said] = problems_of(with_examples(block), parse=parse)
    assert said.startswith(problem)
    assert parse_policy(with_examples(block), "p").rules


def test_examples_of_file_rules() -> None:
    text = "files:\n  - id: a\n    when: {paths: src/, do: delete}\n    decision: ask\n    reason: r\n    examples:\n"
    assert parse_policy(
        text + "      match: [delete src/x]\n      not_match: [write src/x, delete y]\n", "p", parse=parse
    ).rules
    [said] = problems_of(text + "      match: [src/x]\n", parse=parse)
    assert "must be like: write some/path" in said


def test_the_shipped_policy_has_the_shape_that_all_others_must_have() -> None:
    """Where it is read it is not checked again; under another name it is read like everybody's."""
    named = parse_policy(SHIPPED, "p")
    assert [each.id for each in named.rules] == [each.id for each in default_policy().rules]
    with pytest.raises(InvalidInput, match=r"defaults\.yaml has 1 problem"):
        parse_policy(SHIPPED + "\nnobody: 1\n", DEFAULTS)


def test_the_shipped_policy_keeps_its_promises() -> None:
    policy = parse_policy(SHIPPED, DEFAULTS, parse=parse)
    assert all(rule.reason and rule.examples for rule in policy.rules)
    assert all(any(e.matches for e in rule.examples) for rule in policy.rules)
    assert len({rule.id for rule in policy.rules}) == len(policy.rules)


def test_the_shipped_numbers() -> None:
    assert dict(default_policy().limits) == {
        "soft.files": 20,
        "soft.lines": 1000,
        "soft.deleted": 5,
        "hard.created": 100,
        "hard.modified": 200,
        "hard.file_size": 10_000_000,
        "hard.total_size": 200_000_000,
    }


def test_the_template_is_valid_and_says_nothing() -> None:
    assert layer([parse_policy(TEMPLATE, "p", parse=parse)]).digest == layer([]).digest


def test_the_template_shows_the_defaults_and_valid_examples() -> None:
    lines = [re.sub(r"^# (?=[a-z_-]+:| )", "", line) for line in TEMPLATE.splitlines()]
    shown = layer([parse_policy("\n".join(lines), "p", parse=parse)])
    shipped = layer([])
    values = {k: v.value for k, v in shown.settings.items()}
    assert values.pop("approvals.high").approvers == ("ada",), "an example: nothing holds by default"
    assert values == {k: v.value for k, v in shipped.settings.items()}
    assert [gate.value.id for gate in shown.gates] == ["project.tests"]
    assert {r.id for r in shown.rules} - {r.id for r in shipped.rules} == {
        "project.deploy",
        "project.generated",
        "project.no_left_pad",
    }


def test_the_schema_is_one() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(policy_schema())


# --- layers -------------------------------------------------------------------------------------------------------------


def decide(policy: Policy, command: str) -> tuple[str, str]:
    decision = judge(policy, Action("exec", command), parse=parse)
    return str(decision.verdict), decision.rule


def read(text: str, source: str = "p", **options) -> Policy:
    return parse_policy(text, source, **options)


def test_a_rule_without_when_changes_only_the_decision() -> None:
    policy = layer([read("commands:\n  - {id: net.tools, decision: allow, reason: there is a mirror}\n")])
    assert decide(policy, "curl x") == ("allow", "net.tools")
    [rule] = [r for r in policy.rules if r.id == "net.tools"]
    assert rule.source == "p:2"


def test_a_rule_of_the_same_id_replaces_the_outer_one() -> None:
    policy = layer(
        [read("commands:\n  - {id: net.tools, when: {program: curl}, decision: deny, reason: r}\n")]
    )
    assert decide(policy, "curl x") == ("deny", "net.tools")
    assert decide(policy, "wget x")[0] == "allow"


def test_of_other_rules_the_strictest_wins() -> None:
    policy = layer([read("commands:\n  - {id: mine, when: {program: git}, decision: allow, reason: r}\n")])
    assert decide(policy, "git push") == ("ask", "git.push")
    policy = layer([read("commands:\n  - {id: mine, when: {program: ls}, decision: deny, reason: r}\n")])
    assert decide(policy, "ls") == ("deny", "mine")


def test_the_innermost_layer_wins_among_layers() -> None:
    user = read("commands:\n  - {id: net.tools, decision: deny, reason: r}\n", "user")
    repository = read("commands:\n  - {id: net.tools, decision: allow, reason: r}\n", "repo")
    assert decide(layer([user, repository]), "curl x") == ("allow", "net.tools")
    assert decide(layer([repository, user]), "curl x") == ("deny", "net.tools")


def test_a_rule_that_changes_nothing_that_is_there_is_a_problem() -> None:
    with pytest.raises(InvalidInput) as caught:
        layer([read("commands:\n  - {id: net.tool, decision: allow, reason: r}\n")])
    [said] = caught.value.problems
    assert str(said).startswith("p:2:6: rule 'net.tool' has no 'when'")
    assert said.hint == "did you mean 'net.tools'?"


def test_a_file_rule_cannot_replace_a_command_rule() -> None:
    with pytest.raises(InvalidInput, match="1 problem"):
        layer([read("files:\n  - {id: net.tools, when: {paths: x}, decision: allow, reason: r}\n")])


def test_force_push_can_be_asked_and_never_allowed() -> None:
    asked = layer([read("commands:\n  - {id: git.force_push, decision: ask, reason: r}\n")])
    assert decide(asked, "git push --force") == ("ask", "git.force_push")
    with pytest.raises(InvalidInput) as caught:
        layer([read("commands:\n  - {id: git.force_push, decision: allow, reason: r}\n")])
    [said] = caught.value.problems
    assert re.match(
        r"p:2:6: rule 'git.force_push' cannot be weaker than ask \(fixed in defaults.yaml:\d+\)", str(said)
    )


def test_a_floor_cannot_be_dodged_by_another_when() -> None:
    policy = layer(
        [read("commands:\n  - {id: git.force_push, when: {program: nothing}, decision: deny, reason: r}\n")]
    )
    assert decide(policy, "git push --force") == ("ask", "git.force_push")
    twice = read("commands:\n  - {id: git.force_push, decision: ask, reason: r}\n", "q")
    assert decide(layer([policy, twice]), "git push --force")[0] == "ask"


def test_git_and_the_rules_stay_protected_whatever_a_layer_opens() -> None:
    policy = layer(
        [read("safety: {protected_paths: ['!.git', '!.nightcrew', '!.git/**', '!.nightcrew/**', '!.env']}\n")]
    )
    assert decide(policy, "echo x > .git/config")[0] == "deny"
    assert decide(policy, "echo x > .nightcrew/policy.yaml")[0] == "deny"
    assert decide(policy, "echo x > .env")[0] == "allow"


def test_an_inner_ceiling_cannot_be_loosened() -> None:
    ceiling = read(
        "commands:\n  - {id: own, when: {program: curl}, decision: deny, reason: r}\n"
        "limits: {soft: {files: 5}}\ndefaults: {commands: ask}\nsafety: {protected_paths: [secret/], outside_scope: deny}\n",
        "/etc/p",
        ceiling=True,
    )
    tighter = read(
        "commands: [{id: own, decision: deny, reason: r}]\nlimits: {soft: {files: 3}}\ndefaults: {commands: deny}\n"
    )
    assert layer([ceiling, tighter]).limits["soft.files"] == 3
    assert (
        decide(layer([ceiling, read("safety: {protected_paths: ['!secret/**']}")]), "echo x > secret/a")[0]
        == "deny"
    )
    looser = read(
        "commands:\n  - {id: own, decision: ask, reason: r}\n"
        "limits:\n  soft:\n    files: unlimited\ndefaults:\n  commands: allow\nsafety:\n  outside_scope: ask\n"
    )
    with pytest.raises(InvalidInput) as caught:
        layer([ceiling, looser])
    assert [p.place.line for p in caught.value.problems] == [2, 5, 7, 9]


@pytest.mark.parametrize("name", ["project.all", "dev.tools"])
def test_what_a_ceiling_leaves_to_a_person_no_inner_rule_allows(name: str) -> None:
    ceiling = read("defaults: {commands: ask, network: deny}\n", "/etc/p", ceiling=True)
    opens = f"commands:\n  - {{id: {name}, when: {{command: .}}, decision: allow, reason: r}}\n"
    with pytest.raises(InvalidInput) as caught:
        layer([ceiling, read(opens)])
    assert (
        "cannot allow where defaults.commands is ask (fixed in /etc/p:1)" in caught.value.problems[0].message
    )
    net = "network:\n  rules:\n    - {id: n, when: {host: '*'}, decision: allow, reason: r}\n"
    with pytest.raises(InvalidInput):
        layer([ceiling, read(net)])
    # What is not opened may be said, and without the ceiling it may be opened.
    layer([ceiling, read(opens.replace("allow", "deny"))])
    layer([read("defaults: {commands: ask}\n"), read(opens)])


def test_limits_replace_each_other_between_equal_layers() -> None:
    policy = layer([read("limits: {soft: {files: 50, lines: unlimited}, hard: {file_size: 1MiB}}\n")])
    assert policy.limits["soft.files"] == 50
    assert "soft.lines" not in policy.limits
    assert policy.limits["hard.file_size"] == 1 << 20


def test_the_digest_is_about_what_decides() -> None:
    plain = layer([read(RULE)]).digest
    assert layer([read("# a comment\n\n" + RULE)]).digest == plain
    assert layer([read(RULE.replace("ask", "deny"))]).digest != plain
    assert layer([read(RULE + "limits: {soft: {files: 1}}\n")]).digest != plain
    assert layer([read(RULE + "safety: {protected_paths: [x]}\n")]).digest != plain


def test_a_policy_that_was_not_layered_asks() -> None:
    policy = read("")
    assert decide(policy, "ls") == ("ask", "no_rule")
    assert decide(policy, 'eval "$x"') == ("ask", "shell.opaque")
    assert decide(policy, "foo (") == ("ask", "shell.unparsable")
    open_ = read("defaults: {commands: allow}\n")
    assert decide(open_, "ls")[0] == "allow"
    assert decide(open_, 'eval "$x"') == ("ask", "shell.opaque")


def test_opaque_commands_can_be_allowed_only_by_saying_so() -> None:
    policy = layer([read("commands:\n  - {id: shell.opaque, decision: allow, reason: all is confined}\n")])
    assert decide(policy, 'eval "$x"')[0] == "allow"
    stricter = layer(
        [
            read(
                "commands:\n  - {id: no.pipes, when: {program: [sh, bash], stdin: pipe}, decision: deny, reason: r}\n"
            )
        ]
    )
    assert decide(stricter, "base64 -d x | sh") == ("deny", "no.pipes")
    assert decide(stricter, "sh x.sh")[0] == "allow"


def test_a_rule_that_allows_a_wrapper_does_not_allow_what_it_runs() -> None:
    text = "defaults: {commands: ask}\ncommands:\n  - {id: w, when: {program: [env, timeout]}, decision: allow, reason: r}\n"
    policy = parse_policy(text, "p")
    assert decide(policy, "env") == ("allow", "w")
    assert decide(policy, "env frobnicate")[0] == "ask"
    assert decide(policy, "timeout 5 frobnicate")[0] == "ask"


# --- the page -----------------------------------------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats"


def test_the_policy_on_the_page_is_valid_and_holds_its_examples() -> None:
    page = (DOCS / "policy.md").read_text("utf-8")
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    policy = layer([parse_policy(text, "policy.md", parse=parse)])
    assert {"project.deploy", "project.generated"} <= {rule.id for rule in policy.rules}


def test_the_page_names_every_key_of_the_schema() -> None:
    page = (DOCS / "policy.md").read_text("utf-8")
    named = set(re.findall(r"[a-z_]+", page))
    schema = policy_schema()
    blocks = [schema, *schema["properties"].values(), *schema["$defs"].values()]
    keys = {key for block in blocks for key in block.get("properties", {})}
    rule = schema["properties"]["commands"]["items"]["properties"]
    assert {*keys, *rule} - named == set()


def test_the_settings_on_the_page_are_the_defaults() -> None:
    from nightcrew.model.settings import AgentSetting, Settings
    from nightcrew.runtime.settings.config import config_schema, parse_settings

    page = (DOCS / "config.md").read_text("utf-8")
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    agent = AgentSetting("command", ("my-agent", "--print", "{prompt}"))
    shown = parse_settings(text, "config.md")
    assert shown == Settings(agents={"my-agent": agent}, commit_author="Night Crew <crew@example.org>")
    named = set(re.findall(r"[a-z_]+", page))
    keys = {
        k
        for name, block in config_schema()["properties"].items()
        for k in (name, *block.get("properties", {}))
    }
    assert keys - named == set()
