"""config.yaml: units, layers, every problem at its place; the template and the schema say the same as the defaults."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.model.errors import InvalidInput
from nightcrew.model.isolation import Level, Limits
from nightcrew.model.settings import AgentSetting, Retries, Settings
from nightcrew.model.units import parse_duration, parse_size
from nightcrew.runtime.settings.config import config_schema, parse_settings

TEMPLATE = files("nightcrew.runtime.upkeep").joinpath("templates", "config.yaml").read_text("utf-8")

FULL = """
version: 1
max_parallel: 8
isolation: {require: S3}
environment: [node_modules, build/env]
pass_env: [LANG, MY_VAR]
limits: {memory: 2GiB, processes: 64, open_files: 1024, file: 1GB, disk: 0, inodes: 1000, output: 1MiB}
timeouts: {spawn: 5, idle: never, hard: 2h, grace: 500ms}
retries: {attempts: 1, first_wait: 1m, factor: 1.5, longest_wait: 1h, jitter: 0}
approvals: {timeout: 8h}
transcripts: {keep_days: 7}
commit_author: "Night Crew <crew@example.org>"
agents:
  mine:
    argv: [mine, --file, "{prompt_file}"]
    prompt: file
    slots: 2
    env: {A: "1"}
"""


def test_every_key() -> None:
    assert parse_settings(FULL, "c") == Settings(
        max_parallel=8,
        require_isolation=Level.S3,
        environment=("node_modules", "build/env"),
        pass_env=("LANG", "MY_VAR"),
        limits=Limits(
            memory_bytes=2 << 30,
            processes=64,
            open_files=1024,
            file_bytes=10**9,
            disk_bytes=0,
            inodes=1000,
            output_bytes=1 << 20,
            spawn_s=5.0,
            idle_s=0.0,
            hard_s=7200.0,
            grace_s=0.5,
        ),
        retries=Retries(attempts=1, base_s=60.0, factor=1.5, cap_s=3600.0, jitter=0.0),
        agents={"mine": AgentSetting("command", ("mine", "--file", "{prompt_file}"), "file", 2, {"A": "1"})},
        approval_timeout_s=28800.0,
        commit_author="Night Crew <crew@example.org>",
        transcript_days=7,
    )


@pytest.mark.parametrize("text", ["", "version: 1\n", "# only a comment\n", "limits: {}\nagents: {}\n"])
def test_what_is_not_said_is_as_before(text: str) -> None:
    assert parse_settings(text, "c") == Settings()
    assert parse_settings(text, "c", over=parse_settings(FULL, "c")) == parse_settings(FULL, "c")


def test_an_inner_file_changes_only_what_it_names() -> None:
    outer = parse_settings(FULL, "user")
    inner = parse_settings("limits: {memory: 1GiB}\nagents: {other: {argv: [x]}}\n", "repo", over=outer)
    assert inner.limits.memory_bytes == 1 << 30
    assert inner.limits.processes == 64
    assert set(inner.agents) == {"mine", "other"}
    assert inner.max_parallel == 8


PROBLEMS = [
    ("[]", "c:1:1: expected a mapping (key: value), found a list"),
    ("max_paralel: 3", "c:1:1: unknown key 'max_paralel'"),
    ("max_parallel: 0", "c:1:15: max_parallel: must be at least 1, found the number 0"),
    ("max_parallel: many", "c:1:15: max_parallel: expected a whole number, found the text 'many'"),
    (
        "isolation: {require: s3}",
        "c:1:22: isolation.require: expected one of S3, S2, SX, S1, S0, found the text 's3'",
    ),
    ("environment: [/abs]", "c:1:15: environment[1]: must be a folder inside the repository"),
    ("environment: [a, ../b]", "c:1:18: environment[2]: must be a folder inside the repository"),
    ("environment: [.git/x]", "c:1:15: environment[1]: .git is never visible to a task"),
    ("environment: [a, a]", "c:1:14: environment: an item stands twice in this list"),
    ("pass_env: [A=B]", "c:1:12: pass_env[1]: the text 'A=B' has the wrong form"),
    ("limits: {memory: lots}", "c:1:18: limits.memory: 'lots' is not a size"),
    ("limits: {memory: -1}", "c:1:18: limits.memory: must be at least 0, found the number -1"),
    ("limits: {memory: [1]}", "c:1:18: limits.memory: expected a text or a whole number, found a list"),
    ("limits: {gpus: 1}", "c:1:10: limits: unknown key 'gpus'"),
    ("timeouts: {idle: soon}", "c:1:18: timeouts.idle: 'soon' is not a time"),
    ("timeouts: {hard: never}", "c:1:18: timeouts.hard: cannot be without a limit"),
    ("timeouts: {spawn: 0}", "c:1:19: timeouts.spawn: cannot be without a limit"),
    ("retries: 3", "c:1:10: retries: expected a mapping (key: value), found the number 3"),
    ("retries: {jitter: 2}", "c:1:19: retries.jitter: must be at most 1, found the number 2"),
    ("agents: {Mine: {argv: [x]}}", "c:1:10: agents: bad name 'Mine'"),
    ("agents: {mine: {}}", "c:1:16: agents.mine: 'argv' is missing"),
    ("agents: {mine: {argv: []}}", "c:1:23: agents.mine.argv: must have at least 1 item(s)"),
    ("agents: {mine: {adapter: acp}}", "c:1:16: agents.mine: 'argv' is missing: adapter acp"),
    (
        "agents: {mine: {adapter: claude, prompt: stdin}}",
        "c:1:42: agents.mine.prompt: adapter claude brings the prompt by itself",
    ),
    ("approvals: {require: much}", "c:1:22: approvals.require: "),
    ("agents: {script: {argv: [x]}}", "c:1:18: agents.script: 'script' is the name of a built-in agent"),
    (
        "agents: {a: {argv: [x], prompt: file}}",
        "c:1:33: agents.a.prompt: prompt: file needs {prompt_file} in argv",
    ),
    (
        "agents: {a: {argv: ['{prompt_file}']}}",
        "c:1:20: agents.a.argv: {prompt_file} in argv needs prompt: file",
    ),
    ("agents: {a: {argv: [x], env: {A: 1}}}", "c:1:34: agents.a.env.A: expected a text, found the number 1"),
    ("commit_author: me", "c:1:16: commit_author: the text 'me' has the wrong form"),
    ("approvals: {timeout: 1w}", "c:1:22: approvals.timeout: '1w' is not a time"),
    ("version: 2", "c:1:10: version: expected 1, found the number 2"),
]


@pytest.mark.parametrize(("text", "problem"), PROBLEMS, ids=[row[0] for row in PROBLEMS])
def test_problems(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_settings(text, "c")
    [said] = [str(p) for p in caught.value.problems]
    assert said.startswith(problem)


def test_all_problems_come_at_once() -> None:
    text = "max_paralel: 1\nlimits: {memory: x, disk: y}\ntimeouts: {hard: 0}\nenvironment: [/a]\nretries: 1"
    with pytest.raises(InvalidInput) as caught:
        parse_settings(text, "c")
    assert [p.place.line for p in caught.value.problems] == [1, 2, 2, 3, 4, 5]


def test_the_template_is_valid_and_changes_nothing() -> None:
    assert parse_settings(TEMPLATE, "c") == Settings()


def test_the_template_shows_the_defaults() -> None:
    """With its examples uncommented, the template is what holds anyway (but for the examples of agent and author)."""
    shown = parse_settings(uncomment(TEMPLATE), "c")
    agent = AgentSetting("command", ("my-agent", "--print", "{prompt}"))
    assert shown == Settings(agents={"my-agent": agent}, commit_author="Night Crew <crew@example.org>")


def uncomment(template: str) -> str:
    """Return the template with every commented line that is YAML taken in; prose begins with a capital letter."""
    lines = [re.sub(r"^# (?=[a-z_-]+:| )", "", line) for line in template.splitlines()]
    return "\n".join(lines)


def test_the_schema_tells_the_defaults() -> None:
    schema, defaults = config_schema(), Settings()
    told = {f"{block}.{key}": value for block, key, value in walk_defaults(schema)}
    limits = defaults.limits
    assert told[".max_parallel"] == defaults.max_parallel
    assert told["isolation.require"] == defaults.require_isolation
    assert tuple(told[".environment"]) == defaults.environment
    assert tuple(told[".pass_env"]) == defaults.pass_env
    sizes = {
        "memory": limits.memory_bytes,
        "file": limits.file_bytes,
        "disk": limits.disk_bytes,
        "output": limits.output_bytes,
    }
    assert {k: parse_size(told[f"limits.{k}"]) for k in sizes} == sizes
    counts = {"processes": limits.processes, "open_files": limits.open_files, "inodes": limits.inodes}
    assert {k: told[f"limits.{k}"] for k in counts} == counts
    times = {"spawn": limits.spawn_s, "idle": limits.idle_s, "hard": limits.hard_s, "grace": limits.grace_s}
    assert {k: parse_duration(told[f"timeouts.{k}"]) for k in times} == times
    retries = defaults.retries
    assert told["retries.attempts"] == retries.attempts
    assert parse_duration(told["retries.first_wait"]) == retries.base_s
    assert parse_duration(told["retries.longest_wait"]) == retries.cap_s
    assert (told["retries.factor"], told["retries.jitter"]) == (retries.factor, retries.jitter)
    assert parse_duration(told["approvals.timeout"]) == defaults.approval_timeout_s
    assert told["transcripts.keep_days"] == defaults.transcript_days


def walk_defaults(schema):
    for name, part in schema["properties"].items():
        if "default" in part:
            yield "", name, part["default"]
        for key, inner in part.get("properties", {}).items():
            if "default" in inner:
                yield name, key, inner["default"]


def test_the_schema_is_one() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(config_schema())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 10**6)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "4GiB", "30m", "S3", "never", "a"]),
    lambda s: (
        st.lists(s, max_size=3)
        | st.dictionaries(
            st.sampled_from(["memory", "hard", "idle", "argv", "prompt", "mine", "require"]), s, max_size=3
        )
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "version",
        "limits",
        "timeouts",
        "retries",
        "agents",
        "environment",
        "isolation",
        "pass_env",
        "max_parallel",
        "approvals",
    ]
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@settings(max_examples=300, deadline=None)
def test_any_mapping_gives_settings_or_problems(value) -> None:
    import json

    try:
        assert isinstance(parse_settings(json.dumps(value), "c"), Settings)
    except InvalidInput:
        return


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_settings_or_problems(text: str) -> None:
    try:
        assert isinstance(parse_settings(text, "c"), Settings)
    except InvalidInput:
        return


def test_a_repository_may_want_more_of_an_agent_and_never_less() -> None:
    own = parse_settings("approvals: {require: risky}", "own")
    assert (
        parse_settings("approvals: {require: none}", "c", over=own, repository=True).require_approvals
        == "risky"
    )
    assert (
        parse_settings("approvals: {require: all}", "c", over=own, repository=True).require_approvals == "all"
    )


def test_processor_time_is_a_number_of_processors() -> None:
    assert parse_settings("version: 1\nlimits: {cpus: 1.5}\n", "config.yaml").limits.cpus == 1.5
    assert parse_settings("version: 1\nlimits: {cpus: 2}\n", "config.yaml").limits.cpus == 2
    assert parse_settings("version: 1\n", "config.yaml").limits.cpus == 0, (
        "no limit unless somebody asks for one"
    )
    for wrong in ("-1", "two", "true", ".nan", ".inf"):
        with pytest.raises(InvalidInput) as refused:
            parse_settings(f"limits: {{cpus: {wrong}}}\n", "c")
        assert [str(p).startswith("c:1:16: limits.cpus") for p in refused.value.problems] == [True]


def test_a_repository_takes_no_variable_and_no_tripwire_of_its_user() -> None:
    own = parse_settings("pass_env: [LANG, MY_VAR]\ncanary: file", "own")
    text = "pass_env: [TZ, MY_VAR, AWS_SECRET_ACCESS_KEY]\ncanary: off"
    with pytest.raises(InvalidInput) as caught:
        parse_settings(text, "c", over=own, repository=True)
    told = [(str(each.place), each.message) for each in caught.value.problems]
    assert told == [
        ("c:1:24", "pass_env[3]: a repository cannot have your variable AWS_SECRET_ACCESS_KEY"),
        ("c:2:9", "canary: a repository cannot have less of it than you have"),
    ]
    inner = parse_settings("pass_env: [TZ, MY_VAR]\ncanary: all", "c", over=own, repository=True)
    assert (inner.pass_env, inner.canary) == (("TZ", "MY_VAR"), "all")
    assert parse_settings(text, "own", over=own).canary == "off"
