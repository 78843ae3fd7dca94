"""Escapes that the self-test tries from inside a sandbox. Each says what it got; nothing here does harm."""

from __future__ import annotations

import os
import socket

_BLOCKED = "blocked"
_OWN_PIDS = 2  # the sandbox's init and this process


def try_all(arguments: dict[str, str]) -> dict[str, str]:
    """Try every escape; ``arguments`` names the outside things to reach for."""
    return {
        "read_outside": _read(arguments["secret"]),
        "write_outside": _write(arguments["outside"]),
        "write_shadow": _write(arguments["inside"]),
        "host_loopback": _connect(int(arguments["port"])),
        "host_abstract_socket": _connect_abstract(arguments["abstract"]),
        "host_process": _signal(int(arguments["pid"])),
        "process_list": _count_processes(),
        "privileges": _privileges(),
    }


def _reason(problem: OSError) -> str:
    return f"{_BLOCKED}: {problem.strerror}"


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return f"read {len(file.read())} bytes"
    except OSError as problem:
        return _reason(problem)


def _write(path: str) -> str:
    try:
        with open(path, "wb") as file:
            file.write(b"written inside")
        return "written"
    except OSError as problem:
        return _reason(problem)


def _connect(port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(("127.0.0.1", port))
        except OSError as problem:
            return _reason(problem)
    return "connected"


def _connect_abstract(name: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(b"\0" + name.encode())
        except OSError as problem:
            return _reason(problem)
    return "connected"


def _signal(pid: int) -> str:
    if pid <= _OWN_PIDS:
        return f"{_BLOCKED}: in here that number is one of ours"
    try:
        os.kill(pid, 0)
    except OSError as problem:
        return _reason(problem)
    return "reached"


def _count_processes() -> str:
    return str(sum(name.isdigit() for name in os.listdir("/proc")))


def _privileges() -> str:
    """Return the lines of our own status that must be zero, one or two."""
    wanted = ("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    # As bytes and UTF-8: an encoding that was not loaded before cannot be loaded in here, there is no library.
    with open("/proc/self/status", "rb") as file:
        pairs = [line.decode(errors="replace").split(":", 1) for line in file if b":" in line]
    return " ".join(f"{key}={value.strip()}" for key, value in pairs if key in wanted)
