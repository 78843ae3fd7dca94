"""The user's key outside, a placeholder inside, what models cost counted and bounded: driven as a process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic
from nightcrew.testing.models import ScriptedModel
from nightcrew.testing.scenario import Fault, Scenario, Turn, Usage

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

KEY = "sk-ant-real-0123456789abcdefghij"
ENV = {"ANTHROPIC_API_KEY": KEY}
#: 60,000 anew, 40,000 cached, 1,000 made by claude-sonnet-4-5: 0.18 + 0.012 + 0.015 dollars.
USAGE = Usage(input=100_000, output=1000, cached=40_000)
EACH_USD = 0.207

AGENT = '''
"""agent.py MODEL TIMES: asks its model so often, then writes done.txt; fails like a real one when it gets no answer."""
import json, os, pathlib, sys, urllib.error, urllib.request

model, times = sys.argv[1], int(sys.argv[2])
body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "go on"}]}
for _ in range(times):
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
        json.dumps(body).encode(),
        {"content-type": "application/json", "x-api-key": os.environ["ANTHROPIC_API_KEY"]},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        print("refused", error.code, error.headers.get("x-should-retry"), error.read().decode())
        sys.exit(1)
pathlib.Path("done.txt").write_text("done\\n")
'''
SNOOP = '''
"""snoop.py: looks everywhere for anybody's key, and for a way out."""
import os, pathlib, socket

seen = [repr(dict(os.environ))]
for entry in pathlib.Path("/proc").iterdir():
    for name in ("environ", "cmdline"):
        try:
            seen.append((entry / name).read_bytes().decode("latin-1"))
        except OSError:
            pass
reached = []
for address in (("1.1.1.1", 443), ("127.0.0.1", PORT)):
    try:
        socket.create_connection(address, timeout=3).close()
        reached.append(address)
    except OSError:
        pass
