"""The system call filter as a process meets it: every refused call is made for real, inside."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.sandbox import seccomp
from sandbox_world import World, users, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

MACHINE = platform.machine()
COLUMN = ("x86_64", "aarch64").index(MACHINE) if MACHINE in ("x86_64", "aarch64") else -1


@pytest.fixture(params=users(), ids=lambda uid: "root" if uid == 0 else "user")
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    yield from worlds(request.param)


def number(name: str) -> int:
    return seccomp._CALLS[name][COLUMN]


def test_every_refused_call_is_refused(world: World) -> None:
    numbers = {name: number(name) for name in seccomp.REFUSED if number(name) >= 0}
    found = world.attack("tell(**{n: call(k) for n, k in facts['numbers'].items()})", numbers=numbers).told
    assert {name: answer for name, answer in found.items() if answer != "EPERM"} == {}


def test_absent_calls_do_not_exist(world: World) -> None:
    numbers = {name: number(name) for name in ("clone3", "memfd_create", "memfd_secret")}
    numbers |= {"next": seccomp.NEWEST_KNOWN_CALL + 1, "far": 999, "x32_getpid": 0x40000000 | 39}
    found = world.attack("tell(**{n: call(k) for n, k in facts['numbers'].items()})", numbers=numbers).told
    assert set(found.values()) == {"ENOSYS"}


def test_no_new_namespaces(world: World) -> None:
    flags = [1 << bit for bit in (17, 25, 26, 27, 28, 29, 30)]
    found = world.attack(
        """
tell(unshare=[call(facts["unshare"], flag) for flag in facts["flags"] + [0x80]],
     clone=[call(facts["clone"], flag | 17) for flag in facts["flags"]],
     threads=call(facts["unshare"], 0x400))
""",
        flags=flags,
        unshare=number("unshare"),
        clone=number("clone"),
    ).told
    assert set(found["unshare"]) == {"EPERM"}
    assert set(found["clone"]) == {"EPERM"}
    assert found["threads"] == "OK", "unshare of what is not a namespace is harmless"


def test_socket_families_are_few(world: World) -> None:
    found = world.attack(
        """
def opens(*args):
    with socket.socket(*args):
        pass
wanted = {"unix": (1, 1), "unix_seq": (1, 5), "tcp": (2, 1), "udp": (2, 2), "tcp6": (10, 1), "route": (16, 3)}
others = {str(family): (family, 3) for family in range(0, 46) if family not in (1, 2, 10, 16)}
protocols = {"sctp": (2, 1, 132), "dccp": (2, 6), "seqpacket": (2, 5), "mptcp": (2, 1, 262), "icmp_raw": (2, 3, 1),
             "audit": (16, 3, 9), "netfilter": (16, 3, 12), "uevent": (16, 3, 15), "xfrm": (16, 3, 6)}
tell(wanted={k: attempt(opens, *v) for k, v in wanted.items()}, others={k: attempt(opens, *v) for k, v in others.items()},
     protocols={k: attempt(opens, *v) for k, v in protocols.items()})
"""
    ).told
    assert set(found["wanted"].values()) == {"OK"}
    assert set(found["others"].values()) == {"EAFNOSUPPORT"}, "among them AF_VSOCK, which no namespace holds"
    assert "OK" not in found["protocols"].values()


def test_shared_memory_segments_are_small(world: World) -> None:
    found = world.attack(
        """
tell(small=call(facts["n"], 0, 262144, 0o1600), large=call(facts["n"], 0, 262145, 0o1600),
     huge=call(facts["n"], 0, 1 << 40, 0o1600))
""",
        n=number("shmget"),
    ).told
    assert found == {"small": "OK", "large": "ENOSPC", "huge": "ENOSPC"}


@pytest.mark.skipif(MACHINE != "x86_64", reason="the second system call table of x86_64")
def test_the_32_bit_table_kills(world: World) -> None:
    ran = world.attack(
        """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
child = os.fork()
if child == 0:
    ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    os._exit(0)
tell(code=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    )
    assert ran.told["code"] == -31, "SIGSYS"


def test_what_programs_need_still_works(world: World) -> None:
    """Threads, fork, vfork and posix_spawn, pipes, futexes, timers, epoll, inotify, a pseudo terminal."""
    found = world.attack(
        """
import select, subprocess, threading, pty, tempfile
thread = threading.Thread(target=lambda: None); thread.start(); thread.join()
pty.openpty()
select.epoll().close()
spawned = os.posix_spawn("/bin/true", ["true"], {})
with tempfile.NamedTemporaryFile() as file:
    file.write(b"x")
tell(spawn=os.waitpid(spawned, 0)[1], sh=subprocess.run(["sh", "-c", "echo hi | cat"], capture_output=True).stdout.decode(),
     inotify=libc.inotify_init() >= 0)
"""
    ).told
    assert found == {"spawn": 0, "sh": "hi\n", "inotify": True}
