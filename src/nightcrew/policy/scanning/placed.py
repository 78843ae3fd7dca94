"""Passwords known only by their place: in a file of one name (``.pgpass``), behind an option of one command. Pure.

Neither the value nor a name beside it tells: ``curl -u ada:x``, ``mysql -px``. What stands there is a password by the program's
own documentation, however it looks; what only stands for one (``$VAR``, ``<password>``, ``password``) is none.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from nightcrew.policy.scanning import noise

Span = tuple[int, int]

_SPACE: Final = r"(?:[ \t]|\\\r?\n)"
_GAP: Final = r"[^\n|;&\\]{0,400}(?:\\\r?\n[^\n|;&\\]{0,400}){0,9}"
"""What may stand between a program and an option, on one line or on several that backslashes join."""
_LONGEST: Final = 1024
"""No option with its value is longer."""
_AHEAD: Final = 4096
_VALUE: Final = (
    r"""["']?(?P<held>(?<=")[^"\n]{1,512}(?=")|(?<=')[^'\n]{1,512}(?=')|[^\s"'`|;&<>(){},\\]{1,512})"""
)
_PAIR: Final = r"""["']?[^\s:"'$<>|;&/{}]{1,128}:(?P<held>(?!/)(?:\$\{\w{1,99}\}|[^\s"'`|;&<>()\\]){1,512})"""
_LDAP: Final = r"ldap(?:search|add|modify|delete|passwd|whoami|compare)"


class _Command(NamedTuple):
    """``program``: with what may stand behind it, a group; ``option``: with its value."""

    program: re.Pattern[str]
    option: re.Pattern[str]


def _option(programs: str, options: str, value: str = _VALUE) -> _Command:
    return _Command(
        re.compile(rf"(?<![\w.-])(?:{programs}){_SPACE}(?P<gap>{_GAP})"),
        re.compile(rf"(?<=[ \t\n\"'])(?:{options}){value}"),
    )


# `-pthread`, `-print`, `-pedantic`: of a compiler or `find` on the same line; `-p127.0.0.1:3306:3306`: of docker.
_MYSQL: Final = _option(
    "(?:mysql|mariadb)[a-z-]{0,20}",
    r"-p(?!(?:thread|rint0?|rintf|edantic|refix|rune)s?(?![^\s\"')])|[\d.]+:[\d.:]+)",
)
_COMMANDS: Final = (
    (
        "curl",
        _option(
            "curl", rf"-[a-zA-Z]{{0,8}}[uU]{_SPACE}{{0,9}}|--(?:proxy-)?user(?:=|{_SPACE}{{1,9}})", _PAIR
        ),
    ),
    ("mysql", _MYSQL),
    ("mariadb", _MYSQL),
    ("sshpass", _option("sshpass", rf"-p{_SPACE}{{0,9}}")),
    ("redis-cli", _option("redis-cli", rf"(?:-a|--pass){_SPACE}{{1,9}}")),
    ("login", _option("login", rf"-p(?:=|{_SPACE}{{1,9}})")),
    ("ldap", _option(_LDAP, rf"-w{_SPACE}{{0,9}}")),
    ("-pass", re.compile(rf"(?<![\w-])-pass(?:in|out)?{_SPACE}{{1,9}}[\"']?pass:{_VALUE}")),
    (
        "machine",
        re.compile(
            r"(?<!\w)machine\s{1,9}\S{1,253}\s{1,9}login\s{1,9}\S{1,128}\s{1,9}password\s{1,9}(?P<held>\S{1,512})"
        ),
    ),
)
"""curl(1), mysql(1), sshpass(1), redis-cli, login to a registry or cloud, ldapsearch(1), openssl(1), netrc(5)."""
_DOCKER: Final = re.compile(r"auth\\?\"\s{0,9}:\s{0,9}\\?\"(?P<held>[A-Za-z0-9+/]{4,4096}={0,2})\\?\"")
COMMAND_MARK: Final = rf"(?:curl|sshpass|redis-cli|login|machine|{_LDAP})[ \t\r\n\\]|mysql|mariadb|-pass(?:in|out)?[ \t\\]|auth\\?\""
"""Stands in every text that holds one of these; of fixed length, so that a row of them is searched in steady time."""
COMMAND_FRONTS: Final = (
    "curl",
    "mysql",
    "mariadb",
    "sshpass",
    "redis-cli",
    "ldap",
    "login",
    "-pass",
    "machine",
    "auth",
)
"""How what this mark finds begins."""

_FILES: Final[Mapping[str, re.Pattern[str]]] = {
    name: re.compile(pattern, re.MULTILINE)
    for names, pattern in (
        (".netrc _netrc .authinfo", r"(?:^|\s)password\s{1,9}(?P<held>\S{1,512})"),
        (".pgpass pgpass.conf", r"^(?!#)(?:(?:[^:\\\n]|\\.){1,253}:){4}(?P<held>[^\n\r]{1,512})"),
        (
            ".npmrc",
            r"^(?:[^\s=]{1,512}:)?_(?:auth|password|authToken)[ \t]*=[ \t]*(?P<held>[^\s\"';#]{1,2048})",
        ),
        (".pypirc .my.cnf", r"^[ \t]*(?i:password)[ \t]*[=:][ \t]*[\"']?(?P<held>[^\s\"'#;]{1,512})"),
    )
    for name in names.split()
}


def find_commands(text: str, fronts: Collection[str]) -> Iterable[Span]:
    """Return where passwords stand behind options of commands, in lines of a netrc, in settings of registries.

    Args:
        fronts: those of ``COMMAND_FRONTS`` that stand in the text.
    """
    # Nearly every text holds none, and is not to pay for a generator.
    return _find_commands(text, fronts) if fronts else ()


def _find_commands(text: str, fronts: Collection[str]) -> Iterator[Span]:
    for begins, pattern in _COMMANDS:
        if begins in fronts:
            matches = (
                _match_options(text, begins, pattern)
                if isinstance(pattern, _Command)
                else _match_each(text, begins, pattern)
            )
            yield from _spans(matches, _is_password)
    if "auth" in fronts:
        yield from _spans(_match_each(text, "auth", _DOCKER), _is_pair)


def _match_each(text: str, begins: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    place = text.find(begins)
    while place >= 0:
        match = pattern.match(text, place)
        if match is not None:
            yield match
        place = text.find(begins, place + 1)


def _match_options(text: str, begins: str, command: _Command) -> Iterator[re.Match[str]]:
    """Yield the first option behind each program. A stretch is searched once, however many programs stand before it."""
    option: re.Match[str] | None = None
    told = -1
    searched = 0
    for program in _match_each(text, begins, command.program):
        start, end = program.span("gap")
        if option is not None and option.start() < start:
            option = None
        while option is None and searched <= end:
            searched = max(searched, start)
            until = max(end, searched) + _AHEAD
            option = command.option.search(text, searched, until + _LONGEST)
            searched = until if option is None else option.start() + 1
        if option is not None and option.start() <= end and option.start() > told:
            told = option.start()
            yield option


def find_placed(text: str, path: str) -> Iterable[Span]:
    """Return where passwords stand in a file whose name says so."""
    pattern = _FILES.get(path.rpartition("/")[2].lower())
    return _spans(pattern.finditer(text), _is_password) if pattern is not None else ()


def _spans(matches: Iterable[re.Match[str]], holds: Callable[[str], bool]) -> Iterator[Span]:
    return (match.span("held") for match in matches if holds(match["held"]))


def _is_password(held: str) -> bool:
    return len(held) >= 4 and held.lower() not in noise.COMMON and not noise.is_placeholder(held)


def _is_pair(held: str) -> bool:
    """User and password in base64, as registries keep them."""
    try:
        user, colon, password = b64decode(held, validate=True).decode("utf-8").partition(":")
    except ValueError:
        return False
    return bool(user and colon) and user.isprintable() and password.isprintable() and _is_password(password)
