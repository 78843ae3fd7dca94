"""``blame``: lines of tasks, of people, moved, committed again, undone, and not committed."""

from __future__ import annotations

import json

from nightcrew.testing.hermetic import Hermetic, Ran

TASKS = """- [ ] 1. Greet people warmly
  - Run: `printf 'def greet_everybody_in_the_room(name):\\n    return "welcome to this house, " + name\\n' >> src/app.py`
  - Scope: src/**
- [ ] 2. Take leave of people
  - Run: `printf 'def take_leave_of_everybody(name):\\n    return "it was good to see you, " + name\\n' >> src/bye.py`
  - Scope: src/**
"""
GREET = 'return "welcome to this house, " + name'


def landed(crew: Hermetic, *options: str) -> None:
    done = crew.run_tasks(TASKS)
    assert done.code in (0, 10), done
    assert crew.run("accept", "R-1/T01", "R-1/T02").code == 0
    done = crew.run("promote", "R-1", "--yes", *options)
    assert done.code == 0, done


def line_of(crew: Hermetic, path: str, text: str) -> int:
    lines = (crew.repo / path).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def blame(crew: Hermetic, place: str) -> dict:
    done = crew.look("blame", place, "--json")
    assert done.code == 0, done
    found: dict = done.json
    return found


def said(crew: Hermetic, place: str) -> Ran:
    done = crew.look("blame", place)
    assert done.code == 0, done
    return done


def test_from_a_line_to_its_task_agent_approval_and_promoter(crew: Hermetic) -> None:
    landed(crew)
    number = line_of(crew, "src/app.py", GREET)
    found = blame(crew, f"src/app.py:{number}")
    (line,) = found["lines"]
    assert (line["by"], line["exact"]) == ("nightcrew", True)
    origin = found["origins"][line["origin"]]
    assert (origin["promotion"], origin["run"], origin["plan"], origin["certain"]) == (
        "M-1",
        "R-1",
        "R-1/P1",
        True,
    )
    (task,) = origin["tasks"]
    assert (task["id"], task["agent"], task["attempt"]) == ("R-1/T01", "command", "R-1/T01/1")
    assert task["checkpoint"].startswith("C-")
    assert origin["promoted_by"] == origin["plan_approved_by"] != ""
    # One commit for both tasks: the other file leads to the other task.
    other = blame(crew, "src/bye.py:1")
    assert [task["id"] for task in other["origins"][other["lines"][0]["origin"]]["tasks"]] == ["R-1/T02"]
    text = said(crew, f"src/app.py:{number}").stdout
    for word in ("R-1/T01", "M-1", "plan R-1/P1 approved by", "promoted M-1 by"):
        assert word in text


def test_lines_that_nobody_promoted_and_lines_that_are_not_committed(crew: Hermetic) -> None:
    landed(crew)
    path = crew.repo / "src/app.py"
    path.write_text(path.read_text() + "mine = True\n")
    found = blame(crew, "src/app.py")["lines"]
    assert [line["by"] for line in found] == ["person", "nightcrew", "nightcrew", "uncommitted"]
    assert found[0]["author"] == "Hermetic"
    assert "not committed yet; not by nightcrew" in said(crew, "src/app.py:4").stdout
    assert "first; not by nightcrew" in said(crew, "src/app.py:1").stdout


def test_a_line_is_followed_when_a_person_moves_it(crew: Hermetic) -> None:
    landed(crew)
    text = (crew.repo / "src/app.py").read_text()
    (crew.repo / "src/app.py").write_text(
        "# a new head\nimport os\n\n\n" + text.replace("print('hello')\n", "")
    )
    crew.git("mv", "src/bye.py", "src/leave.py")
    crew.commit("moved by a person")
    for place in (f"src/app.py:{line_of(crew, 'src/app.py', GREET)}", "src/leave.py:1"):
        assert blame(crew, place)["lines"][0]["by"] == "nightcrew", place
    # Out of one file into another, in one commit.
    moved = (crew.repo / "src/app.py").read_text().splitlines(keepends=True)
    (crew.repo / "src/other.py").write_text("".join(moved[-2:]))
    (crew.repo / "src/app.py").write_text("".join(moved[:-2]))
    crew.commit("split")
    (line,) = blame(crew, "src/other.py:2")["lines"]
    assert (line["by"], line["path"]) == ("nightcrew", "src/app.py")


