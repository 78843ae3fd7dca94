"""Events in words, one line each."""

from __future__ import annotations

from typing import Any, Final

from nightcrew.model.text import shown

_QUIET: Final = ("attempt.", "checkpoint.", "policy.", "engine.")


def is_shown(event: dict[str, Any]) -> bool:
    """Tell whether an event belongs into the short account of a run."""
    return not event["kind"].startswith(_QUIET)


def describe_event(event: dict[str, Any]) -> str:
    """Return one event as a line: whom it is about, what happened, and what else was recorded."""
    subject = event["attempt"] or event["task"] or event["run"] or "-"
    rest = "  ".join(
        f"{key}={_value(value)}" for key, value in event["data"].items() if value not in ("", None, [], {})
    )
    return shown(f"{subject}  {event['kind']}  {rest}".rstrip())


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value).replace("\n", " ")
