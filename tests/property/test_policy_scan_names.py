"""The names of secrets are found in one pass exactly where a search for each of them finds them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from nightcrew.policy.scanning.marks import find_marks

PLAIN = re.compile(
    rb"(?i)(?:secret|token|credential|(?P<pwd>pwd)|pass(?=w|phrase)"
    rb"|(?:api|access|private|auth|encryption|signing|account|master|license)[_-]?key)"
)
WORKING_DIRECTORY = re.compile(rb"(?is).{0,4}?(?<![a-z0-9_])(?:old)?pwd=/")
WORDS = [
    "pass",
    "w",
    "phrase",
    "word",
    "wd",
    "pwd",
    "oldpwd",
    "secret",
    "token",
    "tokey",
    "towen",
    "tocen",
    "credential",
    "wredential",
    "sewret",
    "key",
    "wey",
    "cey",
    "ken",
    "pass",
    "api",
    "access",
    "private",
    "auth",
    "encryption",
    "signing",
    "account",
    "master",
    "license",
    "whsec_",
    "whsek_",
    "PRIVATE",
    "KEY",
    "_",
    "-",
    "=",
    "/",
    ".",
    "x",
    "é",
]
piece = st.sampled_from([*WORDS, " ", "\n", "=/"]).flatmap(
    lambda w: st.sampled_from([w, w.upper(), w.title()])
)
texts = st.lists(piece, max_size=14).map(lambda parts: "".join(parts).encode("latin-1"))


def one_by_one(data: bytes) -> set[int]:
    ends = set()
    for start in range(len(data)):
        match = PLAIN.match(data, start)
        if match is None:
            continue
        if match["pwd"] and WORKING_DIRECTORY.match(data, max(0, match.end() - 7)):
            continue
        ends.add(match.end())
    return ends


@given(texts)
def test_one_pass_finds_what_single_searches_find(data: bytes) -> None:
    names = find_marks(data)
    assert set(names.ends) == one_by_one(data)
    assert names.ends == sorted(names.ends)
    assert names.armour or b"PRIVATE KEY" not in data
    assert names.webhook or b"whsec_" not in data
