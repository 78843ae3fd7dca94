"""Containers as a user meets them: docker with a daemon of its own, and podman as an ordinary user."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from nightcrew.testing.hermetic import Hermetic

SOURCE = Path(__file__).resolve().parents[2] / "src"
LIBRARIES = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
PYTHON = "/usr/bin/python3"
PROGRAMS = ("sh", "bash", "cat", "grep", "id", "touch", "test", "sleep")
PATIENCE_S = 60.0
PLAN = """
- [ ] 1. one
  - Run: grep -E "CapEff|Seccomp:|NoNewPrivs" /proc/self/status > held.txt; id -u > who.txt; cat {secret} > stolen.txt; touch /usr/made || true
  - Accept: test -s held.txt
"""
HELD = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}

pytestmark = pytest.mark.needs_root


def held(text: str) -> dict[str, str]:
    """Return what of HELD stands in the lines of a status or of a difference."""
    return {name: value for name, value in re.findall(r"(\w+):\s+(\w+)", text) if name in HELD}


def pack_image(place: Path) -> Path:
    """Pack an image out of this machine's own interpreter and a few programs; nothing is fetched."""
    found = [path for name in PROGRAMS if (path := shutil.which(name, path="/usr/bin"))]
    version = subprocess.run(
        [PYTHON, "-c", "import os, sys; print(os.path.dirname(os.__file__)); print(os.path.realpath(sys.executable))"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    modules = Path(version[0])
    dynamic = [str(path) for path in (modules / "lib-dynload").glob("*.so")]
    told = subprocess.run(["ldd", *found, version[1], *dynamic], capture_output=True, text=True, check=False)
    libraries = sorted(set(re.findall(r"(/\S+) \(0x", told.stdout)))
    packed = place / "image.tar"
    with tarfile.open(packed, "w", dereference=True) as tar:
        for folder in parents(*found, "/bin/sh", *libraries, PYTHON, str(modules / "os.py")):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755  # docker gives those that are not named to nobody
            tar.addfile(entry)
        for path in (*found, *libraries):
            tar.add(path)
        for name in ("sh", "bash"):
            tar.add(f"/usr/bin/{name}", f"/bin/{name}")
        tar.add(version[1], PYTHON)
        for path in sorted(modules.iterdir()):
            if path.name not in (
                "test",
                "idlelib",
                "lib2to3",
                "__pycache__",
                "site-packages",
                "dist-packages",
            ):
                tar.add(path)
    return packed


def parents(*paths: str) -> list[str]:
    """Return what the paths lie in, outer ones first."""
    return sorted({str(each).strip("/") for path in paths for each in Path(path).parents} - {""})


@pytest.fixture
def docker() -> Iterator[str]:
    """A daemon on a socket of its own, which changes no rule of this machine's network; gives its address."""
    program = shutil.which("dockerd", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if program is None or shutil.which("docker") is None:
        pytest.skip("needs docker's daemon: apt install docker.io")
    place = Path(tempfile.mkdtemp(prefix="nightcrew-docker-", dir="/var/tmp"))
    words = ["--data-root", place / "data", "--exec-root", place / "exec", "--pidfile", place / "pid"]
    words += ["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver", "vfs"]
    address = f"unix://{place}/socket"
    with (place / "log").open("wb") as log:
        daemon = subprocess.Popen([program, "-H", address, *map(str, words)], stdout=log, stderr=log)
    try:
        if not answers(address, daemon):
            pytest.skip(f"docker's daemon does not run here: {(place / 'log').read_text()[-300:]}")
        imported = ask(address, "import", str(pack_image(place)), "known:1")
        assert imported.returncode == 0, imported.stderr
        yield address
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE_S)
        shutil.rmtree(place, ignore_errors=True)


def ask(address: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *words], env={**os.environ, "DOCKER_HOST": address}, capture_output=True, text=True, check=False
    )  # fmt: skip


def answers(address: str, daemon: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while daemon.poll() is None and time.monotonic() < end:
        try:
            daemon.wait(0.2)
        except subprocess.TimeoutExpired:
            if ask(address, "version").returncode == 0:
                return True
    return False


def test_docker(crew: Hermetic, docker: str) -> None:
    """A real daemon: the walls are attacked before anything starts, the task lands, and no container is left."""
    settings = crew.root / "config" / "nightcrew"
    settings.mkdir(exist_ok=True)
    (settings / "config.yaml").write_text(
        'version: 1\nisolation: {backend: docker, image: "known:1", require: SX}\n'
    )
    secret = crew.home / "secret.txt"
    secret.write_text("my key\n")
    crew.variables["DOCKER_HOST"] = docker
    done = crew.run_tasks(PLAN.format(secret=secret))
    assert done.code == 0, done.stdout
    assert crew.show("R-1")["confined"]["text"] == "SX (container, by docker)"
    assert crew.show_tasks("R-1")["T01"]["verified"] == "verified"
    assert crew.run("accept", "R-1").code == 0
    assert crew.run("promote", "R-1", "--yes").code == 0
    assert held(crew.git("show", "HEAD:held.txt")) == HELD
    assert crew.git("show", "HEAD:stolen.txt") == ""
    assert not Path("/usr/made").exists()
    assert ask(docker, "ps", "--all", "--quiet").stdout == ""


def test_docker_without_what_the_self_check_needs(crew: Hermetic, docker: str, tmp_path: Path) -> None:
    """An image without python3 cannot be attacked, so nothing is promised and nothing starts."""
    with tarfile.open(tmp_path / "bare.tar", "w") as tar:
        tar.add(Path("/etc/hostname"), "etc/hostname")
    ask(docker, "import", str(tmp_path / "bare.tar"), "bare:1")
    settings = crew.root / "config" / "nightcrew"
    settings.mkdir(exist_ok=True)
    (settings / "config.yaml").write_text(
        'version: 1\nisolation: {backend: docker, image: "bare:1", require: SX}\n'
    )
    crew.variables["DOCKER_HOST"] = docker
    refused = crew.run_tasks("- [ ] 1. one\n  - Run: true\n")
    assert refused.code == 11, refused
    assert "the back end docker can confine nothing here (isolation S0)" in refused.stdout
    assert "fix: the image bare:1 must hold sh, bash and python3: build one that does" in refused.stdout
    assert ask(docker, "ps", "--all", "--quiet").stdout == ""


def test_doctor_with_podman(crew: Hermetic) -> None:
    """It says what is so with that back end: no overlay because it works in a copy, temporary places of its own."""
    settings = crew.root / "config" / "nightcrew"
    settings.mkdir(exist_ok=True)
    (settings / "config.yaml").write_text("version: 1\nisolation: {backend: podman, require: SX}\n")
    done = crew.run("doctor", "--json")
    checks = {each["name"]: each for each in done.json["checks"]}
    if done.code == 11:
        pytest.skip(f"podman does not run here: {checks['isolation']}")
    assert "overlay: not used: podman works in a copy (isolation.backend)" in checks["shadow"]["more"]
    assert any(
        each.startswith("scratch: exact (kernel: 64 MiB for each") for each in checks["limits"]["more"]
    )


def find_person() -> pwd.struct_passwd | None:
    """Return a user of this machine with subordinate ids, which podman needs without root."""
    try:
        names = [line.split(":")[0] for line in Path("/etc/subuid").read_text().splitlines()]
    except OSError:
        return None
    people = [each for each in pwd.getpwall() if each.pw_name in names or str(each.pw_uid) in names]
    return next((each for each in people if each.pw_uid), None)


@pytest.fixture
def person() -> Iterator[Mapping[str, str]]:
    """The environment of an ordinary user who may have containers, with a home of its own; one is made where there is none."""
    if any(shutil.which(name) is None for name in ("podman", "newuidmap", "useradd")):
        pytest.skip("needs podman and uidmap")
    made = "" if find_person() else f"nightcrew-{os.getpid()}"
    if made:
        subprocess.run(["useradd", "--no-create-home", made], check=True)
        ids = ("--add-subuids", "700000-765535", "--add-subgids", "700000-765535")
        subprocess.run(["usermod", *ids, made], check=True)
    found = find_person()
    assert found is not None
    place = Path(tempfile.mkdtemp(prefix="nightcrew-podman-", dir="/var/tmp"))
    (place / "run").mkdir()
    for each in (place, place / "run"):
        os.chown(each, found.pw_uid, found.pw_gid)
        each.chmod(0o700)
    variables = {
        "UID": str(found.pw_uid), "GID": str(found.pw_gid), "USER": found.pw_name, "HOME": str(place), "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(place / "run"), "PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(place),
        "PYTHONPATH": f"{SOURCE}:{LIBRARIES}", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.invalid",
        "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.invalid",
    }  # fmt: skip
    yield variables
    as_person(variables, "podman", "system", "migrate")  # ends the process that keeps its namespace
    shutil.rmtree(place, ignore_errors=True)
    if made:
        subprocess.run(["userdel", made], check=True)


def as_person(variables: Mapping[str, str], *argv: str, cwd: str = "") -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in variables.items() if name not in ("UID", "GID")}
    user, group = int(variables["UID"]), int(variables["GID"])
    return subprocess.run(
        argv, env=env, cwd=cwd or variables["HOME"], user=user, group=group, extra_groups=[],
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip


@pytest.mark.needs_userns
def test_the_self_check_holds_with_podman_as_an_ordinary_user(person: Mapping[str, str]) -> None:
    """Also where podman itself has something to say on the streams of the program."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = (f"/usr/bin/python{version}", "-m", "nightcrew")
    if not Path(program[0]).exists() or as_person(person, *program, "--version").returncode != 0:
        pytest.skip("no interpreter of this version that an ordinary user can start")
    done = as_person(person, *program, "doctor", "--attack", "--backend", "podman", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    findings = json.loads(done.stdout)["findings"]
    assert [each["name"] for each in findings if each["promised"] and not each["held"]] == []
    assert not any("attack itself failed" in each["said"] for each in findings)
    assert as_person(person, "podman", "ps", "--all", "--quiet").stdout == ""


@pytest.mark.needs_userns
def test_podman_as_an_ordinary_user(person: Mapping[str, str]) -> None:
    """Nothing set up but the choice of a back end: it runs, it lands, and nothing is left that the user cannot remove."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    program = (f"/usr/bin/python{version}", "-m", "nightcrew")
    if not Path(program[0]).exists() or as_person(person, *program, "--version").returncode != 0:
        pytest.skip("no interpreter of this version that an ordinary user can start")
    home = Path(person["HOME"])
    script = (
        "git init -q -b main repo && cd repo && echo one > a.txt && git add . && git commit -qm one && cd .. && "
        "mkdir -p .config/nightcrew && "
        "echo 'version: 1' > .config/nightcrew/config.yaml && "
        "echo 'isolation: {backend: podman, require: SX}' >> .config/nightcrew/config.yaml && "
        "echo my key > secret.txt && cat > tasks.md"
    )
    made = subprocess.run(
        ["sh", "-c", script], input=PLAN.format(secret=home / "secret.txt"), env=dict(person), cwd=home,
        user=int(person["UID"]), group=int(person["GID"]), extra_groups=[], text=True, check=False, capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    repo = str(home / "repo")
    done = as_person(person, *program, "run", "-f", "../tasks.md", "--yes", cwd=repo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SX (container, by podman)" in done.stdout
    for words in (("accept", "R-1"), ("promote", "R-1", "--yes")):
        step = as_person(person, *program, *words, cwd=repo)
        assert step.returncode == 0, step.stdout + step.stderr
    assert held(as_person(person, "git", "show", "HEAD:held.txt", cwd=repo).stdout) == HELD
    assert as_person(person, "git", "show", "HEAD:who.txt", cwd=repo).stdout.strip() == person["UID"]
    assert as_person(person, "git", "show", "HEAD:stolen.txt", cwd=repo).stdout == ""
    scratch = home / ".local/state/nightcrew/scratch"
    assert [str(path) for path in scratch.rglob("*")] == []
    assert as_person(person, "podman", "ps", "--all", "--quiet").stdout == ""
