"""Aurora's ``policies.yaml`` → our policy.yaml, with a note for everything that means something else here. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from nightcrew.model.errors import Problem
from nightcrew.model.yamltext import (
    Document,
    YamlPath,
    check_shape,
    name_path,
    read_document,
    refuse_problems,
)

_ACTIONS: Final = ("allow", "prompt", "deny")
_DESTRUCTIVE: Final = ("git_force_push", "git_push_main", "drop_table", "truncate")
_NUMBER: Final = {"type": "number", "minimum": 0}
_COUNT: Final = {"type": "integer", "minimum": 0}
_ACTION: Final = {
    "type": ["string", "object"],
    "properties": {"action": {"type": "string"}, "max_files": _COUNT},
    "additionalProperties": False,
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "budget": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "monthly_limit_usd": _NUMBER,
                "warn_at_percent": {"type": "integer", "minimum": 1, "maximum": 100},
                "hard_limit_action": {"enum": ["reject", "warn"]},
            },
        },
        "agent_recovery": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "timeout_seconds": {"type": "number", "exclusiveMinimum": 0},
                "max_retries": _COUNT,
                "fallback_to_llm": {"type": "boolean"},
            },
        },
        "destructive": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("file_delete", *_DESTRUCTIVE), _ACTION),
        },
        "safety": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "auto_branch": {"type": "boolean"},
                "branch_prefix": {"type": "string", "minLength": 1},
                "max_files_modified": _COUNT,
                "max_lines_changed": _COUNT,
                "protected_paths": {"type": "array", "items": {"type": "string", "minLength": 1}},
            },
        },
        "anomalies": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "scope_multiplier": {"type": "number", "minimum": 1},
                "unexpected_file_types": {"type": "array", "items": {"type": "string", "minLength": 1}},
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What an imported file becomes.

    Attributes:
        text: our policy.yaml.
        notes: what means something else here, each with its place.
    """

    text: str
    notes: tuple[Problem, ...]


def import_policy(text: str, source: str) -> Imported:
    """Return our policy for Aurora's.

    Raises:
        InvalidInput: it is not such a file, with every problem at its place.
    """
    problems: list[Problem] = []
    document = read_document(text, source, problems)
    if document is not None:
        check_shape(document, _SCHEMA, problems)
    refuse_problems(problems, source)
    return _Import(document or Document(source, text)).read()


@dataclass
class _Import:
    document: Document
    notes: list[Problem] = field(default_factory=list)

    def read(self) -> Imported:
        lines = [f"# From {self.document.source}, by: nightcrew policy import", "version: 1"]
        for name, read in (
            ("budget", self.budget),
            ("agent_recovery", self.recovery),
            ("destructive", self.destructive),
            ("safety", self.safety),
            ("anomalies", self.anomalies),
        ):
            block = self.block(name)
            said = [f"  {key}: {value}" for key, value in read(block)] if block else []
            lines += [f"{name}:", *said] if said else []
        return Imported("\n".join(lines) + "\n", tuple(sorted(self.notes, key=lambda note: note.place)))

    def block(self, name: str) -> dict[str, Any]:
        whole = self.document.value
        found = whole.get(name) if isinstance(whole, dict) else None
        return found if isinstance(found, dict) else {}

    def note(self, path: YamlPath, message: str) -> None:
        self.notes.append(Problem(self.document.key_place(*path), f"{name_path(path)}{message}"))

    def budget(self, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
        limit = block.get("monthly_limit_usd")
        if limit:
            yield "month_usd", _write(limit)
        if "warn_at_percent" in block:
            yield "warn_at_percent", _write(block["warn_at_percent"])
        if block.get("hard_limit_action") == "warn":
            self.note(("budget", "hard_limit_action"), "a limit that is reached stops the run here")

    def recovery(self, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
        if "timeout_seconds" in block:
            yield "timeout", f"{block['timeout_seconds']:g}s"
        if "max_retries" in block:
            yield "max_retries", _write(block["max_retries"])
        if block.get("fallback_to_llm"):
            self.note(
                ("agent_recovery", "fallback_to_llm"),
                "left out: a task whose agent fails is told as failed, and no other one takes its place unasked",
            )

    def destructive(self, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
        deletes = block.get("file_delete")
        if deletes is not None:
            path: YamlPath = ("destructive", "file_delete")
            most = deletes.get("max_files") if isinstance(deletes, dict) else None
            parts = {"decision": self.action(path, deletes)}
            parts |= {"max_files": str(most)} if most is not None else {}
            yield "file_delete", "{" + ", ".join(f"{k}: {v}" for k, v in parts.items() if v) + "}"
        for name in _DESTRUCTIVE:
            if name not in block:
                continue
            action = self.action(("destructive", name), block[name])
            if name == "git_force_push" and action == "allow":
                self.note(("destructive", name), "became ask: no policy can make it weaker")
                action = "ask"
            if action:
                yield name, action

    def action(self, path: YamlPath, value: Any) -> str:
        word = value.get("action", "") if isinstance(value, dict) else value
        if word and word not in _ACTIONS:
            self.note(path, f"{word!r} is no action; it became ask, as Aurora takes it")
            return "ask"
        return "ask" if word == "prompt" else str(word)

    def safety(self, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for key in (
            "auto_branch",
            "branch_prefix",
            "max_files_modified",
            "max_lines_changed",
            "protected_paths",
        ):
            if key in block:
                yield key, _write(block[key])
        if "protected_paths" in block:
            self.note(("safety", "protected_paths"), "added to the shipped ones (nightcrew policy show)")

    def anomalies(self, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for key in ("scope_multiplier", "unexpected_file_types"):
            if key in block:
                yield key, _write(block[key])


def _write(value: Any) -> str:
    """Return a value as YAML; JSON is YAML 1.2, so quotes are right whatever a text holds."""
    return json.dumps(value, ensure_ascii=False)
