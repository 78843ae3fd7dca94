"""Roles as a person meets them: files that are checked, plans that say what a role means, work that is held to it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

sys.path.insert(0, str(Path(__file__).parent))

from test_agents_with_a_protocol import install, set_up_providers

pytestmark = pytest.mark.needs_userns

TESTER = """version: 1
display_name: Tester
description: Writes tests.
competencies: [testing]
authority:
  autonomous:
    - run *
    - change tests/**
    - change one
    - change two
  requires_approval:
    - {id: slow, action: run make slow, reason: it takes an hour, risk: medium}
  forbidden:
    - id: deploy
      action: run make deploy
      reason: a person deploys
      hint: leave a note instead
      examples: {match: [make deploy], not_match: [make test]}
"""


def add_role(crew: Hermetic, name: str = "tester", text: str = TESTER) -> None:
    crew.write({f".nightcrew/roles/{name}.yaml": text})
    crew.commit(f"role {name}")


def own_config(crew: Hermetic, text: str) -> None:
    folder = crew.root / "config" / "nightcrew"
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath("config.yaml").write_text(f"version: 1\n{text}")


def test_an_agent_is_denied_and_asked_what_its_role_says(crew: Hermetic) -> None:
    install(crew, "claude")
    set_up_providers(crew)
    add_role(crew)
    ran = crew.run_tasks(
        "# Night\n\n- [ ] 1. Test two files\n  - Role: tester\n  - Agent: claude\n  - Accept: `test -e one && test -e two`\n"
        "  - Prompt:\n    ```\n    RUN: touch one\n    RUN: make deploy\n    RUN: make slow || true\n    RUN: touch two\n    ```\n"
    )
    assert ran.code == 5, ran
    (waiting,) = crew.look("inbox", "--json").json
    assert (waiting["rule"], waiting["source"]) == ("role:tester.slow", ".nightcrew/roles/tester.yaml:12")
    why = crew.look("why", "R-1/T01").stdout
    assert "denied: make deploy" in why
    assert "rule role:tester.deploy, .nightcrew/roles/tester.yaml:14" in why
    assert "role tester (.nightcrew/roles/tester.yaml)" in why
    asked = crew.look("why", waiting["id"]).stdout
    assert "to change: .nightcrew/roles/tester.yaml:12: the authority of the role" in asked
    # The rules of a run are those it was planned with, whatever becomes of the file.
    (crew.repo / ".nightcrew/roles/tester.yaml").unlink()
    assert "role:tester.slow" in crew.look("why", waiting["id"]).stdout
    assert crew.run("approve", waiting["id"]).code == 0
    crew.wait_until(lambda: crew.show("R-1")["tasks"][0]["state"] == "succeeded", what="the task's end")
    transcript = next((crew.state).glob("*/runs/R-1/T01/1.jsonl")).read_text()
    assert "Your role for this task: Tester" in transcript or "a person deploys" in transcript


def test_a_plan_says_what_a_role_means_and_is_refused_for_what_it_forbids(crew: Hermetic) -> None:
    add_role(crew, text=f"{TESTER}network: [pypi]\n")
    tasks = (
        "- [ ] 1. Release it\n  - Role: tester\n  - Run: `make slow`\n  - Accept: `true`\n"
        "- [ ] 2. Test it\n  - Role: tester\n  - Run: `make test && make deploy`\n"
        "- [ ] 3. Test it over the network\n  - Role: tester\n  - Network: pypi, npm\n  - Run: `make test`\n"
    )
    plan = crew.write_plan(tasks)
    done = crew.run("plan", "-f", str(plan), "--json")
    assert done.code == 6, done
    found = {(flag["task"], flag["kind"], flag["rule"], flag["source"]) for flag in done.json["flags"]}
    place = ".nightcrew/roles/tester.yaml"
    assert ("T01", "asks", "role:tester.slow", f"{place}:12") in found
    assert ("T02", "forbidden", "role:tester.deploy", f"{place}:14") in found
    assert ("T01", "role", "role:tester", f"{place}:4") in found
    assert ("T02", "role", "role:tester", f"{place}:4") not in found
    assert ("T03", "forbidden", "role:tester.network", f"{place}:19") in found
    text = crew.run("plan", "-f", str(plan)).stdout
    assert "what its role means for it" in text
    assert f"({place}:14)" in text
    wrong = crew.write_plan("- [ ] 1. x\n  - Role: testr\n  - Run: `true`\n")
    refused = crew.run("plan", "-f", str(wrong))
    assert (refused.code, "tasks.md:2:11: unknown role `testr`" in refused.stderr) == (2, True), refused
    assert "did you mean `tester`?" in refused.stderr
    assert "unknown role" not in crew.run("plan", "-f", str(crew.write_plan(tasks))).stderr


