"""Role files: every problem at its place, entries in words, hours, what is laid over a policy, whether a task fits."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Verdict
from nightcrew.model.errors import InvalidInput, Place
from nightcrew.model.network import AllowList, NetRequest
from nightcrew.model.network import Place as NetPlace
from nightcrew.model.plans import Task
from nightcrew.policy.judge import judge
from nightcrew.policy.load import default_policy, layer, parse_policy
from nightcrew.policy.network import judge_request
from nightcrew.policy.roles.fitting import find_misfits
from nightcrew.policy.roles.hours import Hours, read_hours
from nightcrew.policy.roles.putting import BASE, TEMPLATES, base_role, put_on, shipped_text
from nightcrew.policy.roles.reading import parse_role, role_schema
from nightcrew.policy.roles.role import Role

AUTHORITY = "authority:\n  autonomous: [run *, change tests/**]\n  requires_approval: [run git commit]\n  forbidden: [run git push]\n"


def role_of(text: str, name: str = "qa", **options: str) -> Role:
    return parse_role(text, name, f"roles/{name}.yaml", parse=parse, **options)


def problems_of(text: str, name: str = "qa") -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        role_of(text, name)
    return [str(problem) for problem in caught.value.problems]


def verdict(role: Role, action: Action, policy: str = "") -> tuple[str, str, str]:
    made = layer([default_policy(), parse_policy(policy, "p")])
    decision = judge(put_on(made, [role]), action, parse=parse)
    return str(decision.verdict), decision.rule, decision.source


# --- reading ----------------------------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once_each_at_its_place() -> None:
    text = (
        'version: 2\ncompetences: [x]\nauthority:\n  autonomous: [run *, rnu x, "write !a", run /bin/x]\n'
        "  requires_approval:\n    - {id: a, action: net a b}\n    - {commands: {program: x}, files: {paths: [y]}}\n    - {reason: x}\n"
        "  forbidden:\n    - {id: a, action: rule git.pusch}\n"
        "caps: {task: much, attempt: 0s}\nconfidence: {auto: 0.5, flag: 0.7}\nnetwork: [install:pypi, a/b]\n"
        'working_hours: {from: "25:00", to: "06:00", tz: Europe/Berlim, days: [moonday]}\n'
    )
    found = "\n".join(problems_of(text))
    for expected in (
        "roles/qa.yaml:1:10",
        "roles/qa.yaml:2:1: unknown key 'competences'",
        "roles/qa.yaml:4:",
        "did you mean 'run'?",
        "takes something out",
        "names a folder",
        "roles/qa.yaml:6:",
        "roles/qa.yaml:7:",
        "says twice what it is about",
        "does not say what it is about",
        "there is no shipped rule 'git.pusch'; did you mean 'git.push'?",
        "'much' is not a budget",
        "must be more than nothing",
        "must not be above flag",
        "holds in every phase",
        "'25:00' is no time of day",
        "no time zone 'Europe/Berlim'",
        "is no day",
    ):
        assert expected in found, (expected, found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "authority: {}",
        "authority: {autonomous: [], requires_approval: [run x], forbidden: [run y]}",
    ],
)
def test_a_role_without_authority_is_none(text: str) -> None:
    assert problems_of(text)


def test_the_name_of_the_file_is_the_name_of_the_role() -> None:
    assert "is no name for a role" in problems_of(AUTHORITY, "Night_QA")[0]
    assert role_of(AUTHORITY, "night-qa").name == "night-qa"


def test_what_is_forbidden_cannot_be_autonomous_too() -> None:
    text = "authority:\n  autonomous: [run git push]\n  requires_approval: [run x]\n  forbidden:\n    - run git push\n"
    assert problems_of(text) == [
        "roles/qa.yaml:2:16: authority.autonomous: stands in forbidden too (line 5), and can only be one of both"
    ]


def test_examples_are_checked_like_those_of_a_policy() -> None:
    entry = (
        "    - {id: x, action: run git push, examples: {match: [git pull], not_match: [git push origin x]}}\n"
    )
    text = f"authority:\n  autonomous: [run *]\n  requires_approval: [run y]\n  forbidden:\n{entry}"
    found = problems_of(text)
    assert len(found) == 2
    assert "rule role:qa.x: does not match its own example" in found[0]
    assert "matches this, and says it does not" in found[1]


def test_a_schema_for_editors_is_complete_in_itself() -> None:
    from jsonschema import Draft202012Validator

    schema = role_schema()
    Draft202012Validator.check_schema(schema)
    from ruamel.yaml import YAML

    for name in (BASE, *TEMPLATES):
        Draft202012Validator(schema).validate(YAML(typ="safe", pure=True).load(shipped_text(name)))


@pytest.mark.parametrize("name", [BASE, *TEMPLATES])
def test_shipped_roles_are_valid_and_their_examples_hold(name: str) -> None:
    role = parse_role(shipped_text(name), name, f"roles/{name}.yaml", layer="shipped", parse=parse)
    assert role.title
    assert role.forbidden


# --- deciding -----------------------------------------------------------------------------------------------------------


def test_each_list_has_its_answer_and_the_place_of_its_line() -> None:
    role = role_of(AUTHORITY)
    assert verdict(role, Action("exec", command="pytest -q"))[0] == "allow"
    assert verdict(role, Action("exec", command="git commit -m x"))[:2] == (
        "ask",
        "role:qa.requires_approval.1",
    )
    assert verdict(role, Action("exec", command="make && git push")) == (
        "deny",
        "role:qa.forbidden.1",
        "roles/qa.yaml:4",
    )
    assert verdict(role, Action("write", paths=("tests/a.py",)))[0] == "allow"
    assert verdict(role, Action("write", paths=("src/a.py",))) == (
        "ask",
        "role:qa.otherwise",
        "roles/qa.yaml:1",
    )


@pytest.mark.parametrize(("otherwise", "expected"), [("ask", "ask"), ("deny", "deny"), ("allow", "allow")])
def test_what_is_not_named_goes_by_otherwise(otherwise: str, expected: str) -> None:
    role = role_of(f"{AUTHORITY}  otherwise: {otherwise}\n")
    assert verdict(role, Action("delete", paths=("src/a.py",)))[0] == expected
    # What needs an approval is named: otherwise does not make a no of it.
    assert verdict(role, Action("exec", command="git commit -m x"))[0] == "ask"


def test_what_a_role_may_by_itself_the_policy_can_still_forbid() -> None:
    denies = "commands: [{id: a.b, when: {program: pytest}, decision: deny, reason: r}]"
    assert verdict(role_of(AUTHORITY), Action("exec", command="pytest"), denies)[:2] == ("deny", "a.b")


def test_a_role_takes_the_place_of_no_default() -> None:
    role = role_of(f"{AUTHORITY}  otherwise: ask\n")
    assert verdict(role, Action("exec", command="> src/x"), "defaults: {commands: deny}")[0] == "deny"
    assert (
        verdict(role, Action("net", detail="CONNECT a.example.org:443"), "defaults: {network: deny}")[0]
        == "deny"
    )


def test_a_shipped_rule_is_named_by_its_id() -> None:
    text = "authority:\n  autonomous: [run *]\n  requires_approval: [run y]\n  forbidden: [rule git.push]\n"
    loose = "commands: [{id: git.push, decision: allow, reason: r}]"
    assert verdict(role_of(text), Action("exec", command="git push origin docs"), loose)[:2] == (
        "deny",
        "role:qa.forbidden.1",
    )


@pytest.mark.parametrize(("tolerance", "expected"), [("low", "ask"), ("medium", "ask"), ("high", "allow")])
def test_what_is_riskier_than_a_role_takes_is_asked(tolerance: str, expected: str) -> None:
    rule = "commands: [{id: a.b, when: {program: release}, decision: allow, risk: high, reason: r}]"
    role = role_of(f"{AUTHORITY}risk_tolerance: {tolerance}\n")
    assert verdict(role, Action("exec", command="release x"), rule)[0] == expected


def test_limits_only_lower() -> None:
    policy = layer([default_policy(), parse_policy("limits: {soft: {files: 10, lines: unlimited}}", "p")])
    under = put_on(
        policy, [role_of(f"{AUTHORITY}limits: {{soft: {{files: 50, lines: 5}}, hard: {{created: 1}}}}\n")]
    )
    assert {
        name: under.settings[f"limits.{name}"].value for name in ("soft.files", "soft.lines", "hard.created")
    } == {
        "soft.files": 10,
        "soft.lines": 5,
        "hard.created": 1,
    }


def test_a_role_has_its_hosts_and_no_others() -> None:
    text = AUTHORITY.replace("[run *,", "[run *, net *,")
    role = role_of(f"{text}network: [example.org, '*.example.com:8443']\n")
    under = put_on(default_policy(), [role])
    listed = AllowList(
        (NetPlace("example.org"), NetPlace("packages.example.net"), NetPlace("a.example.com", (8443,)))
    )

    def answer(host: str, port: int = 443) -> tuple[str, str]:
        decision = judge_request(under, NetRequest("CONNECT", host, port), listed)
        return str(decision.verdict), decision.rule

    assert answer("example.org") == ("allow", "net.listed")
    assert answer("a.example.com", 8443) == ("allow", "net.listed")
    assert answer("packages.example.net") == ("deny", "role:qa.network")
    asking = put_on(default_policy(), [role_of(f"{text}network: [ask]\n")])
    assert judge_request(asking, NetRequest("CONNECT", "b.org", 443), AllowList()).verdict is Verdict.ASK


def test_an_approved_list_answers_what_a_role_asks_and_an_open_policy_does_not() -> None:
    policy = layer([default_policy(), parse_policy("defaults: {network: allow}", "p")])
    under = put_on(policy, [role_of(AUTHORITY.replace("[run *,", "[run *, net *,"))])
    request = NetRequest("CONNECT", "example.org", 443)
    assert judge_request(under, request, AllowList()).rule == "role:base.network"
    assert judge_request(under, request, AllowList((NetPlace("example.org"),))).verdict is Verdict.ALLOW


def test_gates_of_a_role_are_added() -> None:
    under = put_on(default_policy(), [role_of(f"{AUTHORITY}gates: [{{id: t, run: make test}}]\n")])
    assert [(gate.value.id, gate.value.run) for gate in under.gates] == [("role:qa.t", "make test")]


def test_a_digest_is_about_what_decides() -> None:
    one, other = role_of(AUTHORITY), role_of(f"# a comment\n{AUTHORITY}")
    assert one.digest == other.digest
    assert one.digest != role_of(AUTHORITY.replace("git push", "git pull")).digest
    assert put_on(default_policy(), [one]).digest == put_on(default_policy(), [other]).digest
    assert put_on(default_policy(), [one]).digest != default_policy().digest


def test_an_entry_called_like_what_a_role_has_anyway_is_not_lost() -> None:
    text = AUTHORITY.replace(
        "[run git push]", "[{id: network, action: net evil.example}, {id: otherwise, action: run evil}]"
    )
    role = role_of(f"{text}network: [ask]\n")
    assert verdict(role, Action("exec", command="evil"))[0] == "deny"
    assert verdict(role, Action("net", detail="CONNECT evil.example:443"))[0] == "deny"


@pytest.mark.parametrize(
    "rule", [rule.id for rule in base_role().rules if rule.decision is not Verdict.ALLOW]
)
def test_every_base_restriction_has_a_reason_and_a_place(rule: str) -> None:
    found = next(each for each in base_role().rules if each.id == rule)
    assert found.reason
    assert found.source.startswith("roles/base.yaml:")


# --- hours --------------------------------------------------------------------------------------------------------------

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours(22 * 60, 6 * 60, (0, 1, 2, 3, 4), "Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-20T22:00", True),  # a Friday
        ("2026-11-20T21:59", False),
        ("2026-11-21T05:59", True),
        ("2026-11-21T06:00", False),
        ("2026-11-21T23:00", False),  # Saturday
        ("2026-11-22T23:00", False),
        ("2026-11-23T05:00", False),  # the night that began on Sunday
        ("2026-11-23T22:30", True),
    ],
)
def test_a_night_belongs_to_the_day_it_begins_on(moment: str, is_open: bool) -> None:
    assert NIGHT.is_open(datetime.fromisoformat(moment).replace(tzinfo=BERLIN)) is is_open


@pytest.mark.parametrize(
    ("since", "until"), [(22 * 60, 6 * 60), (9 * 60, 17 * 60), (0, 0), (0, 1440), (2 * 60 + 30, 3 * 60)]
)
@pytest.mark.parametrize("start", ["2026-03-28T12:00", "2026-10-24T12:00", "2026-11-20T12:00"])
def test_the_next_change_is_where_it_opens_or_closes(since: int, until: int, start: str) -> None:
    """Against looking at every minute of four days, also where the clocks are changed."""
    hours = Hours(since, until, zone="Europe/Berlin")
    now = datetime.fromisoformat(start).replace(tzinfo=BERLIN).astimezone(UTC)
    minutes = [now + timedelta(minutes=each) for each in range(4 * 24 * 60)]
    changes = [b for a, b in itertools.pairwise(minutes) if hours.is_open(a) != hours.is_open(b)]
    if not changes:
        assert hours.next_change(now) - now == timedelta(days=7)
        return
    found, at = [], now
    while len(found) < len(changes):
        at = hours.next_change(at)
        found.append(at)
    assert found == changes


def test_recorded_hours_are_read_again() -> None:
    from nightcrew.model import canonical

    assert read_hours(canonical.to_plain(NIGHT)) == NIGHT
    assert NIGHT.describe() == "22:00-06:00 mon tue wed thu fri (Europe/Berlin)"


# --- fitting ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "scope", "fits"),
    [
        ("Cover the parser with tests", (), True),
        ("Make amounts work", ("tests/**",), True),
        ("Ship the release", ("src/**",), False),
        ("Ship the release", (), False),
        ("Make amounts work", ("tests/**", "src/**"), False),
        ("Attest the build", (), False),
    ],
)
def test_a_task_fits_by_words_or_by_scope(title: str, scope: tuple[str, ...], fits: bool) -> None:
    role = role_of(f"competencies: [testing]\n{AUTHORITY}")
    task = Task("T01", "1", title, Place("tasks.md", 1), scope=scope)
    assert (not list(find_misfits(task, role))) is fits


def test_an_agent_that_is_not_for_the_role_is_told() -> None:
    role = role_of(f"agents: [claude, 'codex*']\n{AUTHORITY}")
    task = Task("T01", "1", "x", Place("tasks.md", 1), agent="command")
    said, source = next(find_misfits(task, role))
    assert "for claude, codex*, and the task has command" in said
    assert source == "roles/qa.yaml:1"


@pytest.mark.parametrize(
    ("zone", "hours", "now", "changes"),
    [
        # 23:00 to 24:00 of 28 March is left out there: what opens at 23:59 opens at midnight.
        ("America/Nuuk", (1439, 135), "2026-03-28T09:32:00+00:00", "2026-03-29T01:00:00+00:00"),
        # The whole of 30 December 2011, a Friday, is left out.
        ("Pacific/Apia", (180, 135), "2011-12-30T06:45:00+00:00", "2011-12-30T10:00:00+00:00"),
    ],
)
def test_hours_of_which_the_beginning_is_left_out_by_a_change_of_clocks(zone, hours, now, changes):
    days = (2, 3) if zone == "Pacific/Apia" else tuple(range(7))
    found = Hours(*hours, days, zone).next_change(datetime.fromisoformat(now))
    assert found == datetime.fromisoformat(changes)
