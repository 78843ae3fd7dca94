"""SQL that destroys is found by what it means: in every dialect, behind comments, and not in texts that only mention it."""

from __future__ import annotations

import pytest

from nightcrew.host.shell import parse
from nightcrew.policy.lines.walk import read_line
from nightcrew.policy.sqltext import ACTS, MAX_CHARACTERS, find_acts, find_acts_of

TEXTS = [
    ("DROP TABLE users", "postgres", "drop"),
    ("drop table if exists `x`", "mysql", "drop"),
    ("DROP MATERIALIZED VIEW x", "postgres", "drop"),
    ("DROP OWNED BY joe", "postgres", "drop"),
    ("drop keyspace x", "", "drop"),
    ("/* c */ DROP -- x\n TABLE x", "postgres", "drop"),
    ("/*!50000 DROP TABLE x */", "mysql", "drop"),
    ("/*M!100100 drop table x */", "mysql", "drop"),
    ("\\dt\nDROP TABLE x;", "postgres", "drop"),
    (".tables\nDROP TABLE x;", "sqlite", "drop"),
    ("drop table x\ngo\n", "tsql", "drop"),
    ("garbage ( in front; DROP TABLE x", "postgres", "drop"),
    ("SELECT 1; DROP TABLE x", "sqlite", "drop"),
    ("\\x \\\\ DROP TABLE x;", "postgres", "drop"),
    ("select 1\\g drop table x\\g", "mysql", "drop"),
    ("\\g truncate x;", "mysql", "truncate"),
    ("\\echo dropped all tables", "postgres", ""),
    ("EXPLAIN ANALYZE DELETE FROM x", "postgres", "delete_all"),
    ("TRUNCATE users", "mysql", "truncate"),
    ("truncate table a, b cascade", "postgres", "truncate"),
    ("ALTER TABLE x DROP COLUMN y", "postgres", "drop_column"),
    ("DELETE FROM x", "sqlite", "delete_all"),
    ("delete from x where 1=1", "mysql", "delete_all"),
    ("DELETE FROM x WHERE true", "postgres", "delete_all"),
    ("DELETE FROM users WHERE id=id", "postgres", "delete_all"),
    ("DELETE FROM users WHERE id=3 OR 1=1", "mysql", "delete_all"),
    ("DELETE FROM ONLY x", "postgres", "delete_all"),
    ("WITH d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "postgres", "delete_all"),
    ("BEGIN; DELETE FROM x; COMMIT", "postgres", "delete_all"),
    ("update x set a=1", "mysql", "update_all"),
    ("UPDATE a SET x=b.x FROM b", "postgres", "update_all"),
    ("EXECUTE IMMEDIATE 'DROP TABLE x'", "oracle", "drop dynamic"),
    ("SET @s='DROP TABLE x'; PREPARE p FROM @s; EXECUTE p;", "mysql", "drop dynamic"),
    ("DO $$ BEGIN EXECUTE 'DR' || 'OP TABLE x'; END $$", "postgres", "dynamic"),
    ("SELECT 'x' \\gexec", "postgres", "dynamic"),
    ("garbage drop )( everything", "mysql", "unreadable"),
    ("CREATE FUNCTION f() RETURNS void AS $$ DROP TABLE x $$ LANGUAGE sql", "postgres", "drop"),
    ("SELECT 'drop table x'", "sqlite", ""),
    ("select 1 -- drop table x", "postgres", ""),
    ("INSERT INTO log VALUES ('user deleted; drop table x')", "sqlite", ""),
    ("select * from t where note = 'update x set y'", "mysql", ""),
    ("delete from users where id = 3", "postgres", ""),
    ("DELETE FROM x LIMIT 3", "mysql", ""),
    ("DELETE x FROM x JOIN y ON x.a=y.a", "mysql", ""),
    ("DELETE FROM x USING y WHERE x.a=y.a", "postgres", ""),
    ("MERGE INTO a USING b ON a.x=b.x WHEN MATCHED THEN UPDATE SET a.y=b.y", "postgres", ""),
    ("CREATE TABLE x (a int REFERENCES y ON DELETE CASCADE, updated_at text)", "sqlite", ""),
    ("SELECT * FROM x FOR UPDATE", "postgres", ""),
    ("INSERT INTO x VALUES (1) ON CONFLICT (a) DO UPDATE SET b=2", "postgres", ""),
    ("INSERT INTO x VALUES (1) ON DUPLICATE KEY UPDATE b=2", "mysql", ""),
    ("VACUUM", "sqlite", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "dialect", "acts"), TEXTS, ids=[row[0] for row in TEXTS])
def test_what_a_text_does(text: str, dialect: str, acts: str) -> None:
    assert find_acts(text, dialect) == frozenset(acts.split())
    assert find_acts(text.lower().replace("@S", "@s"), dialect) == frozenset(acts.split())


def test_every_act_has_an_example() -> None:
    assert {act for _, _, acts in TEXTS for act in acts.split()} == set(ACTS)


def test_a_text_too_long_to_parse_is_not_taken_for_harmless() -> None:
    assert find_acts("select 1;" * MAX_CHARACTERS) == frozenset()
    assert find_acts("drop " + "x" * MAX_CHARACTERS) == {"unreadable"}


LINES = [
    ('psql -c "DROP TABLE users"', "drop"),
    ('psql --command="DROP TABLE users"', "drop"),
    ('mysql -e"DROP TABLE users"', "drop"),
    ('psql -tc"DROP TABLE users"', "drop"),
    ("mysql -D app -sNe'DROP TABLE users'", "drop"),
    ("psql -1Xqc'delete from x'", "delete_all"),
    ("echo 'drop database prod' | mysql", "drop"),
    ("sqlite3 app.db <<< 'drop table x'", "drop"),
    ("psql <<'E'\nselect 1;\ntruncate x;\nE", "truncate"),
    ('psql -c "$STATEMENT"', "dynamic"),
    ('mysql -e"$STATEMENT"', "dynamic"),
    ('sqlite3 app.db "$STATEMENT"', "dynamic"),
    ('sqlite3 "$DB" "select 1"', ""),
    ("sudo -u postgres psql -c 'delete from x'", "delete_all"),
    ("psql -d 'drop table x' -c 'select 1'", "drop"),
    ("psql -f dump.sql", ""),
    ("grep 'drop table' x.sql", ""),
]


@pytest.mark.parametrize(("line", "acts"), LINES, ids=[row[0] for row in LINES])
def test_what_a_command_line_gives_a_database(line: str, acts: str) -> None:
    starts = read_line(line, parse=parse).starts
    assert {act for start in starts for act in find_acts_of(start)} == set(acts.split())
