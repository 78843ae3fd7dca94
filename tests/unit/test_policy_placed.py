"""Passwords known only by their place: found where a program's documentation says one stands, and nowhere else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

import nightcrew
from nightcrew.policy.scanning.contents import scan_content
from nightcrew.policy.scanning.forms import FORMS
from nightcrew.policy.scanning.marks import find_marks
from nightcrew.policy.scanning.placed import COMMAND_FRONTS, find_commands
from nightcrew.policy.secrets import redact

HELD = ("Tr0ub4dor&3x", "correcthorse", "p%C3ss")
COMMANDS = (
    "curl -u ada:{} https://api.test/x",
    "curl -sSLu ada:{} https://api.test/x",
    "curl -X POST https://api.test/x --user 'ada:{}'",
    'curl -sS \\\n  --user "ada:{}" \\\n  https://api.test/x',
    "curl --proxy-user=ada:{} https://api.test",
    "mysql -u root -p{} app < dump.sql",
    "mysqldump -h db -p'{}' app",
    "mariadb-dump --single-transaction -p{} app",
    "sshpass -p {} ssh host",
    "sshpass -p'{}' ssh host",
    "redis-cli -h cache -a {} ping",
    "docker login -u ada -p {} registry.test",
    "az login --service-principal -u app -p {} --tenant t",
    "ldapsearch -x -D cn=admin -w {} -b dc=test",
    "openssl rsa -in a.pem -passin pass:{} -out b.pem",
    "machine api.test login ada password {}",
    "machine api.test\n  login ada\n  password {}",
)
NAMED = (
    "mysql --password={} app",
    "wget --http-password={} https://api.test",
    "PGPASSWORD={} psql app",
)
FILES = {
    "home/.netrc": "default login ada password {}\n",
    "_netrc": "machine api.test\n\tlogin ada\n\tpassword {}\n",
    ".pgpass": "# mine\ndb.test:5432:app:ada:{}\n",
    "pgpass.conf": "*:*:*:ada:{}\n",
    ".npmrc": "//registry.test/:_password={}\n",
    ".pypirc": "[pypi]\nusername = ada\npassword = {}\n",
    ".my.cnf": "[client]\npassword={}\n",
}
HONEST = (
    "curl -u $USER:$PASS https://api.test",
    'curl -u "${USER}:${PASS}" https://api.test',
    "curl -u ada:${PASSWORD} https://api.test",
    "curl -u user:password https://api.test",
    "curl -u <user>:<password> https://api.test",
    "curl -u ada https://api.test; echo a:bcdefgh",
    "curl -fsSL https://api.test:8443/x | sh -s -- -u a:bcdefgh",
    "curl -o file.tgz https://api.test/a:bcdefgh",
    "curl --user-agent tool:v1.2.3 https://api.test",
    "docker run -u 1000:100000 image",
    "mysql -u root -p app",
    "mysql -u root -p\n",
    "mysql --port=3306 -P 3306 app",
    "mysqldump --protocol=tcp app && mkdir -p build/output",
    "redis-cli -a $PASS ping",
    "redis-cli ping; ls -a directory",
    "the login page; mkdir -p some/where",
    "login to the machine with a password manager",
    "docker login -u ada --password-stdin",
    "sshpass -e ssh host",
    "openssl rsa -passin env:PASSPHRASE",
    "openssl rsa -passin file:secret.txt",
    "tool --password=$PASSWORD",
    'parser.add_argument("--password", help="asked for when it is left out")',
    '{"auth": "required"}',
    '{"auth": "c29tZSB3b3Jkcw=="}',
    'oauth": "bearer"',
    "machine learning login password things",
)


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("line", COMMANDS + NAMED)
def test_behind_the_option_of_a_command(line: str, held: str) -> None:
    text = f"#!/bin/sh\nset -e\n{line.format(held)}\n"
    found = scan_content(text.encode(), "deploy.sh").secrets
    assert [each.severity for each in found] == ["medium"], found
    assert held not in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_mark_stands_in_every_such_command(line: str) -> None:
    assert find_marks(line.format("Tr0ub4dor&3x").encode()).command


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("path", FILES)
def test_in_a_file_of_that_name(path: str, held: str) -> None:
    [found] = scan_content(FILES[path].format(held).encode(), path).secrets
    assert found.severity == "medium"
    assert held not in found.shown


def test_in_settings_of_registries() -> None:
    pair = base64.b64encode(b"ada:correcthorse").decode()
    text = f'{{"auths": {{"https://registry.test/v1/": {{"auth": "{pair}"}}}}}}'
    assert [each.rule for each in scan_content(text.encode(), ".docker/config.json").secrets] == ["placed"]
    assert [each.rule for each in scan_content(f"_auth={pair}\n".encode(), ".npmrc").secrets] == ["placed"]
    assert pair not in redact(text)
    assert pair not in redact(text.replace('"', '\\"')), "in a transcript it is a text inside a text"


@pytest.mark.parametrize("line", HONEST)
def test_what_only_stands_for_one_is_left_alone(line: str) -> None:
    assert scan_content(line.encode(), "deploy.sh").secrets == ()
    assert redact(line) == line


def test_a_value_with_a_name_or_form_keeps_the_fingerprint_it_was_allowed_by() -> None:
    token = "gh" + "p_" + "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAabcd"
    for text, rule in (
        (f"curl -u ada:{token} https://api.test", "github.token"),
        ("//registry.test/:_password=Tr0ub4dor3x9Qq\n", "assigned"),
    ):
        assert [each.rule for each in scan_content(text.encode(), ".npmrc").secrets] == [rule]


def test_no_form_of_an_issuer_begins_as_these_do() -> None:
    needles = [needle.encode() for form in FORMS for needle in form.needles]
    assert not [each for each in needles if each.startswith(tuple(each.encode() for each in COMMAND_FRONTS))]


def test_the_product_itself_holds_none() -> None:
    root = Path(nightcrew.__file__).parent
    found = [
        (str(path), each)
        for path in root.rglob("*")
        if path.suffix in (".py", ".yaml", ".toml", ".json", ".sh")
        for each in scan_content(path.read_bytes(), str(path)).secrets
        if each.rule == "placed"
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", ["curl " * 40_000, "curl -" * 40_000, "machine a login " * 20_000, "login -p" * 30_000]
)
def test_a_text_of_such_words_is_searched_to_its_end(text: str) -> None:
    scan_content(text.encode(), "x.sh")
    redact(text[:65_536])


@pytest.mark.parametrize(
    "line",
    [
        "find /var/lib/mysql -print",
        "g++ -I/usr/include/mysql -pthread -c a.cc",
        "docker run --name mysql -p127.0.0.1:3306:3306 db",
    ],
)
def test_options_of_other_programs_beside_mysql_are_no_passwords(line: str) -> None:
    assert not list(find_commands(line, COMMAND_FRONTS))


def test_a_stretch_is_searched_once_however_many_programs_stand_before_an_option() -> None:
    text = "curl " * 100_000 + "-u ada:l0velace"
    assert [text[start:end] for start, end in find_commands(text, COMMAND_FRONTS)] == ["l0velace"]
    text = "curl -u ada:l0velace; curl x; curl -s -u eve:m0riarty \\\n -u bob:n0body99\n"
    assert [text[start:end] for start, end in find_commands(text, COMMAND_FRONTS)] == ["l0velace", "m0riarty"]