def test_what_a_command_changes_beside_its_role_is_asked_or_fails(crew: Hermetic) -> None:
    add_role(crew)
    add_role(
        crew,
        "strict",
        TESTER.replace(
            "forbidden:\n", "forbidden:\n    - {id: code, action: 'change src/**', reason: never code}\n"
        ),
    )
    quiet = "`python3 -c \"open('src/app.py','w').write('2')\"`"
    ran = crew.run_tasks(
        f"- [ ] 1. Test\n  - Role: tester\n  - Run: {quiet}\n- [ ] 2. Test\n  - Role: strict\n  - Run: {quiet}\n"
    )
    assert ran.code == 5, ran
    (waiting,) = crew.look("inbox", "--json").json
    assert (waiting["task"], waiting["rule"]) == ("R-1/T01", "role:tester.otherwise")
    task = crew.show_tasks("R-1")["T02"]
    assert task["state"] == "failed"
    assert "never code (rule role:strict.code, .nightcrew/roles/strict.yaml:14)" in task["reason"]
    crew.run("deny", waiting["id"], "-m", "not the code")
    crew.wait_until(lambda: crew.show_tasks("R-1")["T01"]["state"] == "failed", what="the denial")


def test_a_task_waits_for_the_working_hours_of_its_role(crew: Hermetic) -> None:
    now = datetime.now(UTC)
    since, until = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 3))
    add_role(crew, text=f'{TESTER}working_hours: {{from: "{since}", to: "{until}", tz: UTC}}\n')
    plan = crew.write_plan(
        "- [ ] 1. Test\n  - Role: tester\n  - Run: `true`\n- [ ] 2. Other\n  - Run: `touch tests.txt`\n"
    )
    started = crew.run("run", "-f", str(plan), "--yes", "--detach")
    assert started.code == 0, started
    flags = crew.look("plan", "R-1", "--json").json["flags"]
    (flag,) = [each for each in flags if each["rule"] == "role:tester.working_hours"]
    assert flag["text"] == f"the role tester works {since}-{until} (UTC); outside of that its tasks wait"
    crew.wait_until(lambda: crew.show_tasks("R-1")["T02"]["state"] == "succeeded", what="the other task")
    task = crew.wait_until(
        lambda: (each := crew.show_tasks("R-1")["T01"])["opens_at"] and each, what="the waiting"
    )
    assert task["state"] == "pending"
    assert task["reason"].startswith(
        f"outside the working hours of role tester ({since}-{until} (UTC), .nightcrew/roles/tester.yaml:19)"
    )
    assert "waits for its working hours" in crew.look("why", "R-1/T01").stdout
    assert f"{since}-{until}" in crew.look("show", "R-1").stdout
    # Waiting for a time is not waiting for a person: the run goes on, and is no question in the inbox.
    assert crew.show("R-1")["state"] == "running"
    assert crew.look("inbox", "--json").json == []
    assert crew.run("cancel", "R-1").code == 0
    assert crew.show_tasks("R-1")["T01"]["state"] == "cancelled"


def test_how_sure_an_agent_is_can_only_lower_what_follows(crew: Hermetic) -> None:
    add_role(crew, text=f"{TESTER}confidence: {{auto: 0.9, flag: 0.7, ask: 0.5}}\n")
    add_role(crew, "looked-at", f"{TESTER}require_review_before_promote: true\n")
    lines = "".join(
        f"- [ ] {number}. Test {said}\n  - Role: tester\n  - Run: `mkdir -p tests && echo {number} > tests/{number}.txt && echo {said}`\n"
        f"  - Accept: `test -s tests/{number}.txt`\n"
        for number, said in enumerate(
            ("confidence: 0.95", "confidence: 80%", "confidence: 0.6", "confidence: 0.1", "nothing"), 1
        )
    )
    reviewed = "- [ ] 6. Test\n  - Role: looked-at\n  - Run: `mkdir -p tests && touch tests/6.txt`\n  - Accept: `true`\n"
    ran = crew.run_tasks(lines + reviewed)
    assert ran.code == 5, ran
    tasks = crew.show_tasks("R-1")
    assert [tasks[f"T0{n}"]["confidence"] for n in range(1, 7)] == [0.95, 0.8, 0.6, 0.1, None, None]
    assert [tasks[f"T0{n}"]["state"] for n in range(1, 7)] == [
        "succeeded", "succeeded", "awaiting_approval", "failed", "succeeded", "succeeded"
    ]  # fmt: skip
    assert "10% sure" in tasks["T04"]["reason"]
    accepted = crew.run("accept", "R-1", "--json").json
    assert [each["id"] for each in accepted["accepted"]] == ["R-1/T01"]
    why = {each["id"]: each["why"] for each in accepted["left_out"]}
    assert "80% sure" in why["R-1/T02"]
    assert "did not say how sure" in why["R-1/T05"]
    assert "accepted by its own id" in why["R-1/T06"]
    assert crew.run("accept", "R-1/T06").code == 0


