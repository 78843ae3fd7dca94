"""What is asked first hides nothing: a content is found to hold the same whether it is asked first or compared with everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import AROUND, sample
from nightcrew.policy.scanning.forms import FORMS, RUN, Form
from nightcrew.policy.scanning.marks import _compile, beginnings, find_marks, find_names
from nightcrew.policy.scanning.runs import ODD_IN, ODD_IN_FORMED, Seen, find_runs, look
from nightcrew.policy.scanning.texts import scan_text
from nightcrew.policy.scanning.unwrap import Bounds, unwrap

RANDOM = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"
FRAMES = [
    "key-",
    "api_key = ",
    "token: ",
    "secret_",
    "-",
    ".",
    ":",
    "/",
    "~",
    " ",
    "\n",
    "=",
    '"',
    "x",
    "A1",
    "+",
    "@",
]
OTHERS = [
    RANDOM,
    RANDOM * 3,
    RANDOM[:20],
    "postgres://ada:correct-horse9@db.internal/x",
    "https://:p4ssvvord@h ",
    "Bearer " + RANDOM,
    "basic\t" + RANDOM,
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "MIIEowIBAAKCAQEAx7Zc1aVQk3\n" * 4
    + "-----END RSA PRIVATE KEY-----",
    "password='hunter22!x'",
    "c2VjcmV0ID0gImdocF9rWDl3UTJtWjd2QjRuTDh0UjF5QzZzRDNmRzVoSjBwQSIK",
    "CONSTANT_NAME_THAT_IS_LONG",
    "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.ZnCjm1XVW7vRze4b7Cq4se7kKWs",
    "\xe9",
    "\0",
]


def draw(form: Form, number: int) -> str:
    return AROUND.get(form.id, "") + sample(form.pattern.pattern, random.Random(f"{form.id} {number}"))


keys = st.tuples(st.sampled_from(FORMS), st.integers(0, 50)).map(lambda drawn: draw(*drawn))
cut = st.tuples(keys, st.integers(0, 60)).map(lambda both: both[0][: both[1]])
pieces = st.one_of(st.sampled_from(FRAMES), st.sampled_from(OTHERS), keys, cut)
texts = st.lists(pieces, max_size=12).map(lambda drawn: "".join(drawn).encode("latin-1"))


def compared_with_everything(data: bytes) -> Seen:
    marks = find_marks(data)
    # Where nothing begins as a key does, names are left out by a stricter rule: only what looks random is asked for there.
    runs = find_runs(data, RUN, ODD_IN_FORMED if marks.formed else ODD_IN)
    return Seen(marks._replace(armour=True, webhook=True, address=True, formed=True), runs)


@settings(max_examples=400)
@given(texts)
def test_asking_first_hides_nothing(data: bytes) -> None:
    seen, everything = look(data), compared_with_everything(data)
    for path in ("src/x.py", ".env"):
        assert list(scan_text(data, path, seen)) == list(scan_text(data, path, everything))
    assert list(unwrap(data, Bounds(), seen.runs)) == list(unwrap(data, Bounds(), everything.runs))


@settings(max_examples=400)
@given(texts)
def test_names_are_the_same_in_one_pass_and_alone(data: bytes) -> None:
    assert find_marks(data).ends == find_names(data)[0]


@pytest.mark.parametrize("form", FORMS, ids=[form.id for form in FORMS])
def test_every_match_of_a_form_holds_one_of_its_beginnings(form: Form) -> None:
    for number in range(20):
        text = draw(form, number)
        assert form.pattern.search(text), text
        if form.broken:
            assert find_marks(text.encode()).webhook
            continue
        assert any(_compile(each.encode()).search(text.encode()) for each in beginnings(form)), text
        assert find_marks(text.encode()).formed, text
        # Also where the name of a secret begins at the same place, or just before it.
        for before in ("api-", "secret", "token_", "pass"):
            assert form.pattern.search(before + text) is None or find_marks((before + text).encode()).formed


def test_ordinary_text_has_no_mark_of_a_key() -> None:
    text = (
        b"def tokenize(self, path):\n    return self.path_of_tokens  # see https://host/a@b and user@host\n"
    )
    assert find_marks(text)[1:] == (False, False, False, False, ())
