"""Keys that nobody was ever given, drawn by lot from the forms that issuers use."""

from __future__ import annotations

import random
from re import _parser as parser  # type: ignore[attr-defined]  # reads the forms as re does


def sample(pattern: str, lot: random.Random) -> str:
    """A text drawn by lot from the texts that a pattern matches, without what must stand around it."""
    return "".join(_draw(node, lot) for node in parser.parse(pattern))


def _draw(node, lot: random.Random) -> str:
    kind, held = str(node[0]), node[1]
    if kind == "LITERAL":
        return chr(held)
    if kind == "IN":
        ranges = [(item[1], item[1]) if str(item[0]) == "LITERAL" else item[1] for item in held]
        return chr(lot.choice([code for low, high in ranges for code in range(low, high + 1)]))
    if kind == "MAX_REPEAT":
        low, high, inner = held
        return "".join(
            _draw(each, lot) for _ in range(lot.randint(low, min(high, low + 12))) for each in inner
        )
    if kind == "SUBPATTERN":
        return "".join(_draw(each, lot) for each in held[3])
    if kind == "BRANCH":
        return "".join(_draw(each, lot) for each in lot.choice(held[1]))
    assert kind in ("ASSERT", "ASSERT_NOT"), kind
    return ""


AROUND = {
    "slack.webhook": "hooks.slack.com/",
    "discord.webhook": "/api/webhooks/",
    "feishu.webhook": "https://open.feishu.cn/open-apis/bot/v2/hook/",
    "teams.webhook": "https://x.webhook.office.com/",
}
