"""Dossiers: what makes a task green, and everything that keeps it from being so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nightcrew.model.actions import Change, Evidence, Finding, PathChange, Verdict
from nightcrew.model.canonical import encode, to_plain
from nightcrew.model.errors import Place
from nightcrew.model.plans import Task
from nightcrew.model.records import AttemptRecord, TaskRecord
from nightcrew.policy.handoff import find_runner
from nightcrew.review.concerns import find_concerns, name_signs
from nightcrew.review.dossier import Dossier, build_dossier, order_dossiers

TREE, BASE = "77ab" * 10, "0c1d" * 10
RECORD = TaskRecord(
    "R-7/T01", "R-7", "T01", 1, "succeeded", "a title", "command",
    verified="verified", isolation="S3", tree=TREE, base_tree=BASE, checkpoint="C-4",
)  # fmt: skip
SPEC = Task("T01", "1", "a title", Place("t.md", 1), run="x", scope=("src/**",), accept=("pytest",))
PROOF = Evidence("pytest", True, 0, 1.25, "", TREE, "S3")
FILE = PathChange("src/a.py", "modified", 0o100644, 0o100644, "a", "b", 10, 5, 2)


def change(*paths: PathChange, refused: tuple[str, ...] = ()) -> Change:
    return Change(BASE, TREE, paths, refused)


def added(path: str, mode: int = 0o100644, **more: object) -> PathChange:
    return replace(PathChange(path, "added", 0, mode, "", "b", 10, 1, 0), **more)  # type: ignore[arg-type]


def build(
    record: TaskRecord = RECORD,
    spec: Task = SPEC,
    of: Change | None = change(FILE),  # noqa: B008 - a frozen value
    evidence: tuple[Evidence, ...] = (PROOF,),
    findings: tuple[Finding, ...] = (),
    attempts: tuple[AttemptRecord, ...] = (),
) -> Dossier:
    return build_dossier(record, spec, of, evidence, findings, attempts)


def kinds(dossier: Dossier, *, look: bool = True) -> list[str]:
    return [concern.kind for concern in dossier.concerns if concern.look is look]


def test_a_proven_task_within_its_scope_is_green() -> None:
    dossier = build()
    assert dossier.green
    assert dossier.group == "green"
    assert dossier.concerns == ()
    assert (dossier.lines_added, dossier.lines_deleted) == (5, 2)


@pytest.mark.parametrize(
    "state", ["failed", "pending", "running", "awaiting_approval", "blocked", "cancelled", "skipped"]
)
def test_only_a_task_that_succeeded_can_be_green(state: str) -> None:
    dossier = build(replace(RECORD, state=state))
    assert not dossier.green
    assert dossier.group == ("failed" if state == "failed" else "unfinished")


@pytest.mark.parametrize("verified", ["unverified", "", "failed"])
def test_only_a_verified_task_can_be_green(verified: str) -> None:
    dossier = build(replace(RECORD, verified=verified))
    assert not dossier.green
    assert dossier.group == ("failed" if verified == "failed" else "look")


def test_verified_without_any_evidence_is_not_believed() -> None:
    assert kinds(build(evidence=())) == ["unverified", "acceptance"]


def test_evidence_must_be_complete_passed_and_of_this_tree() -> None:
    two = replace(SPEC, accept=("pytest", "ruff"))
    assert kinds(build(spec=two)) == ["acceptance"]
    assert kinds(build(evidence=(replace(PROOF, passed=False, exit_code=1),))) == ["acceptance"]
    assert kinds(build(evidence=(replace(PROOF, tree="other"),))) == ["acceptance"]


def test_acceptance_of_the_tree_without_ignored_files_is_fine() -> None:
    of = change(FILE, added("__pycache__/a.pyc", ignored=True, binary=True))
    dossier = build(of=of, evidence=(replace(PROOF, tree="without ignored"),))
    assert dossier.green
    assert kinds(dossier, look=False) == ["ignored"]
    assert dossier.lines_added == 5


@pytest.mark.parametrize("level", ["S0", "S1", ""])
def test_weak_isolation_needs_a_look(level: str) -> None:
    assert kinds(build(replace(RECORD, isolation=level))) == ["isolation"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (added("docs/x.md"), "scope"),
        (added("src/run.sh", 0o100755), "executable"),
        (replace(FILE, old_mode=0o100755), "mode"),
        (added("src/l", 0o120000, link_target="../../etc"), "symlink"),
        (added("src/sub", 0o160000), "submodule"),
        (added("src/i.png", binary=True), "binary"),
        (added("src/a\u202eb.py"), "hidden_name"),
        (added("src/\udcff"), "hidden_name"),
        (added("src/Makefile"), "handoff"),
        (PathChange("src/tests/test_a.py", "deleted", 0o100644, 0, "a", "", 0, 0, 40), "deleted_test"),
        (replace(FILE, path="src/test_a.py", lines_added=1, lines_deleted=9), "shrunk_test"),
    ],
)
def test_what_a_path_shows(path: PathChange, kind: str) -> None:
    dossier = build(of=change(path))
    assert kind in kinds(dossier)
    assert dossier.group == "look"
    named = next(concern for concern in dossier.concerns if concern.kind == kind)
    assert named.paths == (path.path,)


def test_deleting_a_file_that_is_no_test_is_no_concern() -> None:
    assert build(of=change(PathChange("src/a.py", "deleted", 0o100644, 0, "a", "", 0, 0, 9))).green


def test_what_cannot_be_kept_is_named() -> None:
    assert kinds(build(of=change(FILE, refused=("src/p: a FIFO",)))) == ["refused"]


def test_names_that_differ_only_in_case() -> None:
    assert kinds(build(of=change(added("src/A.py"), added("src/a.py")))) == ["case_clash"]


def test_an_empty_change_is_said() -> None:
    dossier = build(of=change())
    assert kinds(dossier, look=False) == ["empty"]
    assert dossier.green


def test_without_a_scope_nothing_is_outside() -> None:
    assert build(spec=replace(SPEC, scope=()), of=change(added("docs/x.md"))).green


def test_findings_that_ask_or_deny_need_a_look_and_are_not_said_twice() -> None:
    ask = Finding("limits", Verdict.ASK, "limits.soft", "p.yaml:3", "21 files, 20 allowed")
    outside = Finding("scope", Verdict.ASK, "scope", "p.yaml:9", "outside", "docs/x.md")
    note = Finding("limits", Verdict.ALLOW, "limits", "p.yaml:1", "only shown", "src/a.py")
    dossier = build(of=change(FILE, added("docs/x.md")), findings=(ask, outside, note))
    assert kinds(dossier) == ["scope", "finding"]
    assert len(dossier.findings) == 3


def test_a_handoff_path_needs_a_look_even_where_policy_lets_it_pass() -> None:
    note = Finding("handoff", Verdict.ALLOW, "safety.handoff_paths", "p.yaml:1", "may execute it", "src/a.py")
    dossier = build(findings=(note,))
    assert kinds(dossier) == ["handoff"]
    assert not dossier.green


@pytest.mark.parametrize(
    ("risk", "green"), [("high", False), ("critical", False), ("medium", True), ("", True)]
)
def test_what_a_risky_rule_lets_pass_needs_a_look(risk: str, green: bool) -> None:
    note = Finding("sql", Verdict.ALLOW, "sql.file", "p.yaml:1", "drops a table", "src/a.py", risk=risk)
    assert build(findings=(note,)).green is green


def test_a_verdict_about_another_tree_is_stale() -> None:
    stale = build(replace(RECORD, verdict="accepted", verdict_tree="other"))
    assert stale.verdict_stale
    assert not stale.green
    assert not build(replace(RECORD, verdict="accepted", verdict_tree=TREE)).verdict_stale


def test_attempts_are_in_order_and_say_why() -> None:
    def attempt(number: int, reason: str) -> AttemptRecord:
        return AttemptRecord(
            f"R-7/T01/{number}", "R-7", "R-7/T01", number, "failed", "command", "n", "t", reason=reason
        )

    lines = build(attempts=(attempt(2, "b"), attempt(1, "a"))).attempts
    assert [(line.number, line.reason) for line in lines] == [(1, "a"), (2, "b")]


def test_values_come_back_from_plain_json() -> None:
    finding = Finding("limits", Verdict.ASK, "r", "p:1", "m")
    proof = replace(PROOF, findings=(finding,))
    plain = build_dossier(RECORD, SPEC, change(FILE), [to_plain(proof)], [to_plain(finding)], [])
    assert plain == build_dossier(RECORD, SPEC, change(FILE), [proof], [finding], [])
    assert to_plain(plain)["concerns"][0]["kind"] == "finding"


def test_the_json_survives_names_that_are_not_utf8() -> None:
    assert "\\udcff" in encode(build(of=change(added("src/\udcff"))))


def test_order_of_attention() -> None:
    def named(name: str, **more: object) -> Dossier:
        return replace(build(), name=name, **more)  # type: ignore[arg-type]

    concerned = build(of=change(added("x/1"), added("x/2")))
    ordered = order_dossiers(
        [
            named("T01"),
            named("T02", group="failed"),
            named("T03", group="unfinished"),
            replace(build(of=change(added("x/1"))), name="T04"),
            replace(concerned, name="T05"),
        ]
    )
    assert [dossier.name for dossier in ordered] == ["T05", "T04", "T02", "T03", "T01"]


@pytest.mark.parametrize(
    ("path", "runner"),
    [
        (".github/workflows/ci.yml", "continuous integration"),
        ("package.json", "a package manager"),
        ("web/package.json", "a package manager"),
        ("Makefile", "the build tool"),
        ("a/conftest.py", "the test runner"),
        (".envrc", "the shell"),
        ("CLAUDE.md", "a coding agent"),
        (".vscode/tasks.json", "the editor"),
        (".gitattributes", "git"),
        ("requirements-dev.txt", "a package manager"),
        ("venv/bin/python", "a committed environment"),
        ("src/main.py", ""),
        ("docs/makefile_notes.md", ""),
    ],
)
def test_who_runs_a_path_on_the_host(path: str, runner: str) -> None:
    assert find_runner(path).startswith(runner)
    assert bool(find_runner(path)) == bool(runner)


def test_signs_of_one_path() -> None:
    link = added(".github/l", 0o120000, link_target="/etc/\x1bx", ignored=True)
    assert name_signs(link) == (
        "name with invisible or misleading characters",
        "symbolic link",
        "points to /etc/<U+001B>x",
        "ignored, will not be promoted",
    )


def test_concerns_of_a_change_alone() -> None:
    assert [concern.kind for concern in find_concerns(change(FILE), ("src/**",))] == []
