"""YAML texts that people write, read so that every complaint has a place: ``file:line:column`` and a caret.

The words of YAML come from ruamel's parser, as events; the values are made here. That way all duplicate keys, aliases
and odd tags of a text are found in one go, with the place of every key and value, and nothing is ever constructed that
is not a mapping, a list, a text, a number, a truth value or null. Shapes are checked against a JSON Schema, the same file
that editors use, and its complaints are said in our words.

Left out on purpose: anchors and aliases (a small text could mean a huge one), tags, keys that are not text, several
documents in one file. YAML 1.2 rules: ``yes`` and ``off`` are texts, ``010`` is the number ten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.model.errors import InvalidInput, Place, Problem
from nightcrew.model.text import closest, measure, shown

YamlPath = tuple[str | int, ...]

# Far above any file that a person writes. ruamel reads about 0.2 MiB a second when all of it is small items.
MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 40

_INT = re.compile(r"[-+]?[0-9]+\Z")
_RADIX = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: Final = {"null": None, "Null": None, "NULL": None, "~": None, "": None} | {
    word: value
    for value, name in ((True, "true"), (False, "false"))
    for word in (name, name.title(), name.upper())
}


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML text and where everything in it stands.

    Attributes:
        source: file name as a person knows it.
        text: the whole text.
        value: dict, list, str, int, float, bool or None; None for an empty text.
        places: path of a value → where it begins. The path of the whole is ``()``.
        keys: path of a value in a mapping → where its key begins.
    """

    source: str
    text: str
    value: Any = None
    places: Mapping[YamlPath, Place] = field(default_factory=dict)
    keys: Mapping[YamlPath, Place] = field(default_factory=dict)

    def place(self, *path: str | int) -> Place:
        """Return where the value at ``path`` begins; for what is not there, where its nearest parent begins."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(self.source, 1, 1))

    def key_place(self, *path: str | int) -> Place:
        """Return where the key of the value at ``path`` stands; for list items and the whole, the value itself."""
        return self.keys.get(path) or self.place(*path)


def load_document(text: str, source: str, schema: Mapping[str, Any] | None = None) -> Document:
    """Read a text and check its shape.

    Raises:
        InvalidInput: with all problems, each at its place.
    """
    problems: list[Problem] = []
    document = read_document(text, source, problems)
    if document is not None and schema is not None:
        check_shape(document, schema, problems)
    refuse_problems(problems, source)
    return document or Document(source, text)


def refuse_problems(problems: Sequence[Problem], source: str) -> None:
    """Raise InvalidInput when there are problems, sorted by place, each said once."""
    if not problems:
        return
    ordered = sorted(set(problems), key=lambda p: (p.place.file, p.place.line, p.place.column, p.message))
    count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    hints = [p.hint for p in ordered if p.hint]
    raise InvalidInput(f"{source} has {count}; nothing was done", ordered, hint=hints[0] if hints else "")


def read_document(text: str, source: str, problems: list[Problem]) -> Document | None:
    """Read a text, appending what is wrong to ``problems``; None when it cannot be read as YAML at all."""
    if len(text) > MAX_BYTES:
        problems.append(Problem(Place(source, 1, 1), f"larger than {MAX_BYTES >> 20} MiB"))
        return None
    text = text.removeprefix("\ufeff")
    reader = _Reader(source, problems)
    events = _parse_events(text, source, problems)
    if events is None:
        return None
    reader.read_stream(iter(events))
    return Document(source, text, reader.value, reader.places, reader.keys)


def _parse_events(text: str, source: str, problems: list[Problem]) -> list[Any] | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _bound_depth(YAML(typ="safe", pure=True).parse(text), source, problems)
    except MarkedYAMLError as error:
        problems.append(_syntax_problem(error, source))
    except YAMLError as error:
        problems.append(_character_problem(error, text, source))
    except (ValueError, IndexError, AttributeError, TypeError, AssertionError, NotImplementedError) as error:
        # Parser slips of ruamel on hostile input (a lone `%` directive, odd escapes); to the person it is bad YAML.
        problems.append(
            Problem(Place(source, 1, 1), f"not readable as YAML ({type(error).__name__}: {error})")
        )
    return None


def _bound_depth(events: Iterator[Any], source: str, problems: list[Problem]) -> list[Any] | None:
    """Return the events of a text; None when they go on and on downwards, because reading that costs the square of its depth."""
    found, depth = [], 0
    for event in events:
        found.append(event)
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if depth > 2 * MAX_DEPTH:
            mark = event.start_mark
            place = Place(source, mark.line + 1, mark.column + 1)
            problems.append(Problem(place, f"nested deeper than {MAX_DEPTH}"))
            return None
    return found


def _syntax_problem(error: Any, source: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source, 1, 1)
    said = " ".join(str(error.problem or "not readable as YAML").split()).replace(
        "<stream end>", "the end of the file"
    )
    context = " ".join(str(error.context or "").split())
    message = f"{said} ({context})" if context else said
    return Problem(place, f"YAML: {shown(message)}", _syntax_hint(said))


def _syntax_hint(said: str) -> str:
    if "'\\t'" in said:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in said:
        return "put quotes around a text that contains ': '"
    if "cannot start any token" in said:
        return "put quotes around a text that begins with a special character"
    if "block end" in said:
        return "check the indentation of this line against the lines above"
    return ""


def _character_problem(error: Any, text: str, source: str) -> Problem:
    position = getattr(error, "position", None)
    before = text[:position] if isinstance(position, int) else ""
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    bad = text[len(before) : len(before) + 1]
    return Problem(Place(source, line, column), f"YAML: character {shown(bad)} is not allowed")


class _Reader:
    """Makes plain values of parser events and notes where everything stands."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.value: Any = None
        self.places: dict[YamlPath, Place] = {}
        self.keys: dict[YamlPath, Place] = {}

    def read_stream(self, events: Iterator[Any]) -> None:
        documents = 0
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
                if documents == 2:
                    self._complain(
                        event, "a second document begins here", "keep one document, remove the line ---"
                    )
            elif kind not in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent"):
                value = self._read_value(event, events, () if documents == 1 else ("\0other",))
                self.value = value if documents == 1 else self.value

    def _place(self, event: Any) -> Place:
        return Place(self.source, event.start_mark.line + 1, event.start_mark.column + 1)

    def _complain(self, event: Any, message: str, hint: str = "") -> None:
        self.problems.append(Problem(self._place(event), message, hint))

    def _read_value(self, event: Any, events: Iterator[Any], path: YamlPath) -> Any:
        kind = type(event).__name__
        self.places[path] = self._place(event)
        if kind == "AliasEvent":
            self._complain(
                event, f"alias *{shown(str(event.anchor))}", "write the value out; aliases are not read here"
            )
            return None
        if getattr(event, "anchor", None):
            self._complain(
                event, f"anchor &{shown(str(event.anchor))}", "remove it; anchors are not read here"
            )
        if kind == "ScalarEvent":
            return self._read_scalar(event)
        if len(path) == MAX_DEPTH:
            self._complain(event, f"nested deeper than {MAX_DEPTH}")
        return (
            self._read_mapping(events, path) if kind == "MappingStartEvent" else self._read_list(events, path)
        )

    def _read_scalar(self, event: Any) -> Any:
        tag = str(event.tag) if event.tag is not None else ""
        if tag not in ("", "!", "tag:yaml.org,2002:str"):
            self._complain(event, f"tag {shown(tag)}", "remove it; tags are not read here")
        if tag or not event.implicit[0]:
            return str(event.value)
        return read_plain(str(event.value))

    def _read_list(self, events: Iterator[Any], path: YamlPath) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            value = self._descend(event, events, (*path, len(items)))
            items.append(value)
        return items

    def _read_mapping(self, events: Iterator[Any], path: YamlPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                break
            key = self._read_key(event, events, path)
            if key in items:
                first = self.keys[(*path, key)]
                self._complain(
                    event,
                    f"key {shown(key)!r} stands twice in this mapping",
                    f"the first is in line {first.line}",
                )
            else:
                self.keys[(*path, key)] = self._place(event)
            # A repeated key's value is read (for its own problems) and dropped: the first one keeps its places.
            value = self._descend(
                next(events), events, (*path, key) if key not in items else (*path, key, "\0again")
            )
            items.setdefault(key, value)
        return items

    def _read_key(self, event: Any, events: Iterator[Any], path: YamlPath) -> str:
        if type(event).__name__ != "ScalarEvent":
            self._complain(
                event, "a key must be a text", "put quotes around a text that begins with { or [ or *"
            )
            self._descend(event, events, (*path, "\0key"))
            return f"\0key{event.start_mark.index}"
        if event.value == "<<" and event.implicit[0]:
            self._complain(event, "merge key <<", "write the values out; merging is not read here")
        return str(event.value)

    def _descend(self, event: Any, events: Iterator[Any], path: YamlPath) -> Any:
        if len(path) <= MAX_DEPTH:
            return self._read_value(event, events, path)
        _skip(event, events)
        return None


def _skip(event: Any, events: Iterator[Any]) -> None:
    depth = 0
    while True:
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if depth <= 0:
            return
        event = next(events)


def read_plain(text: str) -> Any:
    """Return the value of an unquoted YAML scalar by the core rules of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text) and len(text) < 400:
        return int(text)
    if _RADIX.match(text) and len(text) < 400:
        return int(text, 0)
    if _FLOAT.match(text):
        number = float(text)
        return number if number not in (float("inf"), float("-inf")) else text
    return text


def check_shape(document: Document, schema: Mapping[str, Any], problems: list[Problem]) -> None:
    """Append everything in which ``document`` differs from a JSON Schema, in words for a person.

    An empty text is a valid one for every schema: it says nothing, so the defaults apply.
    """
    if document.value is None:
        return
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(schema).iter_errors(document.value):
        problems.extend(_say(document, error))


def _say(document: Document, error: Any) -> list[Problem]:
    path: YamlPath = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:
        hint = str(error.schema.get("description", ""))
        return [
            Problem(
                document.key_place(*path, error.instance),
                f"{name_path(path)}bad name {shown(error.instance)!r}",
                hint,
            )
        ]
    saying = _SAYINGS.get(error.validator)
    if saying is None:
        return [Problem(document.place(*path), f"{name_path(path)}{shown(error.message)}")]
    return saying(document, path, error)


def name_path(path: YamlPath) -> str:
    """Return ``commands[2].when: `` for a path; empty for the whole document."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{shown(part)}" if text else shown(part)
    return f"{text}: " if text else ""


def _say_unknown(document: Document, path: YamlPath, error: Any) -> list[Problem]:
    known = [str(k) for k in error.schema.get("properties", {})]
    problems = []
    for key in error.instance:
        if key in known or str(key).startswith("\0"):
            continue
        near = closest(str(key), known)
        hint = f"did you mean {near!r}?" if near else f"known here: {', '.join(known)}"
        problems.append(
            Problem(document.key_place(*path, key), f"{name_path(path)}unknown key {shown(key)!r}", hint)
        )
    return problems


def _say_missing(document: Document, path: YamlPath, error: Any) -> list[Problem]:
    missing = [k for k in error.validator_value if k not in error.instance]
    # jsonschema reports each missing key by itself; its name is quoted first in the message.
    key = next((k for k in missing if error.message.startswith(f"{k!r} ")), missing[0])
    about = str(error.schema.get("properties", {}).get(key, {}).get("description", ""))
    return [Problem(document.place(*path), f"{name_path(path)}{key!r} is missing", about)]


_KINDS: Final = {
    "object": "a mapping (key: value)",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def _say_type(document: Document, path: YamlPath, error: Any) -> list[Problem]:
    wanted = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
    words = " or ".join(_KINDS[w] for w in wanted)
    hint = ""
    if "string" in wanted and isinstance(error.instance, int | float):
        hint = f'put quotes around it: "{_source_word(document, path)}"'
    return [
        Problem(
            document.place(*path),
            f"{name_path(path)}expected {words}, found {describe_value(error.instance)}",
            hint,
        )
    ]


def _source_word(document: Document, path: YamlPath) -> str:
    place = document.place(*path)
    line = document.text.split("\n")[place.line - 1] if place.line else ""
    return re.split(r"[\s,\]}#]", line[place.column - 1 :], maxsplit=1)[0]


def describe_value(value: Any) -> str:
    """Return a value in a few words: ``a list``, ``the text 'x'``, ``the number 3``, ``nothing``."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {shown(value[:60])!r}"
    return "a list" if isinstance(value, list) else "a mapping"


def _say_enum(document: Document, path: YamlPath, error: Any) -> list[Problem]:
    words = [str(w) for w in error.validator_value]
    # Of words as short as the levels of isolation any would be near: a guess could be the weakest.
    long = isinstance(error.instance, str) and len(error.instance) > 2
    near = closest(error.instance, words) if long else ""
    hint = f"did you mean {near!r}?" if near else ""
    message = f"{name_path(path)}expected one of {', '.join(words)}, found {describe_value(error.instance)}"
    return [Problem(document.place(*path), message, hint)]


def _say_by(form: str) -> Callable[[Document, YamlPath, Any], list[Problem]]:
    def say(document: Document, path: YamlPath, error: Any) -> list[Problem]:
        found = describe_value(error.instance)
        message = form.format(limit=error.validator_value, found=found)
        hint = str(error.schema.get("description", "")) if error.validator == "pattern" else ""
        return [Problem(document.place(*path), f"{name_path(path)}{message}", hint)]

    return say


_SAYINGS: Final[Mapping[str, Callable[[Document, YamlPath, Any], list[Problem]]]] = {
    "additionalProperties": _say_unknown,
    "required": _say_missing,
    "type": _say_type,
    "enum": _say_enum,
    "const": _say_by("expected {limit}, found {found}"),
    "minimum": _say_by("must be at least {limit}, found {found}"),
    "maximum": _say_by("must be at most {limit}, found {found}"),
    "exclusiveMinimum": _say_by("must be more than {limit}, found {found}"),
    "minLength": _say_by("must not be empty"),
    "minItems": _say_by("must have at least {limit} item(s)"),
    "minProperties": _say_by("must have at least {limit} key(s)"),
    "pattern": _say_by("{found} has the wrong form"),
    "uniqueItems": _say_by("an item stands twice in this list"),
}


def render_problem(problem: Problem, text: str) -> str:
    """Return a problem with its source line, a caret under the column and its hint, as several lines.

    Args:
        problem: what is wrong and where.
        text: the whole text of the file; the line is left out when the place is not in it.
    """
    lines = [str(problem)]
    source_lines = text.split("\n")
    if 1 <= problem.place.line <= len(source_lines):
        line = source_lines[problem.place.line - 1].rstrip("\r")
        lines += _point_at(line, problem.place)
    if problem.hint:
        lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)


def _point_at(line: str, place: Place) -> list[str]:
    number = str(place.line)
    gutter = " " * len(number)
    before = shown(line[: max(place.column - 1, 0)].replace("\t", " "))
    whole = before + shown(line[max(place.column - 1, 0) :].replace("\t", " "))
    pointed = f"  {number} | {whole}"
    return [pointed, f"  {gutter} | {' ' * measure(before)}^"] if place.column else [pointed]


def render_problems(problems: Sequence[Problem], texts: Mapping[str, str]) -> str:
    """Return all problems with carets, separated by empty lines; ``texts`` maps file names to their content."""
    return "\n\n".join(render_problem(p, texts.get(p.place.file, "")) for p in problems)
