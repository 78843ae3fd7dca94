"""SQL → what it destroys: statements read by a real parser, in the dialect of the program that gets them. Pure.

What the parser does not understand is looked at by its words, on the safe side: a text that may drop something and
cannot be read is told as what it looks like, or as ``unreadable``. The parser is imported only for a text that holds a
word without which nothing can be destroyed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from nightcrew.policy.lines.words import Word

if TYPE_CHECKING:
    from nightcrew.policy.lines.starts import Start

ACTS: Final[Mapping[str, str]] = {
    "drop": "drops a table, database, schema, view, index, user or the like",
    "drop_column": "drops a column, constraint or partition of a table",
    "truncate": "empties a table",
    "delete_all": "deletes every row: there is no WHERE that says which",
    "update_all": "changes every row: there is no WHERE that says which",
    "dynamic": "runs SQL that is put together while it runs",
    "unreadable": "holds a word that can destroy, and cannot be read",
}
"""What a statement does, as policies name it."""

MAX_CHARACTERS: Final = 1 << 20
"""A longer text is not parsed (about ten seconds at this length); one with dangerous words is ``unreadable``."""

DIALECTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("psql", "pgcli", "cockroach"), "postgres"),
    **dict.fromkeys(("mysql", "mariadb", "mycli"), "mysql"),
    **dict.fromkeys(("sqlite3", "litecli"), "sqlite"),
    **dict.fromkeys(("clickhouse", "clickhouse-client"), "clickhouse"),
    "sqlcmd": "tsql",
    "sqlplus": "oracle",
    "duckdb": "duckdb",
    "bq": "bigquery",
    "snowsql": "snowflake",
    "usql": "",
    "cqlsh": "",
}
"""Programs that take SQL → dialect of the parser; empty for its own, which is the widest."""

_FILE_FIRST: Final = frozenset({"sqlite3", "litecli", "duckdb"})
_DANGER = re.compile(r"(?i)\b(?:drop|truncate|delete|update|execute|exec|prepare|gexec)\b")
_DYNAMIC = re.compile(r"(?i)\A\s*(?:execute|exec|prepare|do|declare|begin)\b")
_BY_WORDS: Final = (
    ("drop", re.compile(
        r"(?i)\bdrop\s+(?:(?:if|not|exists|temporary|temp|materialized|foreign|external)\s+)*"
        r"(?:table|database|schema|view|index|user|role|owned|tablespace|keyspace|type|trigger|function|procedure|sequence"
        r"|extension|policy|server|publication|subscription|event|collection|warehouse|stage|pipe|stream|task|domain"
        r"|aggregate|cast|collation|operator|rule|language|group|package|synonym|dictionary|quota)\b"
    )),
    ("truncate", re.compile(r"(?i)\btruncate\s+(?!\()")),
    ("delete_all", re.compile(r"(?is)\bdelete\s+from\b(?:(?!\bwhere\b)[^;])*(?:;|\Z)")),
    ("update_all", re.compile(r"(?is)\bupdate\s+\S+\s+set\b(?:(?!\bwhere\b)[^;])*(?:;|\Z)")),
)  # fmt: skip
# Comments that MySQL and MariaDB run.
_LIVE_COMMENT = re.compile(r"/\*(?:[Mm]?!)(?:\d{5,6})?(.*?)\*/", re.DOTALL)
# Lines that a client takes for its own: psql's \x, sqlite's .x, the GO of sqlcmd.
_CLIENT_LINE = re.compile(r"(?mi)^[ \t]*(?:\\[^\n]*|\.[a-z][^\n]*|go[ \t]*(?:\d+[ \t]*)?;?)$")
_CLIENT_TAIL = re.compile(r"(?i)\\g(?:exec|x|desc|set)?\b[^\n]*")
_ATTACHED = re.compile(r"--[\w-]+=|-[A-Za-z](?=.)", re.DOTALL)
# Options in one word, the last of which takes the rest of it: psql -tc"DROP ...".
_CLUSTER = re.compile(r"-[A-Za-z0-9]{1,12}")
_GIVES_SQL: Final = frozenset(
    {"-c", "--command", "-e", "--execute", "-Q", "-q", "--query", "-s", "-cmd", "--init-command"}
)


def find_acts(text: str, dialect: str = "") -> frozenset[str]:
    """Return what the statements of a text do, of ``ACTS``; nothing for a text that destroys nothing."""
    if not _DANGER.search(text):
        return frozenset()
    if len(text) > MAX_CHARACTERS:
        return frozenset({"unreadable"})
    return _read(text, dialect)


def find_acts_of(start: Start) -> frozenset[str]:
    """Return what the SQL does that a program start is given, by its words or its standard input."""
    dialect = DIALECTS.get(start.program)
    if dialect is None:
        return frozenset()
    acts: set[str] = set()
    for position, word in enumerate(start.words[1:], 1):
        for text in _texts(word):
            acts |= find_acts(text, dialect)
        if not word.known and (_may_be_sql(start.words, position) or _is_behind_file(start, position)):
            acts.add("dynamic")
    if start.stdin.text:
        acts |= find_acts(start.stdin.text, dialect)
    return frozenset(acts)


def _texts(word: Word) -> Iterator[str]:
    yield word.text
    attached = _ATTACHED.match(word.text)
    if attached:
        yield word.text[attached.end() :]
    cluster = _CLUSTER.match(word.text)
    if cluster:
        # Nobody says here which of the letters takes a value, so each may be the one.
        yield from (word.text[end:] for end in range(3, cluster.end() + 1))


def _may_be_sql(words: Sequence[Word], position: int) -> bool:
    before, text = words[position - 1].text, words[position].text
    attached = _ATTACHED.match(text)
    return before in _GIVES_SQL or (attached is not None and attached[0].rstrip("=") in _GIVES_SQL)


def _is_behind_file(start: Start, position: int) -> bool:
    """Tell whether a word stands where some programs take a statement: behind the name of the database's file."""
    if start.program not in _FILE_FIRST or start.words[position].text.startswith("-"):
        return False
    return any(not word.text.startswith("-") for word in start.words[1:position])


