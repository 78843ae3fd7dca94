"""No role file, whatever it says, makes any decision weaker than it is without it; what is base holds under all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightcrew.host.shell import parse
from nightcrew.model.actions import Action, Change, PathChange, Verdict
from nightcrew.model.errors import InvalidInput
from nightcrew.model.network import USUAL_PORTS, AllowList, NetRequest, Place
from nightcrew.policy.contents import inspect_contents
from nightcrew.policy.inspect import inspect
from nightcrew.policy.judge import judge
from nightcrew.policy.load import default_policy, layer, parse_policy
from nightcrew.policy.network import judge_request, may_be_known
from nightcrew.policy.roles.putting import put_on
from nightcrew.policy.roles.reading import parse_role
from nightcrew.policy.roles.role import Role
from nightcrew.policy.rules import Policy
from nightcrew.runtime.rulebook.roletrying import SAMPLES

ORDER = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}

PROGRAMS = st.sampled_from(["*", "git", "pytest", "rm", "curl", "py*", "npm", "psql", "sudo", "nightcrew"])
GLOBS = st.sampled_from(
    ["**", "src/**", "*.md", "tests/**", ".github/**", "package.json", "docs/*", ".env", "//tmp/*"]
)
HOSTS = st.sampled_from(["*", "packages.example.net", "*.example.org", "example.org:8443"])
LINES = st.one_of(
    PROGRAMS.map(lambda p: f"run {p}"),
    st.sampled_from(["run git push", "run git push --force", "run npm install", "run pytest -k"]),
    st.tuples(st.sampled_from(["change", "write", "delete", "chmod", "symlink"]), GLOBS).map(" ".join),
    HOSTS.map(lambda h: f"net {h}"),
    st.sampled_from(["add *", "add left-pad"]),
    st.sampled_from([f"rule {rule.id}" for rule in default_policy().rules if rule.when]),
)
MAPPINGS = st.one_of(
    st.builds(
        lambda p, c: {"commands": {"program": p, "command": c}},
        PROGRAMS,
        st.sampled_from(["x", "push", "^git", "a b"]),
    ),
    st.builds(lambda p: {"commands": [{"program": p}, {"opaque": True}]}, PROGRAMS),
    st.builds(lambda g: {"files": {"paths": [g], "do": ["write"]}}, GLOBS),
    st.just({"dependencies": {"do": "add", "origin": "elsewhere"}}),
    st.just({"network": {"host": "*", "method": "GET"}}),
)
ENTRY = st.one_of(LINES, MAPPINGS)
ENTRIES = st.lists(ENTRY, min_size=1, max_size=4)
LIMITS = st.fixed_dictionaries(
    {}, optional={name: st.integers(0, 50) for name in ("files", "lines", "created", "deleted")}
)
ROLES = st.fixed_dictionaries(
    {
        "authority": st.fixed_dictionaries(
            {"autonomous": ENTRIES, "requires_approval": ENTRIES, "forbidden": ENTRIES},
            optional={"otherwise": st.sampled_from(["allow", "ask", "deny"])},
        )
    },
    optional={
        "risk_tolerance": st.sampled_from(["low", "medium", "high"]),
        "limits": st.fixed_dictionaries({}, optional={"soft": LIMITS, "hard": LIMITS}),
        "network": st.lists(st.sampled_from(["pypi", "example.org", "*.example.org", "ask"]), max_size=3),
        "confidence": st.just({"auto": 0.1, "flag": 0.05, "ask": 0}),
    },
)
POLICIES = st.sampled_from(
    [
        "",
        "defaults: {commands: deny, files: deny, network: deny}",
        "defaults: {commands: ask, files: ask, network: ask}",
        "defaults: {commands: allow, files: allow, network: allow}",
        "commands: [{id: a.b, when: {program: git}, decision: deny, reason: r}]\nfiles: [{id: a.c, when: {paths: [src/]}, decision: ask, reason: r}]",
        "commands: [{id: a.b, when: {opaque: true}, decision: deny, reason: r}]\nlimits: {soft: {files: 1}, hard: {files: 2}}",
        "network: {rules: [{id: n.x, when: {host: '*'}, decision: allow, reason: r}]}",
        "dependencies: [{id: d.x, when: {do: add}, decision: deny, reason: r}]",
    ]
)
WORDS = st.sampled_from(
    ["git push", "git push --force", "rm -rf build", "rm -rf /", "pytest -k x", "echo a > src/x", "curl x | sh", "$X y", "sudo ls",
     "cat a.md", "> src/a", "npm install left-pad", "psql -c 'drop table x'", "bash -c 'git push'", "nightcrew role new x", "env FOO=1 git push",
     "rm *.md", "echo ok && touch .env", "'", "for f in *; do rm $f; done", "chmod +x a"]
)  # fmt: skip
LINE = st.lists(WORDS, min_size=1, max_size=3).map("; ".join)
PATHS = st.sampled_from(["src/a.py", "README.md", "tests/t.py", ".git/config", ".nightcrew/roles/qa.yaml", "/etc/passwd", "package.json",
                         ".github/workflows/a.yml", ".env", "docs/x", "../up", "a*"])  # fmt: skip
ACTIONS = st.one_of(
    LINE.map(lambda line: Action("exec", command=line)),
    st.builds(
        lambda kind, paths: Action(kind, paths=tuple(paths), detail="x"),
        st.sampled_from(["write", "delete", "chmod", "symlink", "read", "other"]),
        st.lists(PATHS, min_size=1, max_size=2),
    ),
    st.sampled_from(
        ["packages.example.net:443", "example.org:443", "a.example.org:443", "evil.example.net:80"]
    ).map(lambda place: Action("net", detail=f"CONNECT {place}")),
)
REQUESTS = st.builds(
    NetRequest,
    st.sampled_from(["CONNECT", "GET"]),
    st.sampled_from(
        ["packages.example.net", "example.org", "a.example.org", "evil.example.net", "10.0.0.1", "localhost"]
    ),
    st.sampled_from([443, 80, 8443]),
)
ALLOWED = st.sampled_from(
    [AllowList(), AllowList((Place("packages.example.net"),)), AllowList((Place("*.example.org", USUAL_PORTS), Place("example.org", (8443,))))]
)  # fmt: skip
CHANGES = st.lists(
    st.builds(
        lambda path, kind, ignored: PathChange(
            path,
            kind,
            0 if kind == "added" else 0o100644,
            0 if kind == "deleted" else 0o100644,
            "" if kind == "added" else "old",
            "" if kind == "deleted" else "new",
            20,
            lines_added=7,
            ignored=ignored,
        ),
        st.sampled_from(["src/a.py", "README.md", "tests/t.py", "package.json", ".env", "migrations/1.sql"]),
        st.sampled_from(["added", "modified", "deleted"]),
        st.booleans(),
    ),
    max_size=5,
    unique_by=lambda each: each.path,
)
BLOBS = {"old": b"{}", "new": b'{"dependencies": {"left-pad": "1.0.0"}}\nDROP TABLE users;\n'}
MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def read(text: Any) -> Role | None:
    """A generated role; None for one that is refused, which is as good."""
    try:
        return parse_role(json.dumps(text), "made", "made.yaml", parse=parse)
    except InvalidInput:
        return None


def policy_of(text: str) -> Policy:
    return layer([default_policy(), parse_policy(text, "p")])


def worst(findings: Any) -> int:
    return max((ORDER[each.verdict] for each in findings), default=0)


@MANY
@given(ROLES, POLICIES, st.lists(ACTIONS, min_size=1, max_size=6))
def test_no_action_is_decided_weaker_under_a_role(text: Any, rules: str, actions: list[Action]) -> None:
    role, policy = read(text), policy_of(rules)
    if role is None:
        return
    under = put_on(policy, [role])
    for action in actions:
        before, after = judge(policy, action, parse=parse), judge(under, action, parse=parse)
        assert ORDER[after.verdict] >= ORDER[before.verdict], (action, before, after)


@MANY
@given(ROLES, POLICIES, REQUESTS, ALLOWED)
def test_no_host_is_opened_by_a_role(text: Any, rules: str, request: NetRequest, allowed: AllowList) -> None:
    role, policy = read(text), policy_of(rules)
    if role is None:
        return
    under = put_on(policy, [role])
    before, after = judge_request(policy, request, allowed), judge_request(under, request, allowed)
    assert ORDER[after.verdict] >= ORDER[before.verdict], (before, after)
    assert may_be_known(policy, request.host, allowed) or not may_be_known(under, request.host, allowed)


@MANY
@given(ROLES, POLICIES, CHANGES)
def test_no_change_is_found_less_of_under_a_role(text: Any, rules: str, paths: list[PathChange]) -> None:
    role, policy = read(text), policy_of(rules)
    if role is None:
        return
    under = put_on(policy, [role])
    change = Change("a", "b", tuple(paths))
    assert worst(inspect(under, change, scope=())) >= worst(inspect(policy, change, scope=()))
    found = [inspect_contents(each, change, BLOBS.__getitem__) for each in (policy, under)]
    assert worst(found[1]) >= worst(found[0])
    for name, placed in policy.settings.items():
        if name.startswith("limits.") and placed.value is not None:
            assert under.settings[name].value <= placed.value


@MANY
@given(ROLES, POLICIES)
def test_what_is_base_holds_under_every_role(text: Any, rules: str) -> None:
    role = read(text)
    if role is None:
        return
    under = put_on(policy_of(rules), [role])
    for action, weakest in SAMPLES:
        decision = judge(under, action, parse=parse)
        assert ORDER[decision.verdict] >= ORDER[weakest], (action, decision)


@MANY
@given(ROLES, ROLES, ACTIONS)
def test_two_files_of_a_role_both_hold(one: Any, other: Any, action: Action) -> None:
    roles = [role for role in (read(one), read(other)) if role is not None]
    policy = default_policy()
    both = judge(put_on(policy, roles), action, parse=parse)
    for role in roles:
        alone = judge(put_on(policy, [role]), action, parse=parse)
        assert ORDER[both.verdict] >= ORDER[alone.verdict]


@pytest.mark.parametrize(("action", "weakest"), SAMPLES, ids=lambda value: getattr(value, "kind", str(value)))
def test_a_role_that_opens_everything_opens_nothing(action: Action, weakest: Verdict) -> None:
    text = {
        "authority": {
            "autonomous": ["run *", "change **", "net *", "add *"],
            "requires_approval": ["run never-there"],
            "forbidden": ["run never-here"],
            "otherwise": "allow",
        },
        "risk_tolerance": "high",
    }
    role = read(text)
    assert role is not None
    loose = policy_of(
        "defaults: {network: allow}\ncommands: [{id: git.force_push, decision: ask, reason: r}, {id: destructive.remove_root, decision: ask, reason: r}]"
    )
    assert ORDER[judge(put_on(loose, [role]), action, parse=parse).verdict] >= ORDER[weakest]
