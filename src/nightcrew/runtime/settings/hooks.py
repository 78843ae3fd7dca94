"""The part of config.yaml about who is told of questions: ``approvals.webhook``, in a person's own file only."""

from __future__ import annotations

from typing import Any, Final

from nightcrew.model.settings import Webhook
from nightcrew.model.units import parse_duration
from nightcrew.runtime.settings.models import Reading, check_url, find_source

_PATH: Final = ("approvals", "webhook")
_NAME: Final = "webhook"


def read_webhook(reading: Reading, old: Webhook | None, *, repository: bool) -> Webhook | None:
    """Return the webhook of the document, or the one of the file outside of it."""
    block = reading.at(_PATH)
    if block is None:
        return old
    if repository:
        reading.complain(
            _PATH,
            "a repository does not decide who answers your questions",
            "move it into config.yaml of your own configuration directory",
        )
        return old
    if not isinstance(block, dict):
        return old
    url = block.get("url")
    if wrong := check_url(url):
        reading.complain(
            (*_PATH, "url") if "url" in block else _PATH, wrong.replace("your key", "a question")
        )
        return old
    secret = find_source(block.get("secret"))
    if secret is None:
        # Somebody may have written the secret itself here: it is not repeated.
        reading.complain(
            (*_PATH, "secret") if "secret" in block else _PATH,
            "must say where the secret is, not what it is",
            "secret: {env: NAME}, or {file: ~/path}, or {command: [program, argument]}",
        )
        return old
    return Webhook(str(url), secret, str(block.get("as", _NAME)), _read_timeout(reading, block))


def _read_timeout(reading: Reading, block: dict[str, Any]) -> float:
    try:
        seconds = parse_duration(block.get("timeout", "10s"))
    except (ValueError, TypeError) as error:
        reading.complain((*_PATH, "timeout"), str(error))
        return 10.0
    if not 0 < seconds <= 120:
        reading.complain((*_PATH, "timeout"), "must be between 1s and 2m")
    return seconds
