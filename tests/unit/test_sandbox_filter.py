"""The compiled system call filter, run by an interpreter of classic BPF: every rule, on both machines."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightcrew.sandbox import seccomp, supervised

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
I386 = 0x40000003
ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = ("x86_64", "aarch64")
FILTERS = {machine: seccomp.compile_filter(machine) for machine in MACHINES}


def judge(
    machine: str, number: int, *args: int, arch: int | None = None, program: bytes | None = None
) -> int:
    """Run the filter; returns what the kernel would get."""
    words = [*args, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, arch or ARCH[machine], 0, *(word & (2**64 - 1) for word in words))
    code = list(struct.iter_unpack("=HBBI", program or FILTERS[machine]))
    position, accumulator = 0, 0
    for _ in range(len(code) + 1):
        op, if_true, if_false, operand = code[position]
        position += 1
        if op == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif op == 0x06:
            return int(operand)
        elif op == 0x05:
            position += operand
        elif op == 0x54:
            accumulator &= operand
        else:
            taken = {
                0x15: accumulator == operand,
                0x25: accumulator > operand,
                0x35: accumulator >= operand,
                0x45: bool(accumulator & operand),
            }[op]
            position += if_true if taken else if_false
    raise AssertionError("the filter does not end")


def number(machine: str, name: str) -> int:
    return seccomp._CALLS[name][MACHINES.index(machine)]


def refused(code: int) -> int:
    return 0x00050000 | code


@pytest.mark.parametrize("machine", MACHINES)
def test_jumps_stay_inside(machine: str) -> None:
    code = list(struct.iter_unpack("=HBBI", FILTERS[machine]))
    assert len(code) < 4096, "the kernel's limit"
    for position, (op, if_true, if_false, operand) in enumerate(code):
        if op in (0x15, 0x25, 0x35, 0x45):
            assert position + 1 + max(if_true, if_false) < len(code)
        if op == 0x05:
            assert position + 1 + operand < len(code)
    assert code[-1][0] == 0x06


@pytest.mark.parametrize("machine", MACHINES)
def test_refused_and_absent(machine: str) -> None:
    for name in seccomp.REFUSED:
        if number(machine, name) >= 0:
            assert judge(machine, number(machine, name)) == refused(errno.EPERM), name
    for name in ("clone3", "memfd_create", "memfd_secret"):
        assert judge(machine, number(machine, name)) == refused(errno.ENOSYS), name


@pytest.mark.parametrize("machine", MACHINES)
def test_other_architectures_are_killed(machine: str) -> None:
    others = {I386, *ARCH.values()} - {ARCH[machine]}
    assert {judge(machine, 1, arch=other) for other in others} == {KILL}


@given(st.integers(0, 2**32 - 1))
def test_no_unknown_call_exists(call: int) -> None:
    for machine in MACHINES:
        answer = judge(machine, call)
        if call > seccomp.NEWEST_KNOWN_CALL:
            assert answer == refused(errno.ENOSYS)
        else:
            assert answer == ALLOW or answer >> 16 == 5


@pytest.mark.parametrize("machine", MACHINES)
def test_namespaces(machine: str) -> None:
    thread = 0x3D0F00  # what pthread_create passes
    assert judge(machine, number(machine, "clone"), thread) == ALLOW
    assert judge(machine, number(machine, "clone"), 17) == ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert judge(machine, number(machine, "clone"), thread | 1 << bit) == refused(errno.EPERM)
        assert judge(machine, number(machine, "unshare"), 1 << bit) == refused(errno.EPERM)
    assert judge(machine, number(machine, "unshare"), 0x80) == refused(errno.EPERM)
    assert judge(machine, number(machine, "unshare"), 0x600) == ALLOW


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets(machine: str) -> None:
    call = number(machine, "socket")
    nonblocking = 0x80800
    allowed = [(1, 1, 0), (1, 5, 0), (2, 1, 6), (2, 2 | nonblocking, 0), (10, 1, 0), (10, 3, 58), (16, 3, 0)]
    assert {judge(machine, call, *args) for args in allowed} == {ALLOW}
    assert judge(machine, call, 40, 1, 0) == refused(errno.EAFNOSUPPORT), "VSOCK"
    assert judge(machine, call, 16, 3, 9) == refused(errno.EPROTONOSUPPORT)
    assert judge(machine, call, 2, 1, 132) == refused(errno.EPROTONOSUPPORT)
    assert judge(machine, call, 2, 6, 0) == refused(errno.ESOCKTNOSUPPORT)
    # The kernel reads an int: what is above bit 31 must not decide.
    assert judge(machine, call, 40 | 1 << 32, 1, 0) == refused(errno.EAFNOSUPPORT)
    assert judge(machine, number(machine, "socketpair"), 1, 1, 0) == ALLOW
    assert judge(machine, number(machine, "socketpair"), 30, 1, 0) == refused(errno.EAFNOSUPPORT)


@pytest.mark.parametrize("machine", MACHINES)
def test_terminals_and_segments(machine: str) -> None:
    for command in (0x5412, 0x541C, 0x541D, 0x5412 | 1 << 32):
        assert judge(machine, number(machine, "ioctl"), 0, command) == refused(errno.EPERM)
    assert judge(machine, number(machine, "ioctl"), 0, 0x5401) == ALLOW
    assert judge(machine, number(machine, "shmget"), 0, 4096) == ALLOW
    assert judge(machine, number(machine, "shmget"), 0, (256 << 10) + 1) == refused(errno.ENOSPC)
    assert judge(machine, number(machine, "shmget"), 0, 1 << 40) == refused(errno.ENOSPC)


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_program_without_namespaces_may_do_to_itself_only(machine: str) -> None:
    program = supervised.compile_supervised(machine, tcp=True)
    column = MACHINES.index(machine)
    priority, io_priority, pair = ((141, 140)[column], (251, 30)[column], (53, 199)[column])

    def ask(number: int, *args: int) -> int:
        return judge(machine, number, *args, program=program)

    assert ask(priority, 0, 0, 19) == ask(io_priority, 1, 0, 0) == ALLOW
    for call in ((priority, 2, 0), (priority, 0, 77), (io_priority, 3, 0), (io_priority, 1, 77)):
        assert ask(*call) == refused(errno.EPERM), "all processes of the user, or another one"
    assert ask(pair, 1, 0x80000 | 1) == ask(pair, 1, 5) == ALLOW
    assert ask(pair, 1, 2) == ask(pair, 1, 0x800 | 3) == refused(errno.ESOCKTNOSUPPORT)


def test_unknown_machine() -> None:
    with pytest.raises(KeyError):
        seccomp.compile_filter("riscv64")
