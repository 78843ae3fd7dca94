"""Shells and interpreters: the text after ``-c``, a file, or standard input."""

from __future__ import annotations

import re
from typing import Final

from nightcrew.policy.lines.runs import Runs, Script, Words
from nightcrew.policy.lines.starts import Stdin
from nightcrew.policy.lines.words import Word

SHELLS: Final = frozenset(
    ["sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "yash", "fish", "csh", "tcsh", "posh"]
)
_INTERPRETERS = re.compile(
    r"(?:python|pypy)[\d.]*\Z|(?:node|nodejs|perl|ruby|php|lua|Rscript|R|osascript|tclsh|julia|ghci|irb)\Z"
)
_GIVES_PROGRAM = re.compile(r"-[a-zA-Z]*[cmenprEV]|--(?:eval|print|version|help|expression|execute|run)")
_STDIN_FILES: Final = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "-"})
_SHELL_LONG_VALUES: Final = frozenset({"--rcfile", "--init-file", "--init-command", "--features"})


def reads_program(program: str, words: Words) -> bool:
    """Tell whether an interpreter is given neither a file nor a text, so that standard input is its program."""
    if not _INTERPRETERS.match(program):
        return False
    return all(w.text.startswith("-") and not _GIVES_PROGRAM.match(w.text) for w in words[1:])


def read_shell(program: str, words: Words, stdin: Stdin) -> Runs:
    """Return what a shell runs: the text after ``-c``, a file, or its standard input."""
    position, mode = 1, ""
    while position < len(words):
        word = words[position]
        if not word.known or word.pattern:
            return _shell_file(program, word, mode)
        text = word.text
        if text in ("--", "-"):
            position += 1
            break
        if text[:1] not in ("-", "+") or text == "+":
            break
        if text.startswith("--"):
            command, equals, value = text.partition("=")
            if command == "--command" and equals:
                return Runs(scripts=(Script(Word(value)),), itself=False)
            mode = "c" if command == "--command" else mode
            position += 2 if command in _SHELL_LONG_VALUES and not equals else 1
            continue
        letters = text[1:]
        if text[0] == "-":
            mode = "c" if "c" in letters else "s" if "s" in letters and mode != "c" else mode
        position += 1 + letters.count("o") + letters.count("O")
    rest = words[position:]
    if mode == "c":
        return _shell_text(program, rest)
    if mode == "s" or not rest or rest[0].text in _STDIN_FILES:
        return read_stdin_script(program, stdin)
    return _shell_file(program, rest[0], mode)


def _shell_text(program: str, rest: Words) -> Runs:
    if not rest:
        return Runs()
    if rest[0].loose:
        return Runs(opaque=f"{program} -c runs a text that is not known before it runs: {rest[0]}")
    arguments = tuple(w.text for w in rest[2:]) if all(w.known and not w.pattern for w in rest[2:]) else None
    return Runs(scripts=(Script(rest[0], arguments),), itself=False)


def _shell_file(program: str, word: Word, mode: str) -> Runs:
    if mode == "c":
        if word.loose:
            return Runs(opaque=f"{program} -c runs a text that is not known before it runs: {word}")
        return Runs(scripts=(Script(word),), itself=False)
    if word.text.startswith("<("):
        return Runs(opaque=f"{program} runs what another command prints: {word}")
    if not word.known or word.pattern:
        return Runs(opaque=f"which file {program} runs is not known before it runs: {word}")
    return Runs()


def read_stdin_script(program: str, stdin: Stdin) -> Runs:
    """Return what a program runs that takes its commands from standard input."""
    if stdin.kind == "pipe":
        scripts = (Script(Word(stdin.text)),) if stdin.exact else ()
        opaque = (
            ""
            if stdin.exact
            else f"{program} reads commands from a pipe: content is not known before it runs"
        )
        return Runs(scripts=scripts, opaque=opaque)
    if stdin.kind == "text":
        return Runs(scripts=(Script(Word(stdin.text, known=stdin.exact)),))
    return Runs()
