"""A plan that takes more than one word: people, a reason, a factor, a time; and nothing that stands for them."""

from __future__ import annotations

import json
import subprocess

from nightcrew.testing.hermetic import Hermetic, Ran

TASK = "- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -f a.txt\n"
PIN, HERS = "904711", "581630"


def give(crew: Hermetic, *args: str, stdin: str) -> Ran:
    """Run a command with something on its standard input."""
    done = subprocess.run(
        [*crew.program, *args], cwd=crew.repo, env=crew.variables, timeout=60, check=False,
        input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    return Ran(args, done.returncode, done.stdout, done.stderr, False)


def propose(crew: Hermetic, policy: str, *options: str) -> Ran:
    """Hand over a plan under a policy, with or without ``--yes``."""
    crew.write({".nightcrew/policy.yaml": f"version: 1\n{policy}"})
    crew.commit("policy")
    (crew.root / "tasks.md").write_text(TASK)
    return crew.run("run", "-f", str(crew.root / "tasks.md"), *options)


def add_grace(crew: Hermetic) -> None:
    code = crew.run("auth", "user", "add", "grace", "--json").json["code"]
    done = give(crew, "auth", "pin", "set", "--for", "grace", "--otp", code, "--pin-stdin", stdin=f"{HERS}\n")
    assert done.code == 0, done


def test_two_people_approve_a_plan_and_yes_is_none_of_them(crew: Hermetic) -> None:
    add_grace(crew)
    refused = propose(crew, "approvals:\n  plan: {quorum: 2, reason: true}\n", "--yes", "--json")
    assert refused.code == 5, refused
    assert refused.json["error"]["code"] == "plan.waiting"
    assert "2 people, a reason" in refused.json["error"]["message"]
    assert refused.json["state"] == "awaiting_approval"
    [noted] = refusals(crew)
    assert (noted["via"], noted["code"], noted["id"]) == ("--yes", "plan.waiting", "R-1")
    assert "a yes needs 2 people; a reason (-m) (.nightcrew/policy.yaml:3)" in crew.look("plan", "R-1").stdout
    assert crew.run("approve", "R-1", "--no-start").code == 2
    first = crew.run("approve", "R-1", "-m", "read it", "--no-start", "--json")
    assert (first.code, first.json["approval"]["state"]) == (0, "pending"), first
    assert first.json["state"] == "awaiting_approval"
    shown = crew.look("inbox").stdout
    assert "1 of 2 yeses" in shown
    assert ".nightcrew/policy.yaml:3" in shown
    again = crew.run("approve", "R-1", "-m", "again", "--no-start", "--json")
    assert (again.code, again.json["error"]["code"]) == (7, "approval.voted"), again
    assert "1 of 2 that must" in crew.look("why", "R-1").stdout
    stranger = crew.run("approve", "R-1", "--as", "grace", "-m", "me too", "--no-start")
    assert stranger.code == 4, stranger
    second = give(
        crew,
        "approve",
        "R-1",
        "--as",
        "grace",
        "-m",
        "me too",
        "--pin-stdin",
        "--no-start",
        "--json",
        stdin=f"{HERS}\n",
    )
    assert (second.code, second.json["approval"]["state"]) == (0, "approved"), second
    assert second.json["plan"]["approved_by"].endswith(", grace")
    taken = crew.run("plan", "R-1", "unapprove")
    assert taken.code == 0, taken
    [item] = crew.look("inbox", "--json").json
    assert item["votes"] == []
    assert [each["code"] for each in refusals(crew)] == [
        "plan.waiting",
        "approval.reason",
        "approval.voted",
        "auth.needed",
    ]


def refusals(crew: Hermetic) -> list[dict[str, str]]:
    lines = crew.look("events", "--json", "--kinds", "approval.refused").stdout.splitlines()
    return [json.loads(line)["data"] for line in lines]


def test_a_changed_plan_has_no_yes_any_more(crew: Hermetic) -> None:
    assert propose(crew, "approvals:\n  plan: {quorum: 2}\n").code == 5
    assert crew.run("approve", "R-1", "--no-start").code == 0
    assert len(crew.look("inbox", "--json").json[0]["votes"]) == 1
    (crew.root / "other.md").write_text(TASK.replace("echo a", "echo b"))
    changed = crew.run("plan", "R-1", "edit", "-f", str(crew.root / "other.md"))
    assert changed.code == 0, changed
    assert crew.look("inbox", "--json").json[0]["votes"] == []
    (crew.root / "first.md").write_text(TASK)
    assert crew.run("plan", "R-1", "edit", "-f", str(crew.root / "first.md")).code == 0
    assert crew.look("inbox", "--json").json[0]["votes"] == []


def test_a_plan_that_needs_a_factor(crew: Hermetic) -> None:
    assert give(crew, "auth", "pin", "set", "--pin-stdin", stdin=f"{PIN}\n").code == 0
    refused = propose(crew, "factors: {plan: pin}\n", "--yes", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (4, "approval.factor"), refused
    assert refused.json["error"]["hint"] == "nightcrew approve R-1 --pin"
    without = crew.run("approve", "R-1", "--no-start", "--json")
    assert (without.code, without.json["error"]["code"]) == (4, "auth.needed"), without
    wrong = give(crew, "approve", "R-1", "--pin-stdin", "--no-start", stdin="904712\n")
    assert wrong.code == 4, wrong
    assert crew.show("R-1")["state"] == "awaiting_approval"
    right = give(crew, "approve", "R-1", "--pin-stdin", stdin=f"{PIN}\n")
    assert right.code == 0, right
    [event] = crew.look("events", "--json", "--kinds", "plan.approved").stdout.splitlines()
    assert json.loads(event)["data"]["factor"] == "pin"


def test_who_hands_a_plan_over_may_be_the_one_who_may_not_approve_it(crew: Hermetic) -> None:
    refused = propose(crew, "approvals:\n  plan: {not_requester: true}\n", "--yes")
    assert refused.code == 5, refused
    own = crew.run("approve", "R-1", "--no-start", "--json")
    assert (own.code, own.json["error"]["code"]) == (6, "approval.requester"), own


def test_a_repository_only_tightens_what_its_user_wants(crew: Hermetic) -> None:
    folder = crew.root / "config" / "nightcrew"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text("version: 1\napprovals:\n  plan: {quorum: 2, reason: true}\n")
    refused = propose(crew, "approvals:\n  plan: {quorum: 1, reason: false, not_requester: true}\n", "--yes")
    assert refused.code == 5, refused
    [item] = crew.look("inbox", "--json").json
    assert (item["needs"]["quorum"], item["needs"]["reason"], item["needs"]["not_requester"]) == (
        2,
        True,
        True,
    )
    silence = propose(crew, "approvals:\n  plan: {timeout: 8h, on_timeout: allow}\n")
    assert silence.code == 2, silence
    assert "nobody's silence is a yes to a plan" in silence.stderr


def test_a_yes_that_comes_too_late(crew: Hermetic) -> None:
    assert propose(crew, "approvals:\n  plan: {timeout: 0.001}\n").code == 5
    late = crew.run("approve", "R-1", "--no-start", "--json")
    assert (late.code, late.json["error"]["code"]) == (7, "gate.expired"), late
    assert crew.run("deny", "R-1", "-m", "too late").code == 0


def test_a_pattern_that_would_try_without_end_decides_nothing_slowly(crew: Hermetic) -> None:
    rule = "commands:\n  - id: evil\n    when: {command: '%s'}\n    decision: deny\n    reason: r\n"
    crew.write({".nightcrew/policy.yaml": "version: 1\n" + rule % "(a+)+$"})
    for tail, verdict in (("!", "allow"), ("", "deny")):
        explained = crew.look("policy", "explain", "--json", "--", "echo", "a" * 4000 + tail)
        assert explained.json["decision"] == verdict, explained
    crew.write({".nightcrew/policy.yaml": "version: 1\n" + rule % "x(?!y)"})
    refused = crew.run("policy", "explain", "--", "echo", "a")
    assert refused.code == 2, refused
    assert ".nightcrew/policy.yaml:4:21" in refused.stderr
    assert "looks around itself" in refused.stderr


def test_who_asks_what_needs_a_factor_is_told_of_plans_and_questions_too(crew: Hermetic) -> None:
    terms = "approvals:\n  plan: {factor: totp}\n  high: {factor: any}\nfactors: {plan: pin, undo: pin}\n"
    crew.write({".nightcrew/policy.yaml": f"version: 1\n{terms}"})
    needs = crew.look("auth", "whoami", "--json").json["needs"]
    assert {name: kind for name, kind in needs.items() if kind} == {
        "plan": "totp",
        "undo": "pin",
        "approvals.high": "any",
    }
