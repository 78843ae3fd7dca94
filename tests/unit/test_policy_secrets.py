"""Secrets are blotted out; what only looks like one stays."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.policy.secrets import BLOT, blot, redact

A = "aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zA"

# Made up in the forms of the issuers; cut in two so that scanners of this repository stay quiet.
SECRETS = [
    "AKIA" + "IOSFODNN7EXAMPL1",
    "ASIA" + "IOSFODNN7EXAMPL1",
    "ghp_" + A + "abcd",
    "gho_" + A + "abcd",
    "ghs_" + A + "abcd",
    "github_pat_" + "11ABCDEFG0" + A + "_" + A,
    "glpat-" + "abcdEFGH1234ijklMNOP",
    "sk-ant-" + "api03-" + A + "-" + A,
    "sk-proj-" + A + A,
    "sk-" + A + A[:16],
    "AIza" + A + "abc",
    "xoxb-" + "123456789012-123456789012-" + A[:24],
    "xapp-" + "1-A012-345-" + A,
    "sk_live_" + A[:24],
    "rk_live_" + A[:24],
    "whsec_" + A,
    "npm_" + A + "abcd",
    "pypi-" + "AgEIcHlwaS5vcmc" + A + A,
    "hf_" + A + "ab",
    "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + A,
]

FRAMES = [
    "{}",
    "export KEY={}",
    "token: {}",
    '{{"a": "{}"}}',
    "x {} y",
    "'{}'",
    "({})",
    "https://h/?k={}&x=1",
    "\n{}\n",
    "Bearer {}",
    "- {}\t",
]


@pytest.mark.parametrize("secret", SECRETS, ids=[s[:8] for s in SECRETS])
@pytest.mark.parametrize("frame", FRAMES)
def test_known_forms_are_blotted_out(secret: str, frame: str) -> None:
    text = redact(frame.format(secret))
    assert secret not in text
    assert secret[6:-3] not in text
    assert BLOT in text


def test_four_and_two_characters_are_kept() -> None:
    assert redact("key ghp_" + A + "abcd end") == "key ghp_***cd end"
    assert blot("short") == BLOT
    assert blot("0123456789abcdef") == "0123***ef"


ASSIGNED = [
    ("password=hunter2x", "password=***"),
    ("PASSWORD=correcthorse", "PASSWORD=***"),
    ("db_password: 'hunter2'", "db_password: '***'"),
    ('{"api_key": "abc12345678"}', '{"api_key": "***"}'),
    ('"clientSecret":"abc12345678"', '"clientSecret":"***"'),
    ("api-key = abc12345678", "api-key = ***"),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = wJal***EY"),
    ("MY_TOKEN=abcdef1234", "MY_TOKEN=***"),
    ("set password hunter22 --token abcdef12", "set password hunter22 --token ***"),
    ("tool --password 'hunter22' x", "tool --password '***' x"),
    ("tool --api-key=abc12345678", "tool --api-key=***"),
    ("secret => 'abc12345678'", "secret => '***'"),
    ("private_key: abc12345678", "private_key: ***"),
    ("postgres://user:p4ssw0rd@host/db", "postgres://user:***@host/db"),
    ("redis://:p4ssw0rd1234567890@host", "redis://:p4ss***90@host"),
    ("https://bob:abcdefgh@example.org/x?a=b", "https://bob:***@example.org/x?a=b"),
    ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer abcd***ef"),
    ("authorization: basic dXNlcjpwYXNzd29yZDEyMw==", "authorization: basic dXNl***=="),
    (
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXX",
        "https://hooks.slack.com/serv***XX",
    ),
    ("PASSWORD=one\nPASSWORD=twotwo\n", "PASSWORD=one\nPASSWORD=***\n"),
]


@pytest.mark.parametrize(("text", "expected"), ASSIGNED, ids=[row[0] for row in ASSIGNED])
def test_values_of_secret_names_are_blotted_out(text: str, expected: str) -> None:
    assert redact(text) == expected


HONEST = [
    "0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d",
    hashlib.sha256(b"x").hexdigest(),
    "sha256:" + hashlib.sha256(b"x").hexdigest(),
    "commit=0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d",
    "key = value",
    "keys: 12345678",
    "monkey=12345678",
    "tokens=12345678",
    "token: str",
    "token = lexer.next_token()",
    "def login(password: str, token=None) -> None:",
    "password = get_password()",
    "password=$PASSWORD",
    "password=${{ secrets.PASSWORD }}",
    "PASSWORD=***",
    "password = os.environ['PASSWORD']",
    "the secret of success is patience",
    "basic authentication scheme for everybody",
    "task-0123456789abcdef0123456789abcdef",
    "risk-assessment-of-the-whole-project-2026",
    "https://example.org:8080/@user/x",
    "git@github.example:owner/name.git",
    "mailto:a@b.example",
    "http://host/a:b@c",
    "R-7/T04 C-112 A-19",
    "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
    "eyJhbGciOiJIUzI1NiJ9",
    "npm_config_cache=/tmp/x",
    "pypi-server",
    "",
]


@pytest.mark.parametrize("text", HONEST)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "kind",
    [
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ],
)
def test_private_keys_are_blotted_out_also_when_cut_off(kind: str) -> None:
    body = base64.b64encode(b"x" * 99).decode()
    whole = f"before\n-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\nafter"
    assert redact(whole) == f"before\n-----BEGIN {kind}-----***-----END {kind}-----\nafter"
    assert redact(whole[:80]) == f"before\n-----BEGIN {kind}-----***"


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from([*SECRETS, *HONEST, "=", ": ", '"', "\n", " ", "password", "--token"]), max_size=8
    ).map("".join)
)
@settings(max_examples=400, deadline=None)
def test_twice_is_the_same_as_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(
    st.binary(min_size=20, max_size=20),
    st.sampled_from(
        ["commit {}", "tree {}\n", "{}..{}", "blob/{}/x", "sha: {}", "digest={}", '"prev": "{}"']
    ),
)
def test_digests_stay(data: bytes, frame: str) -> None:
    for digest in (data.hex(), hashlib.sha256(data).hexdigest(), data.hex().upper()):
        text = frame.replace("{}", digest)
        assert redact(text) == text


@given(
    st.sampled_from(SECRETS),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.text(st.characters(codec="utf-8"), max_size=30),
)
@settings(max_examples=200, deadline=None)
def test_a_secret_between_blanks_is_found_in_any_text(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before} {secret} {after}")


def test_it_is_fast_on_hostile_and_on_ordinary_text() -> None:
    texts = [
        "line of output 0123456789abcdef tokens: 12 path=/a/b.py:12\n" * 20_000,
        "password" * 100_000,
        "password=" * 100_000,
        "key" * 300_000,
        "://a:" * 200_000 + "@",
        "--token " * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 20_000,
        "eyJ" * 300_000 + ".eyJ" * 1000,
        "a" * 1_000_000,
        "'" * 500_000 + "token='",
        ("token='" + "\\" * 300) * 1000,
    ]
    for text in texts:
        before = time.process_time()
        redact(text)
        assert time.process_time() - before < 4.0, text[:30]


@pytest.mark.parametrize("text", ["PWD=/home/ada/project", "A=1\nOLDPWD=/tmp\n", "PWD=/"])
def test_the_working_directory_is_no_password(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("text", ["pwd=hunter2hunter2", "DB_PWD=/opaque+secret/", "MYPWD=/abcdefgh"])
def test_a_password_called_pwd_is_one(text: str) -> None:
    assert redact(text) != text
