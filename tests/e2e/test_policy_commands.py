"""What a person does with a policy, through the installed command: check, test, compare, import, explain, replay, suggest."""

from __future__ import annotations

import json

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

ASKS = """version: 1
commands:
  - id: test.release
    when: {program: [release.sh]}
    decision: ask
    reason: a person decides
    examples: {match: [./release.sh x], not_match: [echo release.sh]}
"""


@pytest.fixture
def asking(crew: Hermetic) -> Hermetic:
    crew.write({"release.sh": "#!/bin/sh\necho released >> out.txt\n", ".nightcrew/policy.yaml": ASKS})
    (crew.repo / "release.sh").chmod(0o755)
    crew.commit("policy")
    return crew


def test_all_problems_come_with_their_lines(crew: Hermetic) -> None:
    text = "version: 1\ncommads: []\ndestructive:\n  git_force_push: alow\n  drop_table: deny\ngates: [{id: a}]\n"
    crew.write({".nightcrew/policy.yaml": text})
    done = crew.look("policy", "check")
    assert done.code == 2, done
    for said in (
        "policy.yaml:2:1: unknown key 'commads'",
        "2 | commads: []",
        "did you mean 'commands'?",
        "policy.yaml:4:19: destructive.git_force_push: expected one of",
        "    4 |   git_force_push: alow\n        |                   ^",
        "policy.yaml:6:9: gates[1]: 'run' is missing",
    ):
        assert said in done.stderr, done
    problems = crew.look("policy", "check", "--json").json["error"]["problems"]
    assert [(each["line"], each["column"]) for each in problems] == [(2, 1), (4, 19), (6, 9)]


def test_the_schema_is_the_one_that_files_are_checked_by(crew: Hermetic) -> None:
    import jsonschema

    schema = crew.run("policy", "schema").json
    jsonschema.Draft202012Validator.check_schema(schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors({"commads": []})
    assert [error.message for error in errors]


def test_examples_are_tried_also_those_of_rules_that_inherit_their_condition(crew: Hermetic) -> None:
    done = crew.look("policy", "test")
    assert done.code == 0, done
    assert "all as they say" in done.stdout
    rule = "{id: net.python_packages, decision: deny, reason: r, examples: {match: [echo pip]}}"
    crew.write({"p.yaml": f"version: 1\ncommands: [{rule}]\n"})
    done = crew.look("policy", "test", "p.yaml")
    assert done.code == 2, done
    assert "rule net.python_packages: does not match its own example" in done.stderr, done


def test_two_policies_are_compared_by_what_they_mean(crew: Hermetic) -> None:
    crew.write(
        {
            "p.yaml": "version: 1\ndestructive: {git_push: deny, truncate: allow}\nlimits: {soft: {files: 5}}\n"
            'safety: {protected_paths: [secret/, "!.env"]}\n'
        }
    )
    found = crew.look("policy", "diff", "p.yaml", "--json").json
    effects = {change["name"]: change["effect"] for change in found["changes"]}
    assert effects == {
        "git.push": "tighter",
        "destructive.sql_truncate": "looser",
        "limits.soft.files": "tighter",
        "secret/": "tighter",
        "!.env": "looser",
    }
    assert crew.look("policy", "diff", "p.yaml", "p.yaml").stdout == "they say the same\n"


def test_auroras_file_is_imported_and_then_in_force(crew: Hermetic) -> None:
    crew.write(
        {
            "a.yaml": "budget: {monthly_limit_usd: 100}\nagent_recovery: {timeout_seconds: 300, max_retries: 2, fallback_to_llm: true}\n"
            "destructive:\n  git_force_push: {action: deny}\n  truncate: prompt\nsafety: {auto_branch: true, branch_prefix: aurora/}\n"
        }
    )
    done = crew.run("policy", "import", "a.yaml", "--write")
    assert done.code == 0, done
    assert "agent_recovery.fallback_to_llm: left out" in done.stderr, done
    assert crew.look("policy", "check").code == 0
    assert crew.look("policy", "explain", "--json", "--", "psql -c 'TRUNCATE x'").json["decision"] == "ask"
    assert crew.run("policy", "import", "a.yaml", "--write").code == 2
    crew.write({"b.yaml": "budgets: {}\n"})
    assert "b.yaml:1:1: unknown key 'budgets'" in crew.run("policy", "import", "b.yaml").stderr


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("pip install limits", "(this command alone)"),
        ("git push -f", "never weaker than ask"),
        ("touch .git/config", "nothing: defaults.yaml:"),
    ],
)
def test_explain_says_what_would_change_it(crew: Hermetic, line: str, change: str) -> None:
    done = crew.look("policy", "explain", "--", line)
    assert any(change in said for said in done.stdout.splitlines() if said.startswith("change:")), done


