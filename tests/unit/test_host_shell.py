"""The shell parser: real shfmt."""

from __future__ import annotations

import os

import pytest

from nightcrew.host import shell
from nightcrew.model.errors import ShellSyntaxError, UsageError


def _words(tree):
    return [part["Parts"][0]["Value"] for part in tree["Stmts"][0]["Cmd"]["Args"]]


def test_parse_gives_the_tree_and_remembers_it():
    tree = shell.parse("rm -rf build")
    assert _words(tree) == ["rm", "-rf", "build"]
    assert shell.parse("rm -rf build") is tree


def test_bash_and_not_only_posix():
    assert shell.parse("diff <(ls a) <(ls b); [[ -f x ]]")["Stmts"]


def test_empty_text_is_an_empty_tree():
    assert not shell.parse("").get("Stmts")


@pytest.mark.parametrize(
    ("text", "line", "column"), [("(echo", 1, 1), ("echo ok\nif true; fi", 2, 10), ("a\0b", 1, 2)]
)
def test_what_bash_would_not_accept_has_a_place(text, line, column):
    with pytest.raises(ShellSyntaxError) as caught:
        shell.parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert isinstance(caught.value, UsageError)
    assert str(caught.value)


def test_bytes_that_are_no_text_are_refused_not_guessed():
    with pytest.raises(ShellSyntaxError, match="UTF-8"):
        shell.parse("rm " + os.fsdecode(b"caf\xe9"))


def test_shfmt_is_found():
    assert os.access(shell.find_shfmt(), os.X_OK)
