"""Processes: deadlines, output of any size, grandchildren, nothing left behind. Real processes only."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from nightcrew.host import procs
from nightcrew.model.errors import NightcrewError, NotFound

ENV = {"PATH": os.environ["PATH"]}


def _sh(script, **options):
    return procs.run(["bash", "-c", script], env=ENV, **options)


def _alive(pid):
    return procs.process_identity(pid) != ""


def _wait_dead(pid, within_s=3.0):
    deadline = time.monotonic() + within_s
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not _alive(pid)


def test_output_and_code():
    done = _sh("echo out; echo err >&2; exit 3")
    assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert not done.ok
    assert not done.timed_out
    assert _sh("true").ok


def test_environment_is_exactly_what_was_given():
    done = procs.run(["env"], env={"PATH": os.environ["PATH"], "ONLY": "this"})
    assert sorted(done.stdout.decode().split()) == sorted(["ONLY=this", f"PATH={os.environ['PATH']}"])


def test_own_session_and_directory(tmp_path):
    done = procs.run(
        [sys.executable, "-c", "import os; print(os.getsid(0), os.getpid(), os.getcwd())"],
        env=ENV,
        cwd=tmp_path,
    )
    session, pid, cwd = done.stdout.decode().split()
    assert session == pid
    assert cwd == str(tmp_path)


def test_grandchild_holding_the_pipe_does_not_hold_us_up():
    started = time.monotonic()
    done = _sh("echo done; sleep 60 & echo $! >&2")
    assert time.monotonic() - started < 5
    assert done.code == 0
    assert done.stdout == b"done\n"
    assert _wait_dead(int(done.stderr))


def test_grandchild_outside_the_group_does_not_hold_us_up(tmp_path):
    started = time.monotonic()
    done = _sh(
        "setsid bash -c 'echo $$ > pid; while :; do echo more; done' & while [ ! -s pid ]; do :; done; echo own >&2",
        cwd=tmp_path,
    )
    pid = int((tmp_path / "pid").read_text())
    try:
        assert time.monotonic() - started < 5
        assert done.stderr == b"own\n"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_deadline_on_time_and_no_survivor():
    started = time.monotonic()
    done = _sh("trap '' TERM; sleep 60 & echo $!; sleep 60", timeout_s=0.5)
    took = time.monotonic() - started
    assert done.timed_out
    assert 0.5 <= took < 2.0
    assert _wait_dead(int(done.stdout))


def test_term_comes_first_so_that_a_program_can_tidy_up():
    done = _sh("trap 'echo tidy; exit 7' TERM; while :; do sleep 0.01; done", timeout_s=0.3)
    assert done.timed_out
    assert done.stdout == b"tidy\n"
    assert done.code == 7


def test_line_of_200_kilobytes():
    done = procs.run([sys.executable, "-c", "print('x' * 200_000)"], env=ENV)
    assert len(done.stdout) == 200_001


def test_output_beyond_the_bound_is_counted_and_dropped_and_nobody_waits():
    done = _sh("head -c 5000000 /dev/zero; echo fin >&2", max_output_bytes=1000)
    assert done.truncated
    assert done.stdout == bytes(1000)
    assert done.stderr == b"fin\n"
    assert done.code == 0


def test_input_larger_than_a_pipe_goes_through():
    data = os.urandom(3_000_000)
    assert procs.run(["cat"], env=ENV, input=data).stdout == data


def test_program_that_does_not_read_its_input_is_no_error():
    assert procs.run(["true"], env=ENV, input=b"x" * 1_000_000).code == 0


def test_binary_output_and_death_by_signal():
    done = _sh("printf '\\000\\377'; kill -SEGV $$")
    assert done.stdout == b"\x00\xff"
    assert done.code == -signal.SIGSEGV


@pytest.mark.parametrize("cwd", [None, "/nowhere/at/all"])
def test_missing_program_or_directory_is_named(cwd):
    with pytest.raises(NotFound) as caught:
        procs.run(["no-such-program-here"] if cwd is None else ["true"], env=ENV, cwd=cwd)
    assert ("/nowhere/at/all" if cwd else "no-such-program-here") in str(caught.value)


def test_program_that_may_not_be_run(tmp_path):
    (tmp_path / "plain").write_text("no")
    with pytest.raises(NightcrewError, match="cannot start"):
        procs.run([str(tmp_path / "plain")], env=ENV)


def test_descriptors_do_not_leak():
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        _sh("echo x; sleep 30 &")
        with pytest.raises(NotFound):
            procs.run(["no-such-program-here"], env=ENV)
    assert len(os.listdir("/proc/self/fd")) == before


def test_detached_program_outlives_its_starter(tmp_path):
    log = tmp_path / "log"
    script = (
        "import sys; from pathlib import Path; from nightcrew.host import procs;"
        "print(procs.start_detached(['bash', '-c', 'echo begun; sleep 30'], env={'PATH': sys.argv[2]}, log=Path(sys.argv[1])))"
    )
    done = procs.run([sys.executable, "-c", script, str(log), os.environ["PATH"]], env=ENV)
    pid = int(done.stdout)
    try:
        deadline = time.monotonic() + 5
        while not log.exists() or log.read_text() != "begun\n":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert _alive(pid)
        assert os.getsid(pid) == pid
        assert log.stat().st_mode & 0o777 == 0o600
    finally:
        os.kill(pid, signal.SIGKILL)


def test_detached_program_that_ends_leaves_no_zombie(tmp_path):
    pid = procs.start_detached(["true"], env=ENV, log=tmp_path / "log")
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_identity_names_one_process_only():
    mine = procs.process_identity(os.getpid())
    assert mine.startswith(f"{os.getpid()}.")
    assert mine == procs.process_identity(os.getpid())
    assert mine != procs.process_identity(os.getppid())
    assert procs.process_identity(2**22 + 1) == ""


def test_identity_of_a_zombie_is_dead():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT) is not None
    assert procs.process_identity(pid) == ""
    os.waitpid(pid, 0)


def test_conversation():
    with_cat = procs.Conversation(["cat"], env=ENV)
    try:
        for number in range(3):
            with with_cat as talk:
                talk.send(b"line %d\n12345" % number)
                assert talk.receive_line(timeout_s=5) == b"line %d" % number
                assert talk.receive(5, timeout_s=5) == b"12345"
    finally:
        with_cat.end()
    with pytest.raises(NightcrewError, match="has ended"), with_cat:
        pass


def test_conversation_that_gets_no_answer_is_over():
    silent = procs.Conversation(["sleep", "60"], env=ENV)
    with pytest.raises(NightcrewError, match="does not answer"), silent as talk:
        talk.receive_line(timeout_s=0.1)
    with pytest.raises(NightcrewError, match="has ended"), silent:
        pass