def test_the_way_that_explain_names_is_a_way(crew: Hermetic) -> None:
    [exception, _] = crew.look("policy", "explain", "--json", "--", "pip install limits").json["to_change"]
    snippet = exception.removeprefix(".nightcrew/policy.yaml: ").removesuffix("   (this command alone)")
    crew.write({".nightcrew/policy.yaml": f"version: 1\n{snippet}\n"})
    assert crew.look("policy", "explain", "--json", "--", "pip install limits").json["decision"] == "allow"
    assert crew.look("policy", "explain", "--json", "--", "pip install other").json["decision"] == "ask"


def test_scripts_of_the_project_are_read(crew: Hermetic) -> None:
    scripts = {"deploy": "git push --force", "wipe": "sqlite3 a.db 'DROP TABLE x'"}
    crew.write({"package.json": json.dumps({"scripts": scripts})})
    crew.commit("scripts")
    for line, rule in (("npm run deploy", "git.force_push"), ("yarn wipe", "destructive.sql_drop")):
        found = crew.look("policy", "explain", "--json", "--", line).json
        assert (found["decision"], found["rule"]) == ("deny", rule)
    done = crew.run_tasks("- [ ] 1. ships\n  - Run: npm run deploy\n")
    assert done.code == 6, done


@pytest.mark.needs_userns
def test_history_is_replayed_and_teaches(asking: Hermetic) -> None:
    asking.run_tasks(
        "- [ ] 1. t\n  - Run: ./release.sh yes\n- [ ] 2. t\n  - Run: ./release.sh no\n- [ ] 3. t\n  - Run: mytool x || true\n"
    )
    # Two tasks side by side: either may be the first to ask.
    asked = {each["action"]: each["id"] for each in asking.run("inbox", "--json").json}
    asking.run("approve", asked["./release.sh yes"], "--no-start")
    asking.run("deny", asked["./release.sh no"], "-m", "not now")
    asking.run("resume", "R-1", timeout_s=60)
    assert (
        "to change: .nightcrew/policy.yaml: commands:" in asking.run("why", asked["./release.sh no"]).stdout
    )
    then = asking.run("policy", "replay", "--json").json
    assert (then["flips"], then["questions"]) == (0, {"then": 2, "now": 2, "fewer": 0}), then
    suggested = asking.run("policy", "suggest", "--since", "1d", "--times", "1")
    assert "release.sh no: 0 of 1 answered with yes" in suggested.stderr
    assert '- command: "^release\\\\.sh yes$"' in suggested.stdout, suggested
    exception = ASKS.replace(
        "    examples: {match: [./release.sh x]",
        "    unless: {command: '^release\\.sh yes$'}\n    examples: {match: [./release.sh x]",
    )
    asking.write({"new.yaml": exception})
    now = asking.run("policy", "replay", "--with", "new.yaml", "--json").json
    assert now["questions"] == {"then": 2, "now": 1, "fewer": 1}, now
    assert {(each["then"]["decision"], each["now"]["decision"], each["answer"]) for each in now["list"]} == {
        ("ask", "allow", "approved")
    }
    assert '["mytool"]' in asking.run("policy", "suggest", "--tighten").stdout