text = "".join(seen)
found = ["sk-" + "ant-real" in text, "ANTHROPIC" in text, "nightcrew-" in os.environ.get("ANTHROPIC_API_KEY", "")]
pathlib.Path("seen.txt").write_text(f"key, name, placeholder: {found} reached: {reached}\\n")
'''


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel((Scenario((Turn("yes", usage=USAGE),) * 60),)) as made:
        yield made


def configure(crew: Hermetic, url: str, more: str = "") -> None:
    place = crew.root / "config" / "nightcrew"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.yaml").write_text(
        f"""providers:
  anthropic: {{url: "{url}"}}
agents:
  thrice: {{argv: [python3, agent.py, claude-sonnet-4-5, "3"], providers: [anthropic]}}
  often: {{argv: [python3, agent.py, claude-sonnet-4-5, "8"], providers: [anthropic]}}
  unknown: {{argv: [python3, agent.py, nobody-knows-9, "1"], providers: [anthropic]}}
  snoop: {{argv: [python3, snoop.py], providers: [anthropic]}}
  plain: {{argv: [python3, snoop.py]}}
{more}"""
    )
    crew.write({"agent.py": AGENT, "snoop.py": SNOOP.replace("PORT", url.rpartition(":")[2])})
    crew.commit("agents")


def tell(*agents: str, budget: str = "") -> str:
    lines = [
        f"- [ ] {n}. Task {n}\n  - Agent: {agent}\n  - Accept: `true`\n" for n, agent in enumerate(agents, 1)
    ]
    return "# Night\n\n" + "".join(line + (f"  - Budget: {budget}\n" if budget else "") for line in lines)


def read_events(crew: Hermetic) -> list[dict[str, Any]]:
    return [json.loads(line) for line in crew.look("events", "--json").stdout.splitlines()]


def find_everywhere(root: Path, text: str) -> list[Path]:
    """Return the files below ``root`` that hold ``text``, databases and transcripts included."""
    return [path for path in root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_key_is_used_and_nobody_inside_or_afterwards_has_seen_it(
    crew: Hermetic, model: ScriptedModel
) -> None:
    configure(crew, model.url, "pass_env: [LANG, ANTHROPIC_API_KEY, COPY_OF_KEY]\n")
    env = {**ENV, "COPY_OF_KEY": f"x{KEY}"}
    done = crew.run_tasks(tell("thrice", "snoop", "plain"), "--budget", "5usd", extra=env)
    assert done.code == 0, done
    view = done.json
    assert view["usage"]["requests"] == 3
    assert view["usage"]["usd"] == pytest.approx(3 * EACH_USD)
    assert (view["usage"]["budget"], view["usage"]["exhausted"]) == ("5usd", {})
    assert {seen.key for seen in model.seen} == {KEY}
    with_model, without = (crew.look("diff", f"R-1/{task}").stdout for task in ("T02", "T03"))
    assert "key, name, placeholder: [False, True, True] reached: []" in with_model
    assert "key, name, placeholder: [False, False, False] reached: []" in without
    assert find_everywhere(crew.root, KEY) == []
    # Everybody is told what it cost, in words and as data.
    assert "$0.62 12%" in crew.look("ps", "--all").stdout
    shown = crew.look("show", "R-1").stdout
    assert "spent $0.62, 303.0k tokens of 5usd (12%)" in shown
    stats = crew.look("stats", "R-1", "--json").json["usage"]
    assert stats["models"]["anthropic/claude-sonnet-4-5"]["cached"] == 120_000
    assert crew.look("audit", "verify").code == 0


def test_a_spent_budget_pauses_and_a_larger_one_lets_go_on(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    done = crew.run_tasks(tell("often", "thrice", budget="1.5usd"), "--budget", "0.5usd", extra=ENV)
    assert done.code == 8, done
    view = done.json
    assert (view["ok"], view["state"], view["error"]["code"]) == (False, "paused", "budget.spent")
    assert "the budget of R-1 is spent" in view["reason"]
    # At most what was under way at both agents was asked beyond it.
    assert 0.5 <= view["usage"]["usd"] <= 0.5 + 2 * EACH_USD
    asked = len(model.seen)
    assert view["usage"]["requests"] == asked
    events = [event["kind"] for event in read_events(crew)]
    assert events.count("budget.warned") == events.count("budget.reached") == 1
    # It stays where it is until somebody says more, and says so with the same exit code.
    for command in (("resume", "R-1"), ("extend", "R-1", "--budget", "0.5usd")):
        refused = crew.run(*command, extra=ENV)
        assert (refused.code, "is spent" in refused.stderr) == (8, True), refused
    assert len(model.seen) == asked
    wrong = crew.run("extend", "R-1", "--budget", "plenty")
    assert (wrong.code, "is not a budget" in wrong.stderr) == (2, True)
    more = crew.run("extend", "R-1", "--budget", "20usd", "--json", extra=ENV)
    assert more.json["resumed"] == ["R-1"], more
    # Task 1 has a budget of its own, and asks eight times in each of its attempts.
    after = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=90)
    tasks = {task["name"]: task for task in after.json["tasks"]}
    assert tasks["T02"]["state"] == "succeeded"
    assert tasks["T01"]["state"] == "paused"
    assert "the budget of R-1/T01 is spent" in tasks["T01"]["reason"]
    assert after.code == 8, after
    crew.run("extend", "R-1/T01", "--budget", "none", extra=ENV)
    last = crew.run("resume", "R-1", extra=ENV, timeout_s=90)
    assert last.code in (0, 7), "over already is what the host that extend has started may make it"
    view = crew.show("R-1")
    assert {task["state"] for task in view["tasks"]} == {"succeeded"}, view
    assert view["usage"]["requests"] == len(model.seen)
    assert crew.run("extend", "R-1", "--budget", "30usd").code == 7


def test_what_stands_in_the_way_is_said_before_anything_starts(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    plan = crew.write_plan(tell("thrice"))
    missing = crew.run("run", "-f", str(plan), "--yes")
    assert (missing.code, "$ANTHROPIC_API_KEY is not set" in missing.stderr) == (4, True), missing
    assert crew.look("ps", "--all", "--json").json == []
    assert crew.run("run", "-f", str(plan), "--yes", "--budget", "lots", extra=ENV).code == 2
    # A repository cannot send the key elsewhere, nor make what it spends free, nor raise what it may spend.
    crew.write(
        {
            ".nightcrew/config.yaml": "providers: {anthropic: {url: https://evil.example.org}}\nprices: {m: {input: 0, output: 0}}\n"
        }
    )
    refused = crew.run("run", "-f", str(plan), "--yes", extra=ENV)
    assert refused.code == 2
    assert "a repository does not decide where your keys go" in refused.stderr
    assert ".nightcrew/config.yaml:1:1" in refused.stderr
    crew.write({".nightcrew/config.yaml": "budget: {run: 99usd, task: 7usd}\n"})
    (crew.root / "config" / "nightcrew" / "config.yaml").open("a").write("budget: {run: 9usd}\n")
    shown = crew.run("plan", "-f", str(plan), extra=ENV).stdout
    assert "budget 9usd for all that models cost" in shown
    assert "budget 7usd" in shown
    crew.write({".nightcrew/policy.yaml": "version: 1\nbudget: {usd: 3}\n", ".nightcrew/config.yaml": ""})
    assert "budget 3usd for all" in crew.run("plan", "-f", str(plan), extra=ENV).stdout
    over = crew.run("run", "-f", str(plan), "--yes", "--budget", "4usd", extra=ENV)
    assert (over.code, "more than the policy allows: 3usd" in over.stderr) == (6, True), over


def test_a_model_without_a_price_is_refused_in_money_and_counted_otherwise(
    crew: Hermetic, model: ScriptedModel
) -> None:
    configure(crew, model.url)
    counted, bounded = tell("unknown"), tell("unknown", budget="5usd").partition("\n\n")[2]
    done = crew.run_tasks(
        counted + bounded.replace("] 1. Task 1", "] 2. Task 2"), "--budget", "5M", extra=ENV
    )
    assert done.code == 10, done
    first, second = done.json["tasks"]
    assert (first["state"], first["usage"]["unpriced"], first["usage"]["total_tokens"]) == (
        "succeeded",
        1,
        101_000,
    )
    assert second["state"] == "failed"
    assert "nobody knows the price of nobody-knows-9" in second["reason"]
    assert len(model.seen) == 1
    assert "101.0k tokens, price unknown" in crew.look("show", "R-1").stdout
    assert crew.look("keys", "prices", "nobody-knows-9").code == 3
    assert crew.look("keys", "prices", "claude-sonnet-4-5", "--json").json["prices"][0]["output"] == 15


def test_what_a_provider_does_decides_whether_to_try_again(crew: Hermetic) -> None:
    busy = Turn("no", fault=Fault("status", status=529))
    with ScriptedModel((Scenario((busy, *(Turn("yes", usage=USAGE),) * 9)),)) as model:
        configure(crew, model.url, "retries: {attempts: 1, provider_waits: [200ms, 200ms]}\n")
        done = crew.run_tasks(tell("thrice"), extra=ENV)
        assert done.code == 0, done
        assert done.json["tasks"][0]["attempts"] == 2
        failed = crew.look("show", "R-1/T01", "--json").json["tries"][0]
        assert (failed["failure"], "cannot answer at the moment (HTTP 529)" in failed["reason"]) == (
            "provider_down",
            True,
        )
        told = [event["data"] for event in read_events(crew) if event["kind"] == "model.failed"]
        assert [(each["class"], each["status"]) for each in told] == [("overloaded", 529)]


def test_a_killed_host_forgets_no_money(crew: Hermetic, model: ScriptedModel) -> None:
    configure(crew, model.url)
    plan = crew.write_plan(tell("thrice"))
    died = crew.run(
        "run", "-f", str(plan), "--yes", extra={**ENV, "NIGHTCREW_CRASH_AT": "engine.usage.recorded:2"}
    )
    assert died.code not in (0, 10)
    assert crew.show("R-1")["usage"]["requests"] == len(model.seen) == 2
    done = crew.run("resume", "R-1", "--json", extra=ENV, timeout_s=90)
    assert done.code == 0, done
    assert done.json["usage"]["requests"] == len(model.seen) == 5
    told = [event["data"] for event in read_events(crew) if event["kind"] == "usage.recorded"]
    assert sum(each["requests"] for each in told) == 5
    assert crew.look("audit", "verify").code == 0


def test_without_a_sandbox_the_gateway_is_at_a_port_of_the_machine(
    crew: Hermetic, model: ScriptedModel
) -> None:
    configure(crew, model.url, "isolation: {require: S0, backend: none}\n")
    done = crew.run_tasks(tell("thrice"), "--allow-unsandboxed", extra=ENV)
    assert done.code == 0, done
    assert (done.json["isolation"], done.json["usage"]["requests"]) == ("S0", 3)
    assert {seen.key for seen in model.seen} == {KEY}


def test_keys_are_listed_and_tried_and_never_shown(crew: Hermetic, model: ScriptedModel) -> None:
    assert "no providers" in crew.look("keys", "list").stderr
    configure(crew, model.url)
    secret = crew.home / "key"
    secret.write_text(KEY)
    secret.chmod(0o600)
    config = crew.root / "config" / "nightcrew" / "config.yaml"
    gone = "http://127.0.0.1:9"
    config.write_text(
        f'providers:\n  anthropic: {{url: "{model.url}", key: {{file: ~/key}}}}\n'
        f'  local: {{wire: openai, url: "{gone}", key: none}}\n'
        "  openai: {key: {env: NOT_SET_ANYWHERE}}\n"
    )
    listed = crew.look("keys", "list", "--json")
    assert [(each["name"], each["ready"]) for each in listed.json] == [
        ("anthropic", True), ("local", True), ("openai", False),
    ]  # fmt: skip
    tried = crew.run("keys", "check", "--json")
    assert [(each["name"], each["ok"], each["class"]) for each in tried.json] == [
        ("anthropic", True, ""), ("local", False, "network"), ("openai", False, "auth"),
    ]  # fmt: skip
    assert tried.code == 4
    assert crew.run("keys", "check", "anthropic").code == 0
    assert crew.run("keys", "check", "local").code == 1
    assert crew.run("keys", "check", "nobody").code == 3
    os.chmod(secret, 0o644)
    open_ = crew.look("keys", "list")
    assert "others can read ~/key" in open_.stdout
    assert KEY not in json.dumps([listed.stdout, tried.stdout, open_.stdout, open_.stderr])
