"""What a journal says to who looks: found, told in words, exported, and completed by a shell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from conftest import sweep
from journal_night import make_night, put_back
from nightcrew.testing.hermetic import Hermetic


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hermetic]:
    place = Hermetic(tmp_path_factory.mktemp("night"))
    make_night(place)
    yield place
    sweep(place)


@pytest.fixture
def crew(night: Hermetic) -> Hermetic:
    return put_back(night)


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
    for command in ("approve", "deny", "answer"):
        assert complete(crew, f"nightcrew {command} ") == []  # nothing waits
    database = crew.state / "nightcrew.db"
    for damage in (b"not a database", None):
        database.write_bytes(damage) if damage else database.unlink()
        assert complete(crew, "nightcrew show ") == []
        assert database.exists() == bool(damage)  # reading makes nothing
