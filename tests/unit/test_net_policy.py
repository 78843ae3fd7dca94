"""Requests to the network under a policy: what is closed for ever, what a list opens, what rules say."""

from __future__ import annotations

import pytest

from nightcrew.model.actions import Action, Verdict
from nightcrew.model.errors import InvalidInput
from nightcrew.model.network import AllowList, NetRequest, Place
from nightcrew.policy.hosts import BadHost, as_address, is_inward, read_host
from nightcrew.policy.judge import judge
from nightcrew.policy.load import layer, parse_policy
from nightcrew.policy.network import (
    allow_list,
    find_internal,
    judge_request,
    may_be_known,
    net_limits,
    presets_of,
    read_request,
)
from nightcrew.policy.places import make_allow_list, matches_host, read_item, read_place, shipped_presets
from nightcrew.policy.rules import Policy
from nightcrew.runtime.plans.networking import describe

NOTHING = AllowList()


def policy(text: str = "", *, outer: str = "") -> Policy:
    layers = [parse_policy(f"version: 1\n{outer}", "outer.yaml", ceiling=True)] if outer else []
    return layer([*layers, parse_policy(f"version: 1\n{text}", "policy.yaml", parse=None)])


def said(request: str, text: str = "", allowed: AllowList = NOTHING) -> tuple[str, str]:
    decision = judge_request(policy(text), read_request(request), allowed)
    return decision.verdict.value, decision.rule


# -- names and addresses


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Example.ORG.", "example.org"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("8.8.8.8", "8.8.8.8"),
        ("[2606:4700::1111]", "2606:4700::1111"),
        ("[::FFFF:7f00:1]", "::ffff:7f00:1"),
        ("1.2.3.4.example.org", "1.2.3.4.example.org"),
    ],
)
def test_a_host_has_one_notation(written: str, meant: str) -> None:
    assert (
        as_address(read_host(written)) == as_address(meant) if ":" in meant else read_host(written) == meant
    )


@pytest.mark.parametrize(
    "written",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "127.0.1", "0x7f.0x0.0x0.0x1", "127.0.0.01", "0",
        "0x", "1.2.3.4.5", "256.1.1.1", "example.0x1", "example.1", "[fe80::1%eth0]", "[::1", "[127.0.0.1]", "[v1.x]",
        "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "exa mple.org", "example..org", ".example.org", "", ".", "..",
        "-a.org", "a-.org", "a" * 64 + ".org", "a." * 127 + "org", "exam\0ple.org", "example.org/", "user@example.org",
        "example.org:80", "%6c%6f%63alhost", "b\u00fccher.example", "_", "fe80::1%1", "::1",
    ],
)  # fmt: skip
def test_what_is_no_host_in_one_notation_is_refused(written: str) -> None:
    if written == "_":
        assert read_host(written) == "_"
        return
    with pytest.raises(BadHost):
        read_host(written)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.66.0.1", "10.0.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "100.100.100.200", "0.0.0.0", "255.255.255.255", "224.0.0.1", "168.63.129.16", "192.0.0.192", "198.18.0.1",
        "::1", "::", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "fe80::1",
        "fd00:ec2::254", "fc00::1", "ff02::1", "::7f00:1", "fec0::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_inside(address: str) -> None:
    found = as_address(address)
    assert found is not None
    assert is_inward(found)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::1", "100.128.0.1"]
)
def test_addresses_outside(address: str) -> None:
    found = as_address(address)
    assert found is not None
    assert not is_inward(found)


def test_globs_of_hosts() -> None:
    assert matches_host("*.example.org", "a.b.example.org")
    assert not matches_host("*.example.org", "example.org")
    assert not matches_host("*.example.org", "badexample.org")
    assert not matches_host("example.org", "example.org.evil.test")
    assert matches_host("api-*.example.org", "api-eu.example.org")
    assert not matches_host("api-*.example.org", "api-eu.x.example.org")
    assert matches_host("*", "anything.test")


# -- lists


def test_every_shipped_preset_can_be_read_and_names_public_hosts() -> None:
    presets = shipped_presets()
    assert {
        "pypi",
        "npm",
        "crates",
        "go",
        "rubygems",
        "maven",
        "nuget",
        "packagist",
        "debian",
        "github",
    } <= set(presets)
    for preset in presets.values():
        assert preset.about
        assert preset.places
        for place in preset.places:
            assert not place.ports
            assert "." in place.host
            assert "*" not in place.host


