"""Keys of today's issuers in files of a repository, in the open and packed: each is named by its form, none is shown."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from nightcrew.testing.hermetic import Hermetic

MIXED = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAuE4iO7aT2eW9rY5qU8oP1lK6jH3gF0dSkX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAuE4iO7aT2eW9rY5q"
HEX = "3f9a0c7d51e86b24a9d0f3c8e7b61524" * 3
SMALL = "q7w3e9r1t5y8u2i4o6p0a3s7d9f1g5h2j4k6l8z0x3c7v9b1n5m2q7w3e9r1t5y8u2i4o6p0a3s7"
UUID = "3f9a0c7d-51e8-6b24-a9d0-f3c8e7b61524"
#: rule → a key, put together here so that scanners of this repository stay quiet.
KEYS = {
    "vercel.token": "vc" + f"p_{MIXED[:56]}",
    "render.key": "rn" + f"d_{MIXED[:32]}",
    "neon.key": "na" + f"pi_{SMALL[:64]}",
    "aiven.password": "AV" + f"NS_{MIXED[:19]}",
    "mongodb.secret": "md" + f"b_sa_sk_{MIXED[:40]}",
    "buildkite.token": "bk" + f"ua_{HEX[:40]}",
    "circleci.token": "CC" + f"IPAT_{MIXED[:22]}_{HEX[:40]}",
    "sonar.token": "sq" + f"p_{HEX[:40]}",
    "sourcegraph.token": "sg" + f"p_{HEX[:16]}_{HEX[:40]}",
    "prefect.key": "pn" + f"u_{MIXED[:36]}",
    "infracost.key": "ic" + f"o-{MIXED[:32]}",
    "deno.token": "dd" + f"p_{MIXED[:36]}",
    "clojars.token": "CL" + f"OJARS_{SMALL[:60]}",
    "readme.key": "rd" + f"me_{HEX[:70]}",
    "contentful.token": "CF" + f"PAT-{MIXED[:43]}",
    "hubspot.token": "pa" + f"t-na1-{UUID}",
    "launchdarkly.key": "sd" + f"k-{UUID}",
    "octopus.key": "AP" + "I-Q3EGRTYUI7OPLKJH5GFDSA2ZXC",
    "posthog.key": "ph" + f"x_{MIXED[:47]}",
    "trigger.key": "tr" + f"_prod_{MIXED[:20]}",
    "inngest.key": "si" + f"gnkey-prod-{HEX[:64]}",
    "adafruit.key": "ai" + f"o_{MIXED[:28]}",
    "mapbox.token": "sk" + f".eyJ1{MIXED[:80]}.{MIXED[:22]}",
    "google.refresh_token": "1/" + f"/0{MIXED[:60]}",
    "google.fcm_key": "AA" + f"AA{MIXED[:7]}:APA91b{MIXED}{MIXED[:28]}",
    "tencent.key": "AK" + f"ID{MIXED[:32]}",
    "volcengine.key": "AK" + f"LT{MIXED[:43]}",
    "yandex.key": "AQ" + f"VN{MIXED[:36]}",
    "cloudflare.token": "cf" + f"ut_{MIXED[:40]}",
    "elevenlabs.key": "sk" + f"_{HEX[:48]}",
    "together.key": "tg" + f"p_v1_{MIXED[:43]}",
    "fireworks.key": "fw" + f"_{MIXED[:24]}",
    "cerebras.key": "cs" + f"k-{SMALL[:48]}",
    "pinecone.key": "pc" + f"sk_{MIXED[:6]}_{MIXED[:63]}",
    "tavily.key": "tv" + f"ly-dev-{MIXED[:32]}",
    "jina.key": "ji" + f"na_{MIXED[:60]}",
    "apify.token": "ap" + f"ify_api_{MIXED[:36]}",
    "e2b.key": "e2" + f"b_{HEX[:40]}",
    "resend.key": "re" + f"_{MIXED[:8]}_{MIXED[8:32]}",
    "shippo.token": "sh" + f"ippo_live_{HEX[:40]}",
    "easypost.key": "EZ" + f"AK{MIXED[:54]}",
    "duffel.token": "du" + f"ffel_live_{MIXED[:43]}",
    "plaid.token": "ac" + f"cess-production-{UUID}",
    "razorpay.key": "rz" + f"p_live_{MIXED[:14]}",
    "flutterwave.key": "FL" + f"WSECK_TEST-{HEX[:32]}-X",
    "facebook.token": "EA" + f"AC{MIXED}",
    "feishu.webhook": f"https://open.feishu.cn/open-apis/bot/v2/hook/{UUID}",
}
HONEST = "sdk-version-2.0 api-gateway re_compile_pattern_of_the_lexer fw_update_all_the_firmware access-control pat-na1-x\n"


def scan(crew: Hermetic) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    done = crew.look("secrets", "scan", ".", "--json")
    for each in done.json["secrets"]:
        found.setdefault(each["path"], []).append(each["rule"].removeprefix("secrets."))
    for key in KEYS.values():
        assert key[:60] not in done.stdout, "a secret was shown"
    return found


def test_each_form_is_known_by_name(crew: Hermetic) -> None:
    crew.write({f"keys/{rule}.py": f'x = call("{key}")\n' for rule, key in KEYS.items()})
    crew.write({"honest.md": HONEST})
    found = scan(crew)
    assert {rule: found.get(f"keys/{rule}.py") for rule in KEYS} == {rule: [rule] for rule in KEYS}
    assert "honest.md" not in found


@pytest.mark.parametrize("squeeze", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_behind_a_harmless_stream(crew: Hermetic, squeeze) -> None:
    """Programs that open such a file read all of its streams, one behind the other; so do we, and what is cut off is told."""
    key = KEYS["sonar.token"].encode()
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    places = {
        "second": squeeze(b"harmless\n") + squeeze(b"x " + key + b"\n"),
        "third": squeeze(b"a\n") + squeeze(held.getvalue()) + squeeze(key),
        "behind": squeeze(b"harmless\n") + b"\n" + key + b"\n",
        "cut": squeeze(bytes(range(256)) * 40)[:-9],
    }
    for name, data in places.items():
        (crew.repo / name).write_bytes(data)
    assert scan(crew) == {
        "second": ["sonar.token"], "third": ["sonar.token"], "behind": ["sonar.token"], "cut": ["unread"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("magic", "kind"),
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x01\0", "rar")],
)
def test_what_cannot_be_opened_is_told(crew: Hermetic, magic: bytes, kind: str) -> None:
    (crew.repo / "packed").write_bytes(magic + bytes(range(200)))
    assert scan(crew) == {"packed": ["unread"]}
    assert kind in crew.look("secrets", "scan", ".").stdout
