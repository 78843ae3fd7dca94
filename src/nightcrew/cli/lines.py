"""Events in words, one line each."""

from __future__ import annotations

import re
from typing import Any, Final

from nightcrew.model.text import shown

#: Kinds that do not belong into the short account of a run.
_QUIET: Final = (
    "attempt.",
    "checkpoint.",
    "usage.",
    "ledger.",
    "policy.",
    "engine.",
    "plan.recorded",
    "task.created",
    "approval.used",
    "record.",
)
#: What the subject and the kind say already, or what only the machine needs.
_SAID: Final = frozenset(
    {"id", "from", "to", "state", "digest", "tree", "promotion", "also_matched", "undo_of", "bound"}
)
_REF = re.compile(r"\brefs/heads/")
_LONG_ID = re.compile(r"\b[0-9a-f]{40,64}\b")


def is_shown(event: dict[str, Any]) -> bool:
    """Tell whether an event belongs into the short account of a run."""
    if event["kind"] == "net.requested":
        return event["data"].get("verdict") not in ("allow", "ask")  # a question has an event of its own
    return not event["kind"].startswith(_QUIET)


def describe_event(event: dict[str, Any]) -> str:
    """Return one event as a line: whom it is about, what happened, and what else was recorded."""
    data = event["data"]
    subject = data["id"] if _is_own(event) else event["attempt"] or event["task"] or event["run"] or "-"
    rest = [f"{key}: {_value(value)}" for key, value in data.items() if key not in _SAID and _is_told(value)]
    if event["kind"] == "record.changed":
        rest.append(", ".join(data.get("bound", ())))
    if event["actor"].startswith("user:"):
        rest.append(f"by {event['actor'].removeprefix('user:')}")
    return shown(f"{subject:<9} {event['kind']:<18} {'; '.join(rest)}".rstrip())


def _is_own(event: dict[str, Any]) -> bool:
    """Approvals, checkpoints and promotions are their own subject."""
    return str(event["data"].get("id", "")).startswith(("A-", "C-", "M-"))


def _is_told(value: Any) -> bool:
    return value not in ("", None, [], {}, False)


def _value(value: Any) -> str:
    text = _words(value)
    text = _REF.sub("", text.replace("\n", " ⏎ "))
    return _LONG_ID.sub(lambda found: found.group()[:12], text)


def _words(value: Any) -> str:
    """Return a value in words: nothing in a line for people looks like a program."""
    if isinstance(value, dict):
        if value.get("said"):  # drift, and what else says itself what it means
            return f"{value['said']} ({value['severity']})" if value.get("severity") else str(value["said"])
        return ", ".join(f"{key} {_words(item)}".rstrip() for key, item in value.items() if _is_told(item))
    if isinstance(value, list):
        mark = "; " if any(isinstance(item, dict) for item in value) else ", "
        return mark.join(_words(item) for item in value)
    return "yes" if value is True else "no" if value is False else "none" if value is None else str(value)
