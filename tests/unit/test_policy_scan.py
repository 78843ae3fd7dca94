"""Contents are searched for secrets: every form, every wrapping, what only looks like one, and what a policy says of it."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import random
import tarfile
import time
import zipfile
from dataclasses import replace
from datetime import date

import pytest

from form_samples import AROUND, sample
from nightcrew.model.actions import Change, PathChange, Verdict
from nightcrew.model.errors import InvalidInput
from nightcrew.policy.load import layer, parse_policy
from nightcrew.policy.scanning.change import scan_change
from nightcrew.policy.scanning.contents import MAX_SECRETS, scan_content
from nightcrew.policy.scanning.forms import FORMS, Form
from nightcrew.policy.scanning.noise import is_varied
from nightcrew.policy.scanning.unwrap import MAX_DEPTH, MAX_MEMBERS
from nightcrew.policy.secrets import redact

A = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"
TOKEN = "gh" + f"p_{A}abcd"
TEXT = f"first\nkey = '{TOKEN}'\n".encode()
TODAY = date(2026, 11, 21)
FILE = 0o100644


def brief(data: bytes, path: str = "src/x.py") -> list[tuple[str, int, tuple[str, ...]]]:
    return [(s.rule, s.line, s.inside) for s in scan_content(data, path).secrets if s.severity != "low"]


@pytest.mark.parametrize(
    "front",
    [
        b"070701",
        b"!<arch>\n",
        b"hsqs",
        b"xar!\0",
        b"MSCF\0\0\0\0",
        b"BZh",
        b"PK\x03\x04",
        b"\x28\xb5\x2f\xfd",
    ],
)
def test_beginning_like_an_archive_hides_no_text(front: bytes) -> None:
    scan = scan_content(front + b"\n" + base64.b64encode(TEXT), "src/x.py")
    assert [each.rule for each in scan.secrets if each.severity == "high"] == ["github.token"]
    assert len(scan.unread) == 1, "that it cannot be opened is told all the same"


def test_what_stands_behind_the_members_of_an_archive_is_read_too() -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "nothing")
        archive.comment = base64.b64encode(TEXT)
    assert [rule for rule, _, _ in brief(held.getvalue(), "x.zip")] == ["github.token"]


@pytest.mark.parametrize("form", FORMS, ids=[form.id for form in FORMS])
@pytest.mark.parametrize("number", range(5))
def test_every_form_is_found_and_redacted_from_one_table(form: Form, number: int) -> None:
    secret = sample(form.pattern.pattern, random.Random(f"{form.id} {number}"))
    if form.varied and not is_varied(secret):
        return  # by lot it looks like a name
    text = f"one\n({AROUND.get(form.id, '')}{secret})\n"
    found = scan_content(text.encode(), "src/x.txt").secrets
    assert [each.line for each in found] == [2], secret
    assert secret not in redact(text)
    assert found[0].shown in redact(text)


def zipped(*members: tuple[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return held.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return held.getvalue()


FOUND = "github.token"


@pytest.mark.parametrize(
    ("data", "line", "inside"),
    [
        (TEXT, 2, ()),
        (TEXT.decode().encode("utf-16"), 2, ()),
        (TEXT.decode().encode("utf-16-le"), 2, ()),
        (TEXT.decode().encode("utf-16-be"), 2, ()),
        (TEXT.decode().encode("utf-32"), 2, ()),
        (b"\x7fELF\x00\x01\x02\n" + TEXT, 3, ()),
        (bytes(range(256)) + TOKEN.encode("utf-16-le") + bytes(900), 2, ()),
        (b"a\nb\n" + base64.b64encode(TEXT), 3, ("base64",)),
        (b"a\nb\n" + base64.encodebytes(b"some words before the key\n" * 4 + TEXT), 3, ("base64",)),
        (b"x: " + base64.urlsafe_b64encode(TEXT * 3), 1, ("base64",)),
        (b"powershell -enc " + base64.b64encode(TEXT.decode().encode("utf-16-le")), 1, ("base64",)),
        (base64.b64encode(base64.b64encode(TEXT)), 1, ("base64", "base64")),
        (gzip.compress(TEXT), 2, ("unpacked",)),
        (bz2.compress(TEXT), 2, ("unpacked",)),
        (lzma.compress(TEXT), 2, ("unpacked",)),
        (zipped(("a/b.env", TEXT)), 2, ("a/b.env",)),
        (tarred("a/b.env", TEXT), 2, ("a/b.env",)),
        (gzip.compress(tarred("a/b.env", TEXT)), 2, ("unpacked", "a/b.env")),
        (b"zip: " + base64.b64encode(zipped(("a.txt", TEXT))), 1, ("base64", "a.txt")),
    ],
    ids=[
        "text", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "binary", "wide in binary", "base64", "base64 lines",
        "base64 url", "base64 of utf-16", "base64 twice", "gzip", "bzip2", "xz", "zip", "tar", "tgz", "base64 of zip",
    ],
)  # fmt: skip
def test_it_is_found_however_it_is_wrapped(data: bytes, line: int, inside: tuple[str, ...]) -> None:
    assert (FOUND, line, inside) in brief(data)


def test_what_cannot_be_opened_is_told() -> None:
    wrapped = TEXT
    for _ in range(MAX_DEPTH + 1):
        wrapped = gzip.compress(wrapped)
    assert "wrapped more than" in scan_content(wrapped, "x.gz").unread[0]
    assert "cannot be read" in scan_content(zipped(("a", TEXT))[:60], "x.zip").unread[0]
    many = zipped(*((f"{n}.txt", b"") for n in range(MAX_MEMBERS + 5)))
    assert scan_content(many, "x.zip").unread == (f"more than {MAX_MEMBERS} files in archives",)
    bomb = gzip.compress(bytes(64 << 20))
    assert "more than 32 MiB unpacked" in scan_content(bomb, "x.gz").unread[0]
    locked = bytearray(zipped(("a", TEXT)))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + at] |= 1
    assert scan_content(bytes(locked), "x.zip").unread == ("a: encrypted",)


def test_more_than_anybody_reads_is_cut_and_told() -> None:
    text = "".join(f"t{n} = 'gh" + f"p_{A}{n:04}'\n" for n in range(MAX_SECRETS + 9))
    scan = scan_content(text.encode(), "x.py")
    assert len(scan.secrets) == MAX_SECRETS
    assert "the rest is not listed" in scan.unread[0]


LOUD = [
    (".env", "DB_PASSWORD=correcthorse", "assigned"),
    (".env", "SECRET_KEY=9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c", "assigned"),
    ("app.yaml", "password: S3cr3tPassw0rd", "assigned"),
    ("n.ipynb", '{"source": ["api_key = \\"' + A + '\\""]}', "assigned"),
    ("x.tf", 'access_key = "' + A + '"', "assigned"),
    ("x.py", "aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzz1234567'", "assigned"),
    ("x.sh", "tool --token " + A, "assigned"),
    ("x.py", "connect('amqp://app:" + A[:12] + "@mq.internal')", "url.password"),
    ("x.py", "headers = {'Authorization': 'Bearer " + A + "'}", "bearer"),
    ("x.py", "Credentials: " + A + "q7", "assigned"),
    ("x.py", "auth: see " + A + "q7", "entropy"),
]


@pytest.mark.parametrize(("path", "text", "rule"), LOUD, ids=[row[1][:20] for row in LOUD])
def test_names_and_places_tell(path: str, text: str, rule: str) -> None:
    assert [name for name, _, _ in brief(text.encode(), path)] == [rule]
    if rule != "entropy":  # which needs a line to speak of secrets, and is only asked of a change
        assert redact(text) != text


QUIET = [
    "commit 0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d",
    "auth commit " + A + "q7",
    "token integrity sha512-" + A + A,
    "request_id: 123e4567-e89b-12d3-a456-426614174000",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "API_KEY=your-api-key-here",
    "API_KEY=xxxxxxxxxxxxxxxxxxxx",
    "TOKEN=<token>",
    "TOKEN=${TOKEN}",
    "password = os.environ['PASSWORD']",
    "token = lexer.next_token()",
    "token_url = 'https://example.org/oauth2/token1'",
    "secret_name = 'projects/p1/secrets/s2'",
    "password: str = ''",
    "max_tokens: 4096000",
    "class TokenizerFactoryForAllTheLanguages2024Edition:",
    "test_a_very_long_name_of_a_test_with_2_numbers_1_and_2",
    "https://user:password@localhost/db",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "sk-loader-with-a-long-name-of-a-style-class",
    "gh" + "p_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "gh" + "p_abcdefghijklmnopqrstuvwxyz0123456789",
]


@pytest.mark.parametrize("text", QUIET, ids=[text[:24] for text in QUIET])
def test_what_is_none_is_not_told(text: str) -> None:
    assert brief(text.encode()) == []


def test_lock_files_and_generated_digests_are_quiet() -> None:
    text = f'{{"js-tokens": "^4.0.0", "token": "{A}", "integrity": "sha512-{A}{A}=="}}'
    assert brief(text.encode(), "web/package-lock.json") == []
    assert brief(text.encode() + TOKEN.encode(), "web/package-lock.json") == [(FOUND, 1, ())]


def test_the_fingerprint_is_of_rule_and_value() -> None:
    one, other = (
        scan_content(TEXT, "a.py").secrets[0],
        scan_content(b"\n\nx " + TOKEN.encode(), "b/c.txt").secrets[0],
    )
    assert one.fingerprint == other.fingerprint
    assert len(one.fingerprint) == 20
    assert scan_content(TEXT.replace(b"kX9", b"kX8"), "a.py").secrets[0].fingerprint != one.fingerprint
    body = base64.encodebytes(bytes(range(200))).decode()
    key = "-----BEGIN PRIVATE " + f"KEY-----\n{body}-----END PRIVATE " + "KEY-----"
    plain = scan_content(key.encode(), "a").secrets[0]
    quoted = scan_content(('{"private_key": "' + key.replace("\n", "\\n") + '"}').encode(), "a.json").secrets[
        0
    ]
    assert (plain.rule, plain.fingerprint) == (quoted.rule, quoted.fingerprint)


# -- changes ------------------------------------------------------------------------------------------------------


BLOBS = {"new": TEXT, "old": b"nothing\n", "grown": TEXT + b"more\n", "locked": zipped(("a", TEXT))[:70]}


def added(path: str, blob: str = "new", **more) -> PathChange:
    return PathChange(path, "added", **{"new_mode": FILE, "new_id": blob, "size_bytes": 9, **more})


def findings(*paths: PathChange, policy: str = "", **more):
    rules = layer([parse_policy(policy, "p")]) if policy else layer([])
    return scan_change(rules, Change("a", "b", paths), BLOBS.__getitem__, today=TODAY, **more)


def allow(until: str = "2026-11-21") -> str:
    print_ = scan_content(TEXT, "x.py").secrets[0].fingerprint
    return (
        "version: 1\nsecrets:\n  allow:\n"
        f'    - {{fingerprint: "{print_}", reason: closed, until: "{until}", by: ada}}\n'
    )


def test_a_secret_in_a_change_asks_and_tells_what_is_needed_to_find_it() -> None:
    [found] = findings(added("src/x.py"))
    assert (found.check, found.verdict, found.rule) == ("secrets", Verdict.ASK, "secrets.github.token")
    assert (found.path, found.line, found.severity) == ("src/x.py", 2, "high")
    assert found.source.startswith("defaults.yaml:")
    assert "ghp_***cd" in found.message
    assert found.fingerprint in found.message
    assert redact(found.message) == found.message, "it can be stored"


@pytest.mark.parametrize("word", ["allow", "ask", "deny"])
def test_the_policy_says_what_it_means(word: str) -> None:
    [found] = findings(added("src/x.py"), policy=f"secrets: {{change: {word}}}\n")
    assert (found.verdict, found.source) == (Verdict(word), "p:1")
    [found] = findings(added("src/x.py"), policy=f"secrets: {{change: {word}}}\n", verdict=Verdict.DENY)
    assert found.verdict is Verdict.DENY, "promotion refuses it whatever the policy says"


def test_only_what_lands_and_is_new_is_told() -> None:
    kept = PathChange(
        "src/x.py", "modified", old_mode=FILE, new_mode=FILE, old_id="new", new_id="grown", size_bytes=9
    )  # fmt: skip
    assert findings(kept) == ()
    grown = replace(kept, old_id="old")
    assert len(findings(grown)) == 1
    assert findings(added(".env.log", ignored=True)) == ()
    assert findings(added("link", new_mode=0o120000)) == ()
    assert findings(PathChange("gone", "deleted", old_mode=FILE, old_id="new")) == ()
    moved = (PathChange("a.py", "deleted", old_mode=FILE, old_id="new"), added("b.py"))
    assert findings(*moved) == ()
    assert findings(replace(kept, old_id="new", new_id="new", new_mode=0o100755)) == ()


def test_an_allowance_holds_to_the_end_of_its_day() -> None:
    [found] = findings(added("src/x.py"), policy=allow(), verdict=Verdict.DENY)
    assert (found.verdict, found.source) == (Verdict.ALLOW, "p:4")
    assert "allowed until 2026-11-21 by ada: closed" in found.message
    [found] = findings(added("src/x.py"), policy=allow("2026-11-20"))
    assert found.verdict is Verdict.ASK
    assert "no longer allowed since 2026-11-20" in found.message


def test_an_allowance_changes_the_digest_of_the_policy() -> None:
    one, other = (layer([parse_policy(allow(day), "p")]).digest for day in ("2026-11-21", "2026-11-22"))
    assert one != other != layer([]).digest


def test_what_cannot_be_searched_asks_and_can_be_allowed() -> None:
    [found] = findings(added("x.zip", "locked"))
    assert (found.verdict, found.rule) == (Verdict.ASK, "secrets.unread")
    rule = f'secrets: {{allow: [{{fingerprint: "{found.fingerprint}", reason: r, until: "2027-01-01", by: ada}}]}}\n'
    [allowed] = findings(added("x.zip", "locked"), policy=rule)
    assert allowed.verdict is Verdict.ALLOW
    [large] = findings(added("x.bin", size_bytes=1 << 30))
    assert "larger than 32 MiB" in large.message


def test_names_in_tests_and_examples_stop_nothing_but_keys_do() -> None:
    blobs = {"word": b"password = 'S3cr3tPassw0rd'\n", "key": TEXT}
    for path, blob, verdict in (
        ("tests/test_x.py", "word", Verdict.ALLOW),
        ("src/x.py", "word", Verdict.ASK),
        ("tests/test_x.py", "key", Verdict.ASK),
    ):
        change = Change("a", "b", (added(path, blob),))
        [found] = scan_change(layer([]), change, blobs.__getitem__, today=TODAY)
        assert found.verdict is verdict, path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('secrets: {allow: [{fingerprint: "zz", reason: r, until: "2027-01-01", by: a}]}\n', "p:1:33"),
        ('secrets: {allow: [{fingerprint: "01234567890123456789", reason: r, by: a}]}\n', "until"),
        (
            'secrets: {allow: [{fingerprint: "01234567890123456789", reason: r, until: "2027-02-30", by: a}]}\n',
            "there is no day '2027-02-30'",
        ),
        ("secrets: {chance: ask}\n", "chance"),
    ],
)
def test_a_bad_allowance_has_a_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_policy(text, "p")
    assert said in " ".join(error.value.where)


def test_a_machine_that_lets_no_secret_land_cannot_be_loosened() -> None:
    outer = parse_policy("secrets: {change: deny}\n", "/etc/p", ceiling=True)
    with pytest.raises(InvalidInput, match="1 problem"):
        layer([outer, parse_policy(allow(), "p")])


def test_hostile_contents_cost_little() -> None:
    texts = [
        base64.b64encode(bytes(range(256)) * 2_000),
        b"A" * 1_000_000,
        b"A1b-" * 100_000,
        b"://a:" * 100_000 + b"@",
        b"-----BEGIN PRIVATE KEY-----" * 10_000,
        b"bearer " * 100_000,
        b"password=" * 50_000,
        b"eyJhbGciOiJIUzI1NiJ9." * 10_000,
        b"sk-Abcdefgh1234567890abcdef-" * 10_000,
        b"MAbcdefghijklmnopqrstuvw1." * 10_000,
        b"whsec_" * 50_000,
        b"\0" * 1_000_000,
        b"a\0" * 500_000,
    ]
    for text in texts:
        before = time.process_time()
        scan_content(text, "x.txt")
        assert time.process_time() - before < 4.0, text[:20]
