"""What a real SQLite destroys, our reading has found: random texts run on a real table."""

from __future__ import annotations

import random
import sqlite3

from nightcrew.policy.sqltext import find_acts

TEXTS = 2000
PIECES = [
    ["drop", "DROP", "Drop", "delete", "DELETE", "update", "UPDATE", "select", "insert", "alter", "replace", "with d as"],
    ["table", "TABLE", "from", "FROM", "view", "index", "into", "(select 1)", "(delete from t returning a)", "or", "a"],
    ["t", '"t"', "[t]", "`t`", "main.t", "if exists t", "if exists main.t", "x", "'t'", "t as q", "t, x", "1"],
    ["", "", "", "set a=1", "set a=1, b=2", "where 1", "where a", "where 1=1", "where a=a", "where a=1", "where (1)", "select 1", "values (1)", "returning a", "limit 1", "drop column b", "rename to y"],
]  # fmt: skip
BETWEEN = [" ", " ", " ", "\n", "\t", "/**/", "/* x */", "-- x\n", " /* drop */ ", "  "]
AROUND = ["", "", "", ";", "select 1;", "begin;", "-- x\n", "/* ; */", "select 'a;b';", ";;", "select 'it''s';", 'select "x;y";', "commit;", "savepoint s;"]  # fmt: skip


def make_text(source: random.Random) -> str:
    statements = []
    for _ in range(source.choice([1, 1, 1, 2])):
        words = [source.choice(pieces) for pieces in PIECES]
        text = "".join(word + source.choice(BETWEEN) for word in words if word)
        statements.append(source.choice(AROUND) + text + source.choice(["", ";"]))
    return ";".join(statements)


def run(text: str) -> tuple[bool, int, int]:
    """Run a text as the sqlite3 shell would, going on after errors; return whether the table is there, its rows, those changed."""
    place = sqlite3.connect(":memory:", isolation_level=None)
    place.executescript(
        "create table t (a, b); insert into t values (7, 8), (9, 10), (11, 12); create table x (a);"
    )
    rest = text
    while rest:
        for end in range(1, len(rest) + 1):
            if (rest[end - 1] == ";" or end == len(rest)) and sqlite3.complete_statement(rest[:end] + ";"):
                break
        statement, rest = rest[:end], rest[end:]
        try:
            place.execute(statement).fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            continue
    there = bool(place.execute("select 1 from sqlite_master where name = 't'").fetchall())
    rows = place.execute("select a from t").fetchall() if there else []
    place.close()
    return there, len(rows), sum(a not in (7, 9, 11) for (a,) in rows)


def says_which(text: str) -> bool:
    return "where a" in text.replace("where a=a", "")


def test_what_a_database_loses_is_found() -> None:
    source = random.Random(20261121)
    lost = 0
    for _ in range(TEXTS):
        text = make_text(source)
        there, rows, changed = run(text)
        acts = find_acts(text, "sqlite")
        if not there:
            renamed = "rename" in text
            lost += not renamed
            assert renamed or acts & {"drop", "unreadable", "dynamic"}, text
        elif (rows == 0 or changed == 3) and not says_which(text):
            lost += 1
            assert acts, text
    assert lost > TEXTS // 100, "too few texts destroyed anything for this to mean much"
