"""Text for people: what is hostile shows by name, what is measured fits, what is folded loses nothing."""

from __future__ import annotations

import pytest

from nightcrew.model import text


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        ("plain words", "plain words"),
        ("größe 日本語", "größe 日本語"),
        ("a\u202eb", "a<U+202E>b"),
        ("\x1b[31mred", "<U+001B>[31mred"),
        ("a\nb\tc", "a<U+000A>b<U+0009>c"),
        ("zero\u200bwidth", "zero<U+200B>width"),
        ("no\u00a0break", "no<U+00A0>break"),
        ("bad\udcff", "bad<0xFF>"),
        ("filler\u3164", "filler<U+3164>"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("variation\ufe0f", "variation<U+FE0F>"),
        ("line\u2028end", "line<U+2028>end"),
        ("c1\x85", "c1<U+0085>"),
    ],
)
def test_hostile_characters_are_shown_as_chips(raw: str, seen: str) -> None:
    assert text.shown(raw) == seen


def test_what_the_caller_handles_himself_is_kept() -> None:
    assert text.shown("a\nb\x07", keep="\n") == "a\nb<U+0007>"


def test_hidden_characters_are_listed_once_in_order() -> None:
    assert text.find_hidden("a\u202eb\u200bc\u202e") == ("<U+202E>", "<U+200B>")
    assert text.find_hidden("größe") == ()


def test_width_counts_terminal_columns() -> None:
    assert text.measure("abc") == 3
    assert text.measure("日本") == 4
    assert text.measure("e\u0301") == 1


@pytest.mark.parametrize("columns", range(12))
def test_fit_and_pad_never_exceed_the_columns(columns: int) -> None:
    for sample in ("", "short", "a longer label", "日本語の題名"):
        assert text.measure(text.fit(sample, columns)) <= columns
        assert text.measure(text.pad(sample, columns)) == columns


def test_fold_breaks_at_spaces_and_loses_nothing() -> None:
    pieces = text.fold("one two three four", 9)
    assert pieces == ["one two ", "three ", "four"]
    assert "".join(text.fold("x" * 95, 10)) == "x" * 95


def test_hang_marks_what_goes_on() -> None:
    assert text.hang("  run  ", "aaaa bbbb cccc dddd eeee ffff", 27) == [
        "  run  aaaa bbbb cccc dddd ",
        "     … eeee ffff",
    ]


def test_ids_are_shortened_from_the_middle() -> None:
    assert text.shorten_id("0123456789abcdef") == "0123..ef"
    assert text.shorten_id("short") == "short"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("Depend", "depends"),
        ("Accpet", "accept"),
        ("rnu", "run"),
        ("zzz", ""),
        ("RUN", "run"),
        ("banana", ""),
    ],
)
def test_closest_word(word: str, found: str) -> None:
    assert text.closest(word, ["run", "depends", "accept"]) == found


def test_a_swap_of_neighbours_is_one_edit() -> None:
    assert text.distance("accpet", "accept") == 1
    assert text.distance("kitten", "sitting") == 3
    assert text.distance("", "abc") == 3
