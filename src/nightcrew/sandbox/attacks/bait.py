"""Things of the host to reach for, laid before the attack and looked at after it: what counts is what happened to them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nightcrew.host import files, tokens
from nightcrew.sandbox.order import portable
from nightcrew.sandbox.places import lies_in

_MOST_NAMES: Final = 50
_LIFE_S: Final = 300
_IPC_PRIVATE_ONLY: Final = 0o1600  # IPC_CREAT, for its owner
_GIT_SETTINGS: Final = "[core]\n\tbare = false\n"
_SHARED: Final = "/dev/shm"  # noqa: S108 - of the host, to be reached for


class Bait:
    """A folder below the state directory, a process, five sockets, a shared memory segment and file."""

    def __init__(self, state_dir: Path, home: Path, shown: Sequence[str]) -> None:
        self._hidden = list(_find_hidden(home, shown))[:_MOST_NAMES]
        self._things = contextlib.ExitStack()
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = Path(tempfile.mkdtemp(prefix="attack-", dir=state_dir))
        self._things.callback(remove_layers, self.folder)
        self._nonce = tokens.nonce()
        self._abstract = f"nightcrew-attack-{self._nonce}"
        try:
            self._lay()
        except BaseException:
            self._things.close()
            raise

    def _lay(self) -> None:
        for name in ("outside", "runs", "base/.git"):
            (self.folder / name).mkdir(parents=True)
        for name in ("secret", "target", "removable"):
            (self.folder / name).write_text(f"bait {name}\n", encoding="ascii")
            (self.folder / name).chmod(0o600)
        (self.folder / "base/.git/config").write_text(_GIT_SETTINGS, encoding="ascii")
        (self.folder / "base/old").write_text("from the base\n", encoding="ascii")
        self._before = self._stat_target()
        self._server = self._listen(socket.AF_INET, ("127.0.0.1", 0))
        self._local = self._listen(socket.AF_UNIX, f"\0{self._abstract}")
        self._outer = self._listen_at(self.folder / "bait.sock")
        self._inner = self._listen_at(self.folder / "base" / "base.sock")
        self._letter_box = self._listen_at(self.folder / "letters.sock", socket.SOCK_DGRAM)
        self._victim = subprocess.Popen(
            ["/bin/sleep", str(_LIFE_S)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={}
        )
        self._things.callback(self._end_victim)
        self._shared = self._share_file()
        self._segment_key, self._segment = self._share_segment()

    def _listen(
        self,
        family: socket.AddressFamily,
        address: object,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> socket.socket:
        door = self._things.enter_context(socket.socket(family, kind))
        door.bind(address)  # type: ignore[arg-type]
        if kind is socket.SOCK_STREAM:
            door.listen(64)
        door.setblocking(False)
        return door

    def _listen_at(self, path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        # A path of any length: the name of a socket may have 107 bytes only.
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return self._listen(socket.AF_UNIX, f"/proc/self/fd/{folder}/{path.name}", kind)
        finally:
            os.close(folder)

    def _end_victim(self) -> None:
        self._victim.kill()
        self._victim.wait()

    def _share_file(self) -> str:
        if not os.access(_SHARED, os.W_OK):
            return f"{_SHARED}/nightcrew-none"
        fd, path = tempfile.mkstemp(prefix="nightcrew-attack-", dir=_SHARED)
        os.write(fd, b"bait\n")
        os.close(fd)
        self._things.callback(os.unlink, path)
        return path

    def _share_segment(self) -> tuple[int, int]:
        libc = ctypes.CDLL(None, use_errno=True)
        key = int(self._nonce[:7], 16) | 1
        segment = libc.shmget(key, 4096, 0o1000 | _IPC_PRIVATE_ONLY)
        if segment >= 0:
            self._things.callback(libc.shmctl, segment, 0, None)
        return key, segment

    def facts(self, cwd: str) -> dict[str, Any]:
        """Return what the attacks want to know; paths as the kernel has them, whatever the locale."""
        folder = str(self.folder)
        return {
            **{
                name: portable(f"{folder}/{name}")
                for name in ("secret", "outside", "target", "removable", "base")
            },
            "socket": portable(f"{folder}/bait.sock"),
            "letter_box": portable(f"{folder}/letters.sock"),
            "cwd": portable(cwd),
            "in_home": [portable(path) for path in self._hidden],
            "victim": self._victim.pid,
            "port": self._server.getsockname()[1],
            "abstract": self._abstract,
            "shared_file": self._shared,
            "segment_key": self._segment_key,
            "segment": self._segment,
            "own_addresses": _own_addresses(),
            "name_servers": _name_servers(),
            "own_processes": 0,
        }

    def look(self) -> dict[str, str]:
        """Return attack → what has happened outside, whatever was said inside."""
        seen: dict[str, str] = {}
        written = sorted(path.name for path in (self.folder / "outside").iterdir())
        for attack, prefix in (
            ("write_outside", "written"),
            ("follow_symlink", "by-link"),
            ("race_symlink", "raced"),
        ):
            if any(name.startswith(prefix) for name in written):
                seen[attack] = f"a file was made in {self.folder / 'outside'}"
        if (self.folder / "target").read_bytes() != b"bait target\n":
            seen["change_outside"] = "the file was changed"
        elif self._stat_target() != self._before:
            seen["chmod_outside"] = "mode or time of the file was changed"
        if not (self.folder / "removable").exists():
            seen["remove_outside"] = "the file was removed"
        if (self.folder / "base/.git/config").read_text("ascii") != _GIT_SETTINGS:
            seen["change_git_settings"] = "the settings of the base were changed"
        if self._victim.poll() is not None:
            seen["signal_process"] = "the process is dead"
        doors = {"reach_loopback": self._server, "reach_abstract": self._local, "reach_unix": self._outer}
        seen |= {attack: "a connection arrived" for attack, door in doors.items() if _was_visited(door)}
        if _was_visited(self._inner):
            seen["reach_unix"] = "a connection arrived at the socket in the base"
        with contextlib.suppress(OSError):
            self._letter_box.recv(100)
            seen["reach_unix"] = "a datagram arrived"
        return seen

    def _stat_target(self) -> tuple[int, float]:
        found = (self.folder / "target").stat()
        return found.st_mode, found.st_mtime

    def close(self) -> None:
        """Take everything away."""
        self._things.close()


@contextlib.contextmanager
def lay_bait(state_dir: Path, home: Path, shown: Sequence[str]) -> Iterator[Bait]:
    """Lay bait below ``state_dir`` and take it away in the end.

    Args:
        state_dir: see there. home: the user's. shown: places that we show inside ourselves (an interpreter's).
    """
    bait = Bait(state_dir, home, shown)
    try:
        yield bait
    finally:
        bait.close()


def remove_layers(folder: Path) -> None:
    """Remove a fresh folder of ours; the kernel leaves folders with mode 000 in the work directory of an overlay."""
    with contextlib.suppress(OSError):
        files.remove_tree(folder, inside=folder.parent)


def _was_visited(door: socket.socket) -> bool:
    visits = 0
    while True:
        try:
            door.accept()[0].close()
        except OSError:
            return visits > 0
        visits += 1


def _find_hidden(folder: Path, shown: Sequence[str]) -> Iterator[str]:
    """Yield what lies in a folder but what we show ourselves; in one that has such a place in it, what lies beside."""
    for path in sorted(_names_in(folder)):
        if any(lies_in(each, str(path)) and each != str(path) for each in shown):
            yield from _find_hidden(path, shown)
        elif str(path) not in shown:
            yield str(path)


def _names_in(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # no home, or one that is not ours to read


def _own_addresses() -> list[str]:
    """Return an address of this machine that others know it by, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return []  # there is no network
        return [str(any_socket.getsockname()[0])]


def _name_servers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and ":" not in w[1]][:2]
