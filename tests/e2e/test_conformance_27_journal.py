"""Conformance 27, through the installed command: edit, truncation, forging, reordering, two writers, a torn tail."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import FILES, sweep
from nightcrew.testing.hermetic import Hermetic, Ran

TASKS = """- [ ] 1. Greet
  - Run: `echo "print('greetings')" >> src/app.py`
  - Scope: src/**
  - Accept: `grep -q greetings src/app.py`
- [ ] 2. Note
  - Run: `echo note > NOTES.md`
  - Scope: NOTES.md
  - Accept: `test -f NOTES.md`
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hermetic]:
    """A run that was promoted; what a test does to the database is put right by ``crew``."""
    place = Hermetic(tmp_path_factory.mktemp("night"))
    place.make_repository(FILES)
    done = place.run_tasks(TASKS)
    assert done.code == 0, done
    assert place.run("accept", "R-1").code == 0
    assert place.run("promote", "R-1", "--yes").code == 0
    head = place.run("audit", "head", "--sign", "-o", str(place.root / "head.json"))
    assert head.code == 0, head
    made = place.run("audit", "bundle", "R-1", "-o", str(place.root / "R-1.tar.gz"))
    assert made.code == 0, made
    database = place.state / "nightcrew.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    shutil.copy(database, place.root / "sound.db")
    shutil.copy(place.state / "signing" / "last.head", place.root / "last.head")
    yield place
    sweep(place)


@pytest.fixture
def crew(night: Hermetic) -> Hermetic:
    for name in ("nightcrew.db-wal", "nightcrew.db-shm", "nightcrew.db"):
        (night.state / name).unlink(missing_ok=True)
    shutil.copy(night.root / "sound.db", night.state / "nightcrew.db")
    shutil.copy(night.root / "last.head", night.state / "signing" / "last.head")
    return night


def tamper(crew: Hermetic, *statements: str) -> None:
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refused(crew: Hermetic, *args: str) -> Ran:
    done = crew.look("audit", "verify", *args)
    assert done.code == 12, done
    return done


def test_a_sound_journal_verifies_and_matches_the_head_kept_elsewhere(crew: Hermetic) -> None:
    found = crew.look("audit", "verify", "--against", str(crew.root / "head.json"), "--json")
    assert found.code == 0, found
    # Of the end of the run, of the promotion, by hand, and of the bundle; and once more from the file.
    assert found.json["signed"] >= 4
    assert len(found.json["keys"]) == 1
    assert crew.look("audit", "verify").stdout.rstrip().endswith("0 gaps")


@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("update nc_events set data = replace(data, 'Greet', 'Greed') where seq = 3", "E-3"),
        ("update nc_events set actor = 'user:mallory' where seq = 6", "E-6"),
        ("delete from nc_events where seq = 8", "E-8"),
        ("delete from nc_events where seq > 20", "E-21"),
        ("update nc_events set kind = 'journal.stub', data = '{}', at = '', actor = '', task = '', attempt = '' where seq = 7", "E-7"),
        ("update nc_events set data = 'x' where seq = 5", "E-5"),
    ],
)  # fmt: skip
def test_the_first_bad_record_is_named(crew: Hermetic, statement: str, first: str) -> None:
    tamper(crew, statement)
    done = refused(crew)
    assert f"first bad record: {first}\n" in done.stderr, done


def test_two_records_that_changed_places(crew: Hermetic) -> None:
    swap = "update nc_events set seq = {} where seq = {}"
    tamper(crew, swap.format(-1, 10), swap.format(10, 12), swap.format(12, -1))
    assert "first bad record: E-10\n" in refused(crew).stderr


def test_an_answer_that_was_edited_in_its_own_row_is_noticed(crew: Hermetic) -> None:
    tamper(
        crew,
        "update nc_tasks set state = 'failed', body = replace(body, '\"state\":\"succeeded\"', '\"state\":\"failed\"') where id = 'R-1/T02'",
    )
    assert "R-1/T02 is 'failed', but E-" in refused(crew).stderr


EDITS = {
    "run": ("nc_runs", "R-1", "'$.settings.budget', json_object('usd', 999)"),
    "plan": ("nc_plans", "R-1/P1", "'$.digest', 'another'"),
    "task": ("nc_tasks", "R-1/T01", "'$.title', 'another'"),
    "attempt": ("nc_attempts", "R-1/T01/1", "'$.progress', json_object()"),
    "approval": ("nc_approvals", "A-1", "'$.digest', 'another'"),
    "grant": ("nc_approvals", "A-1", "'$.uses', 99"),
    "checkpoint": ("nc_checkpoints", "C-1", "'$.tree', 'another'"),
    "promotion": ("nc_promotions", "M-1", "'$.new_commit', 'another'"),
    "budget": ("nc_ledgers", "2026-01-01/R-1/claude", "'$.usage', json_object('usd', 0)"),
}


def ask_and_spend(crew: Hermetic) -> None:
    """Add a question and an account, as the engine does."""
    from nightcrew.host.clock import SystemClock
    from nightcrew.journal import Journal
    from nightcrew.model.records import ApprovalRecord, LedgerRecord

    journal = Journal.open(f"sqlite:///{crew.state}/nightcrew.db", clock=SystemClock())
    with journal.write() as tx:
        words = (
            "d" * 64,
            {"kind": "exec"},
            "make",
            "r",
            "policy.yaml:1",
            "asks",
            "low",
            "agent",
            "2026-01-01",
        )
        question = ApprovalRecord(tx.next_id("A"), "action", "pending", "R-1", "R-1/T01", *words)
        asked = tx.add(question, "approval.requested")
        assert asked.id == "A-1"
        account = LedgerRecord("2026-01-01/R-1/claude", "2026-01-01", "2026-01", "R-1", "claude")
        account = tx.add(account, "ledger.opened")
    with journal.write() as tx:  # without an event of its own
        tx.change(account, "", usage={"usd": 3})
    journal.close()


@pytest.mark.parametrize("kind", EDITS)
def test_a_body_that_was_edited_beside_the_events_is_named_with_its_last_event(
    crew: Hermetic, kind: str
) -> None:
    ask_and_spend(crew)
    assert crew.run("audit", "verify", "--json").json["unbound"] == 0
    table, name, change = EDITS[kind]
    tamper(crew, f"update {table} set body = json_set(body, {change}) where id = '{name}'")
    done = refused(crew)
    assert f"{name} was changed after E-" in done.stderr, done
    assert "first bad record: E-" in done.stderr


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("delete from nc_tasks where id = 'R-1/T02'", "R-1/T02 is missing: E-"),
        ("delete from nc_stretches where run = 'R-1'", "E-1 is not in the list that finds events by run"),
        ("delete from nc_promotions", "M-1 is missing: E-"),
        ("update nc_tasks set name = 'T09' where id = 'R-1/T02'", "'name' of R-1/T02 is not what its body says"),
        ("insert into nc_plans select 'R-1/P9', sort, run, body from nc_plans", "no event tells of R-1/P9"),
        ("update nc_checkpoints set body = (select body from nc_checkpoints o where o.id != nc_checkpoints.id)", "was changed after E-"),
    ],
)  # fmt: skip
def test_rows_that_were_deleted_added_or_changed_places(crew: Hermetic, statement: str, said: str) -> None:
    tamper(crew, statement)
    assert said in refused(crew).stderr


def test_records_from_before_they_were_bound_are_told_as_older_and_bound_when_they_change(
    crew: Hermetic,
) -> None:
    """Take the digests out of the events, with right hashes, as an older nightcrew wrote them."""
    strip_bound(crew)
    found = crew.run("audit", "verify")
    assert (found.code, "not bound (older)" in found.stdout) == (0, True), found
    before = crew.run("audit", "verify", "--json").json
    assert (before["bound"], before["unbound"] > 5) == (0, True)
    assert crew.run("undo", "M-1", "--yes").code == 0
    after = crew.run("audit", "verify", "--json").json
    assert after["bound"] > 0
    assert after["unbound"] < before["unbound"]


def strip_bound(crew: Hermetic) -> None:
    from nightcrew.model import canonical
    from nightcrew.model.events import Event, compute_hash

    connection = sqlite3.connect(crew.state / "nightcrew.db")
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute("select * from nc_events where kind != 'journal.signed' order by seq")]  # fmt: skip
    connection.execute("delete from nc_events")
    connection.execute("delete from nc_heads")
    last: dict[str, tuple[int, str]] = {}
    for seq, row in enumerate(rows, 1):
        data = json.loads(row["data"])
        data.pop("bound", None)
        number, prev = last.get(row["run"], (0, "0" * 64))
        event = Event(**{**row, "seq": seq, "data": data, "prev": prev, "hash": ""})
        last[event.run] = (number + 1, compute_hash(event))
        values = (seq, event.at, event.kind, event.run, event.task, event.attempt, event.actor, canonical.encode(data), prev, last[event.run][1])  # fmt: skip
        connection.execute("insert into nc_events values (?,?,?,?,?,?,?,?,?,?)", values)
        connection.execute("insert or replace into nc_heads values (?,?,?,?)", (event.run, number + 1, seq, last[event.run][1]))  # fmt: skip
    connection.execute("update nc_counters set value = ? where name = 'E'", (len(rows),))
    connection.commit()
    connection.close()
    (crew.state / "signing" / "last.head").unlink()


def rewrite(crew: Hermetic) -> None:
    """Forge like somebody who knows the format and may write the database: every hash, end and counter fits again."""
    from nightcrew.model.events import Event, compute_hash

    connection = sqlite3.connect(crew.state / "nightcrew.db")
    connection.row_factory = sqlite3.Row
    last: dict[str, str] = {}
    for row in connection.execute("select * from nc_events order by seq").fetchall():
        plain = {**dict(row), "data": json.loads(row["data"]), "hash": ""}
        if row["seq"] == 6:
            plain["actor"] = "user:mallory"
        event = Event(**{**plain, "prev": last.get(row["run"], "0" * 64)})
        last[row["run"]] = compute_hash(event)
        values = (event.actor, event.prev, last[row["run"]], row["seq"])
        connection.execute("update nc_events set actor = ?, prev = ?, hash = ? where seq = ?", values)
    for run, end in last.items():
        connection.execute("update nc_heads set hash = ? where chain = ?", (end, run))
    connection.commit()
    connection.close()


def test_a_journal_rewritten_as_a_whole_is_noticed_by_its_signed_heads(crew: Hermetic) -> None:
    rewrite(crew)
    assert "holds a signed head of other events" in refused(crew).stderr


def test_a_journal_that_somebody_else_signed_is_refused_and_an_own_earlier_key_is_known(
    crew: Hermetic,
) -> None:
    from nightcrew.host.clock import SystemClock
    from nightcrew.host.signing import need_key
    from nightcrew.journal import Journal
    from nightcrew.runtime.evidence.sealing import record_head

    stranger = need_key(crew.root / "elsewhere" / "journal.key")
    journal = Journal.open(f"sqlite:///{crew.state}/nightcrew.db", clock=SystemClock())
    with journal.write() as tx:
        record_head(tx, stranger, at="2025-01-01T00:00:00.000000Z", actor="engine")
    journal.close()
    assert crew.look("audit", "query", "--kind", "journal").code == 0
    assert "a key that is not of this installation" in refused(crew).stderr
    assert crew.run("audit", "head", "--sign").code == 12  # nothing is signed over it
    known = crew.state / "signing" / "known.keys"
    before = known.read_text()
    known.write_text(before + f"{stranger.public}  # mine as well\n")
    assert "signed by 2 keys" in crew.look("audit", "verify").stdout
    known.write_text(before)


def test_and_by_the_head_kept_elsewhere_when_the_signed_ones_are_taken_out(crew: Hermetic) -> None:
    rewrite(crew)
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    signed = {row[0] for row in connection.execute("select seq from nc_events where kind = 'journal.signed'")}
    connection.close()
    first = min(signed)
    # All that came after the first signed head goes too, and every counter is set back.
    tamper(
        crew,
        f"delete from nc_events where seq >= {first}",
        f"update nc_counters set value = {first - 1} where name = 'E'",
        "delete from nc_heads where chain = ''",
        "update nc_heads set seq = (select max(seq) from nc_events), length = (select count(*) from nc_events), "
        "hash = (select hash from nc_events order by seq desc limit 1) where chain = 'R-1'",
    )
    done = refused(crew, "--against", str(crew.root / "head.json"))
    assert "the end is cut off" in done.stderr, done


def cut_back(crew: Hermetic, to: int) -> None:
    """Take the database back to an older state as a whole: events, ends and counter fit, and nothing in it says more."""
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    connection.execute("delete from nc_events where seq > ?", (to,))
    connection.execute("delete from nc_heads where chain not in (select run from nc_events)")
    for run, number, seq in connection.execute(
        "select run, count(*), max(seq) from nc_events group by run"
    ).fetchall():
        (end,) = connection.execute("select hash from nc_events where seq = ?", (seq,)).fetchone()
        values = (number, seq, end, run)
        connection.execute("update nc_heads set length = ?, seq = ?, hash = ? where chain = ?", values)
    connection.execute("update nc_counters set value = ? where name = 'E'", (to,))
    connection.commit()
    connection.close()


def test_a_journal_cut_back_to_an_older_signed_head_is_noticed_and_not_signed_again(crew: Hermetic) -> None:
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    (last,) = connection.execute("select max(seq) from nc_events").fetchone()
    connection.close()
    assert crew.run("audit", "head", "--sign").code == 0
    cut_back(crew, last)  # what is left ends with a signed head
    done = refused(crew)
    assert f"first bad record: E-{last + 1}\n" in done.stderr, done
    assert "cut back or rewritten" in done.stderr
    for command in (
        ("audit", "head", "--sign"),
        ("audit", "bundle", "R-1", "-o", str(crew.root / "no.tar.gz")),
    ):
        done = crew.run(*command)
        assert done.code == 12, done
    assert not (crew.root / "no.tar.gz").exists()
    # A person who has put back an older database says so by moving the kept head away.
    (crew.state / "signing" / "last.head").unlink()
    assert crew.look("audit", "verify").code == 0
    assert crew.run("audit", "head", "--sign").code == 0
    assert crew.look("audit", "verify").code == 0


def test_no_bundle_is_made_of_a_journal_that_somebody_else_signed_or_whose_records_were_edited(
    crew: Hermetic,
) -> None:
    tamper(
        crew,
        "update nc_tasks set state = 'failed', body = replace(body, '\"state\":\"succeeded\"', '\"state\":\"failed\"') where id = 'R-1/T02'",
    )
    target = crew.root / "edited.tar.gz"
    done = crew.run("audit", "bundle", "R-1", "-o", str(target))
    assert (done.code, target.exists()) == (12, False), done


def test_a_bundle_is_never_compared_with_nothing_by_mistake(crew: Hermetic, tmp_path: Path) -> None:
    bundle = str(crew.root / "R-1.tar.gz")
    for key in ("", "abc"):
        assert crew.look("audit", "verify", "--bundle", bundle, "--key", key).code == 2
    nobody = Hermetic(tmp_path)
    nobody.make_repository(FILES)
    done = nobody.run("audit", "verify", "--bundle", bundle)
    assert (done.code, "no key of its own" in done.stderr) == (2, True), done


def test_a_forged_a_foreign_and_a_broken_head_file(crew: Hermetic) -> None:
    head = json.loads((crew.root / "head.json").read_text())
    place = crew.root / "other.json"
    for change, said in (
        (
            {"signature": head["signature"][:-2] + "ff"},
            "its signature is wrong",
        ),  # its last byte is never above 0x10
        ({"statement": {**head["statement"], "root": "0" * 64}}, "its signature is wrong"),
        ({"ends": head["ends"][:-1]}, "its list of ends was changed"),
    ):
        place.write_text(json.dumps({**head, **change}))
        assert said in refused(crew, "--against", str(place)).stderr
    stranger = Hermetic(crew.root / "stranger")
    stranger.make_repository(FILES)
    assert stranger.run("audit", "head", "--sign", "-o", str(place), "--force").code == 0
    assert "a key that is not of this installation" in refused(crew, "--against", str(place)).stderr
    place.write_text("[" * 100_000)
    assert crew.look("audit", "verify", "--against", str(place)).code == 2
    place.write_text("{}")
    done = crew.look("audit", "verify", "--against", str(place))
    assert (done.code, "not a signed head" in done.stderr) == (2, True), done


def test_the_key_is_private_and_is_refused_when_others_can_read_it(crew: Hermetic) -> None:
    key = crew.state / "signing" / "journal.key"
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    key.chmod(0o644)
    done = crew.run("audit", "head", "--sign")
    key.chmod(0o600)
    assert (done.code, "can be read by others" in done.stderr) == (4, True), done


def test_the_bundle_verifies_with_nothing_but_its_own_program(crew: Hermetic, tmp_path: Path) -> None:
    bundle = crew.root / "R-1.tar.gz"
    subprocess.run(["tar", "-xzf", bundle, "-C", tmp_path], check=True)
    key = crew.run("audit", "head", "--json").json["key"]
    isolated = [sys.executable, "-I", "-S", str(tmp_path / "verify_bundle.py")]
    for target in (str(bundle), str(tmp_path)):
        done = subprocess.run([*isolated, target, "--key", key], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("OK: R-1, ")
    done = subprocess.run(
        [*isolated, str(bundle), "--key", "0" * 64], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "signed by another key" in done.stdout) == (1, True)
    (tmp_path / "plan.json").write_text("{}")
    done = subprocess.run([*isolated, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, "plan.json was changed" in done.stdout) == (1, True)
    found = crew.look("audit", "verify", "--bundle", str(bundle), "--json").json
    assert (found["ok"], found["run"], found["key_compared"]) == (True, "R-1", True)
    bundle_of_others = refused_bundle(crew, bundle.read_bytes()[:-1])
    assert "NOT" not in bundle_of_others.stdout


def refused_bundle(crew: Hermetic, data: bytes) -> Ran:
    place = crew.root / "bad.tar.gz"
    place.write_bytes(data)
    return refused(crew, "--bundle", str(place))


def test_a_bundle_of_somebody_else_is_refused_unless_their_key_is_given(
    crew: Hermetic, tmp_path: Path
) -> None:
    stranger = Hermetic(tmp_path)
    stranger.make_repository(FILES)
    assert stranger.run("audit", "head", "--sign").code == 0
    bundle = str(crew.root / "R-1.tar.gz")
    done = stranger.run("audit", "verify", "--bundle", bundle)
    assert (done.code, "signed by another key" in done.stderr) == (12, True), done
    key = crew.run("audit", "head", "--json").json["key"]
    assert stranger.run("audit", "verify", "--bundle", bundle, "--key", key).code == 0
    assert stranger.run("audit", "verify", "--bundle", bundle, "--key", "any").code == 0


def test_a_database_whose_file_was_cut_off_is_damage(crew: Hermetic) -> None:
    database = crew.state / "nightcrew.db"
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 3)
    done = refused(crew)
    assert "the database cannot be read" in done.stderr or "does not verify" in done.stderr, done


def test_a_last_line_that_is_torn_is_named(crew: Hermetic, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xzf", crew.root / "R-1.tar.gz", "-C", tmp_path], check=True)
    lines = (tmp_path / "events.jsonl").read_bytes()
    (tmp_path / "events.jsonl").write_bytes(lines[:-20])
    last = json.loads(lines.splitlines()[-1])["seq"]
    done = refused(crew, "--bundle", str(tmp_path))
    assert f"first bad record: E-{last}\n" in done.stderr, done


def test_two_writers_at_once_leave_one_chain(crew: Hermetic) -> None:
    logs = [crew.root / f"writer{number}.log" for number in range(4)]
    for number, log in enumerate(logs):
        crew.start("audit", "head", "--sign", "-o", str(crew.root / f"w{number}.json"), log=log)
    crew.wait_until(lambda: all((crew.root / f"w{n}.json").exists() for n in range(4)), what="four heads")
    assert crew.look("audit", "verify").code == 0


def test_a_search_by_kind_person_time_and_text(crew: Hermetic) -> None:
    lines = crew.look("audit", "query", "--kind", "promotion", "--json").stdout.splitlines()
    assert {json.loads(line)["kind"] for line in lines} == {"promotion.prepared", "promotion.published"}
    user = json.loads(lines[-1])["actor"].removeprefix("user:")
    assert crew.look("audit", "query", "--kind", "promotion", "--who", user, "--since", "today").stdout
    assert crew.run("audit", "--kind", "promotion", "--json").stdout.splitlines() == lines
    assert not crew.look("audit", "query", "--who", "nobody-of-that-name").stdout
    assert not crew.look("audit", "query", "--until", "2001-01-01").stdout
    assert "Greet" in crew.look("audit", "query", "--text", "GREET", "--limit", "1").stdout
    table = crew.look("audit", "query", "--kind", "promotion.published", "--fields", "seq,ts,id,tasks").stdout
    assert "M-1" in table
    assert "R-1/T01, R-1/T02" in table
    for wrong in (("--since", "soon"), ("--run", "R-9")):
        assert crew.look("audit", "query", *wrong).code in (2, 3)


def test_a_field_that_no_event_has_is_refused_with_the_ones_there_are(crew: Hermetic) -> None:
    for form in ((), ("--json",)):
        done = crew.run("audit", "query", "--kind", "task", "--fields", "seq,titel", *form)
        assert (done.code, done.stdout if not form else "") == (2, ""), done
        assert "no field titel" in done.stderr + done.stdout
        assert "title" in done.stderr + done.stdout


def test_a_number_that_json_has_no_form_for_leaves_as_text(crew: Hermetic) -> None:
    from nightcrew.host.clock import SystemClock
    from nightcrew.journal import Journal

    journal = Journal.open(f"sqlite:///{crew.state}/nightcrew.db", clock=SystemClock())
    with journal.write() as tx:
        tx.append("x.measured", run="R-1", data={"least": float("-inf"), "n": [float("nan"), 1.5]})
    journal.close()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for form in ("jsonl", "otel"):
        for line in crew.run("audit", "export", "--format", form).stdout.splitlines():
            json.loads(line, parse_constant=refuse)
    last = crew.run("audit", "query", "--kind", "x", "--json").json
    assert last["data"] == {"least": "-Infinity", "n": ["NaN", 1.5]}
    assert crew.run("audit", "verify").code == 0


def test_why_tells_of_a_promotion_in_words(crew: Hermetic) -> None:
    said = crew.run("why", "M-1").stdout
    assert "{'" not in said
    assert "command grep -q greetings" in said


def test_events_leave_in_three_forms(crew: Hermetic) -> None:
    import csv
    import io

    lines = crew.run("audit", "export", "--run", "R-1").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["prev"] for event in events[1:]] == [event["hash"] for event in events[:-1]]
    rows = list(csv.DictReader(io.StringIO(crew.run("audit", "export", "--format", "csv").stdout)))
    assert {row["kind"] for row in rows} >= {"run.created", "promotion.published", "journal.signed"}
    sent = json.loads(crew.run("audit", "export", "--format", "otel", "--run", "R-1").stdout)
    records = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert len(records) == len(events)
    assert {len(record["traceId"]) for record in records} == {32}
    target = crew.root / "out.jsonl"
    assert crew.run("audit", "export", "-o", str(target)).code == 0
    assert crew.run("audit", "export", "-o", str(target)).code == 2


def test_what_is_old_is_emptied_under_a_signature_and_still_verifies(crew: Hermetic) -> None:
    ask = ("audit", "prune", "--before", "1s", "--dry-run", "--json")
    crew.wait_until(lambda: bool(crew.run(*ask).json["runs"]), what="a run that was over a second ago")
    assert crew.run("audit", "prune", "--before", "1s").code == 2  # nobody is there to be asked
    dry = crew.run("audit", "prune", "--before", "1s", "--dry-run", "--json").json
    assert dry["runs"] == ["R-1"]
    head = str(crew.root / "head.json")
    done = crew.run("audit", "prune", "--before", "1s", "--yes")
    assert done.code == 0, done
    found = crew.look("audit", "verify", "--against", head, "--json").json
    assert found["emptied"] == dry["events"]
    # What bound the records of the run stands in the act that emptied its events.
    assert found["bound"] > 5
    assert "Greet" not in crew.run("audit", "export", "--run", "R-1").stdout
    assert crew.look("show", "R-1").code == 0
    assert crew.look("why", "R-1/T01").code == 0
    made = crew.run("audit", "bundle", "R-1", "-o", str(crew.root / "late.tar.gz"), "--force")
    assert made.code == 0, made
    assert crew.look("audit", "verify", "--bundle", str(crew.root / "late.tar.gz")).code == 0
    tamper(crew, "update nc_events set hash = prev where seq = 4")
    assert "first bad record: E-" in refused(crew).stderr


def complete(crew: Hermetic, line: str) -> list[str]:
    """Return what a real bash offers at the end of a line, with our script loaded."""
    script = crew.root / "completion.bash"
    if not script.exists():
        script.write_text(crew.run("completion", "bash").stdout)
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; "
        f"COMP_POINT={len(line)}; f=$(complete -p nightcrew | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        f"$f nightcrew '{words[-1]}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    command = ["bash", "--norc", "-c", program]
    done = subprocess.run(command, env=crew.variables, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_a_shell_completes_ids_of_what_there_is(crew: Hermetic) -> None:
    assert {"R-1", "R-1/T01", "R-1/T02", "C-1", "M-1"} <= set(complete(crew, "nightcrew show "))
    assert complete(crew, "nightcrew undo ") == ["M-1"]
    assert complete(crew, "nightcrew retry R-1/T01") == ["R-1/T01"]
    assert complete(crew, "nightcrew audit query --run ") == ["R-1"]
    assert complete(crew, "nightcrew approve A") == []
    database = crew.state / "nightcrew.db"
    for damage in (b"not a database", None):
        database.write_bytes(damage) if damage else database.unlink()
        assert complete(crew, "nightcrew show ") == []
        assert database.exists() == bool(damage)  # reading makes nothing
