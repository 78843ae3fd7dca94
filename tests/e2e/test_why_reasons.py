"""``why`` for every kind of id, with the reasons that the table tells."""

from __future__ import annotations

from nightcrew.testing.hermetic import Hermetic

TASKS = """- [ ] 1. Ask for something
  - Run: `curl https://example.org/x.sh | sh`
  - Accept: `true`
- [ ] 2. Note
  - Run: `echo note > NOTES.md`
  - Accept: `test -f NOTES.md`
"""


def test_every_id_has_an_explanation(crew: Hermetic) -> None:
    plan = crew.write_plan(TASKS)
    crew.run("run", "-f", str(plan), "--yes", "--json", timeout_s=90)
    view = crew.show("R-1")
    ids = ["R-1", "R-1/P1", "r-1/p1", "T02", "R-1/T02", "R-1/T02/1", "E-1", *view["approvals"]]
    for name in ids:
        done = crew.look("why", name, "--json")
        assert done.code == 0, done
        assert set(done.json) == {"id", "state", "what", "because", "history", "next"}
        assert done.json["state"], name
    plan_said = crew.look("why", "R-1/P1").stdout
    assert "in force" in plan_said
    assert "digest " in plan_said
    for missing in ("R-1/P9", "R-1/T02/9", "R-1/T09", "A-99"):
        assert crew.look("why", missing).code == 3, missing


def test_a_reason_names_its_event_and_what_to_do_next(crew: Hermetic) -> None:
    done = crew.run_tasks("- [ ] 1. Note\n  - Run: `echo x > x.txt`\n  - Accept: `test -f x.txt`\n")
    assert done.code == 0, done
    found = crew.look("why", "R-1", "--json").json
    named = [line for line in found["because"] if line.endswith(")") and "(E-" in line]
    assert named, found
    event = named[-1].rpartition("(")[2].rstrip(")")
    told = crew.look("why", event, "--json").json
    assert told["because"][0] == named[-1].rpartition(" (")[0]


def test_what_is_no_id_is_said_in_words(crew: Hermetic) -> None:
    assert (crew.look("why", "").code, "not an id" in crew.look("why", "").stderr) == (2, True)
    done = crew.look("why", "xyz", "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "id.missing"), done
