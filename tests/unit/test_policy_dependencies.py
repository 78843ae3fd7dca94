"""Manifests read: what a change adds, moves and removes; rules about it; what cannot be read is never taken for fine."""

from __future__ import annotations

import json

import pytest

from nightcrew.model.actions import Change, PathChange, Verdict
from nightcrew.policy.anomalies import find_anomalies, weigh_risk
from nightcrew.policy.contents import inspect_contents
from nightcrew.policy.dependencies import compare_manifests, is_manifest, read_manifest
from nightcrew.policy.load import layer, parse_policy

MANIFESTS = [
    ("requirements.txt", "Limits==3.1  # why\n-r other.txt\n-e git+https://example.org/x#egg=own\nflask[async] >=2 ; python_version>'3'\n",
     {"limits": "==3.1", "own": "@ git+https://example.org/x#egg=own", "flask": ">=2"}),
    ("pyproject.toml", '[project]\ndependencies = ["a_b>=1"]\n[project.optional-dependencies]\nx = ["c"]\n[dependency-groups]\nt = ["d~=2"]\n[build-system]\nrequires = ["hatchling"]\n',
     {"a-b": ">=1", "c": "", "d": "~=2", "hatchling": ""}),
    ("pyproject.toml", '[tool.poetry.dependencies]\npython = "^3"\nlimits = {version = "3", git = "https://example.org"}\n[tool.poetry.group.dev.dependencies]\npytest = "*"\n',
     {"limits": "3 git https://example.org", "pytest": "*"}),
    ("web/package.json", json.dumps({"dependencies": {"a": "^1"}, "devDependencies": {"b": "file:../b"}}), {"a": "^1", "b": "file:../b"}),
    ("Cargo.toml", '[dependencies]\nserde = "1"\nown = {path = "../own"}\n[target.x.dev-dependencies]\nz = "2"\n', {"serde": "1", "own": "path ../own", "z": "2"}),
    ("go.mod", "module x\nrequire (\n\texample.org/a v1.2.3\n)\nrequire example.org/b v0.1.0 // indirect\nreplace example.org/a => ../a\n",
     {"example.org/a": "v1.2.3 | @ ../a", "example.org/b": "v0.1.0"}),
    ("Gemfile", "source 'x'\ngem 'rails', '~> 7.0'\ngem \"own\", git: 'https://example.org'\n", {"rails": "~> 7.0", "own": "git: https://example.org"}),
    ("composer.json", json.dumps({"require": {"a/b": "^1"}}), {"a/b": "^1"}),
    ("Pipfile", '[packages]\na = "*"\n', {"a": "*"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "found"), MANIFESTS, ids=[f"{n}-{row[0]}" for n, row in enumerate(MANIFESTS)]
)
def test_a_manifest_is_read(path: str, text: str, found: dict[str, str]) -> None:
    assert is_manifest(path)
    assert read_manifest(path, text.encode()) == found


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("package.json", b"{"),
        ("package.json", b"[1]"),
        ("pyproject.toml", b"= 1"),
        ("go.mod", b"\xff\xfe"),
        ("Cargo.toml", b"[dependencies]\nx = 1\n" * 60000),
    ],
)
def test_what_cannot_be_read_is_said(path: str, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_manifest(path, data)


def test_what_a_change_means() -> None:
    old, new = b"a==1\nb==1\nc==1\n", b"a==2\nc==1\nd @ https://example.org/d.whl\n"
    found = {each.name: each for each in compare_manifests("requirements.txt", old, new)}
    assert {name: each.do for name, each in found.items()} == {"a": "change", "b": "remove", "d": "add"}
    assert (found["a"].old, found["a"].spec, found["a"].pinned) == ("==1", "==2", True)
    assert (found["d"].origin, found["a"].origin) == ("elsewhere", "registry")


BLOBS = {
    "old": b'{"dependencies": {"a": "1.0.0"}}',
    "new": b'{"dependencies": {"a": "1.0.0", "b": "^2", "c": "github:x/c"}}',
    "bad": b"{",
    "sql": b"CREATE TABLE x (a int);\nDROP TABLE y;\n",
    "more": b"CREATE TABLE x (a int);\nDROP TABLE y;\nDELETE FROM z;\n",
    "fine": b"SELECT 1;\n",
}


def change(path: str, old: str, new: str) -> Change:
    kind = "modified" if old and new else "added" if new else "deleted"
    size = len(BLOBS[new]) if new else 0
    return Change(
        "o", "n", (PathChange(path, kind, 0o100644 if old else 0, 0o100644 if new else 0, old, new, size),)
    )


def inspect(made: Change, text: str = "") -> list[tuple[str, str, str]]:
    policy = layer([parse_policy(text, "p")])
    return [(f.rule, str(f.verdict), f.risk) for f in inspect_contents(policy, made, BLOBS.__getitem__)]


def test_dependencies_of_a_change_are_told() -> None:
    found = inspect(change("package.json", "old", "new"))
    assert found == [("dependencies.new", "allow", "medium"), ("dependencies.elsewhere", "ask", "high")]
    assert inspect(change("package.json", "new", "new")) == []
    assert inspect(change("package.json", "old", "bad")) == [("dependencies.unreadable", "ask", "medium")]
    assert inspect(change("package.json", "bad", "old")) == [("dependencies.new", "allow", "medium")]


def test_a_rule_of_ones_own_about_dependencies() -> None:
    text = (
        "dependencies:\n  - id: no.b\n    when: {name: [b, x-*], ecosystem: node, do: add}\n    unless: {name: x-ok}\n"
        "    decision: deny\n    reason: no\n    examples: {match: [add node b ^1, add node X-1], not_match: [add node x-ok, add python b, remove node b]}\n"
        "  - {id: pin, when: {pinned: false}, decision: ask, reason: pin it, examples: {match: [add node a ^1], not_match: [add node a 1.0.0]}}\n"
    )
    from nightcrew.host.shell import parse

    parse_policy(text, "p", parse=parse)
    assert ("no.b", "deny", "medium") in inspect(change("package.json", "old", "new"), text)


def test_sql_in_a_file_is_told_when_it_is_new() -> None:
    assert inspect(change("db/1.sql", "", "sql")) == [("sql.file", "allow", "high")]
    assert inspect(change("db/1.sql", "sql", "more")) == [("sql.file", "allow", "high")]
    assert inspect(change("db/1.sql", "more", "sql")) == []
    assert inspect(change("db/1.sql", "", "fine")) == []
    assert inspect(change("notes.md", "", "sql")) == []
    text = "files: [{id: sql.file, decision: deny, reason: no}]"
    assert inspect(change("db/1.sql", "", "sql"), text) == [("sql.file", "deny", "high")]


def test_what_is_odd_raises_the_risk() -> None:
    policy = layer([])
    paths = tuple(PathChange(f"src/{n}.py", "added", 0, 0o100644, "", "x") for n in range(7))
    made = Change("o", "n", (*paths, PathChange("Dockerfile", "added", 0, 0o100644, "", "x")))
    rules = [f.rule for f in find_anomalies(policy, made, scope=(), expected=2)]
    assert rules == ["anomalies.scope_multiplier", "anomalies.unexpected_file_types"]
    assert find_anomalies(policy, made, scope=("src/**", "Dockerfile"), expected=3) == ()
    assert len(find_anomalies(policy, made, scope=("src/0.py", "src/1.py"))) == 2
    assert len(find_anomalies(policy, made, scope=("src/0.py", "src/"))) == 1
    odd = find_anomalies(policy, made, scope=())
    assert (weigh_risk(()), weigh_risk(odd)) == ("medium", "high")
    strict = layer([parse_policy("anomalies: {decision: deny}", "p")])
    assert {f.verdict for f in find_anomalies(strict, made, scope=(), expected=1)} == {Verdict.DENY}
