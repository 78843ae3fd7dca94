"""What a run will ask is told before anybody has left; answers in advance hold for exactly that, and for nothing else."""

from __future__ import annotations

import random

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

pytestmark = pytest.mark.needs_userns

POLICY = """version: 1
commands:
  - {id: test.release, when: {program: release.sh}, decision: ask, reason: a person decides}
files:
  - {id: test.generated, when: {paths: [gen/]}, decision: ask, reason: generated}
limits: {soft: {files: 3, deleted: 1}}
"""
STEPS = [
    "- run: ./release.sh {n}\n",
    "- run: echo {n} > out{n}.txt\n",
    "- {{write: gen/{n}.txt, content: x}}\n",
    "- {{write: src/{n}.py, content: x}}\n",
    "- {{delete: src/data.txt}}\n",
    "- run: pip install pkg{n} || true\n",
]
SCRIPT = "- {run: './release.sh a', on_denied: continue}\n- {run: './release.sh b', on_denied: continue}\n- {run: './release.sh c', on_denied: continue}\n- {write: done.txt, content: x}\n"


@pytest.fixture
def asking(crew: Hermetic) -> Hermetic:
    crew.write({"release.sh": "#!/bin/sh\necho $1 >> out.txt\n", ".nightcrew/policy.yaml": POLICY})
    (crew.repo / "release.sh").chmod(0o755)
    crew.commit("policy")
    return crew


def plan(crew: Hermetic, text: str, **scripts: str) -> None:
    path = crew.write_plan(text, scripts={name.replace("_", "."): body for name, body in scripts.items()})
    done = crew.run("run", "-f", str(path))
    assert done.code == 5, done


def test_what_is_foreseen_is_what_is_asked(asking: Hermetic) -> None:
    """Random recordings: the set of questions foreseen is the set of questions raised, none more and none less."""
    source = random.Random(5)
    scripts, text = {}, ""
    for task in range(1, 6):
        chosen = source.sample(STEPS, k=source.randint(1, 2))
        scripts[f"s{task}_yaml"] = "".join(step.format(n=f"{task}{at}") for at, step in enumerate(chosen))
        text += f"- [ ] {task}. t\n  - Script: s{task}.yaml\n"
    plan(asking, text, **scripts)
    foreseen = asking.run("forecast", "R-1", "--json").json["questions"]
    expected = {(each["task"], each["action"] or each["rule"]) for each in foreseen}
    assert len(expected) > 4
    asking.run("approve", "R-1", "--no-start")
    raised: set[tuple[str, str]] = set()
    for _ in range(4):
        asking.run("resume", "R-1", timeout_s=90)
        waiting = asking.run("inbox", "--json").json
        if not waiting:
            break
        for item in waiting:
            raised.add(
                (
                    item["task"].rpartition("/")[2],
                    item["action"] if item["kind"] == "action" else item["rule"],
                )
            )
            asking.run("approve", item["id"], "--no-start")
    assert raised == expected


def test_answers_in_advance_hold_for_exactly_what_was_shown(asking: Hermetic) -> None:
    plan(asking, "- [ ] 1. t\n  - Script: s.yaml\n  - Accept: test -f done.txt\n", s_yaml=SCRIPT)
    shown = asking.run("forecast", "R-1").stdout
    assert "3 questions foreseen, 3 open" in shown
    for words, code in (
        (["--allow", "9"], 2),
        (["--deny", "2"], 2),
        (["--allow", "1", "--digest", "0000"], 7),
    ):
        assert asking.run("forecast", "R-1", *words).code == code
    done = asking.run("forecast", "R-1", "--allow", "1", "--deny", "2", "-m", "not tonight", "--json")
    assert [each["answer"] for each in done.json["questions"]] == ["approved", "denied", ""], done
    assert asking.run("forecast", "R-1", "--allow", "2").code == 7, (
        "a no given beforehand is not taken back by the next line"
    )
    asking.run("approve", "R-1", "--with-asks", "--no-start")
    asking.run("resume", "R-1", timeout_s=60)
    task = by_name(asking.show("R-1"))["T01"]
    assert task["state"] == "succeeded", task
    assert asking.run("inbox", "--json").json == []
    told = asking.run("log", "R-1/T01").stdout
    assert "via: forecast" in told
    diff = asking.run("diff", "R-1/T01").stdout
    assert "+a" in diff
    assert "+c" in diff
    assert "+b" not in diff
