"""renameat2 and openat2 on a real file system."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightcrew.host.renames import HostLacks, exchange, move_unless_taken, open_beneath


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_exchange_keeps_both_inodes(here: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").mkdir()
    inodes = (tmp_path / "a").stat().st_ino, (tmp_path / "b").stat().st_ino
    exchange(here, "a", here, "b")
    assert ((tmp_path / "b").stat().st_ino, (tmp_path / "a").stat().st_ino) == inodes
    with pytest.raises(FileNotFoundError):
        exchange(here, "a", here, "missing")


def test_move_never_replaces(here: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    with pytest.raises(FileExistsError):
        move_unless_taken(here, "a", here, "b")
    assert (tmp_path / "b").read_bytes() == b"b"
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        move_unless_taken(here, "a", here, "dangling")
    move_unless_taken(here, "a", here, "c\udcff")
    assert (tmp_path / "c\udcff").read_bytes() == b"a"


def test_beneath_follows_no_link_and_never_leaves(here: int, tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "out").symlink_to("/etc")
    os.close(open_beneath(here, "real/deep", os.O_PATH | os.O_DIRECTORY))
    os.close(open_beneath(here, ".", os.O_PATH | os.O_DIRECTORY))
    for path in ("link/deep", "link", "out", "out/passwd"):
        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            open_beneath(here, path, os.O_PATH)
    for path in ("..", "/etc", "real/../../x"):
        with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
            open_beneath(here, path, os.O_PATH)


def test_a_file_system_without_exchange_is_named() -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    # procfs knows no rename at all and says so with the same error a file system without the flag has.
    fd = os.open("/proc/self", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises((HostLacks, OSError)) as refused:
            exchange(fd, "status", fd, "stat")
        assert isinstance(refused.value, HostLacks) or refused.value.errno in (errno.EPERM, errno.EACCES)
    finally:
        os.close(fd)
