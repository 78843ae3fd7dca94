"""The pieces of the sandbox that need no namespace."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import nightcrew
from nightcrew.host import landlock
from nightcrew.model.errors import SandboxUnavailable, UsageError
from nightcrew.model.isolation import Bind, Level, Limits, Overlay, SandboxSpec
from nightcrew.sandbox import gauges, order, probe, system, translate, tree
from nightcrew.sandbox.attacks.catalogue import ENTRIES
from nightcrew.sandbox.landlocked import find_unheld
from nightcrew.sandbox.live import LiveProcess
from nightcrew.sandbox.places import lies_in
from nightcrew.sandbox.watchdog import Watchdog
from nightcrew.sandbox.zygote import identity_map

SOURCE = str(Path(nightcrew.__file__).parents[1])


def spec(**changes: object) -> SandboxSpec:
    values: dict[str, object] = {"argv": ("true",), "cwd": "/repo", "env": {"HOME": "/home/me"}}
    return SandboxSpec(**{**values, **changes})  # type: ignore[arg-type]


# -- the zygote's side


def test_the_zygote_imports_little() -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); from nightcrew.sandbox import zygote; import json;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, SOURCE], capture_output=True, check=True)
    modules = json.loads(done.stdout)
    ours = {name for name in modules if name.startswith("nightcrew")}
    allowed = [
        "attempts",
        "build",
        "cgroups",
        "confine",
        "content",
        "exits",
        "inside",
        "order",
        "places",
        "restrict",
        "seccomp",
        "supervised",
        "system",
        "tree",
        "zygote",
    ]
    assert ours == {
        "nightcrew",
        "nightcrew.host",
        "nightcrew.host.kernel",
        "nightcrew.host.landlock",
        "nightcrew.sandbox",
    } | {f"nightcrew.sandbox.{name}" for name in allowed}
    heavy = {"dataclasses", "inspect", "pathlib", "subprocess", "asyncio", "logging", "site", "threading"}
    assert heavy & set(modules) == set()


def test_orders_survive_the_way() -> None:
    odd = os.fsdecode(b"/repo/\xff\xe9\n,:")
    made = translate.make_order(spec(argv=("echo", odd), env={"A": odd}, cwd="/repo"))
    assert order.decode(order.encode(made)) == made
    assert made["argv"][1] == odd


@pytest.mark.parametrize(
    ("own", "child"),
    [
        ("         0          0 4294967295\n", "0 0 4294967295\n"),
        ("0 1000 1\n1 100000 65536\n", "0 0 1\n1 1 65536\n"),
    ],
)
def test_ids_are_mapped_to_themselves(own: str, child: str) -> None:
    assert identity_map(own) == child


def test_accounts_name_nobody_else() -> None:
    files = system.account_files(1001, 1001, "/home/me", "box")
    assert [line.split(":")[0] for line in files["passwd"].splitlines()] == ["root", "nobody", "agent"]
    assert "agent:x:1001:1001::/home/me:/bin/sh" in files["passwd"]
    assert [
        line.split(":")[0] for line in system.account_files(0, 0, "/root", "box")["passwd"].splitlines()
    ] == [
        "root",
        "nobody",
    ]


def test_only_what_everyone_may_read_is_shown(tmp_path: Path) -> None:
    secret, shown = tmp_path / "secret", tmp_path / "shown"
    for path in (secret, shown):
        path.write_text("x")
    secret.chmod(0o640)
    shown.chmod(0o644)
    (tmp_path / "private").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "fifo")
    assert system.look_up(str(secret)) is None
    assert system.look_up(str(tmp_path / "private")) is None
    assert system.look_up(str(tmp_path / "fifo")) is None
    assert system.look_up(str(tmp_path / "absent")) is None
    assert system.look_up(str(shown)) == (str(shown), False, "", b"x")


def test_a_home_below_a_system_directory_is_covered() -> None:
    assert system.covered_places(os.getuid(), "/home/me") == []
    assert system.covered_places(os.getuid(), "/usr/sbin") == []
    assert system.covered_places(os.getuid(), "/opt/nobody/here") == []
    owner = Path("/usr/share").stat().st_uid
    assert system.covered_places(owner, "/usr/share") == ["/usr/share"]
    assert system.covered_places(owner + 1, "/usr/share") == []


def test_things_of_people_beside_those_of_the_system_are_left_out(tmp_path: Path) -> None:
    for name in ("system", "personal"):
        (tmp_path / name).mkdir()
    if os.getuid() == 0:
        assert system._of_the_system(str(tmp_path)) == [str(tmp_path)]
        os.chown(tmp_path / "personal", 12345, 12345)
        assert system._of_the_system(str(tmp_path)) == [str(tmp_path / "system")]
    else:
        assert system._of_the_system(str(tmp_path)) == []


# -- specs


def test_a_state_directory_that_every_sandbox_would_show_is_refused() -> None:
    with pytest.raises(UsageError, match="every sandbox shows") as refused:
        translate.make_order(spec(overlays=(Overlay("/repo", ("/tmp",), "/usr/share", "/tmp"),)))
    assert "XDG_STATE_HOME" in refused.value.hint


@pytest.mark.parametrize(
    "bad",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"env": {"A": "x\0"}},
        {"cwd": "relative"},
        {"cwd": "/a/../b"},
        {"overlays": (Overlay("/repo", ("/no/such/layer",), "/tmp", "/tmp"),)},
        {"binds": (Bind("/no/such/file", "/x"),)},
    ],
)
def test_unusable_specs_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        translate.make_order(spec(**bad))


def test_places_with_sockets_or_devices_are_never_bound() -> None:
    places = ["/", "/run", "/var/run", "/run/user", "/dev", "/dev/null", "/proc", "/sys", "/proc/self"]
    for source in places:
        with pytest.raises(UsageError, match="cannot be shown"):
            translate.make_order(spec(binds=(Bind(source, "/x"),)))


def test_a_folder_with_a_socket_is_not_bound(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent.sock"))
        for source in (tmp_path, tmp_path / "agent.sock"):
            with pytest.raises(UsageError, match="socket"):
                translate.make_order(spec(binds=(Bind(str(source), "/x"),)))
        link = tmp_path.parent / f"{tmp_path.name}-link"
        link.symlink_to(tmp_path)
        with pytest.raises(UsageError, match="socket"):
            translate.make_order(spec(binds=(Bind(str(link), "/x"),)))


def test_what_is_visible_anyway_is_not_mounted_twice() -> None:
    made = translate.make_order(spec(binds=(Bind("/usr/lib", "/usr/lib"), Bind("/usr/lib", "/elsewhere"))))
    assert [bind["target"] for bind in made["binds"]] == ["/elsewhere"]


def test_levels() -> None:
    assert translate.make_order(spec(level=Level.S3))["proc"] == "fresh"
    assert translate.make_order(spec(level=Level.S2))["proc"] == "any"
    plain = translate.make_order(
        spec(level=Level.S0, overlays=(Overlay("/repo", ("/tmp",), "/tmp", "/tmp"),))
    )
    assert (plain["confined"], plain["overlays"]) == (False, [])
    with pytest.raises(SandboxUnavailable) as refused:
        translate.make_order(spec(level=Level.S1))
    assert refused.value.exit == 11


@pytest.mark.parametrize(
    ("path", "directory", "inside"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a/", True),
        ("/ab", "/a", False),
        ("/a//b/", "/a/b", True),
        ("/x", "/", True),
    ],
)
def test_lies_in(path: str, directory: str, inside: bool) -> None:
    assert lies_in(path, directory) is inside


def test_refusals_say_what_helps() -> None:
    message = {
        "error": "the repository and what else was asked for",
        "errno": errno.EINVAL,
        "text": "x",
        "path": "/r",
    }
    refused = translate.unavailable(message, Level.S3)
    assert refused.code == "isolation.einval"
    assert "XDG_STATE_HOME" in refused.hint
    unknown = translate.unavailable({**message, "errno": errno.EIO}, Level.S3)
    assert unknown.hint == "nightcrew doctor"


# -- the self-test's judgement


def test_holds_only_when_it_was_seen() -> None:
    nothing = "CapPrm=0 CapEff=0 CapBnd=0 CapAmb=0 NoNewPrivs=1 Seccomp=2"
    assert probe.holds("privileges", nothing)
    assert not probe.holds("privileges", nothing.replace("CapBnd=0", "CapBnd=1ff"))
    assert not probe.holds("privileges", nothing.replace("Seccomp=2", "Seccomp=0"))
    assert not probe.holds("privileges", "")
    assert not any(probe.holds(name, "not tried") for name in probe._GUARANTEES)
    assert not probe.holds("read_outside", "read 12 bytes")
    assert not probe.holds("read_outside", "not tried")
    assert probe.holds("process_list", "2")
    assert not probe.holds("process_list", "240")


# -- the live process


def test_input_waits_until_there_is_room_and_errors_end_it() -> None:
    reader, writer = os.pipe()
    process = LiveProcess(writer)
    process.write(b"x" * 300_000)
    assert process.flush()
    got = 0
    while got < 300_000:
        got += len(os.read(reader, 65536))
        process.flush()
    assert process.stdin_wanted == -1
    os.close(reader)
    process.write(b"nobody reads this")
    assert not process.flush()
    assert process.stdin_wanted == -1
    process.close()
    process.write(b"late")
    process.stop("late")


def test_the_first_reason_to_stop_counts() -> None:
    reader, writer = os.pipe()
    process = LiveProcess(writer)
    threads = [threading.Thread(target=process.stop, args=(reason,)) for reason in ("one",) * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process.stop("two")
    assert process.stop_reason == "one"
    process.close()
    os.close(reader)


# -- gauges


def test_memory_of_a_tree_is_measured() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "x = bytearray(50 << 20); print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    proc = os.open("/proc", os.O_RDONLY)
    try:
        gauge = gauges.MemoryGauge(lambda: [child.pid, 2**22 - 1], proc)
        usage = gauge.read()
        assert 50 << 20 < usage.private_bytes < 120 << 20
        assert usage.threads == 1
        assert gauge.exceeds(usage, 40 << 20)
        assert not gauge.exceeds(usage, 200 << 20)
        assert child.pid in tree.descendants_of(os.getpid())
    finally:
        os.close(proc)
        child.communicate(b"\n")


def test_disk_is_walked_only_when_space_went(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    gauge = gauges.DiskGauge((str(tmp_path),), 4 << 20, 0)
    assert gauge.step() == ""
    (tmp_path / "deep" / "file").write_bytes(os.urandom(8 << 20))
    answers = [gauge.step() for _ in range(10)]
    assert any("more than 4MiB written (limits.disk)" in answer for answer in answers)


def test_what_others_give_back_hides_nothing(tmp_path: Path) -> None:
    """Somebody removes many files while the task makes some: fewer are used than before, and still it is seen."""
    (tmp_path / "others").mkdir()
    (tmp_path / "layer").mkdir()
    for number in range(3000):
        (tmp_path / "others" / str(number)).touch()
    gauge = gauges.DiskGauge((str(tmp_path / "layer"),), 0, 500)
    for number in range(3000):
        (tmp_path / "others" / str(number)).unlink()
        if number % 3 == 0:
            (tmp_path / "layer" / str(number)).touch()
    end = time.monotonic() + 10
    while not (excess := gauge.step()) and time.monotonic() < end:
        time.sleep(0.02)
    assert excess == "more than 500 files and directories written (limits.inodes)"


def test_unlinked_files_are_found(tmp_path: Path) -> None:
    proc = os.open("/proc", os.O_RDONLY)
    before = gauges.unlinked_bytes([os.getpid()], proc)
    with (tmp_path / "gone").open("wb") as file:
        file.write(os.urandom(2 << 20))
        file.flush()
        (tmp_path / "gone").unlink()
        copy = os.dup(file.fileno())
        assert gauges.unlinked_bytes([os.getpid()], proc) - before == 2 << 20
        os.close(copy)
    os.close(proc)


def test_watchdog_counts_processes_where_the_kernel_does_not() -> None:
    proc = os.open("/proc", os.O_RDONLY)
    limits = Limits(processes=1, memory_bytes=0)
    counting = Watchdog(lambda: [os.getpid(), os.getppid()], proc, (), limits, count_processes=True)
    later = time.monotonic() + 1.0
    found = counting.check(later)
    assert found is not None
    assert found[1] == "more than 1 processes and threads at once"
    trusting = Watchdog(lambda: [os.getpid(), os.getppid()], proc, (), limits, count_processes=False)
    assert trusting.check(later) is None
    os.close(proc)


def test_what_landlock_cannot_hold_yet_is_not_promised() -> None:
    assert set(find_unheld(landlock.WITH_SCOPES - 1)) == {"signal_process"}
    assert find_unheld(landlock.WITH_SCOPES) == {}
    assert {entry.name for entry in ENTRIES} >= set(find_unheld(0)), "attacks that there are"
