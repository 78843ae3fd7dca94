"""Where keys are found, what is refused, and that no message holds one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nightcrew.model.errors import InvalidInput, NotAuthenticated
from nightcrew.model.usage import Budget, KeySource, Price, Provider
from nightcrew.runtime.settings.config import parse_settings
from nightcrew.runtime.settings.environment import read_environment
from nightcrew.runtime.settings.keys import Keyring, hide_keys
from nightcrew.runtime.upkeep.reporting import hide_secrets, write_report

KEY = "sk-real-0123456789"


def ring(tmp_path: Path, **variables: str) -> Keyring:
    path = {"PATH": os.environ["PATH"]}
    return Keyring({**path, **variables}, tmp_path, lambda text: text.replace("looks-secret", "[gone]"))


def provider(*source: str) -> Provider:
    kind, *value = source
    return Provider("p", "openai", "https://x.example.org", KeySource(kind, tuple(value)))  # type: ignore[arg-type]


def test_a_key_comes_from_a_variable_a_file_or_a_command(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "key").chmod(0o600)
    keys = ring(tmp_path, MY_KEY=KEY)
    assert keys.read(provider("env", "MY_KEY")) == KEY
    assert keys.read(provider("file", "~/key")) == KEY
    assert keys.read(provider("file", str(tmp_path / "key"))) == KEY
    assert keys.read(provider("command", "sh", "-c", f"echo {KEY}")) == KEY
    assert keys.read(Provider("p", "openai", "http://127.0.0.1:1")) == ""


def test_what_was_read_is_taken_out_of_every_text(tmp_path: Path) -> None:
    keys = ring(tmp_path, MY_KEY="plain-words-of-a-key")
    assert keys.redact("a plain-words-of-a-key b looks-secret") == "a plain-words-of-a-key b [gone]"
    keys.read(provider("env", "MY_KEY"))
    assert keys.redact("a plain-words-of-a-key b looks-secret") == "a [key of p] b [gone]"
    # Also what is told of an error, and what is written of a defect, by whom no ring is known.
    env = read_environment({"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")})
    defect = RuntimeError("it said plain-words-of-a-key")
    report = write_report(defect, ["run", "plain-words-of-a-key"], env).read_text()
    assert hide_secrets({"said": [str(defect)]}) == {"said": ["it said [key of p]"]}
    assert "plain-words-of-a-key" not in report
    assert report.count("[key of p]") == 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (("env", "MISSING"), r"\$MISSING is not set"),
        (("env", "EMPTY"), r"\$EMPTY is not set"),
        (("env", "LINES"), "is not a key"),
        (("file", "~/absent"), "cannot read ~/absent"),
        (("file", "~/open"), "others can read ~/open"),
        (("file", "~/folder"), "cannot read ~/folder: Is a directory"),
        (("file", "~/pipe"), "not a file of yours"),
        (("file", "~/bytes"), "is not a key"),
        (("command", "no-such-program-anywhere"), "there is no program"),
        (("command", "sh", "-c", f"echo {KEY} >&2; exit 3"), "ended with exit code 3"),
        (("command", "true"), "is not a key"),
    ],
)
def test_a_key_that_is_not_there_is_said_without_showing_anything(
    tmp_path: Path, source: tuple[str, ...], said: str
) -> None:
    (tmp_path / "open").write_text(KEY)
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "bytes").write_bytes(KEY.encode() + b"\xff\x00")
    (tmp_path / "bytes").chmod(0o600)
    keys = ring(tmp_path, EMPTY=" ", LINES=f"{KEY}\nX-Evil: 1")
    with pytest.raises(NotAuthenticated, match=said) as caught:
        keys.read(provider(*source))
    shown = " ".join([caught.value.message, *caught.value.where, caught.value.hint])
    assert KEY not in shown or "sh -c" in shown


def test_no_variable_with_a_key_reaches_an_agent_under_whatever_name() -> None:
    given = {"MY_KEY": "not-read-yet-by-anybody", "COPY": "Bearer not-read-yet-by-anybody", "LANG": "C"}
    assert hide_keys(given, [provider("env", "MY_KEY")], given) == {"LANG": "C"}
    assert hide_keys(given, [], given) == given


def test_nor_does_one_that_was_read_from_elsewhere(tmp_path: Path) -> None:
    ring(tmp_path).read(provider("command", "echo", "said-by-a-program"))
    given = {"COPY": "Bearer said-by-a-program", "LANG": "C"}
    assert hide_keys(given, [], given) == {"LANG": "C"}


GOOD = """
providers:
  anthropic:
  openai: {key: {file: ~/k}, url: "https://proxy.example.org/base/v1/", model: m}
  local: {wire: openai, url: "http://127.0.0.1:11434/v1", key: none, reaches_out: true}
