"""Row 21, who answers: one person is one person under every name, and a token or an agent decides nothing it is not for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nightcrew.gate import factors
from nightcrew.testing.hermetic import Hermetic, Ran

sys.path.insert(0, str(Path(__file__).parent))

from test_conformance_21_approvers import (
    add_person,
    answer_to,
    give,
    prepare,
    refusals,
    set_webhook,
    sign,
)

pytestmark = pytest.mark.needs_userns

STEERING: tuple[tuple[str, ...], ...] = (
    ("cancel", "R-1", "-m", "x"),
    ("cancel", "R-1/T01"),
    ("pause", "R-1"),
    ("retry", "R-1/T01"),
    ("accept", "R-1"),
    ("accept", "R-1/T01"),
    ("reject", "R-1/T01", "-m", "x"),
    ("extend", "R-1", "--budget", "99usd"),
    ("extend", "day", "--budget", "99usd"),
    ("resume", "R-1", "--until", "+8h"),
    ("plan", "R-1", "unapprove"),
    ("auth", "reset"),
    ("auth", "user", "add", "mallory"),
    ("auth", "token", "add", "--scope", "admin"),
    ("auth", "totp", "set"),
)


def account_of(crew: Hermetic) -> str:
    return str(crew.look("auth", "whoami", "--json").json["account"])


def code_of(done: Ran) -> tuple[int, str]:
    return done.code, done.json["error"]["code"] if done.code else ""


def make_token(crew: Hermetic, *scopes: str) -> dict[str, str]:
    wanted = [word for scope in scopes for word in ("--scope", scope)]
    return {"NIGHTCREW_TOKEN": crew.run("auth", "token", "add", *wanted, "--json").json["token"]}


def test_21_one_person_under_two_names_is_one_of_two(crew: Hermetic) -> None:
    prepare(crew, "{quorum: 2}")
    assert crew.run("approve", "A-1", "--no-start", "--json").json["state"] == "pending"
    for name in ("grace", "linus"):
        assert crew.run("auth", "user", "add", name, "--account", account_of(crew)).code == 0
        assert crew.look("auth", "whoami", "--json").json["person"] == name
        again = crew.run("approve", "A-1", "--no-start", "--json")
        assert code_of(again) == (7, "approval.voted"), again
        by_token = crew.run("approve", "A-1", "--no-start", "--json", extra=make_token(crew, "decide:any"))
        assert code_of(by_token) == (7, "approval.voted"), by_token
        assert crew.run("auth", "user", "remove", name).code == 0
    shown = crew.show("A-1")
    assert (shown["state"], len(shown["votes"])) == ("pending", 1)


def test_21_who_handed_it_over_is_that_under_another_name_too(crew: Hermetic) -> None:
    prepare(crew, "{not_requester: true}")
    assert crew.run("auth", "user", "add", "grace", "--account", account_of(crew)).code == 0
    refused = crew.run("approve", "A-1", "--no-start", "--json")
    assert code_of(refused) == (6, "approval.requester"), refused


def test_21_a_name_out_of_another_or_a_forged_file_is_nobodys(crew: Hermetic, tmp_path: Path) -> None:
    prepare(crew, "{approvers: [grace], factor: any}")
    add_person(crew, "grace", "9035")
    elsewhere = {"XDG_CONFIG_HOME": str(tmp_path / "other")}
    own = give(crew, "auth", "pin", "set", "--pin-stdin", "--json", stdin="55190\n", extra=elsewhere)
    assert code_of(own) == (4, "auth.touched"), own
    (tmp_path / "other" / "nightcrew").mkdir(parents=True, exist_ok=True)
    forged = tmp_path / "other" / "nightcrew" / "auth.yaml"
    person = {"name": "grace", "account": account_of(crew)}
    forged.write_text(json.dumps({"version": 1, "people": [person], "tokens": [], "next_token": 1}))
    forged.chmod(0o600)
    assert code_of(crew.run("approve", "A-1", "--no-start", "--json", extra=elsewhere)) == (4, "auth.touched")
    assert crew.show("A-1")["state"] == "pending"
    moved = tmp_path / "moved" / "nightcrew"
    moved.mkdir(parents=True)
    (moved / "auth.yaml").write_bytes((crew.root / "config" / "nightcrew" / "auth.yaml").read_bytes())
    (moved / "auth.yaml").chmod(0o600)
    done = give(
        crew, "approve", "A-1", "--as", "grace", "--pin-stdin", "--no-start", "--json", stdin="9035\n",
        extra={"XDG_CONFIG_HOME": str(tmp_path / "moved")},
    )  # fmt: skip
    assert done.code == 0, "the same file in another place is the same"


def test_21_a_token_steers_nothing_that_it_is_not_for(crew: Hermetic) -> None:
    prepare(crew, "{reason: false}")
    before = len(crew.look("events", "--json").stdout.splitlines())
    token = make_token(crew, "read", "decide:low")
    made = len(crew.look("events", "--json").stdout.splitlines())
    for args in STEERING:
        refused = crew.run(*args, "--json", extra=token)
        assert code_of(refused) == (6, "auth.scope"), (args, str(refused))
    plan = str(crew.write_plan("- [ ] 1. a\n  - Run: echo a > a.txt\n"))
    assert code_of(crew.run("run", "-f", plan, "--json", extra=token)) == (6, "auth.scope")
    assert len(crew.look("events", "--json").stdout.splitlines()) == made > before
    planner = make_token(crew, "plan")
    assert crew.run("run", "-f", plan, "--json", extra=planner).code == 5
    asks = crew.run("approve", "R-2", "--with-asks", "--no-start", "--json", extra=planner)
    assert code_of(asks) == (6, "auth.scope"), "the plan's questions are another scope"
    assert crew.run("approve", "R-2", "--no-start", "--json", extra=planner).code == 0


def test_21_an_agents_own_process_steers_nothing(crew: Hermetic) -> None:
    prepare(crew, "{reason: false}")
    helper = "import subprocess, sys\n# from nightcrew.sandbox import zygote\nsys.exit(subprocess.call(sys.argv[1:]))"
    for args in STEERING:
        done = subprocess.run(
            [sys.executable, "-c", helper, *crew.program, *args, "--json"],
            cwd=crew.repo, env=crew.variables, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 6, (args, done)
        assert json.loads(done.stdout)["error"]["code"] == "gate.actor", (args, done)


def test_21_an_older_auth_file_makes_no_used_code_good_again(crew: Hermetic) -> None:
    secret = crew.run("auth", "totp", "set", "--json").json["secret"]
    step = int(time.time()) // factors.STEP_S
    done = crew.run("auth", "totp", "confirm", factors.make_code(secret, step - 1), "--json")
    assert done.code == 0, done
    book = crew.root / "config" / "nightcrew" / "auth.yaml"
    kept = book.read_bytes()
    while int(time.time()) % factors.STEP_S > factors.STEP_S - 8:
        time.sleep(0.5)
    code = factors.make_code(secret, int(time.time()) // factors.STEP_S)
    for proof in (code, done.json["backup_codes"][0]):
        args = ["auth", "user", "remove", "nobody", "--otp", proof, "--json"]
        assert code_of(crew.run(*args)) == (3, "auth.person"), "right"
        book.write_bytes(kept)
        again = crew.run(*args)
        assert again.code == 4, again
        book.write_bytes(kept)
    assert done.json["backup_codes"][0] not in crew.look("events", "--json").stdout


@pytest.mark.parametrize(
    "extra",
    [{"signature": "\ud800"}, {"more": [[]]}, {"more": 1.5}, {"version": None}],
    ids=["surrogate", "nested", "number", "version"],
)
def test_21_a_strange_answer_is_refused_like_any_other(crew: Hermetic, extra: dict[str, Any]) -> None:
    prepare(crew, "{reason: false}")
    set_webhook(crew)
    item = crew.show("A-1")
    answer = {**json.loads(sign(answer_to(item))), **extra}
    text = json.dumps(answer).replace("[[]]", "[" * 400 + "]" * 400)
    refused = give(crew, "answer", "--signed", "-", "--json", stdin=text)
    assert code_of(refused) in ((2, "webhook.format"), (4, "webhook.signature")), refused
    assert crew.show("A-1")["state"] == "pending"


def test_21_a_webhook_does_not_answer_as_somebody_with_a_factor(crew: Hermetic) -> None:
    prepare(crew, "{approvers: [ops-bot]}")
    set_webhook(crew)
    add_person(crew, "ops-bot", "9035")
    refused = give(crew, "answer", "--signed", "-", "--json", stdin=sign(answer_to(crew.show("A-1"))))
    assert code_of(refused) == (6, "webhook.as"), refused
    assert crew.show("A-1")["state"] == "pending"


def test_21_the_record_says_when_it_was_answered(crew: Hermetic) -> None:
    """The clock of questions stands still while nobody hosts; the time of an answer is that of the day."""
    prepare(crew, "{timeout: 1h}")
    time.sleep(1.1)
    before = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    done = crew.run("approve", "A-1", "--no-start", "--json").json
    assert done["decided_at"] >= before
    assert done["votes"][0]["at"] >= before
    assert refusals(crew) == []