@pytest.mark.needs_userns
def test_gates_recovery_and_expectations_of_the_policy_hold_for_every_task(crew: Hermetic) -> None:
    policy = (
        "version: 1\ngates: [{id: g.no_bad, run: '! test -e bad.txt'}]\nagent_recovery: {timeout: 20s, max_retries: 0}\n"
        "dependencies: [{id: no.new, when: {do: add}, decision: deny, reason: pinned}]\n"
    )
    crew.write(
        {".nightcrew/policy.yaml": policy, "requirements.txt": "a==1\n", "schema.txt": "DROP TABLE x;\n"}
    )
    crew.commit("policy")
    text = (
        "- [ ] 1. good\n  - Run: echo x > x.txt\n  - Files: 1\n- [ ] 2. bad\n  - Run: echo x > bad.txt\n"
        "- [ ] 3. grows\n  - Run: echo b==1 >> requirements.txt\n"
        "- [ ] 4. odd\n  - Run: touch a b c d; rm README.md src/app.py src/data.txt .gitignore requirements.txt .nightcrew/../a\n"
        "  - Timeout: 1h\n  - Files: 1\n"
        "- [ ] 5. loses data\n  - Run: mkdir db && cp schema.txt db/1.sql\n  - Accept: true\n"
    )
    done = crew.run_tasks(text)
    tasks = by_name(crew.show("R-1"))
    states = {name: task["state"] for name, task in tasks.items()}
    assert (states["T01"], states["T02"], states["T03"], states["T05"]) == (
        "succeeded",
        "failed",
        "failed",
        "succeeded",
    ), done
    assert tasks["T01"]["verified"] == "verified"
    assert tasks["T02"]["attempts"] == 1
    assert "adds python b ==1" in tasks["T03"]["reason"]
    assert {f["rule"] for f in tasks["T05"]["findings"]} >= {"sql.file", "anomalies.unexpected_file_types"}
    plan = {task["id"]: task for task in crew.look("plan", "R-1", "--json").json["plan"]["tasks"]}
    assert plan["T04"]["timeout_s"] == 20.0


@pytest.mark.needs_userns
def test_what_is_odd_raises_the_risk_of_the_question_and_terms_go_by_risk(crew: Hermetic) -> None:
    policy = "version: 1\napprovals: {high: {approvers: [ada], reason: true}, medium: {timeout: 1h, reason: true}}\nlimits: {soft: {files: 2}}\n"
    crew.write({".nightcrew/policy.yaml": policy})
    crew.commit("policy")
    crew.run_tasks(
        "- [ ] 1. odd\n  - Run: touch a b c d\n  - Files: 1\n- [ ] 2. large\n  - Run: touch e f g\n"
    )
    items = {item["task"]: item for item in crew.look("inbox", "--json").json}
    assert items["R-1/T01"]["risk"] == "high"
    assert items["R-1/T02"]["risk"] == "medium"
    assert (items["R-1/T01"]["expires_at"], bool(items["R-1/T02"]["expires_at"])) == ("", True)
    refused = crew.run("approve", items["R-1/T01"]["id"], "-m", "fine", "--no-start")
    assert (refused.code, "the policy names ada" in refused.stderr) == (6, True), refused
    assert crew.run("approve", items["R-1/T02"]["id"], "--no-start").code == 2
    assert crew.run("approve", items["R-1/T02"]["id"], "-m", "fine", "--no-start").code == 0
    assert crew.run("deny", items["R-1/T01"]["id"], "-m", "too much").code == 0


@pytest.mark.needs_userns
def test_a_promotion_gets_a_branch_of_its_own_where_the_policy_wants_it(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": "version: 1\nsafety: {auto_branch: true, branch_prefix: night/}\n"})
    head = crew.commit("policy")
    crew.git("branch", "night/R-1")
    assert crew.run_tasks("- [ ] 1. a\n  - Run: echo x > x.txt\n  - Accept: test -f x.txt\n").code == 0
    crew.run("accept", "R-1/T01")
    done = crew.run("promote", "R-1", "--yes", "--json")
    assert done.code == 0, done
    assert done.json["branch"].endswith("night/R-1-2")
    assert crew.git("rev-parse", "main").strip() == head
    assert "x.txt" in crew.git("ls-tree", "--name-only", "night/R-1-2")
