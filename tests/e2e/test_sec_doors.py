"""A secret planted at every door through which texts are stored or shown: nothing of it comes through but its ends."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic, Ran

pytestmark = pytest.mark.needs_userns

BODY = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"


def key(mark: str) -> str:
    """A key of its own per door, so that a leak tells which one it came through."""
    return "gh" + f"p_{mark}{BODY}"


DOORS = ("Out", "Err", "Json", "File", "Name", "Proof", "Error", "Deny", "Reject", "Retry", "Pause")
PACKED = """
import json, pathlib, sys
keys = json.loads(KEYS)
print("token", keys["Out"])
print("token", keys["Err"], file=sys.stderr)
# What a program logs that logs JSON inside JSON; the value has no form that anybody knows.
print(json.dumps({"body": json.dumps({"password": keys["Json"][4:12] + "-horse"})}))
pathlib.Path("notes").mkdir(exist_ok=True)
pathlib.Path("notes", keys["Name"] + ".txt").write_text("x\\n")
pathlib.Path("notes/key.txt").write_text("first\\n" + keys["File"] + "\\nlast\\n")
pathlib.Path("proof.sh").write_text("echo " + keys["Proof"] + "\\n")
"""


@pytest.fixture
def leaky(crew: Hermetic) -> Hermetic:
    script = PACKED.replace("KEYS", repr(json.dumps({door: key(door) for door in DOORS})))
    packed = base64.b85encode(script.encode()).decode()
    crew.write({"agent.py": f"import base64\nexec(base64.b85decode({packed!r}))\n"})
    crew.commit("agent")
    return crew


def test_nothing_comes_through_any_door(leaky: Hermetic) -> None:
    crew, seen = leaky, list[Ran]()

    def run(*words: str, code: int | None = 0) -> Ran:
        done = crew.run(*words)
        assert code is None or done.code == code, done
        seen.append(done)
        return done

    seen.append(crew.run_tasks("- [ ] 1. work\n  - Run: python3 agent.py\n  - Accept: sh proof.sh\n"))
    asked = run("show", "A-1")
    assert "the name of notes/ghp_***pA.txt holds what looks like a secret" in asked.stdout
    run("inbox")
    run("approve", "A-1")
    run("resume")
    for words in (("log", "R-1/T01"), ("show", "R-1/T01"), ("review", "R-1"), ("review", "R-1", "--json")):
        run(*words)
    run("events", "--json")
    for words in (("checkpoint", "diff", "C-1"), ("diff", "R-1/T01", "--hunks")):
        assert "blotted out; with them: --exact" in run(*words).stderr
    assert run("diff", "R-1/T01", "--json").json["secrets_hidden"] >= 1
    assert "+first\n+ghp_***pA\n+last\n" in run("diff", "R-1/T01").stdout
    exact = crew.look("diff", "R-1/T01", "--exact")
    assert key("File") in exact.stdout
    run("show", key("Error"), code=None)
    run("show", key("Error"), "--json", code=None)
    run("reject", "R-1/T01", "-m", f"it leaks {key('Reject')}", "--json", code=None)
    again = crew.run_tasks("- [ ] 1. again\n  - Run: python3 agent.py\n")
    assert again.code == 5, again
    run("deny", "A-2", "-m", f"it leaks {key('Deny')}")
    run("pause", "R-2", "-m", f"until {key('Pause')} is gone", code=None)
    run("why", "R-2/T01")
    text = "\n".join(done.stdout + done.stderr for done in seen)
    for door in DOORS:
        hidden = "Json" + BODY[:4] + "-horse" if door == "Json" else f"{door}{BODY[:6]}"
        assert hidden not in text, door
        assert not [str(file) for file in stored(crew) if hidden.encode() in file.read_bytes()], door


def stored(crew: Hermetic) -> list[Path]:
    """Return every file of ours but those that hold what the agent wrote, which is the work itself."""
    work = ("objects", "shadows", "deltas", "bases")
    return [
        file
        for file in crew.state.rglob("*")
        if file.is_file() and not set(file.relative_to(crew.state).parts) & set(work)
    ]
