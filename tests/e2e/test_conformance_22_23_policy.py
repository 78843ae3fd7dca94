"""Rows 22 and 23: a deny rule really stops it, on what is asked and on what is done; a broken policy stops the run."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic, by_name

DENIED = [
    "git push --force origin main",
    "git push -f",
    "git push --force-with-lease origin main",
    "git push origin +main",
    "env X=1 git push --force",
    'bash -c "git push --force"',
    "sh -c 'cd src && git push -uf origin main'",
    "true && git -C . push --force",
    "psql -c 'DROP TABLE users'",
    "sqlite3 app.db 'drop table users;'",
    "bash -c \"mysql -e 'DROP DATABASE shop'\"",
    "echo x > .git/config",
    "rm -rf /",
]


@pytest.mark.parametrize("command", DENIED)
def test_22_a_denied_command_stops_the_plan_and_yes_does_not_help(crew: Hermetic, command: str) -> None:
    text = f"- [ ] 1. harmless\n  - Run: echo x > x.txt\n- [ ] 2. denied\n  - Run:\n    ```\n    {command}\n    ```\n"
    done = crew.run_tasks(text)
    assert done.code == 6, done
    explained = crew.run("policy", "explain", "--json", "--", command)
    assert explained.json["decision"] == "deny"
    assert ":" in explained.json["source"]
    for task in crew.show_tasks("R-1").values():
        assert (task["state"], task["attempts"]) in (
            ("pending", 0),
            ("cancelled", 0),
            ("skipped", 0),
            ("blocked", 0),
        ), task


@pytest.mark.parametrize("command", DENIED)
def test_22_also_as_a_step_of_a_script_and_as_acceptance(crew: Hermetic, command: str) -> None:
    step = command.replace("'", "''")
    script = {"s.yaml": f"- run: '{step}'\n"}
    as_step = crew.run_tasks("- [ ] 1. denied\n  - Script: s.yaml\n", scripts=script)
    assert as_step.code == 6, as_step
    as_proof = crew.run_tasks(
        f"- [ ] 1. proof\n  - Run: true\n  - Accept:\n    ```\n    {command}\n    ```\n"
    )
    assert as_proof.code == 6, as_proof


@pytest.mark.needs_userns
def test_22_what_a_program_hides_is_stopped_all_the_same(crew: Hermetic) -> None:
    """Nobody can read in a command line what a program will do; the sandbox and the real change decide."""
    remote = crew.root / "remote.git"
    crew.git("init", "-q", "--bare", str(remote))
    crew.git("remote", "add", "origin", str(remote))
    crew.git("push", "-q", "origin", "main")
    before = crew.git("rev-parse", "HEAD", cwd=remote)
    crew.write(
        {
            "hidden.py": "import subprocess\nopen('src/app.py', 'w').write('evil')\n"
            "g = 'git -c user.name=a -c user.email=a@b '\n"
            "subprocess.call(g + 'commit -qam evil', shell=True)\n"
            "subprocess.call(g + 'push -' + 'f origin HEAD:main', shell=True)\n"
        }
    )
    crew.commit("hidden")
    done = crew.run_tasks(
        "- [ ] 1. hidden\n  - Run: python3 hidden.py; true\n  - Accept: grep -q evil src/app.py\n"
    )
    assert done.code == 0, done
    assert crew.git("rev-parse", "main", cwd=remote) == before
    assert (crew.repo / "src/app.py").read_text() == "print('hello')\n"


@pytest.mark.needs_userns
@pytest.mark.parametrize("path", [".env", "keys/server.pem", "deep/er/private.key"])
def test_22_a_protected_path_fails_the_task_whoever_wrote_it(crew: Hermetic, path: str) -> None:
    crew.write(
        {
            "hidden.py": f"import os\nos.makedirs(os.path.dirname({path!r}) or '.', exist_ok=True)\nopen({path!r}, 'w').write('x')\n"
        }
    )
    crew.commit("hidden")
    done = crew.run_tasks("- [ ] 1. hidden\n  - Run: python3 hidden.py\n  - Accept: true\n")
    assert done.code == 10, done
    task = by_name(done.json)["T01"]
    assert task["state"] == "failed"
    assert any(found["check"] == "protected" and found["path"] == path for found in task["findings"]), task
    assert crew.run("accept", "R-1/T01").code == 7
    assert not (crew.repo / path).exists()


BROKEN = {
    "unknown key": ("version: 1\ncommads: []\n", "policy.yaml:2:1"),
    "unknown word": ("version: 1\ndefaults:\n  commands: perhaps\n", "policy.yaml:3:13"),
    "no YAML": ("version: 1\ncommands: [\n", "policy.yaml:3:1"),
    "wrong type": ("version: 1\ncommands: all\n", "policy.yaml:2:11"),
    "twice": ("version: 1\nversion: 1\n", "policy.yaml:2:1"),
    "not UTF-8": (b"version: 1\n# \xff\n", "policy.yaml:2:3"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_23_a_broken_policy_stops_the_run(crew: Hermetic, kind: str) -> None:
    content, place = BROKEN[kind]
    crew.write({".nightcrew/policy.yaml": content})
    crew.commit("broken")
    done = crew.run("run", "-f", str(crew.write_plan("- [ ] 1. a\n  - Run: echo a > a.txt\n")), "--yes")
    assert done.code == 2, done
    assert place in done.stderr, done
    assert crew.run("ps", "-a", "--json").json == []
    checked = crew.run("policy", "check")
    assert checked.code == 2, checked
    assert place in checked.stderr


def test_23_all_problems_of_a_policy_come_at_once(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": "version: 2\ncommads: []\ndefaults:\n  commands: perhaps\n"})
    done = crew.run("policy", "check")
    assert done.code == 2, done
    assert all(
        place in done.stderr for place in ("policy.yaml:1:10", "policy.yaml:2:1", "policy.yaml:4:13")
    ), done


def test_23_an_unreadable_policy_is_not_an_absent_one(crew: Hermetic) -> None:
    (crew.repo / ".nightcrew/policy.yaml").mkdir(parents=True)
    done = crew.run("run", "-f", str(crew.write_plan("- [ ] 1. a\n  - Run: echo a > a.txt\n")), "--yes")
    assert done.code == 2, done
    assert "policy.yaml" in done.stderr
