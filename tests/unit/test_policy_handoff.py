"""Who executes a path: the table is right about its own examples, a policy adds to it, takes out, and says what is needed."""

from __future__ import annotations

import pytest

from nightcrew.model.actions import Change, PathChange, Verdict
from nightcrew.model.errors import DeniedByPolicy, InvalidInput, UsageError, WaitingForHuman
from nightcrew.policy import handoff
from nightcrew.policy.handoff import class_ids, find_handoffs, find_runner, read_table, shipped_classes
from nightcrew.policy.load import layer, parse_policy
from nightcrew.runtime.trees.guarding import Guard

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000


def kinds(*paths: PathChange | str, policy: str = "") -> list[tuple[str, str, str]]:
    rules = layer([parse_policy(policy, "p")]) if policy else layer([])
    changed = tuple(
        p if isinstance(p, PathChange) else PathChange(p, "modified", FILE, FILE, "a", "b") for p in paths
    )
    return [(h.path, h.kind, str(h.verdict)) for h in find_handoffs(rules, Change("a", "b", changed))]


def test_the_table_names_every_sort_of_program_the_spec_asks_for() -> None:
    assert {each.id for each in shipped_classes()} >= {
        "git", "shell", "direnv", "editor", "packages", "ci", "tests", "build", "agent", "environment", "executable", "symlink",
    }  # fmt: skip
    for each in shipped_classes():
        assert each.who
        assert each.reason
        assert each.when or (each.match and each.paths), "a class has examples"


@pytest.mark.parametrize(
    "row",
    ['match = ["y"]', 'match = ["x"]\nexamples.not_match = ["a/x"]'],
)
def test_a_wrong_example_in_the_table_is_found(row: str) -> None:
    classes = read_table(f'[one]\nwho = "w"\nreason = "r"\npaths = ["x"]\nexamples.{row}\n')
    assert list(handoff._check_table(classes))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("sub/.HUSKY/pre-commit", "git"),
        (".github/workflows/x.yml", "ci"),
        (".github/copilot-instructions.md", "agent"),
        ("a/b/MAKEFILE", "build"),
        ("requirements-dev.txt", "packages"),
        ("web/node_modules/x/package.json", "environment"),
        (".config/fish/config.fish", "shell"),
        ("a/.envrc", "direnv"),
    ],
)
def test_names_are_classed_wherever_they_are_and_in_any_case(path: str, kind: str) -> None:
    assert kinds(path) == [(path, kind, "ask")]
    assert find_runner(path)


def test_modes_and_links() -> None:
    tool = PathChange("tool.sh", "modified", FILE, EXECUTABLE, "a", "a")
    was = PathChange("old.sh", "modified", EXECUTABLE, EXECUTABLE, "a", "b")
    out = PathChange("out", "added", new_mode=LINK, new_id="l", link_target="../../etc/passwd")
    near = PathChange("near", "added", new_mode=LINK, new_id="l", link_target="src")
    ignored = PathChange("Makefile", "added", new_mode=FILE, new_id="m", ignored=True)
    assert kinds(tool, was, out, near, ignored, "src/app.py") == [
        ("tool.sh", "executable", "ask"),
        ("out", "symlink", "ask"),
    ]


def test_a_policy_decides_by_class_adds_and_takes_out() -> None:
    policy = (
        "safety: {handoff_paths: [deploy/, '!conftest.py']}\n"
        "handoff:\n  default: deny\n  build: allow\n"
        "  robot: {who: the robot, reason: it runs it, paths: ['jobs/*.py'], decision: ask}\n"
    )
    assert kinds("Makefile", "conftest.py", "deploy/x", "jobs/a.py", ".envrc", policy=policy) == [
        ("Makefile", "build", "allow"),
        ("deploy/x", "listed", "deny"),
        ("jobs/a.py", "robot", "ask"),
        (".envrc", "direnv", "deny"),
    ]
    assert "robot" in class_ids(layer([parse_policy(policy, "p")]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("handoff: {gti: ask}\n", "p:1:11: handoff.gti: there is no class 'gti'"),
        ("handoff: {ci: {who: a, reason: b, paths: [x]}}\n", "this class is shipped"),
        ("handoff: {ci: maybe}\n", "handoff.ci"),
        ("handoff: {robot: {who: a, paths: [x]}}\n", "reason"),
        ("handoff: {robot: {who: a, reason: b, paths: [x], examples: {match: [y]}}}\n", "its own example: y"),
        (
            "handoff: {robot: {who: a, reason: b, paths: [x], examples: {not_match: [x]}}}\n",
            "says it does not: x",
        ),
    ],
)
def test_a_slip_in_the_policy_has_a_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_policy(text, "p")
    assert said in " ".join(error.value.where)


def guard(policy: str = "") -> Guard:
    rules = layer([parse_policy(policy, "p")]) if policy else layer([])
    paths = tuple(PathChange(p, "modified", FILE, FILE, "a", "b") for p in ("Makefile", ".envrc", "src/a.py"))
    return Guard("R-1", (), find_handoffs(rules, Change("a", "b", paths)), class_ids(rules))


def test_a_promotion_waits_until_each_path_has_its_yes() -> None:
    with pytest.raises(WaitingForHuman) as error:
        guard().refuse("nightcrew promote R-1 --yes")
    assert error.value.hint == "nightcrew promote R-1 --yes --allow-handoff build --allow-handoff direnv"
    with pytest.raises(WaitingForHuman):
        guard().agree(["build"]).refuse()
    guard().agree(["build", ".envrc"]).refuse()
    assert guard().agree(["build", ".envrc"]).to_event()["handoff"] == {
        "Makefile": "build",
        ".envrc": "direnv",
    }
    guard().agree(["ci"])  # a class that this promotion has nothing of
    with pytest.raises(UsageError, match="neither a class nor a path"):
        guard().agree(["src/a.py"])


def test_what_may_never_land_has_no_yes() -> None:
    with pytest.raises(DeniedByPolicy) as error:
        guard("handoff: {build: deny}\n").agree(["build", "direnv"]).refuse()
    assert "p:1" in error.value.where[0]
    assert find_handoffs(layer([]), Change("a", "b", ()))[:1] == ()
    assert Verdict.DENY in {each.verdict for each in guard("handoff: {build: deny}\n").handoffs}
