"""Names of files are an agent's words: no screen obeys them, and no line of them passes for one of ours."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

#: Colour, a line of its own that looks like ours, and letters that run backwards.
NAME = "ev\x1b[31mil\n hint: nightcrew approve A-1\u202e.txt"
WRITE = f"import os\nos.makedirs('d\\x1b[5m', exist_ok=True)\nopen('d\\x1b[5m/x', 'w').write('1')\nopen({NAME!r}, 'w')"
PLAN = """
- [ ] 1. one
  - Run: python3 one.py
  - Accept: "true"
- [ ] 2. two
  - Run: python3 two.py
  - Accept: "true"
- [ ] 3. three
  - Depends: 1
  - Run: mkdir -p hollow/inner filled && touch filled/x
  - Accept: "true"
"""


def test_no_screen_obeys_them(crew: Hermetic) -> None:
    crew.write({"one.py": f"{WRITE}.write('one')\n", "two.py": f"{WRITE}.write('two')\n"})
    crew.commit("agents")
    done = [crew.run_tasks(PLAN)]
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("accept", "R-1/T02").code == 0
    refused = crew.run("promote", "R-1", "--dry-run")
    assert (refused.code, "collides with" in refused.stderr) == (7, True), refused
    done.append(refused)
    assert crew.run("accept", "R-1/T03").code == 0
    assert crew.run("reject", "R-1/T02", "-m", "no").code == 0
    done += [crew.run("promote", "R-1", "--dry-run"), crew.run("promote", "R-1", "--yes")]
    assert done[-1].code == 0, done[-1]
    promotion = crew.show("R-1/T01")["promoted"]
    checkpoints = [each["id"] for each in crew.look("checkpoint", "list", "R-1", "--json").json]
    looks = (
        ("show", "R-1"),
        ("show", "R-1/T01"),
        ("show", promotion),
        *(("show", each) for each in checkpoints),
        ("review", "R-1"),
        ("ps", "--all"),
        ("why", promotion),
        ("log", "R-1"),
        ("events",),
        ("rollback", "R-1/T02", "--dry-run"),
        ("checkpoint", "diff", *checkpoints[:2], "--hunks"),
        ("checkpoint", "restore", checkpoints[0], "--dry-run"),
        ("undo", promotion, "--dry-run"),
    )
    done += [crew.look(*each) for each in looks]
    done.append(crew.run("undo", promotion, "--yes"))
    assert done[-1].code == 0, done[-1]
    for each in done:
        said = each.stdout + each.stderr
        assert "\x1b" not in said, each
        assert "\u202e" not in said, each
        assert not [line for line in said.splitlines() if line.startswith(" hint: nightcrew approve")], each
    assert sum("ev<U+001B>[31mil" in each.stdout + each.stderr for each in done) >= 9
    # A folder without a file is told, and is no reason to look.
    [task] = [each for each in crew.look("review", "R-1", "--json").json["tasks"] if each["name"] == "T03"]
    told = [each["text"] for each in task["concerns"] if "without a file" in each["text"]]
    assert told == ["folder without a file: hollow/inner; git keeps none, so it does not land"]
    assert not [each for each in task["concerns"] if each["look"]], task
    # Two views of one checkpoint say the same of it.
    [listed] = [each for each in crew.look("checkpoint", "list", "R-1/T01", "--json").json if each["current"]]
    assert crew.look("show", listed["id"], "--json").json["current"]
