"""Exits of a sandbox that another program has built: a short-lived process of ours joins its network and makes them.

A socket belongs to the network namespace it was made in. Who joins must have one thread and be the owner of the user
namespace that the network belongs to, which is the user who started that program.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import nightcrew
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import Listen
from nightcrew.sandbox.order import ExitOrder

_PATIENCE_S: Final = 10.0
_SOURCE: Final = str(Path(nightcrew.__file__).parent.parent)
_PROGRAM: Final = """
import ctypes, fcntl, json, os, socket, sys
sys.path.append(sys.argv[1])
from nightcrew.sandbox import exits
libc = ctypes.CDLL(None, use_errno=True)
def join(fd, kind):
    if libc.setns(fd, kind) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
network = os.open(f"/proc/{sys.argv[2]}/ns/net", os.O_RDONLY)
owner = fcntl.ioctl(network, 0xB701)  # NS_GET_USERNS
if os.fstat(owner).st_ino != os.stat("/proc/self/ns/user").st_ino:
    join(owner, 0x10000000)
join(network, 0x40000000)
opened = exits.open_all(json.loads(sys.argv[3]))
socket.send_fds(socket.socket(fileno=int(sys.argv[4])), [b"x"], opened)
"""


def open_exits(pid: int, wanted: Sequence[Listen]) -> list[int]:
    """Return listening sockets, in order, of the network that process ``pid`` lives in.

    Raises:
        SandboxUnavailable: it cannot be joined, or a place is taken.
    """
    orders = [ExitOrder(kind=each.kind, address=each.address, port=each.port) for each in wanted]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        number = theirs.fileno()
        words = [_SOURCE, str(pid), json.dumps(orders), str(number)]
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, *words],
                pass_fds=(number,),
                env={},
                capture_output=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise _refuse(f"not done within {_PATIENCE_S:g} s") from late
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise _refuse(said[-1] if said else "no reason given")
        _message, descriptors, _flags, _sender = socket.recv_fds(
            ours, 1, len(orders), socket.MSG_CMSG_CLOEXEC
        )
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return list(descriptors)


def _refuse(reason: str) -> SandboxUnavailable:
    return SandboxUnavailable(
        f"the exits of its network cannot be made: {reason}",
        code="isolation.exits",
        where=["nothing was started"],
        hint="nightcrew doctor",
    )