prices: {"Models/My-Model": {input: 1, output: 2}}
budget: {run: 25usd, task: 2M tokens, warn_at: 0.5}
agents: {a: {argv: [x], providers: [local]}}
retries: {provider_waits: [1s, 2m]}
"""


def test_settings_about_models() -> None:
    settings = parse_settings(GOOD, "c")
    assert settings.providers == {
        "anthropic": Provider(
            "anthropic", "anthropic", "https://api.anthropic.com", KeySource("env", ("ANTHROPIC_API_KEY",))
        ),
        "openai": Provider(
            "openai", "openai", "https://proxy.example.org/base", KeySource("file", ("~/k",)), "m"
        ),
        "local": Provider("local", "openai", "http://127.0.0.1:11434", reaches_out=True),
    }
    assert settings.prices == {"my-model": Price(1, 2, 1, 1, 1)}
    assert (settings.budgets.run, settings.budgets.task) == (Budget(25), Budget(0, 2_000_000))
    assert settings.agents["a"].providers == ("local",)
    assert settings.retries.provider_waits_s == (1.0, 120.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"providers: {{anthropic: {{key: {KEY}}}}}", "must say where the key is, not what it is"),
        ("providers: {anthropic: {key: {env: A, file: /x}}}", "must say where the key is"),
        ("providers: {anthropic: {key: {file: relative}}}", "must say where the key is"),
        ("providers: {anthropic: {key: {command: pass show}}}", "must say where the key is"),
        ('providers: {openai: {url: "http://models.example.org"}}', "must begin with https"),
        ('providers: {openai: {url: "http://127.0.0.1.example.org"}}', "must begin with https"),
        (f'providers: {{openai: {{url: "https://{KEY}@x.example.org"}}}}', "no user"),
        (f'providers: {{openai: {{url: "https://x.example.org/?key={KEY}"}}}}', "no `?`"),
        ('providers: {openai: {url: "ftp://x"}}', "is not a URL"),
        ('providers: {openai: {url: "https://x:99999"}}', "is not a URL"),
        ("providers: {mine: {url: https://x}}", "needs `wire:`"),
        ("providers: {mine: {wire: openai}}", "needs `url:`"),
        ("prices: {m: {input: 1}}", "output"),
        ("budget: {run: much}", "is not a budget"),
        ("budget: {warn_at: 2}", "warn_at"),
    ],
)
def test_settings_that_cannot_be(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_settings(text, "c")
    assert any(problem in line for line in caught.value.where), caught.value.where
    assert KEY not in " ".join([caught.value.message, *caught.value.where, caught.value.hint])


def test_a_repository_does_not_say_where_keys_go_nor_what_that_costs() -> None:
    for block in (
        "providers: {anthropic: {url: https://evil.example.org}}",
        "prices: {m: {input: 0, output: 0}}",
    ):
        with pytest.raises(InvalidInput) as caught:
            parse_settings(block, "c", repository=True)
        assert "a repository does not decide" in caught.value.where[0]
