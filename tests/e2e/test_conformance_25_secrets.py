"""Row 25: eighteen secrets in the change of a task, in forms and places where scanners miss them; and honest look-alikes."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

A = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"
B = "uE4iO7aT2eW9rY5qU8oP1lK6jH3gF0dS"


def pem(kind: str) -> str:
    """A made-up key in armour; the words are put together here so that scanners of this repository stay quiet."""
    body = base64.encodebytes(bytes((i * 37 + 11) % 256 for i in range(400))).decode()
    return f"-----BEGIN {kind} " + f"KEY-----\n{body}-----END {kind} " + "KEY-----\n"


def zipped(name: str, text: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return held.getvalue()


# path → content, the rule that must name it, and what of the secret must be seen nowhere
SECRETS: dict[str, tuple[bytes, str, str]] = {
    "src/aws.py": (("KEY = 'AKIA" + "Q3EGRTYUIOPLKJHG'\n").encode(), "aws.access_key", "Q3EGRTYUIOPLKJ"),
    "src/hub.py": (("t = 'gh" + f"p_{A}abcd'\n").encode(), "github.token", A[2:]),
    "src/hub2.py": (("t = 'github" + f"_pat_11ABCDEFG0{A}_{B}'\n").encode(), "github.fine_grained", A),
    "src/claude.ts": (("const k = 'sk-" + f"ant-api03-{A}-{B}'\n").encode(), "anthropic.key", A),
    "src/gpt.ts": (("const k = 'sk-" + f"proj-{A}{B}'\n").encode(), "openai.key", A),
    "app/map.html": (("<script src='/js?key=AI" + f"za{A}abc'>\n").encode(), "google.api_key", A[1:]),
    "src/pay.rb": (("Stripe.api_key = 'sk_" + f"live_{A[:24]}'\n").encode(), "stripe.key", A[:24]),
    "src/bot.go": (
        ('x := "xoxb-' + f'123456789012-123456789012-{A[:24]}"\n').encode(),
        "slack.token",
        A[:20],
    ),
    "lib/npm.txt": (("//registry/:_authToken=npm" + f"_{A}abcd\n").encode(), "npm.token", A),
    "lib/upload.cfg": (("[pypi]\npassword = pypi" + f"-AgEIcHlwaS5vcmc{A}{B}\n").encode(), "pypi.token", A),
    "src/keys.txt": (pem("OPENSSH PRIVATE").encode(), "private_key", "CzBVep/E6Q4z"),
    "src/enc.txt": (pem("ENCRYPTED PRIVATE").encode(), "private_key", "CzBVep/E6Q4z"),
    "deploy/.settings": (f"DB_PASSWORD={B[:18]}\n".encode(), "assigned", B[:18]),
    "deploy/app.yaml": (b"database:\n  password: " + f"{A[:14]}!x\n".encode(), "assigned", A[:14]),
    "deploy/url.txt": (
        f"see postgres://app:{A[:16]}@db.internal:5432/app\n".encode(),
        "url.password",
        A[:16],
    ),
    "notes/wide.txt": (("token gh" + f"o_{B}wxyz\r\n").encode("utf-16"), "github.token", B[2:]),
    "art/logo.svg": (("<svg><!-- gl" + f"pat-{A[:20]} --></svg>\n").encode(), "gitlab.token", A[:20]),
    "data/all.zip": (zipped("in/config.env", "K=hf" + f"_{B}ab\n"), "huggingface.token", B[2:]),
}

# Files that look secret to a scanner that does not think.
HONEST: dict[str, bytes] = {
    "docs/log.md": b"fixed in 0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d, see 9f8a7b6c\n",
    "package-lock.json": b'{"integrity": "sha512-'
    + base64.b64encode(bytes(range(64)))
    + b'", "js-tokens": "^4.0.0"}\n',
    "go.sum": b"example.org/m v1.2.3 h1:" + base64.b64encode(bytes(range(32))) + b"\n",
    "src/login.py": b"def login(password: str, token=None):\n    token = read_token()\n    return password == stored.password\n",
    "src/sample.env": b"API_KEY=your-api-key-here\nTOKEN=<token>\nPASSWORD=${PASSWORD}\nSECRET=changeme\n",
    "src/ids.json": b'{"id": "123e4567-e89b-12d3-a456-426614174000", "etag": "d41d8cd98f00b204e9800998ecf8427e"}\n',
    "src/aws_docs.md": b"Use AKIA" + b"IOSFODNN7EXAMPLE in examples.\n",
    "src/img.txt": b"data:image/png;base64," + base64.b64encode(bytes(range(256))) + b"\n",
}


def hand_over(crew: Hermetic, files: dict[str, bytes]) -> str:
    """Have a task write these files; return the name of the script that the agent runs."""
    packed = base64.b85encode(
        gzip.compress(json.dumps({k: base64.b64encode(v).decode() for k, v in files.items()}).encode())
    )
    script = (
        "import base64, gzip, json, pathlib\n"
        f"files = json.loads(gzip.decompress(base64.b85decode({packed!r})))\n"
        "for name, text in files.items():\n"
        "    path = pathlib.Path(name)\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    path.write_bytes(base64.b64decode(text))\n"
    )
    crew.write({"agent.py": script})
    crew.commit("agent")
    return "- [ ] 1. work\n  - Run: python3 agent.py\n  - Accept: test -d src\n"


def test_25_all_eighteen_are_found_and_none_is_shown(crew: Hermetic) -> None:
    assert len(SECRETS) == 18
    done = crew.run_tasks(hand_over(crew, {name: held for name, (held, _, _) in SECRETS.items()}))
    assert done.code == 5, done
    asked = crew.look("show", "A-1", "--json")
    text = asked.stdout
    for name, (_, rule, hidden) in SECRETS.items():
        assert f"{name}:" in text, name
        assert hidden not in text + done.stdout + done.stderr, name
        assert rule.split(".")[0] in text or "looks like a secret" in text
    scan = crew.run("secrets", "scan", "R-1/T01", "--json").json
    found = {(each["path"], each["rule"]) for each in scan["secrets"] if not each["allowed"]}
    assert found == {(name, f"secrets.{rule}") for name, (_, rule, _) in SECRETS.items()}
    assert scan["found"] == 18


def test_25_honest_files_are_left_alone(crew: Hermetic) -> None:
    done = crew.run_tasks(hand_over(crew, HONEST))
    assert done.code == 0, done
    scan = crew.run("secrets", "scan", "R-1/T01", "--json").json
    assert (scan["found"], scan["secrets"]) == (0, [])


def test_25_promotion_refuses_it_until_it_is_allowed_by_its_fingerprint(crew: Hermetic) -> None:
    name = "src/hub.py"
    crew.run_tasks(hand_over(crew, {name: SECRETS[name][0]}))
    assert crew.run("approve", "A-1").code == 0
    assert crew.run("resume").code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    before = crew.git("rev-parse", "HEAD")
    review = crew.run("review", "R-1")
    assert "looks like a secret" in review.stdout
    assert SECRETS[name][2] not in review.stdout
    refused = crew.run("promote", "R-1", "--yes")
    assert refused.code == 6, refused
    assert f"{name}:1" in refused.stderr
    assert "nightcrew secrets allow" in refused.stderr
    assert crew.git("rev-parse", "HEAD") == before
    [found] = crew.run("promote", "R-1", "--dry-run", "--json").json["secrets"]
    assert (
        crew.run(
            "secrets", "allow", found["fingerprint"], "--reason", "closed account", "--until", "2001-01-01"
        ).code
        == 2
    )
    unseen = crew.run("secrets", "allow", "0" * 20, "--reason", "a slip of the finger")
    assert unseen.code == 3, unseen
    assert "was seen in this repository; nothing was written" in unseen.stderr
    assert not (crew.repo / ".nightcrew/policy.yaml").exists()
    allowed = crew.run("secrets", "allow", found["fingerprint"], "--reason", "closed account")
    assert "(seen in R-1/T01: src/hub.py)" in allowed.stderr
    assert allowed.code == 0, allowed
    done = crew.run("promote", "R-1", "--yes")
    assert done.code == 0, done
    assert crew.git("rev-parse", "HEAD") != before
    [event] = [
        e
        for e in map(json.loads, crew.look("events", "--json").stdout.splitlines())
        if e["kind"] == "promotion.prepared"
    ]
    assert event["data"]["secrets_allowed"] == [found["fingerprint"]]


def test_25_an_allowance_that_is_over_does_not_hold(crew: Hermetic) -> None:
    name = "src/hub.py"
    crew.write({"loose.py": SECRETS[name][0].decode()})
    [found] = crew.run("secrets", "scan", "loose.py", "--json").json["secrets"]
    crew.write(
        {
            ".nightcrew/policy.yaml": "version: 1\nsecrets:\n  allow:\n"
            f'    - {{fingerprint: "{found["fingerprint"]}", reason: old, until: "2001-01-01", by: ada}}\n'
        }
    )
    scan = crew.run("secrets", "scan", "loose.py")
    assert scan.code == 1
    assert "no longer allowed since 2001-01-01 by ada: old" in scan.stdout
