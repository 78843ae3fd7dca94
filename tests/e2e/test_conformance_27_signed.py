"""Conformance 27, what leaves the machine: heads that are signed, kept elsewhere, forged; bundles that prove themselves."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import FILES, sweep
from journal_night import make_night, put_back, refused, tamper
from nightcrew.testing.hermetic import Hermetic, Ran


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hermetic]:
    place = Hermetic(tmp_path_factory.mktemp("night"))
    make_night(place)
    yield place
    sweep(place)


@pytest.fixture
def crew(night: Hermetic) -> Hermetic:
    return put_back(night)


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


def test_a_last_line_that_is_torn_is_named(crew: Hermetic, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xzf", crew.root / "R-1.tar.gz", "-C", tmp_path], check=True)
    lines = (tmp_path / "events.jsonl").read_bytes()
    (tmp_path / "events.jsonl").write_bytes(lines[:-20])
    last = json.loads(lines.splitlines()[-1])["seq"]
    done = refused(crew, "--bundle", str(tmp_path))
    assert f"first bad record: E-{last}\n" in done.stderr, done