def test_caps_of_a_role_are_part_of_the_plan(crew: Hermetic) -> None:
    add_role(crew, text=f"{TESTER}caps: {{task: 1usd, attempt: 2s, run: 5usd 10calls}}\n")
    ran = crew.run_tasks(
        "- [ ] 1. Test\n  - Role: tester\n  - Budget: 9usd\n  - Timeout: 1h\n  - Run: `sleep 20`\n"
    )
    assert ran.code == 10, ran
    (task,) = crew.look("plan", "R-1", "--json").json["plan"]["tasks"]
    assert (task["budget"], task["timeout_s"], task["role"]) == ("1usd", 2.0, "tester")
    assert crew.show_tasks("R-1")["T01"]["state"] == "failed"
    text = crew.look("plan", "R-1").stdout
    assert "one task 1usd" in text
    assert "5usd 10calls" in text.replace("\n    …", "")


def test_a_person_and_a_repository_both_have_a_say(crew: Hermetic) -> None:
    """A repository cannot make a role of its user's looser, by a file of that name or by another default."""
    folder = crew.root / "config" / "nightcrew" / "roles"
    folder.mkdir(parents=True)
    folder.joinpath("tester.yaml").write_text(TESTER)
    own_config(crew, "roles: {default: tester}\n")
    loose = "authority: {autonomous: [run *, change **], requires_approval: [run never], forbidden: [run ever], otherwise: allow}\n"
    add_role(crew, text=loose)
    plan = crew.write_plan("- [ ] 1. Test\n  - Run: `make deploy`\n")
    done = crew.run("plan", "-f", str(plan), "--json")
    (flag,) = [each for each in done.json["flags"] if each["kind"] == "forbidden"]
    assert flag["rule"] == "role:tester.deploy"
    assert flag["source"].endswith("config/nightcrew/roles/tester.yaml:14")
    crew.write({".nightcrew/config.yaml": "roles: {default: software-engineer}\n"})
    refused = crew.run("plan", "-f", str(plan))
    assert (refused.code, "cannot choose another role" in refused.stderr) == (2, True), refused
    crew.write({".nightcrew/config.yaml": "roles: {required: true}\n"})
    own_config(crew, "")
    missing = crew.run("plan", "-f", str(plan))
    assert (missing.code, "tasks.md:1:1: task 1 has no role" in missing.stderr) == (2, True), missing
    named = crew.run("plan", "-f", str(plan), "--role", "technical-writer", "--json").json
    assert named["plan"]["tasks"][0]["role"] == "technical-writer"
    assert crew.run("plan", "-f", str(plan), "--role", "nobody").code == 3