@pytest.mark.parametrize(
    "written",
    [
        "https://example.org", "example.org/path", "*", "*.org", "*.", "127.0.0.1", "[::1]:80", "10.0.0.1:443",
        "example.org:0", "example.org:99999", "example.org:http", "nodot!", "a b", "*.1.2.3.4", "exa*mple.org",
    ],
)  # fmt: skip
def test_places_that_cannot_be_listed(written: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_place(written)


def test_a_list_per_phase() -> None:
    items = [read_item(text) for text in ("install:pypi", "example.org:8443", "*.example.net", "install:ask")]
    work = make_allow_list(items, shipped_presets(), "work")
    install = make_allow_list(items, shipped_presets(), "install")
    assert work == AllowList((Place("example.org", (8443,)), Place("*.example.net")))
    assert [place.host for place in install.places] == [p.host for p in shipped_presets()["pypi"].places]
    assert (install.asks, install.any, work.asks, NOTHING.any) == (True, True, False, False)
    with pytest.raises(ValueError, match="did you mean `pypi`"):
        make_allow_list([read_item("pypy")], shipped_presets(), "work")


def test_a_policy_gives_lists_presets_and_limits() -> None:
    found = policy(
        "network:\n"
        "  work: [corp]\n  install: [npm]\n  presets: {corp: [git.corp.example, cache.corp.example:8080]}\n"
        "  limits: {rate_per_minute: 10, bytes: 5MB, connections: 3}\n"
    )
    assert {"corp", "npm"} <= set(presets_of(found))
    work = allow_list(found, "work", [("example.org", "Network: of T01")])
    assert [(p.host, p.ports) for p in work.places] == [
        ("git.corp.example", ()), ("cache.corp.example", (8080,)), ("example.org", ()),
    ]  # fmt: skip
    assert work.places[-1].why == "Network: of T01"
    assert [p.why for p in allow_list(found, "install", []).places] == ["preset npm"]
    limits = net_limits(found)
    assert (limits.rate_per_minute, limits.total_bytes, limits.connections) == (10, 5_000_000, 3)


# -- decisions

LISTED = AllowList((Place("example.org"), Place("*.example.net"), Place("db.example.com", (5432,))))


@pytest.mark.parametrize(
    ("request_", "verdict"),
    [
        ("CONNECT example.org:443", "allow"),
        ("GET http://example.org", "allow"),
        ("CONNECT example.org:22", "ask"),
        ("CONNECT example.org:80", "ask"),
        ("CONNECT db.example.com:5432", "allow"),
        ("CONNECT db.example.com:443", "ask"),
        ("CONNECT a.b.example.net:443", "allow"),
        ("CONNECT example.net:443", "ask"),
        ("CONNECT other.test:443", "ask"),
        ("CONNECT 8.8.8.8:443", "ask"),
        ("CONNECT 127.0.0.1:443", "deny"),
        ("CONNECT [::1]:443", "deny"),
        ("CONNECT [::ffff:8.8.8.8]:443", "deny"),
        ("GET http://169.254.169.254", "deny"),
        ("GET http://metadata.google.internal", "deny"),
        ("CONNECT localhost:443", "deny"),
        ("CONNECT printer.local:443", "deny"),
        ("CONNECT intranet:443", "deny"),
    ],
)
def test_what_a_list_opens(request_: str, verdict: str) -> None:
    assert said(request_, allowed=LISTED)[0] == verdict


RULES = """
network:
  rules:
    - id: net.no_uploads
      when: {host: "*.example.net", method: [PUT, POST]}
      decision: deny
      reason: nothing is published from here
      examples: {match: [POST http://a.example.net], not_match: [GET http://a.example.net, "CONNECT a.example.net:443"]}
    - id: net.docs
      when: {host: docs.example.com, port: 443}
      decision: allow
      reason: documentation
    - id: net.careful
      when: {host: example.org}
      decision: ask
      reason: look twice
"""


def test_a_rule_that_denies_beats_the_list_and_the_list_beats_a_question() -> None:
    assert said("POST http://a.example.net", RULES, LISTED) == ("deny", "net.no_uploads")
    assert said("GET http://a.example.net", RULES, LISTED) == ("allow", "net.listed")
    assert said("CONNECT example.org:443", RULES, LISTED) == ("allow", "net.listed")
    assert said("CONNECT example.org:443", RULES) == ("ask", "net.careful")
    assert said("CONNECT docs.example.com:443", RULES) == ("allow", "net.docs")
    assert said("CONNECT docs.example.com:80", RULES) == ("ask", "defaults.network")
    assert said("CONNECT other.test:443", "defaults: {network: deny}") == ("deny", "defaults.network")
    assert said("CONNECT 10.0.0.1:443", "defaults: {network: allow}") == ("deny", "net.inside")


def test_an_action_of_kind_net_is_judged_and_one_that_cannot_be_read_is_denied() -> None:
    def parse(_: str) -> dict[str, object]:
        raise AssertionError

    docs = NetRequest("CONNECT", "docs.example.com", 443).action
    assert judge(policy(RULES), docs, parse=parse).verdict is Verdict.ALLOW
    for detail in ("", "CONNECT", "GET example.org:80", "CONNECT 0x7f.1:443", "get http://x.test", "a b c"):
        assert judge(policy(RULES), Action(kind="net", detail=detail), parse=parse).verdict is Verdict.DENY


def test_names_are_known_inside_when_something_at_them_can_be_reached() -> None:
    found = policy(RULES)
    assert may_be_known(found, "example.org", LISTED)
    assert may_be_known(found, "db.example.com", LISTED)
    assert may_be_known(found, "docs.example.com", NOTHING)
    assert not may_be_known(found, "secret-data.evil.test", LISTED)
    assert not may_be_known(policy("defaults: {network: allow}"), "localhost", LISTED)


INTERNAL = """
network:
  internal:
    - {host: "db.corp.example:5432", address: "10.1.2.3", reason: test database}
    - {host: "localhost:9000", address: "127.0.0.1:9001", reason: a server of mine}
"""


def test_hosts_of_ones_own_network_are_reached_by_name_at_one_address() -> None:
    found = policy(INTERNAL)
    where = find_internal(found, NetRequest("CONNECT", "db.corp.example", 5432))
    assert where is not None
    assert (where.address, where.address_port) == ("10.1.2.3", 5432)
    own = find_internal(found, NetRequest("CONNECT", "localhost", 9000))
    assert own is not None
    assert (own.address, own.address_port) == ("127.0.0.1", 9001)
    assert find_internal(found, NetRequest("CONNECT", "db.corp.example", 22)) is None
    # It still has to be allowed by somebody, and its address alone opens nothing.
    assert said("CONNECT localhost:9000", INTERNAL) == ("ask", "defaults.network")
    assert said("CONNECT 10.1.2.3:5432", INTERNAL)[0] == "deny"
    assert said("CONNECT localhost:9002", INTERNAL)[0] == "deny"


# -- the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {work: [https://example.org]}", "is a URL"),
        ("network: {work: [10.0.0.1]}", "network.internal"),
        ("network: {presets: {pypi: [evil.test]}}", "is shipped"),
        ("network: {presets: {mine: [pypi]}}", "neither a preset nor a host"),
        ("network: {internal: [{host: 'a.test:80', address: 169.254.169.254, reason: r}]}", "metadata"),
        ("network: {internal: [{host: a.test, address: 10.0.0.1, reason: r}]}", "with its port"),
        ("network: {internal: [{host: 'a.test:80', address: b.test, reason: r}]}", "at an address"),
        ("network: {limits: {bytes: lots}}", "lots"),
        ("network: {limits: {rate_per_minute: 0}}", "0"),
        ("network: {rules: [{id: n.x, when: {host: 'a/b'}, decision: deny, reason: r}]}", "bad glob"),
        ("network: {rules: [{id: n.x, when: {method: get}, decision: deny, reason: r}]}", "get"),
        ("network: {sites: [a.test]}", "sites"),
    ],
)  # fmt: skip
def test_mistakes_are_found_at_load(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as found:
        policy(text)
    assert message in str(found.value) + "".join(map(str, found.value.where))


def test_the_owner_of_the_machine_bounds_what_inner_files_open() -> None:
    outer = "network: {work: [pypi], limits: {rate_per_minute: 30}}"
    assert net_limits(policy("network: {limits: {rate_per_minute: 20}}", outer=outer)).rate_per_minute == 20
    for text in ("network: {work: [pypi, evil.test]}", "network: {limits: {rate_per_minute: 31}}"):
        with pytest.raises(InvalidInput) as found:
            policy(text, outer=outer)
        assert "cannot be looser than in outer.yaml:2" in "".join(map(str, found.value.where))


def test_a_plan_tells_where_hosts_of_ones_own_network_lead_to() -> None:
    found = policy('network: {internal: [{host: "db.corp.example:5432", address: 127.0.0.1, reason: ours}]}')
    assert "db.corp.example:5432 is 127.0.0.1:5432 of your own network" in describe(LISTED, found)
    assert "own network" not in describe(LISTED, policy())
