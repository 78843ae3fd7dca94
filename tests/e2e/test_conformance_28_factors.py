"""Row 28: PIN and authenticator: a file for its owner alone, a slow hash, a lock that lasts, no code twice."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest

from nightcrew.gate import factors
from nightcrew.testing.hermetic import Hermetic, Ran

PIN, WRONG = "904711", "904712"
POLICY = "version: 1\nfactors: {promote: any, undo: any, policy: any}\n"
TASK = "- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: test -f a.txt\n"


def give(crew: Hermetic, *args: str, stdin: str = "", extra: dict[str, str] | None = None) -> Ran:
    """Run a command with something on its standard input."""
    done = subprocess.run(
        [*crew.program, *args], cwd=crew.repo, env={**crew.variables, **(extra or {})}, timeout=60, check=False,
        input=stdin, capture_output=True, text=True,
    )  # fmt: skip
    return Ran(args, done.returncode, done.stdout, done.stderr, False)


def set_pin(crew: Hermetic, pin: str = PIN) -> None:
    done = give(crew, "auth", "pin", "set", "--pin-stdin", stdin=f"{pin}\n")
    assert done.code == 0, done


def try_pin(crew: Hermetic, pin: str, **extra: str) -> Ran:
    """Prove with a PIN: removing a person is the cheapest thing that needs one; there is none of that name."""
    return give(
        crew, "auth", "user", "remove", "nobody", "--pin-stdin", "--json", stdin=f"{pin}\n", extra=extra
    )


def book_of(crew: Hermetic) -> Path:
    return crew.root / "config" / "nightcrew" / "auth.yaml"


def me(crew: Hermetic) -> dict[str, object]:
    [person] = json.loads(book_of(crew).read_text())["people"]
    return dict(person)


def put(crew: Hermetic, **changes: object) -> None:
    """Change what is not covered by the journal's digest: what time and tries do to a person."""
    plain = json.loads(book_of(crew).read_text())
    plain["people"][0] |= changes
    book_of(crew).write_text(json.dumps(plain))


def let_the_lock_pass(crew: Hermetic) -> None:
    """Make all wrong tries so far ones of long ago, in both memories."""
    put(crew, locked_until="2020-01-01T00:00:00.000000Z", failures=0)
    connection = sqlite3.connect(crew.state / "nightcrew.db")
    connection.execute("update nc_events set at = '2020-01-01T00:00:00.000000Z' where kind = 'auth.tried'")
    connection.commit()
    connection.close()


