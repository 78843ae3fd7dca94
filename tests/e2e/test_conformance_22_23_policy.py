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


def forbidden_tasks(crew: Hermetic, run: str) -> list[str]:
    flags = crew.run("plan", run, "--json").json["flags"]
    return sorted({flag["task"] for flag in flags if flag["kind"] == "forbidden"})


def test_22_one_denied_command_stops_the_plan_and_yes_does_not_help(crew: Hermetic) -> None:
    done = crew.run_tasks(
        "- [ ] 1. harmless\n  - Run: echo x > x.txt\n- [ ] 2. denied\n  - Run: git push --force\n"
    )
    assert done.code == 6, done
    assert forbidden_tasks(crew, "R-1") == ["T02"]
    for task in crew.show_tasks("R-1").values():
        assert task["attempts"] == 0
        assert task["state"] in ("pending", "cancelled", "skipped", "blocked")
    assert crew.run("approve", "R-1", "--with-asks").code == 7


@pytest.mark.parametrize("place", ["run", "step", "accept"])
def test_22_every_denied_command_is_seen_wherever_it_stands(crew: Hermetic, place: str) -> None:
    lines, scripts = [], {}
    for number, command in enumerate(DENIED, 1):
        fenced = f"    ```\n    {command}\n    ```\n"
        run = f"  - Run:\n{fenced}" if place == "run" else "  - Run: 'true'\n"
        if place == "step":
            quoted = command.replace("'", "''")
            scripts[f"{number}.yaml"] = f"- say: hello\n- run: '{quoted}'\n"
            run = f"  - Script: {number}.yaml\n"
        lines.append(
            f"- [ ] {number}. denied\n{run}" + (f"  - Accept:\n{fenced}" if place == "accept" else "")
        )
    done = crew.run_tasks("".join(lines), scripts=scripts)
    assert done.code == 6, done
    assert forbidden_tasks(crew, "R-1") == [f"T{number:02d}" for number in range(1, len(DENIED) + 1)]


@pytest.mark.parametrize("command", [DENIED[5], DENIED[8], DENIED[10]])
def test_22_explain_says_the_same(crew: Hermetic, command: str) -> None:
    explained = crew.look("policy", "explain", "--json", "--", command)
    assert explained.code == 0, explained
    assert explained.json["decision"] == "deny"
    assert explained.json["rule"]
    assert ":" in explained.json["source"]


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
    assert crew.look("ps", "-a", "--json").json == []
    checked = crew.look("policy", "check")
    assert checked.code == 2, checked
    assert place in checked.stderr


def test_23_all_problems_of_a_policy_come_at_once(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": "version: 2\ncommads: []\ndefaults:\n  commands: perhaps\n"})
    done = crew.look("policy", "check")
    assert done.code == 2, done
    assert all(
        place in done.stderr for place in ("policy.yaml:1:10", "policy.yaml:2:1", "policy.yaml:4:13")
    ), done


def test_23_an_unreadable_policy_is_not_an_absent_one(crew: Hermetic) -> None:
    (crew.repo / ".nightcrew/policy.yaml").mkdir(parents=True)
    done = crew.run("run", "-f", str(crew.write_plan("- [ ] 1. a\n  - Run: echo a > a.txt\n")), "--yes")
    assert done.code == 2, done
    assert "policy.yaml" in done.stderr
