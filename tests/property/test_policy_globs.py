"""One expression in place of many is only a shortcut: it never hides what the globs catch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.policy.globs import Globs, check_glob

PARTS = st.sampled_from(["a", "b", "*.pem", "docs", "**", "x?", "[ab]", "*", "src", ".git", "a b"])
NAMES = st.sampled_from(["a", "b", "x.pem", "docs", "src", "xy", ".git", "a b", "c", "a\nb"])
GLOB = st.builds(
    lambda negated, root, parts, folder: f"{negated}{root}{'/'.join(parts)}{folder}",
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/", "//"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
PATH = st.builds(
    lambda root, names, folder: f"{root}{'/'.join(names)}{folder}",
    st.sampled_from(["", "", "//", "./"]),
    st.lists(NAMES, min_size=1, max_size=4),
    st.sampled_from(["", "", "/"]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(GLOB.filter(lambda glob: not check_glob(glob)), min_size=1, max_size=4),
    st.lists(PATH, max_size=12),
)
def test_the_shortcut_changes_nothing(globs: list[str], paths: list[str]) -> None:
    quick, plain = Globs(globs), Globs(globs)
    plain._maybe_inside = plain._maybe_outside = lambda _: True
    assert [quick.find(path) for path in paths] == [plain.find(path) for path in paths]


@pytest.mark.parametrize("glob", ["**/" * 400 + "a", "*a*a*a*a*a*a*b", "**/**/*a*a*a*a*a*a*a*a*a*b"])
def test_a_glob_that_would_take_hours_to_match_is_refused(glob):
    assert "could take hours" in check_glob(glob)
    assert check_glob("**/src/**/test_*_of_*_*.py") == ""
