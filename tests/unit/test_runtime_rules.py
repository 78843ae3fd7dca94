"""Rules of every layer: read, put together, kept with the run, refused with all their problems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nightcrew.model.actions import Action, Verdict
from nightcrew.model.errors import InvalidInput, UsageError
from nightcrew.model.isolation import Level
from nightcrew.runtime.plans.judging import judge_action
from nightcrew.runtime.rules import read_rules, rules_from_plain
from nightcrew.runtime.settings.environment import Environment, read_environment

ASK_MAKE = "version: 1\ncommands:\n  - id: my.make\n    when: {program: [make]}\n    decision: ask\n    reason: slow here\n"


@pytest.fixture
def env(tmp_path: Path) -> Environment:
    home = tmp_path / "home"
    (home / ".config" / "nightcrew").mkdir(parents=True)
    return replace(read_environment({"HOME": str(home)}), system_policy=tmp_path / "etc-policy.yaml")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    (folder / ".nightcrew").mkdir(parents=True)
    return folder


def decide(rules, line: str) -> Verdict:
    return judge_action(Action(kind="exec", command=line), rules).verdict


def test_shipped_rules_hold_without_any_file(env: Environment, root: Path) -> None:
    rules = read_rules(env, root)
    assert [text.layer for text in rules.texts] == ["shipped"]
    assert decide(rules, "git push --force") is Verdict.DENY
    assert decide(rules, "make test") is Verdict.ALLOW


@pytest.mark.parametrize("layer", ["system", "user", "repository"])
def test_a_rule_of_every_layer_is_in_force(env: Environment, root: Path, layer: str) -> None:
    place = {
        "system": env.system_policy,
        "user": env.config / "policy.yaml",
        "repository": root / ".nightcrew" / "policy.yaml",
    }[layer]
    place.write_text(ASK_MAKE)
    rules = read_rules(env, root)
    decision = judge_action(Action(kind="exec", command="make test"), rules)
    assert decision.verdict is Verdict.ASK
    assert decision.rule == "my.make"
    assert decision.source.endswith("policy.yaml:3")


def test_the_digest_follows_the_rules_and_not_their_comments(env: Environment, root: Path) -> None:
    file = root / ".nightcrew" / "policy.yaml"
    file.write_text(ASK_MAKE)
    first = read_rules(env, root).policy.digest
    file.write_text("# a comment\n" + ASK_MAKE)
    assert read_rules(env, root).policy.digest == first
    file.write_text(ASK_MAKE.replace("ask", "deny"))
    assert read_rules(env, root).policy.digest != first


def test_stored_texts_make_the_same_rules(env: Environment, root: Path) -> None:
    (root / ".nightcrew" / "policy.yaml").write_text(ASK_MAKE)
    (root / ".nightcrew" / "config.yaml").write_text("version: 1\nmax_parallel: 7\n")
    rules = read_rules(env, root)
    again = rules_from_plain(rules.to_plain())
    assert again.policy.digest == rules.policy.digest
    assert again.settings == rules.settings
    assert again.settings.max_parallel == 7


def test_problems_of_all_files_come_at_once(env: Environment, root: Path) -> None:
    (root / ".nightcrew" / "policy.yaml").write_text("version: 1\ncomands: []\n")
    (root / ".nightcrew" / "config.yaml").write_text("version: 1\nmax_parallel: many\n")
    with pytest.raises(InvalidInput) as caught:
        read_rules(env, root)
    files = {problem.place.file for problem in caught.value.problems}
    assert files == {".nightcrew/policy.yaml", ".nightcrew/config.yaml"}
    assert all(problem.place.line and problem.place.column for problem in caught.value.problems)


def test_a_file_that_is_there_and_cannot_be_read_stops(env: Environment, root: Path) -> None:
    (root / ".nightcrew" / "policy.yaml").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        read_rules(env, root)


def test_bytes_that_are_no_text_are_named_by_line(env: Environment, root: Path) -> None:
    (root / ".nightcrew" / "policy.yaml").write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(InvalidInput) as caught:
        read_rules(env, root)
    assert str(caught.value.problems[0].place) == ".nightcrew/policy.yaml:2:6"


def test_a_huge_file_is_refused(env: Environment, root: Path) -> None:
    (root / ".nightcrew" / "policy.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InvalidInput, match="too large"):
        read_rules(env, root)


def test_the_repository_goes_over_the_user(env: Environment, root: Path) -> None:
    (env.config / "config.yaml").write_text("version: 1\nmax_parallel: 2\n")
    assert read_rules(env, root).settings.max_parallel == 2
    (root / ".nightcrew" / "config.yaml").write_text("version: 1\nmax_parallel: 3\n")
    assert read_rules(env, root).settings.max_parallel == 3


def test_a_repository_cannot_ask_for_less_isolation_than_its_user(env: Environment, root: Path) -> None:
    (env.config / "config.yaml").write_text("version: 1\nisolation: {require: S3}\n")
    (root / ".nightcrew" / "config.yaml").write_text("version: 1\nisolation: {require: S0}\n")
    assert read_rules(env, root).settings.require_isolation is Level.S3
    # Nor for less than the default, where its user has said nothing.
    (env.config / "config.yaml").unlink()
    assert read_rules(env, root).settings.require_isolation is Level.S2
    (env.config / "config.yaml").write_text("version: 1\nisolation: {require: S1}\n")
    assert read_rules(env, root).settings.require_isolation is Level.S1


def test_without_a_repository_user_rules_hold(env: Environment) -> None:
    (env.config / "policy.yaml").write_text(ASK_MAKE)
    assert decide(read_rules(env, None), "make") is Verdict.ASK


def test_a_policy_that_cannot_be_read_stops(env: Environment, root: Path) -> None:
    # A folder of that name: even root cannot read it as a file.
    (root / ".nightcrew" / "policy.yaml").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        read_rules(env, root)
