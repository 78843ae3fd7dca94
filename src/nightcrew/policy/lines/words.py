"""Words of a shell syntax tree, as bash would hand them to a program: quotes, braces and known variables undone.

What cannot be known before the line runs (``$x``, ``$(...)``) stays in the text as it is written, and the word is marked
``known=False``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol

Node = Mapping[str, Any]
# A character that is active (may be a glob or a brace), a text that is quoted ("q"), a node in or out of double quotes
# ("d", "u"), or an extended glob ("g").
Atom = str | tuple[str, Any]

# `{1..1000000}` would make a million words; nobody means that, so such a word counts as not known.
MAX_WORDS: Final = 2000

_PLAIN = re.compile(r"[^\\{}*?\[\]\n]*\Z")
_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./~$*?\[\]{}^-]+\Z")
_BACKSLASH_IN_QUOTES = re.compile(r'\\([$`"\\\n])')
_BACKSLASH_IN_DOCUMENT = re.compile(r"\\([$`\\\n])")
_SEQUENCE = re.compile(r"(-?\d+|[A-Za-z])\.\.(-?\d+|[A-Za-z])(?:\.\.(-?\d+))?\Z")
_ANSI = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|c(.)|(.))", re.DOTALL
)
_ANSI_LETTERS: Final = {"a": 7, "b": 8, "e": 27, "E": 27, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_BETWEEN_BLANKS = re.compile(r"[^ \t\n]+")
_SIMPLE_PARAMETER: Final = frozenset({"Type", "Pos", "End", "Dollar", "Rbrace", "Short", "Param"})
# Never hold blanks or globs on a machine where anything works, and are set by the system, not by the line.
_UNSPLIT: Final = frozenset(
    {"HOME", "PWD", "OLDPWD", "VIRTUAL_ENV", "TMPDIR", "USER", "UID", "PPID", "RANDOM", "SECONDS"}
)


class Scope(Protocol):
    """What a word needs to know about the line around it."""

    @property
    def source(self) -> bytes:
        """The text that the tree was made of, UTF-8."""

    def lookup(self, name: str) -> str | None:
        """Return the value of a variable that is known for certain, None otherwise."""

    def is_assigned(self, name: str) -> bool:
        """Tell whether the line itself gives the variable a value somewhere."""

    def arguments(self) -> tuple[str, ...] | None:
        """Return the positional parameters ``$1``.. when they are known."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the program gets it.

    Attributes:
        text: its value; parts that are not known are there as written.
        known: there are no such parts.
        pattern: it has an unquoted glob character, so it may become other words.
        loose: an unknown part stands outside quotes: it may become any number of words.
    """

    text: str
    known: bool = True
    pattern: bool = False
    loose: bool = False

    @property
    def program(self) -> str:
        """The name of the program this word starts, empty when it is not known."""
        if self.pattern or self.loose or not self.text:
            return ""
        name = self.text.rstrip("/").rpartition("/")[2]
        if self.known:
            return name
        return name if name and "$" not in name and "`" not in name and ")" not in name else ""

    def __str__(self) -> str:
        """Return the word as it could be typed."""
        if not self.known or _SAFE.match(self.text):
            return self.text
        return shlex.quote(self.text)


def join_words(words: Iterable[Word]) -> str:
    """Return words as one command line."""
    return " ".join(map(str, words))


def literal(text: str) -> Word:
    """Return a known word."""
    return Word(text)


def read_word(node: Node, scope: Scope) -> list[Word]:
    """Return the words that one word of the tree becomes: none, one or several."""
    parts = node.get("Parts", ())
    if len(parts) == 1 and parts[0]["Type"] == "Lit" and _PLAIN.match(parts[0]["Value"]):
        return [Word(parts[0]["Value"])]
    if _is_all_arguments(parts) and (arguments := scope.arguments()) is not None:
        return [Word(a) for a in arguments]
    atoms = _atoms(parts)
    try:
        spread = _spread_braces(atoms) if "{" in atoms else [atoms]
    except OverflowError:
        return [Word(_written(node, scope), known=False, loose=True)]
    return [word for one in spread for word in _Fields(scope).read(one)]


def read_text(node: Node, scope: Scope) -> Word:
    """Return a word that is not split, spread or globbed: a redirection target, an assigned value, a here-string."""
    words = _Fields(scope, split=False).read(_atoms(node.get("Parts", ())))
    return words[0] if words else Word("")


def read_document(redirect: Node, scope: Scope) -> Word:
    """Return the content of a here-document."""
    body = redirect["Hdoc"]
    quoted = any(p["Type"] != "Lit" or "\\" in p["Value"] for p in redirect["Word"].get("Parts", ()))
    atoms: list[Atom] = []
    for part in body.get("Parts", ()):
        if part["Type"] == "Lit":
            value = part["Value"]
            atoms.append(("q", value if quoted else _BACKSLASH_IN_DOCUMENT.sub(_unescape, value)))
        else:
            atoms.append(("d", part))
    words = _Fields(scope, split=False).read(atoms)
    text = words[0] if words else Word("")
    if redirect["Op"] == "<<-":
        return Word(re.sub(r"^\t+", "", text.text, flags=re.MULTILINE), text.known)
    return text


def _is_all_arguments(parts: Sequence[Node]) -> bool:
    if len(parts) != 1:
        return False
    inner = parts[0].get("Parts", ()) if parts[0]["Type"] == "DblQuoted" else parts
    return len(inner) == 1 and inner[0]["Type"] == "ParamExp" and _parameter(inner[0]) in ("@", "*")


def _unescape(match: re.Match[str]) -> str:
    return "" if match[1] == "\n" else match[1]


def _atoms(parts: Sequence[Node]) -> list[Atom]:
    atoms: list[Atom] = []
    for part in parts:
        kind = part["Type"]
        if kind == "Lit":
            _active_atoms(part["Value"], atoms)
        elif kind == "SglQuoted":
            value = part.get("Value", "")
            atoms.append(("q", decode_ansi(value) if part.get("Dollar") else value))
        elif kind == "DblQuoted":
            atoms.append(("q", ""))
            for inner in part.get("Parts", ()):
                if inner["Type"] == "Lit":
                    atoms.append(("q", _BACKSLASH_IN_QUOTES.sub(_unescape, inner["Value"])))
                else:
                    atoms.append(("d", inner))
        elif kind == "ExtGlob":
            atoms.append(("g", part["Op"] + part["Pattern"]["Value"] + ")"))
        else:
            atoms.append(("u", part))
    return atoms


def _active_atoms(text: str, atoms: list[Atom]) -> None:
    characters = iter(text)
    for c in characters:
        if c != "\\":
            atoms.append(c)
            continue
        escaped = next(characters, "\\")
        if escaped != "\n":
            atoms.append(("q", escaped))


def decode_ansi(text: str) -> str:
    r"""Return what ``$'text'`` stands for: ``\n``, ``\x41``, ``\101``, ``\u00e9`` and so on; bash ends it at a NUL."""
    if "\\" not in text:
        return text
    data = bytearray()
    position = 0
    for match in _ANSI.finditer(text):
        data += text[position : match.start()].encode("utf-8", "surrogateescape")
        data += _ansi_bytes(match)
        position = match.end()
    data += text[position:].encode("utf-8", "surrogateescape")
    return bytes(data).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _ansi_bytes(match: re.Match[str]) -> bytes:
    octal, hexa, short, long, control, letter = match.groups()
    if octal is not None:
        return bytes([int(octal, 8) & 255])
    if hexa is not None:
        return bytes([int(hexa, 16)])
    if short is not None or long is not None:
        return _encode(int(short or long, 16))
    if control is not None:
        return b"\x7f" if control == "?" else bytes([ord(control[0]) & 31])
    if letter in _ANSI_LETTERS:
        return bytes([_ANSI_LETTERS[letter]])
    kept = letter if letter in "\\'\"?" else "\\" + letter
    return kept.encode("utf-8", "surrogateescape")


def _encode(code: int) -> bytes:
    """Return a code as bash writes it: UTF-8 as it once was, up to six bytes, also for what is no character today."""
    if code < 0x110000:
        return chr(code).encode("utf-8", "surrogatepass")
    if code > 0x7FFFFFFF:
        return b""
    length = 4 if code < 0x200000 else 5 if code < 0x4000000 else 6
    tail = [0x80 | (code >> shift) & 0x3F for shift in range(6 * (length - 2), -1, -6)]
    return bytes([(0xF0, 0xF8, 0xFC)[length - 4] | code >> 6 * (length - 1), *tail])


def _spread_braces(atoms: list[Atom]) -> list[list[Atom]]:
    """Return the words that brace expansion makes; raise OverflowError when they are too many."""
    for start, atom in enumerate(atoms):
        if atom != "{":
            continue
        end, commas = _find_brace(atoms, start)
        if end < 0:
            continue
        # A sequence that is none stays as it is, with everything in it; bash goes on behind it.
        choices = _choices(atoms, start, end, commas) or [atoms[start : end + 1]]
        tails = _spread_braces(atoms[end + 1 :])
        if len(choices) * len(tails) > MAX_WORDS:
            raise OverflowError
        return [[*atoms[:start], *choice, *tail] for choice in choices for tail in tails]
    return [atoms]


def _choices(atoms: list[Atom], start: int, end: int, commas: list[int]) -> list[list[Atom]]:
    # Any comma will do, also one of an inner brace: `{{,}..0}` is a list of one, and loses its braces.
    if "," not in atoms[start + 1 : end]:
        return _sequence(atoms[start + 1 : end])
    bounds = [start, *commas, end]
    pieces = [atoms[a + 1 : b] for a, b in pairwise(bounds)]
    return [one for piece in pieces for one in _spread_braces(piece)]


def _find_brace(atoms: list[Atom], start: int) -> tuple[int, list[int]]:
    """Return where the brace opened at ``start`` closes (-1: nowhere) and its commas, by the rules of bash.

    A ``}`` closes only after a comma or ``..`` of its own level, so ``x{},y}`` has two words; ``{}`` at the start of a word
    is none (it is what ``find`` puts file names for).
    """
    if start == 0 and atoms[1:2] == ["}"]:
        return -1, []
    depth = 0
    closes = False
    commas: list[int] = []
    for index in range(start + 1, len(atoms)):
        atom = atoms[index]
        if atom == "{":
            depth += 1
        elif atom == "}" and depth:
            depth -= 1
        elif atom == "}" and closes:
            return index, commas
        elif atom == "," and not depth:
            commas.append(index)
            closes = True
        elif not depth and atoms[index : index + 2] == [".", "."] and atoms[index + 2 : index + 3] != ["}"]:
            closes = True
    return -1, []


def _sequence(inner: list[Atom]) -> list[list[Atom]]:
    if not all(isinstance(a, str) for a in inner):
        return []
    match = _SEQUENCE.match("".join(str(a) for a in inner))
    if match is None or match[1].isalpha() != match[2].isalpha():
        return []
    letters = match[1].isalpha()
    first, last = (ord(match[1]), ord(match[2])) if letters else (int(match[1][:18]), int(match[2][:18]))
    step = abs(int(match[3] or 1)) or 1
    if abs(last - first) // step > MAX_WORDS:
        raise OverflowError
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    width = 0 if letters else _padding(match[1], match[2])
    return [[("q", chr(n) if letters else f"{n:0{width}d}")] for n in numbers]


def _padding(first: str, last: str) -> int:
    padded = any(re.match(r"-?0\d", text) for text in (first, last))
    return max(len(first), len(last)) if padded else 0


def _parameter(node: Node) -> str:
    return str(node["Param"]["Value"]) if _SIMPLE_PARAMETER.issuperset(node) and "Param" in node else ""


def _written(node: Node, scope: Scope) -> str:
    return scope.source[node["Pos"]["Offset"] : node["End"]["Offset"]].decode("utf-8", "surrogateescape")


class _Fields:
    """Joins atoms to words the way bash splits fields."""

    def __init__(self, scope: Scope, *, split: bool = True) -> None:
        self.scope = scope
        self.split = split
        self.done: list[Word] = []
        self.start()

    def start(self) -> None:
        self.text: list[str] = []
        self.there = self.pattern = self.loose = False
        self.known = True

    def end(self) -> None:
        if self.there:
            self.done.append(Word("".join(self.text), self.known, self.pattern, self.loose))
        self.start()

    def read(self, atoms: Sequence[Atom]) -> list[Word]:
        for atom in atoms:
            if isinstance(atom, str):
                self.pattern = self.pattern or (self.split and atom in "*?[")
                self.add(atom)
            elif atom[0] == "q":
                self.add(atom[1])
            elif atom[0] == "g":
                self.pattern = True
                self.add(atom[1])
            else:
                self.expand(atom[1], quoted=atom[0] == "d" or not self.split)
        self.end()
        return self.done

    def add(self, text: str) -> None:
        self.text.append(text)
        self.there = True

    def expand(self, node: Node, *, quoted: bool) -> None:
        name = _parameter(node) if node["Type"] == "ParamExp" else ""
        value = self.value(name) if name else None
        if value is None:
            self.add(f"${name}" if name else _written(node, self.scope))
            self.known = False
            self.loose = self.loose or not (quoted or (name in _UNSPLIT and not self.scope.is_assigned(name)))
        elif quoted:
            self.add(value)
        else:
            self.add_split(value)

    def value(self, name: str) -> str | None:
        arguments = self.scope.arguments()
        if arguments is not None and name in ("@", "*"):
            return " ".join(arguments)
        if arguments is not None and name.isdigit() and name != "0":
            return arguments[int(name) - 1] if int(name) <= len(arguments) else ""
        return self.scope.lookup(name)

    def add_split(self, value: str) -> None:
        if value[:1] in (" ", "\t", "\n"):
            self.end()
        for index, piece in enumerate(_BETWEEN_BLANKS.findall(value)):
            if index:
                self.end()
            self.pattern = self.pattern or any(c in piece for c in "*?[")
            self.add(piece)
        if self.there and value[-1:] in (" ", "\t", "\n"):
            self.end()
