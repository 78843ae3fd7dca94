"""Clients of databases that can run programs: ``\\!``, ``.shell``, ``COPY ... TO PROGRAM`` and the like."""

from __future__ import annotations

import re
from typing import Final

from nightcrew.policy.lines.runs import Runs, Script, Words
from nightcrew.policy.lines.starts import Stdin
from nightcrew.policy.lines.words import Word

CLIENTS: Final = frozenset(
    ["psql", "pgcli", "mysql", "mariadb", "mycli", "sqlite3", "litecli", "duckdb", "sqlcmd", "sqlplus", "usql", "clickhouse-client"]
)  # fmt: skip
# Commands of the clients' own, at the beginning of a line: psql(1), mysql(1), sqlite3(1), sqlplus (HOST, !), sqlcmd (!!).
_ESCAPES: Final = (
    re.compile(r"(?mi)(?:^|;)[ \t]*(?:-[ce])?[ \t]*(?:\\!|!!?|system[ \t]|host[ \t])[ \t]*([^\n]+)"),
    re.compile(r"(?mi)^[ \t]*\.(?:shell|system)[ \t]+([^\n]+)"),
    re.compile(r"(?mi)^[ \t]*\.(?:once|output|import)[ \t]+['\"]?\|([^\n]+)"),
    re.compile(r"(?mi)\\(?:o|out|g|gx|w|copy[^\n]*)[ \t]+\|[ \t]*([^\n]+)"),
    re.compile(r"(?is)\bprogram\s+'((?:[^']|'')*)'"),
    re.compile(r"(?is)\b(?:sys_exec|sys_eval|xp_cmdshell|edit|shell)\s*\(?\s*'((?:[^']|'')*)'"),
)


def read_client(words: Words, stdin: Stdin) -> Runs:
    """Return the shell texts that a client of a database is told to run."""
    texts = [word for word in words[1:] if word.text]
    if stdin.text:
        texts.append(Word(stdin.text, stdin.exact))
    scripts = [
        Script(Word(match[1].replace("''", "'"), word.known))
        for word in texts
        for escape in _ESCAPES
        for match in escape.finditer(word.text)
    ]
    return Runs(scripts=tuple(dict.fromkeys(scripts)))