def test_a_commit_that_was_amended_is_known_by_its_trailer_and_a_made_up_trailer_is_not(
    crew: Hermetic,
) -> None:
    landed(crew)
    crew.git("commit", "-q", "--amend", "--no-edit", "--date", "2001-01-01T00:00:00Z")
    line = blame(crew, f"src/app.py:{line_of(crew, 'src/app.py', GREET)}")["lines"][0]
    assert (line["by"], line["exact"]) == ("nightcrew", False)
    assert "rebased or amended" in said(crew, "src/app.py:2").stdout
    crew.write({"fake.txt": "made up\n"})
    crew.commit("fake\n\nNightcrew-Promotion: M-99")
    assert blame(crew, "fake.txt:1")["lines"][0]["by"] == "person"


def test_an_undo_gives_lines_back_to_whom_they_belong(crew: Hermetic) -> None:
    landed(crew)
    assert crew.run("undo", "M-1", "--yes").code == 0
    assert {line["by"] for line in blame(crew, "src/app.py")["lines"]} == {"person"}
    assert crew.run("redo", "M-1", "--yes").code == 0
    found = blame(crew, "src/app.py:2")
    assert found["origins"][found["lines"][0]["origin"]]["promotion"] == "M-1"
    # After a later commit the undo is a commit of its own; what it brought back leads to it, and through it to what was undone.
    path = crew.repo / "src/app.py"
    path.write_text("# by a person\n" + path.read_text())
    crew.commit("later")
    assert crew.run("undo", "M-1", "--inverse", "--yes").code == 0
    assert [line["by"] for line in blame(crew, "src/app.py")["lines"]] == ["person", "person"]


def test_one_commit_for_each_task(crew: Hermetic) -> None:
    landed(crew, "--commits", "tasks")
    for path, task in (("src/app.py:2", "R-1/T01"), ("src/bye.py:2", "R-1/T02")):
        found = blame(crew, path)
        assert [each["id"] for each in found["origins"][found["lines"][0]["origin"]]["tasks"]] == [task]


def test_places_that_are_none(crew: Hermetic) -> None:
    crew.write({"new.txt": "x\n", "odd:3": "a\nb\n"})
    for place, code in (
        ("nope.py", 3),
        ("src/app.py:0", 2),
        ("src/app.py:9-2", 2),
        ("src/app.py:99", 2),
        ("new.txt", 3),
        (f"{crew.home}/.gitconfig", 2),
    ):
        done = crew.look("blame", place)
        assert done.code == code, (place, done)
    crew.git("add", "odd:3")
    assert len(blame(crew, "odd:3")["lines"]) == 2
    assert len(blame(crew, "odd:3:2")["lines"]) == 1
    assert json.loads(crew.look("blame", "nope.py", "--json").stdout)["error"]["code"] == "blame.file"


def test_no_program_of_the_repository_is_started(crew: Hermetic) -> None:
    """Neither textconv nor a filter nor fsmonitor of the repository's configuration runs."""
    mark = crew.root / "ran"
    crew.git("config", "diff.evil.textconv", f"touch {mark};cat")
    crew.git("config", "core.fsmonitor", f"touch {mark}")
    crew.git("config", "core.pager", f"touch {mark};cat")
    crew.write({".gitattributes": "*.py diff=evil\n"})
    crew.git("add", ".gitattributes")
    mark.unlink(missing_ok=True)
    assert blame(crew, "src/app.py:1")["lines"][0]["by"] == "person"
    assert not mark.exists()


def test_commits_that_are_to_be_passed_over_are_told_all_the_same(crew: Hermetic) -> None:
    landed(crew)
    number = line_of(crew, "src/app.py", GREET)
    (crew.repo / ".ignored").write_text(crew.git("rev-parse", "HEAD") + "\n")
    crew.git("config", "blame.ignoreRevsFile", ".ignored")
    assert blame(crew, f"src/app.py:{number}")["lines"][0]["by"] == "nightcrew"
