"""Secrets in texts, found by the forms that key issuers use, and blotted out before anything is stored.

What is kept of a secret is its first four and last two characters, so that a person can tell which one it was. Digests
and commit ids have no such form and stay as they are, and so does an honest text: this runs over everything we store.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

BLOT: Final = "***"
# A shorter secret would be given away by six of its characters.
_MIN_SHOWN: Final = 16

Match = re.Match[str]
_START = r"(?<![A-Za-z0-9_])"
_END = r"(?![A-Za-z0-9])"

# (a text that must be there at all, the form). The first is a plain substring search: a page without it costs nothing.
# Forms: the issuers' own documentation, as of 2026.
_FORMS: Final[Sequence[tuple[tuple[str, ...], re.Pattern[str]]]] = tuple(
    (tuple(needles.split()), re.compile(pattern))
    for needles, pattern in (
        ("AKIA ASIA ABIA ACCA", rf"{_START}(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{{16}}{_END}"),
        ("ghp_ gho_ ghs_ ghu_ ghr_", rf"{_START}gh[posur]_[A-Za-z0-9]{{30,255}}"),
        ("github_pat_", rf"{_START}github_pat_[A-Za-z0-9_]{{22,255}}"),
        ("glpat-", rf"{_START}glpat-[A-Za-z0-9_.-]{{20,}}"),
        ("sk-", r"(?<![A-Za-z0-9_-])sk-(?:ant-|proj-|svcacct-|admin-|or-)?[A-Za-z0-9_-]{20,}"),
        ("AIza", rf"{_START}AIza[A-Za-z0-9_-]{{35}}"),
        ("xox", rf"{_START}xox[abeoprs]-[A-Za-z0-9-]{{10,}}"),
        ("xapp-", rf"{_START}xapp-[A-Za-z0-9-]{{10,}}"),
        ("k_live_ k_test_", rf"{_START}[rsp]k_(?:live|test)_[A-Za-z0-9]{{10,}}"),
        ("whsec_", rf"{_START}whsec_[A-Za-z0-9+/=]{{16,}}"),
        ("npm_", rf"{_START}npm_[A-Za-z0-9]{{30,}}"),
        ("pypi-", rf"{_START}pypi-[A-Za-z0-9_-]{{20,}}"),
        ("hf_", rf"{_START}hf_[A-Za-z0-9]{{30,}}"),
        ("eyJ", rf"{_START}eyJ[A-Za-z0-9_-]{{5,}}\.eyJ[A-Za-z0-9_-]{{5,}}\.[A-Za-z0-9_-]*"),
        ("hooks.slack.com/", r"(?<=hooks\.slack\.com/)(?:services|workflows)/[A-Za-z0-9/_-]{20,}"),
        ("/api/webhooks/", r"(?<=/api/webhooks/)[0-9]{15,}/[A-Za-z0-9_-]{30,}"),
        ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    )
)

_PEM = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)(.*?)(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
# A password in a URL holds no blank; greedy up to the last @ before a / would be read as part of it by some clients too.
_URL = re.compile(r"(?<=://)([^\s/:@\"'<>]{0,256}):([^\s/\"'<>]{1,512})@(?=[^\s@])")
_BEARER = re.compile(r"(?i)(?<![A-Za-z])(bearer|basic)([ \t]+)([A-Za-z0-9+/_.~-]{16,}={0,2})")

# Parts of the names of secret values, in small letters; what stands around them in a name does not matter.
_NAMES: Final = ("passw", "passphrase", "secret", "token", "credential", "pwd", "key")
# `key` alone names many honest things.
_SECRET_KEY = re.compile(r"(?:api|access|private|auth|encryption|signing|account|master|license)[_-]?key\Z")
_WORKING_DIRECTORY = re.compile(r".{0,4}?(?<![a-z0-9_])(?:old)?pwd=/", re.DOTALL)
_AFTER_OPTION = re.compile(r"[a-z-]{0,20}[ \t]+(['\"]?)(?P<bare>[^\s'\"-][^\s'\"]{5,})")
_ASSIGNED = re.compile(
    r"""[A-Za-z0-9_.-]{0,40}            # rest of the name
        ["'\]]{0,2}[ \t]{0,8}(=>|:=|=|:)[ \t]{0,8}
        (?:(["'`])(?P<quoted>(?:(?!\2)[^\\\n]|\\.){1,4096})\2
          |(?P<bare>[^\s"'`,;(){}\[\]<>&|]{1,4096})(?P<call>[(\[]?))""",
    re.VERBOSE,
)
_REFERENCE = re.compile(
    r"[$%{<]|\\\(|\*+\Z|(?:None|null|true|false|True|False|undefined|nil|str|string|bytes|int|bool)\Z"
)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_.]{0,24}\Z")


def redact(text: str) -> str:
    """Return ``text`` with every secret blotted out; what is not a secret is unchanged, twice is the same as once."""
    while (blotted := _redact_once(text)) != text:
        # What was blotted out may have stood in front of another secret and hidden its beginning.
        text = blotted
    return text


def _redact_once(text: str) -> str:
    for needles, pattern in _FORMS:
        if any(n in text for n in needles):
            text = pattern.sub(_blot_match, text)
    if "PRIVATE KEY" in text:
        text = _PEM.sub(_blot_pem, text)
    if "://" in text and "@" in text:
        text = _URL.sub(_blot_url, text)
    lowered = _lower(text)
    if "bearer" in lowered or "basic" in lowered:
        text = _BEARER.sub(_blot_bearer, text)
        lowered = _lower(text)
    return _blot_assigned(text, lowered)


def blot(secret: str) -> str:
    """Return what may be shown of one secret: its first four and last two characters."""
    if BLOT in secret:
        return secret
    return f"{secret[:4]}{BLOT}{secret[-2:]}" if len(secret) >= _MIN_SHOWN else BLOT


def _blot_match(match: Match) -> str:
    return blot(match[0])


def _blot_pem(match: Match) -> str:
    return f"{match[1]}{BLOT}{match[3]}"


def _blot_url(match: Match) -> str:
    password = match[2]
    return match[0] if _REFERENCE.match(password) else f"{match[1]}:{blot(password)}@"


def _blot_bearer(match: Match) -> str:
    # "basic authentication", "token verification" are words, not credentials.
    return (
        match[0] if match[3].isalpha() and not match[3].isupper() else f"{match[1]}{match[2]}{blot(match[3])}"
    )


def _lower(text: str) -> str:
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    # A letter whose small form is longer (U+0130) would shift every position.
    return "".join(c.lower() if c.isascii() else "?" for c in text)


def _blot_assigned(text: str, lowered: str) -> str:
    """Blot out what is assigned to a name of a secret: ``password=x``, ``"api_key": "x"``, ``--token x``."""
    parts: list[str] = []
    position = 0
    for start in sorted({place for name in _NAMES for place in _places(lowered, name)}):
        if start < position:
            continue
        span = _find_value(text, lowered, start)
        if span is not None:
            parts += [text[position : span[0]], blot(text[span[0] : span[1]])]
            position = span[1]
    return "".join([*parts, text[position:]]) if parts else text


def _places(lowered: str, name: str) -> Iterator[int]:
    place = lowered.find(name)
    while place >= 0:
        end = place + len(name)
        if _names_secret(lowered, name, end):
            yield end
        place = lowered.find(name, end)


def _names_secret(lowered: str, name: str, end: int) -> bool:
    if name == "key":
        return _SECRET_KEY.search(lowered, max(0, end - 20), end) is not None
    # The shell's working directory stands in every environment; what follows is a path.
    return name != "pwd" or _WORKING_DIRECTORY.match(lowered, max(0, end - 7)) is None


def _find_value(text: str, lowered: str, start: int) -> tuple[int, int] | None:
    match = _ASSIGNED.match(text, start)
    if match is not None:
        group = "quoted" if match["quoted"] is not None else "bare"
        return match.span(group) if _is_secret(match) else None
    option = _AFTER_OPTION.match(lowered, start)
    if option is None or _REFERENCE.match(option["bare"]):
        return None
    word = max(lowered.rfind(c, max(0, start - 60), start) for c in " \t\n\"'=")
    return option.span("bare") if lowered.startswith("--", word + 1) else None


def _is_secret(match: Match) -> bool:
    value = match["quoted"]
    if value is not None:
        return len(value) >= 4 and " " not in value.strip() and not _REFERENCE.match(value)
    value = match["bare"]
    if match["call"] or len(value) < 6 or _REFERENCE.match(value) or value.isdigit():
        return False
    # `token: Iterator` and `token = lexer.next` are code; `TOKEN=correcthorse` is a setting.
    tight = match[1] == "=" and match[0].find("=") + 1 == match.start("bare") - match.start()
    return tight or not _IDENTIFIER.match(value)
