"""What an agent says is never obeyed by a terminal, in whichever line of ours it stands."""

from __future__ import annotations

import pytest

from nightcrew.cli.failure import show_error
from nightcrew.cli.screen import Screen
from nightcrew.model.errors import StaleError


def test_an_agents_words_are_shown_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = "Which port?\x1b[8m\u202e\n  1. 8080"
    screen = Screen()
    screen.verb("Denied", words)
    screen.warn(words)
    screen.hint(words)
    show_error(StaleError(words, where=[f"A-1: {words}"], hint=words), screen)
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert said.count("<U+001B>[8m<U+202E>\n") == 6
    # No further line of theirs begins where one of ours does.
    further = [line for line in said.splitlines() if "1. 8080" in line]
    assert len(further) == 6
    assert all(line.startswith(" " * 6) for line in further)
