"""The questions that agents put to the person, out of the words of each protocol and back into them.

What an agent says may lack anything and have any type: what cannot be understood as a question gives none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nightcrew.agents.adapter import Reply
from nightcrew.agents.lines import items, mapping, text
from nightcrew.model.inquiries import Inquiry

#: Fields of a form that can be asked in words, by their JSON type.
_ASKABLE: Final = frozenset({"string", "boolean", "integer", "number", "array"})
_TRUTH: Final = {"yes": True, "no": False}


#: The name of a question in its protocol, and how it is put to the person.
Named = tuple[str, Inquiry]


def read_claude(given: Mapping[str, Any]) -> tuple[Named, ...]:
    """Return the questions of an ``AskUserQuestion`` call, each under its own words."""
    return tuple(
        (text(each, "question"), _read_question(each, several=each.get("multiSelect") is True))
        for each in items(given, "questions")
        if isinstance(each, dict) and text(each, "question").strip()
    )


def write_claude(
    given: Mapping[str, Any], asked: Sequence[Named], replies: Sequence[Reply]
) -> Mapping[str, Any]:
    """Return the call's input with its answers: question → what was chosen, or said."""
    pairs = zip(asked, replies, strict=True)
    return {**given, "answers": {name: ", ".join(reply.chosen) or reply.text for (name, _), reply in pairs}}


def read_codex(params: Mapping[str, Any]) -> tuple[Named, ...]:
    """Return the questions of a ``requestUserInput``, each with its id; none at all when one asks for a secret."""
    questions = [each for each in items(params, "questions") if isinstance(each, dict)]
    if any(each.get("isSecret") is True for each in questions):
        return ()
    return tuple(
        (text(each, "id"), _read_question(each))
        for each in questions
        if text(each, "id") and text(each, "question").strip()
    )


def write_codex(asked: Sequence[Named], replies: Sequence[Reply]) -> Mapping[str, Any]:
    """Return the answers by their ids."""
    pairs = zip(asked, replies, strict=True)
    return {"answers": {name: {"answers": list(reply.chosen) or [reply.text]} for (name, _), reply in pairs}}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form.

    Attributes:
        name: its key. kind: its JSON type. inquiry: as it is put to the person.
        values: what each choice stands for; empty for words.
    """

    name: str
    kind: str
    inquiry: Inquiry
    values: Mapping[str, Any]


def read_form(params: Mapping[str, Any]) -> tuple[Field, ...]:
    """Return the fields of an elicitation; none when it is no form, or has a field that cannot be asked in words."""
    properties = mapping(params, "requestedSchema", "properties")
    if text(params, "mode") not in ("", "form") or not properties:
        return ()
    message = text(params, "message")
    fields = [_read_field(name, each, message, len(properties)) for name, each in properties.items()]
    return tuple(each for each in fields if each is not None) if all(fields) else ()


def write_form(asked: Sequence[Field], replies: Sequence[Reply]) -> Mapping[str, Any]:
    """Return the outcome of an elicitation: the content, or that it is declined."""
    if not asked or any(each.verdict != "answered" for each in replies):
        return {"action": "decline"}
    content = {}
    for field, reply in zip(asked, replies, strict=True):
        value = _write_value(field, reply)
        if value is None:
            return {"action": "decline"}
        content[field.name] = value
    return {"action": "accept", "content": content}


def _read_question(each: Mapping[str, Any], *, several: bool = False) -> Inquiry:
    """Return a question with its options; what they mean stands with the question, an answer is the label alone."""
    options = [option for option in items(each, "options") if text(option, "label").strip()]
    meant = [f"- {text(o, 'label')}: {text(o, 'description')}" for o in options if text(o, "description")]
    labels = dict.fromkeys(text(option, "label") for option in options)
    return Inquiry("\n".join([text(each, "question"), *meant]), tuple(labels), several)


def _read_field(name: str, schema: Any, message: str, among: int) -> Field | None:
    kind = text(schema, "type")
    if kind not in _ASKABLE:
        return None
    label = text(schema, "description") or text(schema, "title") or name
    values = _read_values(schema, kind)
    if kind == "array" and not values:
        return None
    said = message if among == 1 and message else f"{message}\n{label}" if message else label
    return Field(name, kind, Inquiry(said, tuple(values), kind == "array", free=not values), values)


def _read_values(schema: Any, kind: str) -> dict[str, Any]:
    """Return what can be chosen: as it is shown → what it stands for."""
    if kind == "boolean":
        return dict(_TRUTH)
    source = mapping(schema, "items") if kind == "array" else schema
    titled = [each for key in ("oneOf", "anyOf") for each in items(source, key)]
    found = {text(each, "title") or text(each, "const"): text(each, "const") for each in titled}
    names = [each for each in items(source, "enum") if isinstance(each, str)]
    shown = [each for each in items(source, "enumNames") if isinstance(each, str)]
    found |= (
        dict(zip(shown, names, strict=True)) if len(shown) == len(names) else {each: each for each in names}
    )
    return {label: value for label, value in found.items() if label and value}


def _write_value(field: Field, reply: Reply) -> Any:
    """Return the value of a field; None when the person's words are none of its kind."""
    chosen = [field.values[each] for each in reply.chosen if each in field.values]
    if field.kind == "array":
        return chosen
    if field.values:
        return chosen[0] if chosen else None
    if field.kind == "string":
        return reply.text
    try:
        return int(reply.text) if field.kind == "integer" else float(reply.text)
    except ValueError:
        return None
