"""Which paths well-known programs write, delete or change, read off their command line.

This is for early and clear answers about protected paths. What really changed is found out from the tree afterwards
(``policy.inspect``), and nothing outside the shadow can be written anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from nightcrew.policy.lines.starts import Do
from nightcrew.policy.lines.words import Word

Touched = Iterator[tuple[Do, Word]]


def find_effects(program: str, words: Sequence[Word]) -> Touched:
    """Yield what the command does to which path."""
    reader = _READERS.get(program)
    if reader is not None:
        yield from reader(words)


def _operands(words: Sequence[Word], values: Sequence[str] = ()) -> list[Word]:
    """Return the words that are no options; ``values`` are the options that take the next word."""
    found: list[Word] = []
    position = 1
    while position < len(words):
        text = words[position].text
        if text == "--":
            return [*found, *words[position + 1 :]]
        if text.startswith("-") and text != "-":
            position += 1 if text not in values else 2
            continue
        found.append(words[position])
        position += 1
    return found


def _each(do: Do, *values: str) -> Callable[[Sequence[Word]], Touched]:
    def read(words: Sequence[Word]) -> Touched:
        for word in _operands(words, values):
            yield do, word

    return read


def _owner(words: Sequence[Word]) -> Touched:
    referenced = any(w.text.startswith("--reference") for w in words)
    for word in _operands(words)[0 if referenced else 1 :]:
        yield "chmod", word


def _target(do: Do, words: Sequence[Word]) -> Touched:
    """cp, install, ln, mv: the last operand, or what ``-t`` names; into a folder under the source's own name."""
    operands = _operands(
        words,
        ("-t", "--target-directory", "-m", "--mode", "-o", "--owner", "-g", "--group", "-S", "--suffix"),
    )
    folder = _target_folder(words)
    sources = operands if folder else operands[:-1]
    target = folder or (operands[-1] if len(operands) > 1 else None)
    if target is None:
        return
    yield do, target
    for source in sources:
        name = source.text.rstrip("/").rpartition("/")[2]
        yield do, Word(f"{target.text.rstrip('/')}/{name}", target.known and source.known, source.pattern)


def _target_folder(words: Sequence[Word]) -> Word | None:
    for position, word in enumerate(words):
        if word.text in ("-t", "--target-directory") and position + 1 < len(words):
            return words[position + 1]
        match = re.match(r"--target-directory=(.*)|-t(.+)", word.text, re.DOTALL)
        if match:
            return Word(match[1] or match[2], word.known)
    return None


def _copy(words: Sequence[Word]) -> Touched:
    yield from _target("write", words)


def _link(words: Sequence[Word]) -> Touched:
    yield from _target("symlink", words)


def _move(words: Sequence[Word]) -> Touched:
    operands = _operands(words, ("-t", "--target-directory", "-S", "--suffix"))
    for source in operands if _target_folder(words) else operands[:-1]:
        yield "delete", source
    yield from _target("write", words)


def _stream_edit(words: Sequence[Word]) -> Touched:
    in_place = any(
        re.match(r"-[a-zA-Z]*i|--in-place", w.text) for w in words[1:] if not w.text.startswith("--e")
    )
    if not in_place:
        return
    scripted = any(re.match(r"-[a-zA-Z]*[ef]\Z|--(?:expression|file)|-e", w.text) for w in words[1:])
    for word in _operands(words, ("-e", "-f", "--expression", "--file"))[0 if scripted else 1 :]:
        yield "write", word


def _disk_dump(words: Sequence[Word]) -> Touched:
    for word in words[1:]:
        if word.text.startswith("of="):
            yield "write", Word(word.text[3:], word.known)


def _option(*options: str) -> Callable[[Sequence[Word]], Touched]:
    def read(words: Sequence[Word]) -> Touched:
        for position, word in enumerate(words):
            for option in options:
                if word.text == option and position + 1 < len(words):
                    yield "write", words[position + 1]
                elif word.text.startswith(f"{option}=") or (
                    len(option) == 2 and word.text.startswith(option) and word.text != option
                ):
                    yield "write", Word(word.text[len(option) :].removeprefix("="), word.known)

    return read


def _find_delete(words: Sequence[Word]) -> Touched:
    if not any(w.text == "-delete" for w in words):
        return
    names = [b for a, b in pairwise(words) if a.text in ("-name", "-iname", "-path", "-wholename")]
    for word in words[1:]:
        if word.text.startswith(("-", "(", "!")):
            break
        yield "delete", word
        for name in names:
            yield (
                "delete",
                Word(
                    f"{word.text.rstrip('/')}/{name.text.rpartition('/')[2]}",
                    word.known and name.known,
                    pattern=True,
                ),
            )


def _git(words: Sequence[Word]) -> Touched:
    if len(words) > 2 and words[1].text in ("rm", "mv"):
        yield from (_each("delete") if words[1].text == "rm" else _move)(words[1:])


_READERS: Final[Mapping[str, Callable[[Sequence[Word]], Touched]]] = {
    **dict.fromkeys(
        ("rm", "rmdir", "unlink", "trash", "shred", "srm"),
        _each("delete", "-n", "--iterations", "-s", "--size"),
    ),
    **dict.fromkeys(
        ("tee", "touch", "sponge", "mkfifo", "mkdir"),
        _each("write", "-d", "--date", "-r", "-t", "-m", "--mode"),
    ),
    "truncate": _each("write", "-s", "--size", "-r", "--reference"),
    "chmod": _owner,
    "chown": _owner,
    "chgrp": _owner,
    **dict.fromkeys(("cp", "install", "rsync", "scp"), _copy),
    "ln": _link,
    "mv": _move,
    **dict.fromkeys(("sed", "gsed", "perl"), _stream_edit),
    "dd": _disk_dump,
    "curl": _option("-o", "--output"),
    "wget": _option("-O", "--output-document"),
    "sort": _option("-o", "--output"),
    "find": _find_delete,
    "git": _git,
}
