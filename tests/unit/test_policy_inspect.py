"""Changes: protected, scope, limits, links, modes, handoff, refused; ignored paths only for what they must be judged for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.model.actions import Change, Finding, PathChange, Verdict
from nightcrew.policy.inspect import inspect
from nightcrew.policy.load import default_policy, layer, parse_policy
from nightcrew.policy.rules import Policy

FILE, EXECUTABLE, LINK, MODULE = 0o100644, 0o100755, 0o120000, 0o160000


def added(path: str, **fields) -> PathChange:
    return PathChange(
        path, "added", **{"new_mode": FILE, "new_id": "b", "size_bytes": 1, "lines_added": 1, **fields}
    )


def modified(path: str, **fields) -> PathChange:
    return replace(added(path), kind="modified", **{"old_mode": FILE, "old_id": "a", **fields})


def deleted(path: str, **fields) -> PathChange:
    return PathChange(path, "deleted", **{"old_mode": FILE, "old_id": "a", "lines_deleted": 1, **fields})


def findings(
    *paths: PathChange,
    scope: tuple[str, ...] = (),
    policy: Policy | None = None,
    refused: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    return inspect(policy or layer([default_policy()]), Change("x", "y", paths, refused), scope=scope)


def brief(*paths: PathChange, **options) -> list[tuple[str, str, str]]:
    return [(f.check, str(f.verdict), f.path) for f in findings(*paths, **options)]


def test_an_ordinary_change_has_no_findings() -> None:
    assert findings(modified("src/a.py"), added("src/b.py"), deleted("src/c.py"), scope=("src/**",)) == ()
    assert findings() == ()


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.local", "sub/.env", ".env/x", "a.pem", "deep/er/a.key", "id_rsa", ".netrc", ".git/config", ".GIT/config", "sub/.git/hooks/x",
        ".nightcrew/policy.yaml", ".Nightcrew/x", "git~1/config", "a\nb.pem", "a\n/.env", ".env/\udcff", "sub\n/.git/x",
    ],
)  # fmt: skip
def test_protected_paths_are_denied_however_they_change(path: str) -> None:
    for change in (added(path), modified(path), deleted(path), added(path, ignored=True)):
        [found] = [f for f in findings(change) if f.check == "protected"]
        assert (found.verdict, found.rule, found.path) == (Verdict.DENY, "protected_path", path)
        assert found.source.startswith("defaults.yaml:")
        assert "protected" in found.message


@pytest.mark.parametrize("path", [".env.example", "src/env.py", "pem", "a.pem.txt", ".github/x", ".gitignore", "nightcrew/x", "node_modules/x/ca.pem", ".venv/lib/python3.11/site-packages/certifi/cacert.pem"])  # fmt: skip
def test_what_only_looks_like_a_protected_path(path: str) -> None:
    assert [f for f in findings(added(path)) if f.check == "protected"] == []


def test_a_layer_can_protect_more_and_open_again() -> None:
    policy = layer([parse_policy("safety: {protected_paths: [migrations/, '!tests/**/*.pem']}\n", "p")])
    [found] = findings(modified("migrations/1.sql"), policy=policy)
    assert (found.verdict, found.source) == (Verdict.DENY, "p:1")
    assert findings(added("tests/data/a.pem"), policy=policy) == ()
    assert brief(added("src/a.pem"), policy=policy) == [("protected", "deny", "src/a.pem")]


def test_scope_is_asked_about() -> None:
    [found] = findings(modified("src/a.py"), modified("docs/a.md"), scope=("src/",))
    assert (found.check, found.verdict, found.path, found.rule) == (
        "scope",
        Verdict.ASK,
        "docs/a.md",
        "safety.outside_scope",
    )
    assert findings(modified("docs/a.md")) == ()
    assert findings(added("build/x", ignored=True), scope=("src/",)) == ()


@pytest.mark.parametrize(
    ("scope", "path", "inside"),
    [
        ("src/**", "src/a/b.py", True), ("src/**", "lib/src/a.py", False), ("src/", "src/a.py", True), ("*.md", "docs/x.md", True),
        ("docs/*.md", "docs/x.md", True), ("docs/*.md", "docs/a/x.md", False), ("/a.py", "a.py", True), ("/a.py", "s/a.py", False),
        ("CHANGELOG", "CHANGELOG", True), ("src/**", "src", False), ("src/**", "src/a\nb", True),
    ],
)  # fmt: skip
def test_scope_reads_globs_like_gitignore(scope: str, path: str, inside: bool) -> None:
    assert (findings(modified(path), scope=(scope,)) == ()) is inside


def test_scope_can_be_denied_or_allowed_by_policy() -> None:
    for word in ("deny", "allow"):
        policy = layer([parse_policy(f"safety: {{outside_scope: {word}}}\n", "p")])
        [found] = findings(modified("x"), scope=("src/",), policy=policy)
        assert (str(found.verdict), found.source) == (word, "p:1")


@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../../x", "a/../../../x", "../..", "", "/", "b/../a", "b/c/../../a", "../.git/config"],
)
def test_a_link_that_leaves_the_tree_is_denied(target: str) -> None:
    [found] = findings(added("s/link", new_mode=LINK, link_target=target))
    assert (found.check, found.verdict, found.path) == ("symlink", Verdict.DENY, "s/link")


@pytest.mark.parametrize("target", ["a", "./a", "../s/a", ".."])
def test_a_link_that_stays_in_the_tree_is_fine(target: str) -> None:
    assert findings(added("s/link", new_mode=LINK, link_target=target)) == ()


def test_an_ignored_link_may_leave() -> None:
    assert (
        findings(added(".venv/bin/python", new_mode=LINK, link_target="/usr/bin/python3", ignored=True)) == ()
    )


def test_a_submodule_is_denied() -> None:
    assert brief(added("sub", new_mode=MODULE)) == [("refused", "deny", "sub")]


def test_what_becomes_executable_is_shown() -> None:
    assert brief(added("run.sh", new_mode=EXECUTABLE)) == [("mode", "allow", "run.sh")]
    assert brief(modified("run.sh", new_mode=EXECUTABLE)) == [("mode", "allow", "run.sh")]
    assert brief(modified("run.sh", old_mode=EXECUTABLE, new_mode=EXECUTABLE)) == []
    assert brief(modified("run.sh", old_mode=EXECUTABLE)) == []
    policy = layer([parse_policy("safety: {handoff: ask}\n", "p")])
    assert brief(added("run.sh", new_mode=EXECUTABLE), policy=policy) == [("mode", "ask", "run.sh")]


@pytest.mark.parametrize("path", ["Makefile", "sub/Makefile", ".github/workflows/ci.yml", "package.json", "conftest.py", "tests/conftest.py", ".vscode/tasks.json", "CLAUDE.md", ".pre-commit-config.yaml", "x.pth", ".gitattributes"])  # fmt: skip
def test_handoff_paths_are_shown(path: str) -> None:
    [found] = findings(modified(path))
    assert (found.check, found.verdict) == ("handoff", Verdict.ALLOW)
    assert found.rule.startswith("handoff.")


def test_a_class_that_may_never_land_is_denied_at_once() -> None:
    policy = layer([parse_policy("handoff: {ci: deny}\n", "p")])
    [found] = findings(modified(".github/workflows/x.yml"), policy=policy)
    assert (found.verdict, found.rule, found.source) == (Verdict.DENY, "handoff.ci", "p:1")


def test_handoff_paths_can_be_added_and_taken_out() -> None:
    policy = layer([parse_policy("safety: {handoff: deny, handoff_paths: [deploy/, '!conftest.py']}\n", "p")])
    assert brief(modified("deploy/x"), modified("conftest.py"), policy=policy) == [
        ("handoff", "deny", "deploy/x")
    ]


def test_what_cannot_be_captured_is_denied() -> None:
    [found] = findings(refused=("dir/pipe: a FIFO",))
    assert (found.check, found.verdict, found.path) == ("refused", Verdict.DENY, "dir/pipe")
    assert "a FIFO" in found.message


def many(make, count: int, **fields) -> list[PathChange]:
    return [make(f"f{n}", **fields) for n in range(count)]


LIMITS = [
    ("20 files", many(modified, 20), []),
    ("21 files", many(modified, 21), [("limits.soft.files", "ask")]),
    ("1000 lines", [modified("a", lines_added=600, lines_deleted=400)], []),
    ("1001 lines", [modified("a", lines_added=601, lines_deleted=400)], [("limits.soft.lines", "ask")]),
    ("5 deleted", many(deleted, 5), []),
    ("6 deleted", many(deleted, 6), [("limits.soft.deleted", "ask")]),
    ("101 created", many(added, 101), [("limits.soft.files", "ask"), ("limits.hard.created", "deny")]),
    ("201 modified", many(modified, 201), [("limits.soft.files", "ask"), ("limits.hard.modified", "deny")]),
    ("10 MB", [added("a", size_bytes=10_000_000)], []),
    ("above 10 MB", [added("a", size_bytes=10_000_001)], [("limits.hard.file_size", "deny")]),
    (
        "above 200 MB",
        many(added, 21, size_bytes=9_900_000),
        [("limits.soft.files", "ask"), ("limits.hard.total_size", "deny")],
    ),
    ("binary", [added("a", size_bytes=5, lines_added=0, binary=True)], []),
    ("ignored", many(added, 500, ignored=True, size_bytes=10_000_000_000), []),
]


@pytest.mark.parametrize(("name", "paths", "expected"), LIMITS, ids=[row[0] for row in LIMITS])
def test_limits_are_counted_on_what_would_land(
    name: str, paths: list[PathChange], expected: list[tuple[str, str]]
) -> None:
    found = [(f.rule, str(f.verdict)) for f in findings(*paths)]
    assert found == expected


def test_one_number_above_both_limits_is_said_once_and_hard() -> None:
    policy = layer([parse_policy("limits: {soft: {lines: 10}, hard: {lines: 20}}\n", "p")])
    [found] = findings(modified("a", lines_added=30), policy=policy)
    assert (found.rule, found.verdict, found.source) == ("limits.hard.lines", Verdict.DENY, "p:1")
    assert found.message == "30 lines added and deleted, above the hard limit of 20"


def test_file_rules_are_about_the_real_change_too() -> None:
    policy = layer(
        [
            parse_policy(
                "files:\n  - {id: gen, when: {paths: gen/, do: [delete, chmod]}, decision: ask, reason: made by a tool}\n",
                "p",
            )
        ]
    )
    assert brief(modified("gen/x"), policy=policy) == []
    [found] = findings(deleted("gen/x"), policy=policy)
    assert (found.check, found.verdict, found.rule, found.source) == ("protected", Verdict.ASK, "gen", "p:2")
    assert "made by a tool" in found.message
    assert brief(modified("gen/x", new_id="a", old_mode=EXECUTABLE), policy=policy) == [
        ("protected", "ask", "gen/x")
    ]


def test_hostile_names_are_shown_as_chips() -> None:
    [found] = findings(added("a\u202egnp.pem"))
    assert "<U+202E>" in found.message
    assert found.path == "a\u202egnp.pem"


def test_a_large_change_is_inspected_in_little_time() -> None:
    import time

    paths = [modified(f"src/package{n % 50}/module{n}.py") for n in range(5000)]
    before = time.process_time()
    findings(*paths, scope=("src/**",))
    assert time.process_time() - before < 5.0