@lru_cache(maxsize=512)
def _read(text: str, dialect: str) -> frozenset[str]:
    acts = {"dynamic"} if re.search(r"(?i)\\gexec\b", text) else set()
    live = _LIVE_COMMENT.sub(r" \1 ", text)
    # What is taken out is a client's own, and yet can hold a statement behind it: psql's "\x \\ DROP ...", mysql's "\g DROP ...".
    taken = [found[0] for pattern in (_CLIENT_LINE, _CLIENT_TAIL) for found in pattern.finditer(live)]
    acts |= {act for act, pattern in _BY_WORDS for each in taken if pattern.search(each)}
    plain = _CLIENT_TAIL.sub(";", _CLIENT_LINE.sub("", live))
    statements = _parse(plain, dialect)
    if statements is None:
        # One statement that is not understood must not hide the others.
        for piece in plain.split(";"):
            alone = _parse(piece, dialect)
            acts |= _by_words(piece) if alone is None else _of(alone)
    else:
        acts |= _of(statements)
    if "dynamic" in acts:
        # What is put together is put together of what stands there.
        acts |= {act for act, pattern in _BY_WORDS if pattern.search(plain)}
    return frozenset(acts)


def _parse(text: str, dialect: str) -> list[Any] | None:
    import sqlglot
    from sqlglot.errors import SqlglotError

    # It warns of every statement that it keeps as it is written; we look at those by their words.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        return [each for each in sqlglot.parse(text, dialect=dialect or None) if each is not None]
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, LookupError):
        # Beside its own errors it slips on hostile input in these ways; to us all of them mean: not understood.
        return None


def _of(statements: Sequence[Any]) -> set[str]:
    from sqlglot import exp

    acts: set[str] = set()
    for statement in statements:
        for node in statement.find_all(exp.Drop, exp.TruncateTable, exp.Delete, exp.Update, exp.Command):
            acts |= _name(node, exp)
        if isinstance(statement, exp.Create):
            # The body of a function or trigger is a text to the parser.
            acts |= _certain_words(statement)
    return acts


def _name(node: Any, exp: Any) -> set[str]:
    if isinstance(node, exp.Command):
        return _by_words(node.sql())
    if isinstance(node, exp.Drop):
        return {"drop_column" if isinstance(node.parent, exp.Alter) else "drop"}
    if isinstance(node, exp.TruncateTable):
        return {"truncate"}
    if node.find_ancestor(exp.Merge) is not None or _says_which(node, exp):
        return set()
    return {"delete_all" if isinstance(node, exp.Delete) else "update_all"}


def _says_which(node: Any, exp: Any) -> bool:
    """Tell whether a DELETE or UPDATE names rows: a WHERE with a column in it, a LIMIT, or a join."""
    where = node.args.get("where")
    if where is not None:
        return where.find(exp.Column, exp.Subquery, exp.Exists) is not None and not _is_always(
            where.this, exp
        )
    if node.args.get("limit") is not None:
        return True
    return any(join.args.get("on") is not None or join.args.get("using") for join in node.find_all(exp.Join))


def _is_always(condition: Any, exp: Any) -> bool:
    """Tell whether a condition evidently holds for every row: ``a = a``, ``1 = 1 or x = 2``."""
    if isinstance(condition, exp.Paren):
        return _is_always(condition.this, exp)
    if isinstance(condition, exp.Or):
        return _is_always(condition.left, exp) or _is_always(condition.right, exp)
    if isinstance(condition, exp.And):
        return _is_always(condition.left, exp) and _is_always(condition.right, exp)
    if isinstance(condition, exp.EQ):
        return bool(condition.left == condition.right)
    return condition.find(exp.Column, exp.Subquery, exp.Exists) is None


def _certain_words(statement: Any) -> set[str]:
    from sqlglot import exp

    bodies = [node.name for node in statement.find_all(exp.Literal, exp.RawString, exp.Heredoc)]
    return {act for body in bodies for act in _by_words(body) if act != "unreadable"}


def _by_words(text: str) -> set[str]:
    """Return what a text looks like that the parser does not read."""
    if not _DANGER.search(text):
        return {"dynamic"} if re.match(r"(?i)\A\s*do\b.*\|\|", text, re.DOTALL) else set()
    acts = {act for act, pattern in _BY_WORDS if pattern.search(text)}
    if _DYNAMIC.match(text):
        acts.add("dynamic")
    return acts or {"unreadable"}
