"""What is where inside: repository below home, nested environments, binds, odd homes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.host import kernel
from nightcrew.model.errors import SandboxUnavailable
from nightcrew.model.isolation import Bind, Overlay
from nightcrew.sandbox import content, translate
from nightcrew.sandbox.launcher import Launcher
from sandbox_world import Recorder, World, run, worlds

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher.start() as started:
        yield started


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds(os.getuid())


def folder(world: World, name: str) -> str:
    path = world.root / name
    path.mkdir(parents=True, exist_ok=True)
    return str(path)


def test_an_environment_folder_inside_the_repository_is_copied_on_write(
    launcher: Launcher, world: World
) -> None:
    live = world.repo / ".venv"
    live.mkdir()
    (live / "pyvenv.cfg").write_text("home = /usr\n")
    spec = world.spec(
        "bash", "-c", "cat .venv/pyvenv.cfg; echo new > .venv/installed; rm .venv/pyvenv.cfg; ls -A .venv . "
    )
    nested = Overlay(
        f"{world.repo}/.venv", (str(live),), folder(world, "env/upper"), folder(world, "env/work")
    )
    # In the order a person would never choose: the inner one first.
    ran = run(launcher, replace(spec, overlays=(nested, *spec.overlays)))
    assert ran.out.splitlines()[0] == b"home = /usr"
    assert b"installed" in ran.out
    assert [path.name for path in live.iterdir()] == ["pyvenv.cfg"]
    assert (world.root / "env/upper/installed").exists()
    (world.root / "env/work/work").chmod(0o700)


def test_layers_lie_on_top_of_each_other(launcher: Launcher, world: World) -> None:
    delta = Path(folder(world, "delta"))
    (delta / "a.txt").write_text("from a dependency\n")
    spec = world.spec("cat", "a.txt", "sub/b.txt")
    overlay = replace(spec.overlays[0], lowers=(str(delta), *spec.overlays[0].lowers))
    assert run(launcher, replace(spec, overlays=(overlay,))).out == b"from a dependency\nalso\n"


def test_hundreds_of_layers(launcher: Launcher, world: World) -> None:
    lowers = []
    for number in range(300):
        layer = Path(folder(world, f"layers/{number}"))
        (layer / f"f{number}").write_text("")
        lowers.append(str(layer))
    spec = world.spec("bash", "-c", "ls f* | wc -l")
    overlay = replace(spec.overlays[0], lowers=(*lowers, *spec.overlays[0].lowers))
    assert run(launcher, replace(spec, overlays=(overlay,))).out == b"300\n"


def test_binds_are_read_only_unless_said(launcher: Launcher, world: World) -> None:
    tool, out = Path(folder(world, "home/.tools/python")), Path(folder(world, "out"))
    (tool / "file").write_text("tool\n")
    alone = world.root / "prompt.md"
    alone.write_text("do it\n")
    binds = (
        Bind(str(tool), str(world.home / ".tools/python")),
        Bind(str(out), "/run/nightcrew/out", writable=True),
        Bind(str(alone), "/run/nightcrew/prompt.md"),
    )
    script = (
        f"cat {world.home}/.tools/python/file /run/nightcrew/prompt.md; echo x > /run/nightcrew/out/made;"
        f" echo x > {world.home}/.tools/python/file; echo x > /run/nightcrew/prompt.md; rm -rf {world.home}/.tools; echo $?"
    )
    ran = run(launcher, world.spec("bash", "-c", script, binds=binds))
    assert ran.out.splitlines()[:2] == [b"tool", b"do it"]
    assert (out / "made").exists()
    assert ((tool / "file").read_text(), alone.read_text()) == ("tool\n", "do it\n")


def test_home_is_private_and_gone(launcher: Launcher, world: World) -> None:
    first = run(launcher, world.spec("bash", "-c", "echo x > ~/left; ls -A ~"))
    assert first.out.split() == [b"left", b"project"]
    assert run(launcher, world.spec("ls", "-A", str(world.home))).out == b"project\n"
    assert not (world.home / "left").exists()


@pytest.mark.parametrize("home", ["", "/", "/usr/share", "relative", "/home/agent", "/opt/nobody/here"])
def test_odd_homes(launcher: Launcher, world: World, home: str) -> None:
    ran = run(launcher, world.spec("true", env={"PATH": "/usr/bin:/bin", "HOME": home}))
    assert ran.outcome.exit_code == 0


def test_home_inside_the_repository_is_part_of_the_shadow(launcher: Launcher, world: World) -> None:
    home = f"{world.repo}/sub"
    run(launcher, world.spec("bash", "-c", "echo x > ~/made", env={"PATH": "/usr/bin:/bin", "HOME": home}))
    assert (world.upper / "sub" / "made").exists()


def test_the_root_is_read_only(launcher: Launcher, world: World) -> None:
    script = "for d in / /etc /usr /dev /run /var /sys /proc /home; do touch $d/x 2>/dev/null && echo $d; done; echo end"
    assert run(launcher, world.spec("bash", "-c", script)).out == b"end\n"


def test_what_is_covered_does_not_show(launcher: Launcher, world: World) -> None:
    """A home below a system directory; /usr/share stands for one."""
    spec = world.spec("ls", "-A", "/usr/share")
    order = translate.make_order(spec)
    order["covered"] = ["/usr/share"]
    session = Recorder()
    assert launcher.run_order(order, spec, session, threading.Event()).exit_code == 0
    assert session.out == b""


def test_temporary_places_are_writable(launcher: Launcher, world: World) -> None:
    script = "for d in /tmp /var/tmp /dev/shm ~ .; do touch $d/x && echo ok; done; echo x > /dev/null; stat -c %a /tmp"
    assert run(launcher, world.spec("bash", "-c", script)).out == b"ok\n" * 5 + b"1777\n"


def test_tools_find_what_they_need(launcher: Launcher, world: World) -> None:
    """Names, host name, dynamic loader, certificates' folder, git as in any directory."""
    script = (
        "id -un >/dev/null && hostname && getent hosts localhost >/dev/null && test -r /etc/ld.so.cache &&"
        " git init -q . 2>&1 && git status --short | head -1 && nproc >/dev/null && test -t 0 || echo no tty"
    )
    ran = run(launcher, world.spec("bash", "-c", script, hostname="box"))
    assert ran.out.splitlines()[0] == b"box", ran.err
    assert ran.out.splitlines()[-1] == b"no tty"


def test_a_target_that_is_a_file_is_refused(launcher: Launcher, world: World) -> None:
    binds = (Bind(folder(world, "env"), f"{world.repo}/a.txt"),)
    with pytest.raises(SandboxUnavailable, match=r"a\.txt"):
        launcher.run(world.spec("true", binds=binds), Recorder(), cancel=threading.Event())


def test_the_way_of_older_kernels_mounts_the_same(world: World) -> None:
    """mount(2) with one string of options, in namespaces of a child of this test."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            uid, gid = os.getuid(), os.getgid()
            kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
            for name, text in (
                ("setgroups", "deny"),
                ("uid_map", f"{uid} {uid} 1"),
                ("gid_map", f"{gid} {gid} 1"),
            ):
                Path(f"/proc/self/{name}").write_text(text)
            kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
            spec = world.spec("true").overlays[0]
            place = os.open(world.repo, os.O_PATH | os.O_DIRECTORY)
            content.mount_layers_classic(place, list(spec.lowers), spec.upper, spec.work)
            code = 0 if (world.repo / "a.txt").read_text() == "from the base\n" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
