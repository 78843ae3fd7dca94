"""Paths and entries that are never promoted."""

from __future__ import annotations

import pytest

from nightcrew.model.errors import DeniedByPolicy
from nightcrew.promote.guard import find_fault, refuse_bad_paths

FILE = "100644 " + "a" * 40
GITLINK = "160000 " + "a" * 40


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".GIT/hooks/pre-commit",
        "sub/.Git/x",
        "git~1/config",
        "GIT~1",
        ".git ",
        ".git.",
        ".git. . ",
        ".git::$INDEX_ALLOCATION",
        ".g\u200cit/config",
        ".gi\ufefft",
        "../outside",
        "a/../b",
        "a/./b",
        "a//b",
        "/etc/passwd",
        "",
        "a\0b",
        "dir/",
    ],
)
def test_refused(path: str) -> None:
    assert find_fault(path)
    with pytest.raises(DeniedByPolicy):
        refuse_bad_paths([(path, "", FILE)], None)


@pytest.mark.parametrize(
    "path",
    [
        ".gitignore",
        ".gitattributes",
        ".github/x",
        "git",
        "a.git",
        "-rf",
        "ä ö",
        "new\nline",
        "\udcff",
        "git~2",
        "...",
        "..a",
    ],
)
def test_fine(path: str) -> None:
    assert find_fault(path) == ""
    refuse_bad_paths([(path, "", FILE)], None)


def test_submodules_are_refused_in_either_direction() -> None:
    for old, new in ((GITLINK, ""), ("", GITLINK), (FILE, GITLINK)):
        with pytest.raises(DeniedByPolicy) as refused:
            refuse_bad_paths([("sub", old, new)], None)
        assert "submodule" in refused.value.where[0]


def test_only_reviewed_paths() -> None:
    refuse_bad_paths([("a", "", FILE)], {"a", "b"})
    with pytest.raises(DeniedByPolicy) as refused:
        refuse_bad_paths([("a", "", FILE), ("c", "", FILE), ("../d", "", FILE)], {"a"})
    assert refused.value.where == ("c: not among the paths that were reviewed", "../d: not a plain path")
