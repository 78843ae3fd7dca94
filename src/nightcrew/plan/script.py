"""Read a recording for the ``script`` agent (format: docs/formats/script.md). Pure.

What a step does is not judged here: a script may try anything, and policy and sandbox answer when it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.model import text as words
from nightcrew.model.errors import Problem
from nightcrew.model.inquiries import Inquiry
from nightcrew.model.plans import Step
from nightcrew.model.yamltext import Document, describe_value, read_document, refuse_problems

MAX_STEPS: Final = 10_000
"""Most steps of one script; each is a question and an answer over a pipe."""
MAX_SLEEP_S: Final = 86_400

ON_DENIED: Final = ("stop", "continue")


@dataclass(frozen=True, slots=True)
class _Verb:
    """A kind of step: what its own value is (``path``, ``text``, ``number``), its second key, and that key's check.

    ``others`` are keys that it may have beside, each with its check.
    """

    value: str
    second: str = ""
    check: Callable[[Any], str] | None = None
    others: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)


def _check_mode(value: Any) -> str:
    good = isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value)
    return "" if good else 'must be three octal digits in quotes, such as "755"'


def _check_text(value: Any) -> str:
    return (
        "" if isinstance(value, str) else f"must be a text, found {describe_value(value)}; put it in quotes"
    )


def _check_target(value: Any) -> str:
    return _check_text(value) or ("" if value and "\0" not in value else "must not be empty")


def _check_choices(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return f"is a list of texts, found {describe_value(value)}"
    if any(not isinstance(each, str) for each in value):
        return "is a list of texts; put numbers and truth values in quotes"
    return Inquiry("?", tuple(value)).find_fault() or (
        "names a choice twice" if len(set(value)) < len(value) else ""
    )


VERBS: Final[Mapping[str, _Verb]] = {
    "write": _Verb("path", "content", _check_text),
    "append": _Verb("path", "content", _check_text),
    "delete": _Verb("path"),
    "chmod": _Verb("path", "mode", _check_mode),
    "symlink": _Verb("path", "target", _check_target),
    "run": _Verb("text"),
    "question": _Verb("text", others={"choices": _check_choices, "into": _check_target}),
    "say": _Verb("text"),
    "sleep": _Verb("number"),
    "exit": _Verb("number"),
}


def parse_script(text: str, source: str) -> tuple[Step, ...]:
    """Return the steps of a script.

    Raises:
        InvalidInput: with all problems at their places.
    """
    problems: list[Problem] = []
    document = read_document(text, source, problems)
    steps = _read_steps(document, problems) if document else ()
    refuse_problems(problems, source)
    return steps


def _read_steps(document: Document, problems: list[Problem]) -> tuple[Step, ...]:
    value = document.value
    if not isinstance(value, list) or not value:
        found = describe_value(value)
        hint = "write `- run: ls` or `- write: path` with `content: |` below it"
        problems.append(Problem(document.place(), f"a script is a list of steps, found {found}", hint))
        return ()
    if len(value) > MAX_STEPS:
        problems.append(
            Problem(document.place(MAX_STEPS), f"{len(value)} steps; at most {MAX_STEPS} are possible")
        )
        return ()
    steps = [_StepReader(document, index, problems).read(item) for index, item in enumerate(value)]
    return tuple(step for step in steps if step is not None)


class _StepReader:
    """Reads the step number ``index``; None from ``read`` means that there is a problem."""

    def __init__(self, document: Document, index: int, problems: list[Problem]) -> None:
        self.document = document
        self.index = index
        self.problems = problems

    def read(self, item: Any) -> Step | None:
        before = len(self.problems)
        name = self._find_verb(item)
        if not name:
            return None
        verb = VERBS[name]
        self._check_keys(item, name, verb)
        self._check_value(item, name, verb)
        self._check_second(item, name, verb)
        for key, check in verb.others.items():
            if key in item and (wrong := check(item[key])):
                self._report(f"`{key}` {wrong}", key)
        on_denied = item.get("on_denied", "stop")
        if on_denied not in ON_DENIED:
            self._report(f"on_denied is `stop` or `continue`, found {describe_value(on_denied)}", "on_denied")
        if len(self.problems) > before:
            return None
        is_path = verb.value == "path"
        text = str(item[verb.second]) if verb.second else "" if is_path else str(item[name])
        path = item[name] if is_path else item.get("into", "")
        choices = tuple(item.get("choices", ()))
        return Step(do=name, path=path, text=text, on_denied=str(on_denied), choices=choices)

    def _find_verb(self, item: Any) -> str:
        """The one key of the step that says what to do; empty, with a problem, when there is not exactly one."""
        if not isinstance(item, dict):
            self._report(
                f"a step is `what: …`, found {describe_value(item)}", hint=f"steps are {', '.join(VERBS)}"
            )
            return ""
        found = [key for key in item if key in VERBS]
        if not found:
            key = next(iter(item), "")
            near = next((n for n in (words.closest(str(k), VERBS) for k in item) if n), "")
            hint = f"did you mean `{near}`?" if near else f"steps are {', '.join(VERBS)}"
            self._report(f"unknown step `{words.shown(str(key))}`", key, hint=hint, at_key=True)
        elif len(found) > 1:
            self._report(
                f"one step says both `{found[0]}` and `{found[1]}`",
                found[1],
                hint="make two steps",
                at_key=True,
            )
        return found[0] if len(found) == 1 else ""

    def _check_keys(self, item: Mapping[str, Any], name: str, verb: _Verb) -> None:
        known = [key for key in (name, verb.second, *verb.others, "on_denied") if key]
        for key in item:
            if key not in known:
                near = words.closest(key, known)
                hint = f"did you mean `{near}`?" if near else f"`{name}` takes {', '.join(known)}"
                self._report(
                    f"unknown key `{words.shown(key)}` in a `{name}` step", key, hint=hint, at_key=True
                )

    def _check_value(self, item: Mapping[str, Any], name: str, verb: _Verb) -> None:
        value = item[name]
        if verb.value == "number":
            self._check_number(name, value)
        elif wrong := _check_text(value):
            self._report(f"`{name}` {wrong}", name)
        elif not value.strip() or "\0" in value:
            self._report(f"`{name}` needs {'a path' if verb.value == 'path' else 'a text'}", name)

    def _check_number(self, name: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if name == "exit" and not (whole and 0 <= value <= 255):
            self._report(f"`exit` needs a number from 0 to 255, found {describe_value(value)}", name)
        if name == "sleep" and not ((whole or isinstance(value, float)) and 0 <= value <= MAX_SLEEP_S):
            self._report(
                f"`sleep` needs seconds from 0 to {MAX_SLEEP_S}, found {describe_value(value)}", name
            )

    def _check_second(self, item: Mapping[str, Any], name: str, verb: _Verb) -> None:
        if verb.second and verb.second not in item:
            self._report(f"`{name}` needs `{verb.second}:`", name, at_key=True)
        elif verb.check and (wrong := verb.check(item[verb.second])):
            self._report(f"`{verb.second}` {wrong}", verb.second)

    def _report(self, message: str, key: str = "", *, hint: str = "", at_key: bool = False) -> None:
        path = (self.index, key) if key else (self.index,)
        place = self.document.key_place(*path) if at_key else self.document.place(*path)
        self.problems.append(Problem(place, f"step {self.index + 1}: {message}", hint))
