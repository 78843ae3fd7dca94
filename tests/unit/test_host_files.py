"""Files: atomic writing, private directories, removal that cannot leave its place."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nightcrew.host import files
from nightcrew.host.spreading import make_spreading
from nightcrew.model.errors import UsageError


def _mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_write_atomic_replaces_and_sets_the_mode_whatever_the_umask(tmp_path):
    target = tmp_path / "file"
    old = os.umask(0o077)
    try:
        files.write_atomic(target, b"one", mode=0o644)
    finally:
        os.umask(old)
    assert _mode(target) == 0o644
    files.write_atomic(target, b"two")
    assert target.read_bytes() == b"two"
    assert _mode(target) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "x").touch()
    with pytest.raises(OSError, match="directory"):
        files.write_atomic(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_on_a_full_disk():
    script = (
        "import os, resource, signal, sys; from nightcrew.host import files;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "files.write_atomic(sys.argv[1] + '/f', b'old');"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "\ntry: files.write_atomic(sys.argv[1] + '/f', b'x' * 5000)"
        "\nexcept OSError: print(open(sys.argv[1] + '/f').read(), os.listdir(sys.argv[1]))"
    )
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [sys.executable, "-c", script, place], capture_output=True, text=True, check=True
        )
    assert done.stdout == "old ['f']\n"


def test_private_directory_is_created_and_tightened(tmp_path):
    place = tmp_path / "a" / "b"
    files.ensure_private_directory(place)
    assert _mode(place) == 0o700
    place.chmod(0o755)
    files.ensure_private_directory(place)
    assert _mode(place) == 0o700


def test_private_directory_is_never_a_shared_place(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(UsageError, match="shared"):
        files.ensure_private_directory(shared)
    assert _mode(shared) == 0o1777
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not a directory"):
        files.ensure_private_directory(tmp_path / "file")


def test_free_bytes_of_what_does_not_exist_yet(tmp_path):
    assert files.free_bytes(tmp_path / "not" / "yet") > 0


def test_remove_tree_never_follows_links(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("keep")
    inside = tmp_path / "inside"
    tree = inside / "tree"
    tree.mkdir(parents=True)
    (tree / "link").symlink_to(outside)
    (tree / "dangling").symlink_to("/nowhere")
    os.mkfifo(tree / "fifo")
    (tree / b"n\xff\n".decode("utf-8", "surrogateescape")).write_text("odd name")
    files.remove_tree(tree, inside=inside)
    assert os.listdir(inside) == []
    assert (outside / "precious").read_text() == "keep"


def test_remove_tree_of_a_link_removes_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files.remove_tree(tmp_path / "link", inside=tmp_path)
    assert os.listdir(tmp_path) == ["real"]


def test_remove_tree_of_a_file_and_of_nothing(tmp_path):
    (tmp_path / "f").touch()
    files.remove_tree(tmp_path / "f", inside=tmp_path)
    files.remove_tree(tmp_path / "f", inside=tmp_path)
    files.remove_tree(tmp_path / "no" / "such", inside=tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("path", ["", ".", "..", "../sibling", "link/x"])
def test_remove_tree_refuses_what_is_not_inside(tmp_path, path):
    inside = tmp_path / "inside"
    inside.mkdir()
    sibling = tmp_path / "sibling"
    sibling.mkdir()
    (sibling / "x").touch()
    (inside / "link").symlink_to(sibling)
    with pytest.raises(ValueError, match="refused"):
        files.remove_tree(inside / path, inside=inside)
    assert (sibling / "x").exists()


def test_remove_tree_deeper_than_any_recursion_or_descriptor_limit(tmp_path):
    depth = 3000
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    files.remove_tree(tmp_path / "d", inside=tmp_path)
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_tree_opens_closed_directories_as_an_ordinary_user(tmp_path):
    """An overlay work directory has mode 000; root does not notice, everybody else does."""
    if os.geteuid() != 0:
        _build_closed_tree(tmp_path)
        files.remove_tree(tmp_path / "tree", inside=tmp_path)
    else:
        pid = os.fork()
        if pid == 0:
            _as_nobody(tmp_path)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not (tmp_path / "tree").exists()


def _as_nobody(place):
    code = 1
    try:
        for path in (place, *place.parents[:-2]):
            os.chmod(path, 0o755)
        os.chown(place, 65534, 65534)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        _build_closed_tree(place)
        files.remove_tree(place / "tree", inside=place)
        code = 0
    finally:
        os._exit(code)


def _build_closed_tree(place):
    (place / "tree" / "work" / "work").mkdir(parents=True)
    (place / "tree" / "work" / "work" / "f").touch()
    (place / "tree" / "readonly").mkdir()
    (place / "tree" / "readonly" / "f").touch()
    (place / "tree" / "readonly").chmod(0o500)
    (place / "tree" / "work" / "work").chmod(0)
    (place / "tree" / "work").chmod(0o500)


def test_remove_tree_of_many_directories_is_not_quadratic(tmp_path):
    for number in range(2000):
        (tmp_path / "tree" / f"d{number}" / "x").mkdir(parents=True)
    files.remove_tree(tmp_path / "tree", inside=tmp_path)
    assert os.listdir(tmp_path) == []


def test_remove_tree_stops_at_another_file_system(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    script = (
        "import sys; from pathlib import Path; from nightcrew.host import files; p = Path(sys.argv[1])\n"
        "try: files.remove_tree(p / 'tree', inside=p)\n"
        "except OSError as error: print(error.errno, (p / 'tree/mnt/precious').exists())"
    )
    (tmp_path / "tree" / "mnt").mkdir(parents=True)
    command = f'mount -t tmpfs none {tmp_path}/tree/mnt && touch {tmp_path}/tree/mnt/precious && exec {sys.executable} -c "$0" {tmp_path}'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "18 True\n", done.stderr


def test_a_spreading_directory_is_made_with_its_parents_once_and_again(tmp_path):
    place = tmp_path / "a" / "b"
    make_spreading(place, 0o700)
    (place / "kept").touch()
    make_spreading(place)
    assert (place / "kept").exists()
    assert place.stat().st_mode & 0o777 == 0o700
    told = subprocess.run(["lsattr", "-d", str(place)], capture_output=True, check=False)
    if told.returncode == 0 and b"e-" in told.stdout:  # extents: ext4, which knows what it is told
        assert b"T" in told.stdout.split()[0]


def test_a_spreading_directory_needs_no_file_system_that_knows_of_it():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        make_spreading(f"{place}/spread")
        assert Path(place, "spread").is_dir()