def test_roles_are_listed_written_checked_and_tried(crew: Hermetic) -> None:
    names = [each["name"] for each in crew.look("role", "list", "--json").json["roles"]]
    assert names == ["devops", "qa", "software-engineer", "technical-writer"]
    assert crew.look("role", "show", "q").code == 3
    shown = crew.look("role", "show", "qa", "--json").json
    assert {each["id"] for each in shown["authority"]["base"]} >= {
        "role:base.rules",
        "role:base.decides",
        "role:base.network",
    }
    for name in names:
        tried = crew.look("role", "test", name, "--json")
        assert (tried.code, len(tried.json["samples"]) >= 6) == (0, True), tried
    made = crew.run("role", "new", "night-qa", "--from", "qa")
    path = crew.repo / ".nightcrew" / "roles" / "night-qa.yaml"
    assert (made.code, made.stdout.strip()) == (0, str(path)), made
    assert crew.run("role", "new", "night-qa").code == 7
    assert crew.run("role", "new", "Night").code == 2
    assert crew.look("role", "path", "night-qa").stdout.strip() == str(path)
    assert crew.look("role", "path", "qa").code == 3
    assert crew.look("role", "validate").code == 0
    assert "night-qa" in crew.look("events", "--json").stdout
    before = path.read_text()
    wrong = crew.root / "wrong.yaml"
    wrong.write_text(
        "version: 1\nauthority:\n  autonomous: [rnu x]\n  requires_approval: [run y]\n  forbiden: [run z]\n"
    )
    refused = crew.run("role", "edit", "night-qa", "--with", str(wrong))
    assert refused.code == 2, refused
    for expected in (
        ":3:16",
        "did you mean 'run'?",
        ":5:3",
        "unknown key 'forbiden'",
        "'forbidden' is missing",
        "^",
        "the file is as it was",
    ):
        assert expected in refused.stderr, (expected, refused)
    assert path.read_text() == before
    assert path.with_suffix(".rejected").read_text() == wrong.read_text()
    right = crew.root / "right.yaml"
    right.write_text(f"{TESTER}limits: {{soft: {{files: 900}}}}\n")
    assert crew.run("role", "edit", "night-qa", "--with", str(right)).code == 0
    assert path.read_text() == right.read_text()
    checked = crew.look("role", "validate", "night-qa")
    assert "no effect: the policy has 20 (defaults.yaml" in checked.stderr, checked


def test_a_role_that_is_broken_stops_everything_and_one_that_contradicts_itself_fails_its_test(
    crew: Hermetic,
) -> None:
    add_role(crew, "broken", "version: 1\nauthority: {}\n")
    plan = crew.write_plan("- [ ] 1. x\n  - Run: `true`\n")
    stopped = crew.run("run", "-f", str(plan), "--yes")
    assert (stopped.code, ".nightcrew/roles/broken.yaml:2:12" in stopped.stderr) == (2, True), stopped
    assert crew.look("ps", "-a", "--json").json == []
    (crew.repo / ".nightcrew/roles/broken.yaml").unlink()
    entry = "    - {id: all, action: run make, examples: {match: [make deploy]}}\n"
    add_role(crew, "odd", TESTER.replace("    - run *\n", f"    - run *\n{entry}"))
    tried = crew.look("role", "test", "odd")
    assert tried.code == 1, tried
    assert "FAIL  deny   make deploy   role:odd.deploy" in tried.stdout
    assert "must be: allow" in tried.stdout


def test_a_changed_role_needs_the_factor_that_the_policy_wants(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": "version: 1\nfactors: {role: pin}\n"})
    refused = crew.run("role", "new", "qa")
    assert refused.code == 4, refused
    assert not (crew.repo / ".nightcrew" / "roles").exists()
    assert crew.run("role", "new", "qa", "--user").code == 0


def test_past_decisions_are_judged_again_under_the_role_they_were_made_under(crew: Hermetic) -> None:
    add_role(crew)
    ran = crew.run_tasks(
        "- [ ] 1. Test\n  - Role: tester\n  - Run: `make slow`\n- [x] 2. Done before\n  - Role: whoever\n"
    )
    assert ran.code == 5, ran
    replayed = crew.look("policy", "replay", "--json").json
    assert (replayed["decisions"], replayed["flips"]) == (1, 0), replayed
    explained = crew.look("policy", "explain", "--role", "tester", "--json", "--", "make", "deploy").json
    assert (explained["decision"], explained["rule"]) == ("deny", "role:tester.deploy")
    assert "the authority of the role" in explained["to_change"][0]
    assert crew.look("policy", "explain", "--json", "--", "make", "deploy").json["decision"] == "allow"
    assert crew.look("policy", "explain", "--role", "nobody", "--", "ls").code == 3


def test_a_fork_has_the_role_of_what_it_was_made_of(crew: Hermetic) -> None:
    add_role(crew)
    ran = crew.run_tasks(
        "- [ ] 1. Test\n  - Role: tester\n  - Run: `mkdir tests && touch tests/a`\n- [ ] 2. Test\n  - Role: tester\n  - Run: `make slow`\n"
    )
    assert ran.code == 5, ran
    (first,) = [
        each
        for each in crew.look("checkpoint", "list", "R-1/T01", "--json").json
        if each["why"] == "the agent ended"
    ]
    refused = crew.run("checkpoint", "fork", first["id"], "--run", "make deploy", "--yes")
    assert (refused.code, "role:tester.deploy" in refused.stderr) == (6, True), refused
    made = crew.run("checkpoint", "fork", first["id"], "--run", "touch tests/b", "--yes")
    assert made.code == 0, made
    assert crew.show_tasks("R-1")["T01F1"]["role"] == "tester"
