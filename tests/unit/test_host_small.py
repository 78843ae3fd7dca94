"""Clock, locks, crash points, tokens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from nightcrew.host import crash, tokens
from nightcrew.host.clock import SystemClock, parse_stamp, stamp
from nightcrew.host.locks import FileLock
from nightcrew.model.errors import EngineUnavailable


def test_stamp_is_utc_with_microseconds_and_comes_back():
    moment = datetime(2025, 3, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))
    assert stamp(moment) == "2025-02-28T23:02:03.000004Z"
    assert parse_stamp(stamp(moment)) == moment
    assert parse_stamp(stamp(moment)).tzinfo is UTC
    with pytest.raises(ValueError, match="time zone"):
        stamp(datetime(2025, 1, 1))  # noqa: DTZ001


def test_order_of_stamps_is_order_in_time():
    start = datetime(2025, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    moments = [start + timedelta(microseconds=n) for n in (0, 1, 2, 1_000_001)]
    assert [stamp(m) for m in moments] == sorted(stamp(m) for m in moments)


def test_system_clock():
    clock = SystemClock()
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5
    before = clock.monotonic()
    clock.sleep(-1)
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_nonce_is_fresh():
    names = {tokens.nonce() for _ in range(1000)}
    assert len(names) == 1000
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)


def test_lock_is_exclusive_and_says_who_holds_it(tmp_path):
    one, two = FileLock(tmp_path / "sub" / "lock"), FileLock(tmp_path / "sub" / "lock")
    assert one.holder() == ""
    assert one.acquire()
    assert one.held
    assert two.holder() == f"process {os.getpid()}"
    assert not two.acquire()
    assert not one.acquire()
    with pytest.raises(EngineUnavailable, match=f"process {os.getpid()} holds"), two:
        pass
    one.release()
    one.release()
    assert two.holder() == ""
    with two:
        assert two.held
    assert not two.held


def test_lock_waits(tmp_path):
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    one.acquire()
    threading.Timer(0.2, one.release).start()
    started = time.monotonic()
    assert two.acquire(wait_s=5)
    assert 0.1 < time.monotonic() - started < 3
    two.release()


def test_lock_of_a_killed_holder_is_free_at_once(tmp_path):
    script = "import sys, time; from nightcrew.host.locks import FileLock; l = FileLock(sys.argv[1]); l.acquire(); print('got', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"got\n"
    lock = FileLock(tmp_path / "lock")
    assert not lock.acquire()
    assert lock.holder() == f"process {child.pid}"
    child.kill()
    child.wait()
    child.stdout.close()
    assert lock.holder() == ""
    assert lock.acquire()
    lock.release()


def test_lock_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EngineUnavailable, match="cannot open the lock file") as caught:
        FileLock(tmp_path / "file" / "lock").acquire()
    assert "XDG_STATE_HOME" in caught.value.hint


@pytest.mark.parametrize(("hits", "printed"), [(1, ""), (3, "xx")])
def test_crash_point_kills_at_the_nth_hit(hits, printed):
    script = (
        "import sys; from nightcrew.host import crash; crash.arm('here', int(sys.argv[1]))\n"
        "for _ in range(5): crash.point('elsewhere'); crash.point('here'); print('x', end='', flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(hits)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == printed


def test_crash_point_can_be_disarmed():
    crash.arm("unused.point")
    crash.arm("unused.point", 0)
    crash.point("unused.point")