def code_now(secret: str, step: int = 0) -> str:
    return factors.make_code(secret, int(time.time()) // 30 + step)


def set_totp(crew: Hermetic) -> tuple[str, list[str]]:
    """Set an authenticator; return its secret and the backup codes."""
    shown = crew.run("auth", "totp", "set", "--json")
    assert shown.code == 0, shown
    secret = shown.json["secret"]
    done = crew.run("auth", "totp", "confirm", code_now(secret, -1), "--json")
    assert done.code == 0, done
    return secret, done.json["backup_codes"]


def test_28_there_is_no_default_and_the_pin_is_a_slow_hash_in_a_private_file(crew: Hermetic) -> None:
    assert crew.look("auth", "whoami", "--json").json["methods"] == []
    for bad in ("1234", "0000", "12", "12a4", ""):
        refused = give(crew, "auth", "pin", "set", "--pin-stdin", stdin=f"{bad}\n")
        assert refused.code == 2, refused
        assert not book_of(crew).exists()
    set_pin(crew)
    assert stat.S_IMODE(book_of(crew).stat().st_mode) == 0o600
    assert stat.S_IMODE(book_of(crew).parent.stat().st_mode) & 0o077 == 0
    assert str(me(crew)["pin"]).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    for path in [*crew.state.rglob("*"), *book_of(crew).parent.rglob("*")]:
        if path.is_file():
            assert PIN.encode() not in path.read_bytes(), path
    book_of(crew).chmod(0o644)
    open_to_all = try_pin(crew, PIN)
    assert (open_to_all.code, open_to_all.json["error"]["code"]) == (4, "auth.mode"), open_to_all


def test_28_a_lock_that_lasts_over_processes_and_methods_and_doubles(crew: Hermetic) -> None:
    set_pin(crew)
    codes = [try_pin(crew, WRONG).json["error"]["code"] for _ in range(5)]
    assert codes == ["auth.wrong"] * 5
    locked = try_pin(crew, PIN)
    assert (locked.code, locked.json["error"]["code"]) == (8, "auth.locked"), locked
    assert crew.look("auth", "whoami", "--json").json["locked_until"]
    kinds = [
        json.loads(line)["kind"]
        for line in crew.look("events", "--json", "--kinds", "auth.*").stdout.splitlines()
    ]
    assert kinds == ["auth.pin_set", "auth.stored", *["auth.tried", "auth.failed"] * 5, "auth.locked"]
    let_the_lock_pass(crew)
    put(crew, failures=4)
    assert try_pin(crew, WRONG).json["error"]["code"] == "auth.wrong"
    assert me(crew)["lockouts"] == 2
    let_the_lock_pass(crew)
    right = try_pin(crew, PIN)
    assert (right.code, right.json["error"]["code"]) == (3, "auth.person"), right
    assert (me(crew)["lockouts"], me(crew)["failures"]) == (0, 0)


def test_28_an_older_file_put_back_takes_back_no_wrong_try_and_no_lock(crew: Hermetic) -> None:
    set_pin(crew)
    clean = book_of(crew).read_bytes()
    for left in (4, 3, 2, 1):
        book_of(crew).write_bytes(clean)
        assert f"{left} more before" in try_pin(crew, WRONG).json["error"]["hint"]
    book_of(crew).write_bytes(clean)
    assert "is locked out until" in try_pin(crew, WRONG).json["error"]["message"]
    book_of(crew).write_bytes(clean)
    assert crew.look("auth", "whoami", "--json").json["locked_until"]
    assert try_pin(crew, PIN).code == 8
    let_the_lock_pass(crew)
    assert try_pin(crew, PIN).code == 3, "right; there is nobody of that name to remove"
    book_of(crew).write_bytes(clean)
    assert "4 more before" in try_pin(crew, WRONG).json["error"]["hint"], "a right proof resets it"


def test_28_tries_under_another_journal_count_in_the_lock_that_this_one_remembers(crew: Hermetic) -> None:
    set_pin(crew)
    clean = book_of(crew).read_bytes()
    for state in ("state", "other", "other", "other"):
        try_pin(crew, WRONG, XDG_STATE_HOME=str(crew.root / state))
    assert "is locked out until" in try_pin(crew, WRONG).json["error"]["message"]
    book_of(crew).write_bytes(clean)
    assert try_pin(crew, PIN).json["error"]["code"] == "auth.locked"


def test_28_wrong_codes_of_an_invitation_lock_out_whatever_file_is_put_back(crew: Hermetic) -> None:
    added = crew.run("auth", "user", "add", "dana", "--json")
    assert added.code == 0, added
    clean = book_of(crew).read_bytes()
    codes = []
    for _ in range(6):
        book_of(crew).write_bytes(clean)
        tried = give(crew, "auth", "pin", "set", "--for", "dana", "--otp", "x" * 16, "--pin-stdin", "--json", stdin="55190\n")  # fmt: skip
        codes.append(tried.json["error"]["code"])
    assert codes == ["auth.wrong"] * 5 + ["auth.locked"]


def test_28_many_processes_at_once_get_no_more_guesses(crew: Hermetic) -> None:
    set_pin(crew)
    running = [
        subprocess.Popen(
            [*crew.program, "auth", "user", "remove", "nobody", "--pin-stdin"], cwd=crew.repo, env=crew.variables,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        )
        for _ in range(12)
    ]  # fmt: skip
    for each in running:
        assert each.stdin is not None
        each.stdin.write(f"{WRONG}\n")
        each.stdin.close()
    codes = sorted(each.wait(120) for each in running)
    assert codes == [4] * 5 + [8] * 7, codes
    assert try_pin(crew, PIN).code == 8


def test_28_a_kill_while_it_is_looked_at_gives_no_guess(crew: Hermetic) -> None:
    set_pin(crew)
    for number in range(1, 6):
        killed = try_pin(crew, PIN, NIGHTCREW_CRASH_AT="runtime.factor.counted")
        assert killed.code not in (0, 3), killed
        assert me(crew)["failures"] == number % 5
    assert try_pin(crew, PIN).code == 8


def test_28_no_code_is_taken_twice_nor_one_of_before(crew: Hermetic) -> None:
    secret, backup = set_totp(crew)
    assert me(crew)["pin"] == ""
    replayed = crew.run("auth", "user", "remove", "nobody", "--otp", code_now(secret, -1), "--json")
    assert (replayed.code, replayed.json["error"]["code"]) in ((4, "auth.replay"), (4, "auth.wrong")), (
        replayed
    )
    put(crew, totp={"secret": secret, "last_step": int(time.time()) // 30 - 2}, failures=0)
    code = code_now(secret)
    first = crew.run("auth", "user", "remove", "nobody", "--otp", code, "--json")
    assert (first.code, first.json["error"]["code"]) == (3, "auth.person"), first
    again = crew.run("auth", "user", "remove", "nobody", "--otp", code, "--json")
    assert again.code == 4, again
    one = crew.run("auth", "user", "remove", "nobody", "--otp", backup[0], "--json")
    assert one.code == 3, one
    twice = crew.run("auth", "user", "remove", "nobody", "--otp", backup[0], "--json")
    assert twice.code == 4, twice
    assert crew.look("auth", "whoami", "--json").json["backup_codes"] == 9
    assert crew.look("audit", "verify").code == 0


def test_28_switching_and_removing_need_the_old_factor(crew: Hermetic) -> None:
    set_pin(crew)
    for args in (
        ["auth", "pin", "remove"],
        ["auth", "totp", "set"],
        ["auth", "switch", "totp"],
        ["auth", "user", "add", "grace"],
        ["auth", "token", "add", "--scope", "read"],
    ):
        assert crew.run(*args).code == 4, args
    other = give(crew, "auth", "pin", "set", "--pin-stdin", stdin=f"{WRONG}\n19047\n")
    assert other.code == 4, other
    begun = give(crew, "auth", "switch", "totp", "--pin-stdin", "--json", stdin=f"{PIN}\n")
    assert begun.code == 0, begun
    assert me(crew)["pin"], "the old one counts until the new one does"
    done = crew.run("auth", "totp", "confirm", code_now(begun.json["secret"]), "--json")
    assert (done.code, done.json["methods"]) == (0, ["totp"]), done
    assert try_pin(crew, PIN).code == 4
    back = give(crew, "auth", "switch", "pin", "--otp", done.json["backup_codes"][0], "--json", stdin="")
    assert back.code == 4, "there is no terminal to type the new one on"
    new = give(
        crew, "auth", "pin", "set", "--otp", done.json["backup_codes"][1], "--pin-stdin", stdin="55190\n"
    )
    assert new.code == 0, new


@pytest.mark.parametrize("point", ["runtime.auth.recorded", "runtime.auth.saved"])
def test_28_a_kill_while_a_factor_is_set_leaves_the_old_one_or_the_new_one(
    crew: Hermetic, point: str
) -> None:
    set_pin(crew)
    args = ["auth", "pin", "set", "--pin-stdin"]
    killed = give(crew, *args, stdin=f"{PIN}\n55190\n", extra={"NIGHTCREW_CRASH_AT": point})
    assert killed.code not in (0, 4), killed
    works = [pin for pin in (PIN, "55190") if try_pin(crew, pin).code == 3]
    assert works == [PIN if point == "runtime.auth.recorded" else "55190"]


def test_28_who_changes_the_file_by_hand_has_no_factor(crew: Hermetic) -> None:
    set_pin(crew)
    kept = book_of(crew).read_bytes()
    book_of(crew).unlink()
    gone = give(crew, "auth", "pin", "set", "--pin-stdin", "--json", stdin="55190\n")
    assert (gone.code, gone.json["error"]["code"]) == (4, "auth.touched"), gone
    plain = json.loads(kept)
    plain["people"][0]["account"] = "somebody-else"
    book_of(crew).write_text(json.dumps(plain))
    book_of(crew).chmod(0o600)
    assert try_pin(crew, PIN).json["error"]["code"] == "auth.touched"
    book_of(crew).write_bytes(b"{")
    assert try_pin(crew, PIN).code == 2
    book_of(crew).write_bytes(kept)
    assert try_pin(crew, PIN).code == 3
    first = crew.run("auth", "reset", "--json")
    assert first.json["state"] == "asked", first
    assert crew.run("auth", "reset").code == 7
    assert try_pin(crew, PIN).code == 3
    assert crew.run("auth", "reset", "--json").json["state"] == "asked", "a right proof took it back"


@pytest.mark.needs_userns
def test_28_promoting_needs_the_factor_and_yes_is_none(crew: Hermetic) -> None:
    crew.write({".nightcrew/policy.yaml": POLICY})
    crew.commit("policy")
    before = crew.git("rev-parse", "HEAD")
    assert crew.run_tasks(TASK).code == 0
    assert crew.run("accept", "R-1").code == 0
    unset = crew.run("promote", "R-1", "--yes", "--json")
    assert (unset.code, unset.json["error"]["code"]) == (4, "auth.none"), unset
    set_pin(crew)
    missing = crew.run("promote", "R-1", "--yes", "--json")
    assert (missing.code, missing.json["error"]["code"]) == (4, "auth.needed"), missing
    assert "factors.promote (.nightcrew/policy.yaml:2)" in missing.json["error"]["where"]
    wrong = give(crew, "promote", "R-1", "--yes", "--pin-stdin", stdin=f"{WRONG}\n")
    assert wrong.code == 4, wrong
    assert crew.git("rev-parse", "HEAD") == before
    done = give(crew, "promote", "R-1", "--yes", "--pin-stdin", "--json", stdin=f"{PIN}\n")
    assert (done.code, done.json["factor"]) == (0, "pin"), done
    assert crew.git("rev-parse", "HEAD") != before
    name = done.json["id"]
    assert crew.run("undo", name, "--yes").code == 4
    back = give(crew, "undo", name, "--yes", "--pin-stdin", stdin=f"{PIN}\n")
    assert back.code == 0, back
    assert crew.git("rev-parse", "HEAD") == before
    allowed = crew.run("secrets", "allow", "0" * 20, "--reason", "x", "--force")
    assert allowed.code == 4, allowed
    assert "secrets" not in (crew.repo / ".nightcrew/policy.yaml").read_text()


def test_28_a_token_decides_what_it_is_for_and_is_no_factor(crew: Hermetic) -> None:
    made = crew.run("auth", "token", "add", "--scope", "decide:low", "--expires", "1h", "--json")
    assert made.code == 0, made
    token = made.json["token"]
    assert token not in book_of(crew).read_text()
    assert token.rpartition("_")[2] not in book_of(crew).read_text()
    who = crew.look("auth", "whoami", "--json", extra={"NIGHTCREW_TOKEN": token})
    assert (who.json["via"], who.json["scopes"]) == ("token", ["decide:low"]), who
    for bad in (
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        "nct_K-1_",
        "x",
        f"nct_K-9_{token.rpartition('_')[2]}",
    ):
        refused = crew.look("auth", "whoami", "--json", extra={"NIGHTCREW_TOKEN": bad})
        assert (refused.code, refused.json["error"]["code"]) == (4, "auth.token"), refused
    escalated = crew.run(
        "auth", "token", "add", "--scope", "admin", "--json", extra={"NIGHTCREW_TOKEN": token}
    )
    assert (escalated.code, escalated.json["error"]["code"]) == (6, "auth.scope"), escalated
    plan = crew.write_plan(TASK)
    assert crew.run("run", "-f", str(plan)).code == 5
    approved = crew.run("approve", "R-1", "--no-start", "--json", extra={"NIGHTCREW_TOKEN": token})
    assert (approved.code, approved.json["error"]["code"]) == (6, "auth.scope"), approved
    assert crew.run("auth", "token", "revoke", "K-1").code == 0
    assert crew.look("auth", "whoami", extra={"NIGHTCREW_TOKEN": token}).code == 4


def talk(crew: Hermetic, args: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a terminal of its own, answering what it asks; return its exit code and all that was to be seen."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(crew.repo)
        os.execve(crew.program[0], [*crew.program, *args], crew.variables)
    seen, left, end = "", list(answers), time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([master], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece.decode("utf-8", "replace")
        if left and left[0][0] in seen.rpartition("\x00")[2]:
            os.write(master, left.pop(0)[1].encode() + b"\n")
            seen += "\x00"
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.replace("\x00", "")


def test_28_on_a_terminal_it_is_asked_for_and_never_shown(crew: Hermetic) -> None:
    code, seen = talk(crew, ["auth", "pin", "set"], [("new PIN", PIN), ("same again", PIN)])
    assert (code, PIN in seen) == (0, False), seen
    code, seen = talk(crew, ["auth", "user", "add", "grace"], [("PIN of ", WRONG)])
    assert (code, WRONG in seen) == (4, False), seen
    code, seen = talk(crew, ["auth", "user", "add", "grace"], [("PIN of ", PIN)])
    assert (code, PIN in seen) == (0, False), seen
    code, seen = talk(crew, ["auth", "totp", "set"], [("PIN of ", PIN)])
    assert code == 0, seen
    assert "▀" in seen or "▄" in seen or "█" in seen, "a QR code"
    assert "secret " in seen
    code, seen = talk(crew, ["auth", "login", me_name(crew)], [("PIN or code of ", PIN)])
    assert code == 0, seen
    assert "grace" in crew.run("auth", "user", "list").stdout


def me_name(crew: Hermetic) -> str:
    name: str = crew.look("auth", "whoami", "--json").json["person"]
    return name
