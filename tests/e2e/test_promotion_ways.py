"""Where accepted results can go, in which shape, and which part of them; undo, redo and the inverse after later commits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import FILES, sweep
from kept_place import KeptPlace
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

NUMBERS = "".join(f"{n}\n" for n in range(1, 13))
TASKS = """
- [ ] 1. first
  - Run: sed -i 's/^1$/one/; s/^12$/twelve/' src/data.txt && printf 'a\\n' > docs.txt
  - Accept: grep -q one src/data.txt
- [ ] 2. second
  - Run: sed -i 's/hello/good night/' src/app.py
  - Accept: grep -q night src/app.py
"""


def prepare(crew: Hermetic) -> None:
    crew.write({"src/data.txt": NUMBERS})
    crew.commit("numbers")
    done = crew.run_tasks(TASKS)
    assert done.code == 0, done
    accepted = crew.run("accept", "R-1")
    assert accepted.code == 0, accepted


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> KeptPlace:
    return KeptPlace(tmp_path_factory.mktemp("accepted"), FILES, prepare)


@pytest.fixture
def night(kept: KeptPlace) -> Iterator[Hermetic]:
    """Two accepted tasks."""
    crew = kept.put_back()
    yield crew
    sweep(crew)


def ok(crew: Hermetic, *words: str) -> object:
    done = crew.run(*words, "--yes", "--json")
    assert done.code == 0, done
    return done.json


def subjects(crew: Hermetic, span: str) -> list[str]:
    return crew.git("log", "--format=%s", span).splitlines()


def test_new_branch_patch_bundle_and_commits_per_task(night: Hermetic, tmp_path: Path) -> None:
    crew = night
    head, status = crew.git("rev-parse", "HEAD").strip(), crew.git("status", "--porcelain")
    for words, code in [
        (("--to", "x", "--patch", "f"), 2),
        (("--squash", "--commits", "tasks"), 2),
        (("--to", "nowhere"), 3),
        (("--new-branch", "main"), 2),
    ]:
        refused = crew.run("promote", "R-1", *words, "--yes")
        assert (refused.code, refused.stdout) == (code, ""), refused
    assert crew.run("promote", "R-1", "--new-branch", "night", "--dry-run").code == 0
    made = ok(crew, "promote", "R-1", "--new-branch", "night", "--commits", "tasks")
    assert (made["place"], made["start"], len(made["commits"])) == ("new", head, 2)
    assert subjects(crew, "main..night") == ["second", "first"]
    assert (crew.git("rev-parse", "HEAD").strip(), crew.git("status", "--porcelain")) == (head, status)
    assert ok(crew, "undo", made["id"])["new_commit"] == ""
    assert crew.git("branch", "--list", "night") == ""
    assert ok(crew, "redo", made["id"])["new_commit"] == made["new_commit"]
    assert crew.show("R-1")["state"] == "promoted"
    ok(crew, "undo", made["id"])
    assert crew.show("R-1")["state"] == "in_review"

    patch, bundle = tmp_path / "out.patch", tmp_path / "out.bundle"
    written = ok(crew, "promote", "R-1", "--commits", "tasks", "--patch", str(patch))
    assert (written["state"], crew.show("R-1")["state"]) == ("exported", "in_review")
    again = crew.run("promote", "R-1", "--patch", str(patch), "--yes")
    assert (again.code, "exists already" in again.stderr) == (2, True), again
    other = ok(crew, "promote", "R-1", "--bundle", str(bundle))
    assert crew.run("undo", other["id"], "--yes").code == 7
    assert crew.git("rev-parse", "HEAD").strip() == head
    clone = tmp_path / "clone"
    crew.git("clone", "-q", str(crew.repo), str(clone))
    crew.git("am", "-q", str(patch), cwd=clone)
    assert crew.git("log", "--format=%s", f"{head}..", cwd=clone).split() == ["second", "first"]
    crew.git("fetch", "-q", str(bundle), f"nightcrew/{other['id']}", cwd=clone)
    assert crew.git("diff", "HEAD", "FETCH_HEAD", cwd=clone) == ""

    crew.git("branch", "release")
    onto = ok(crew, "promote", "R-1", "--to", "release")
    assert subjects(crew, "main..release") == ["tasks"] or len(subjects(crew, "main..release")) == 1
    assert (onto["place"], crew.git("status", "--porcelain")) == ("branch", status)
    ok(crew, "undo", onto["id"])
    assert crew.git("rev-parse", "release").strip() == head
    assert crew.look("audit", "verify").code == 0


def test_what_another_branch_has_does_not_come_along(night: Hermetic) -> None:
    crew = night
    ok(crew, "promote", "R-1", "T01", "--new-branch", "night")
    other = ok(crew, "promote", "R-1", "T02")
    assert other["paths"] == ["src/app.py"]
    assert crew.git("show", "--format=", "--name-only").split() == ["src/app.py"]
    nothing = crew.run("promote", "R-1", "--yes")
    assert nothing.code == 7, nothing
    assert "R-1/T01: it is promoted already by M-1, to night" in nothing.stderr
    assert "R-1/T02: it is promoted already by M-2, to main" in nothing.stderr


def test_what_a_squashed_branch_brought_counts_as_there(crew: Hermetic) -> None:
    crew.write({"src/data.txt": NUMBERS})
    crew.commit("numbers")
    assert crew.run_tasks(TASKS.replace("2. second", "2. second <!-- depends: 1 -->")).code == 0
    assert crew.run("accept", "R-1").code == 0
    ok(crew, "promote", "R-1", "T01", "--new-branch", "night")
    held = crew.run("promote", "R-1", "T02", "--yes")
    assert (held.code, "on night by M-1" in held.stderr) == (7, True), held
    crew.git("merge", "-q", "--squash", "night")
    crew.commit("squashed")
    assert ok(crew, "promote", "R-1", "T02")["paths"] == ["src/app.py"]


def test_a_redo_after_later_commits_is_proven(night: Hermetic) -> None:
    crew = night
    first = ok(crew, "promote", "R-1", "T01")
    ok(crew, "undo", first["id"])
    crew.write({"other.txt": "x\n"})
    crew.commit("later")
    again = crew.run("redo", first["id"], "--inverse", "--yes")
    assert (again.code, "R-1/T01: grep -q one" in again.stderr) == (0, True), again
    crew.write({"other.txt": "y\n"})
    crew.commit("later still")
    back = crew.run("undo", first["id"], "--inverse", "--yes")
    assert (back.code, "grep -q one" in back.stderr) == (0, False), back
    assert (crew.repo / "src/data.txt").read_text() == NUMBERS
    assert crew.show(first["id"])["state"] == "undone"
    ok(crew, "redo", first["id"])
    assert "twelve" in (crew.repo / "src/data.txt").read_text()
    assert (crew.show(first["id"])["state"], crew.show_tasks("R-1")["T01"]["promoted"]) == (
        "published",
        "M-1",
    )


def test_a_redo_of_what_was_promoted_again_is_refused(night: Hermetic) -> None:
    crew = night
    first = ok(crew, "promote", "R-1", "T01")
    ok(crew, "undo", first["id"])
    ok(crew, "promote", "R-1", "T01")
    head = crew.git("rev-parse", "HEAD")
    refused = crew.run("redo", first["id"], "--inverse", "--yes")
    assert (refused.code, "has all of" in refused.stderr) == (7, True), refused
    assert crew.git("rev-parse", "HEAD") == head


def test_a_promotion_does_not_run_the_hook_it_brings(crew: Hermetic) -> None:
    crew.write({"tools/hk/pre-commit": "#!/bin/sh\nexit 0\n"})
    (crew.repo / "tools/hk/pre-commit").chmod(0o755)
    crew.commit("hook")
    crew.git("config", "core.hooksPath", "tools/hk")
    ran = crew.root / "ran"
    task = f"- [ ] 1. one\n  - Run: echo 'touch {ran}' > tools/hk/pre-commit\n  - Accept: true\n"
    assert crew.run_tasks(task).code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    refused = crew.run("promote", "R-1", "--yes", "--allow-handoff", "git", "--hooks")
    assert (refused.code, "hook.promoted" in refused.stderr) == (6, True), refused
    asked = crew.run("promote", "R-1", "--yes")
    assert (asked.code, "--allow-handoff git" in asked.stderr) == (5, True), asked
    ok(crew, "promote", "R-1", "--allow-handoff", "git")
    assert not ran.exists()


def test_a_patch_keeps_line_ends(crew: Hermetic, tmp_path: Path) -> None:
    crew.write({"w.txt": b"1\r\n2\r\n"})
    crew.commit("windows")
    assert crew.run_tasks("- [ ] 1. one\n  - Run: sed -i s/1/one/ w.txt\n  - Accept: true\n").code == 0
    assert crew.run("accept", "R-1/T01").code == 0
    patch = tmp_path / "out.patch"
    written = crew.run("promote", "R-1", "--yes", "--patch", str(patch))
    assert f"git am --keep-cr {patch}" in written.stderr, written
    crew.git("am", "-q", "--keep-cr", str(patch))
    assert (crew.repo / "w.txt").read_bytes() == b"one\r\n2\r\n"


@pytest.mark.needs_root
def test_a_patch_that_does_not_fit_leaves_no_half_of_it(night: Hermetic, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_blocks=1", "none", str(disk)], check=True)
    try:
        (disk / "ballast").write_bytes(b"x")
        refused = night.run("promote", "R-1", "--yes", "--patch", str(disk / "out.patch"))
        assert "No space left" in refused.stderr, refused
        assert [each.name for each in disk.iterdir()] == ["ballast"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_chosen_files_and_hunks(night: Hermetic) -> None:
    crew = night
    before = crew.git("rev-parse", "HEAD").strip()
    nothing = crew.run("promote", "R-1", "--files", "no/such/**", "--yes")
    assert nothing.code == 7, nothing
    part = ok(crew, "promote", "R-1", "--unproven", "--files", "docs.txt", "--files", "src/app.py")
    assert set(part["paths"]) == {"docs.txt", "src/app.py"}
    assert (part["waived"], part["partial"]) == (["T01 src/data.txt"], ["R-1/T01"])
    tasks = crew.show_tasks("R-1")
    assert (tasks["T01"]["promoted"], tasks["T02"]["promoted"]) == ("", part["id"])
    assert crew.show("R-1")["state"] == "partially_promoted"

    listed = crew.look("diff", "R-1/T01", "--hunks", "--json").json["hunks"]
    first = next(hunk["id"] for hunk in listed if hunk["path"] == "src/data.txt")
    unproven = crew.run("promote", "R-1", "--hunks", "H-ffffffffffff", "--yes")
    assert unproven.code == 2, unproven
    one = ok(crew, "promote", "R-1", "--hunks", first)
    assert (crew.repo / "src/data.txt").read_text() == NUMBERS.replace("1\n", "one\n", 1)
    assert len(one["waived"]) == 2

    rest = ok(crew, "promote", "R-1")
    assert (crew.repo / "src/data.txt").read_text().splitlines()[-1] == "twelve"
    assert (rest["partial"], crew.show("R-1")["state"]) == ([], "promoted")
    for done in (rest, one, part):
        ok(crew, "undo", done["id"])
    assert crew.git("rev-parse", "HEAD").strip() == before
    assert crew.show("R-1")["state"] == "in_review"
    assert crew.git("status", "--porcelain") == ""


def test_parts_that_make_the_whole(night: Hermetic) -> None:
    crew = night
    first, second = (
        ok(crew, "promote", "R-1", "T01", "--files", name, "--unproven")
        for name in ("docs.txt", "src/data.txt")
    )
    assert (first["partial"], second["partial"]) == (["R-1/T01"], [])
    assert crew.show_tasks("R-1")["T01"]["promoted"] == second["id"]
    ok(crew, "undo", first["id"], "--inverse", "--unproven")
    assert crew.show_tasks("R-1")["T01"]["promoted"] == ""
    assert ok(crew, "promote", "R-1", "T01")["paths"] == ["docs.txt"]


def test_a_part_that_does_not_hold_alone_is_refused(night: Hermetic) -> None:
    head = night.git("rev-parse", "HEAD")
    refused = night.run("promote", "R-1", "T01", "--files", "docs.txt", "--yes")
    assert (refused.code, "grep -q one" in refused.stderr) == (7, True), refused
    assert night.git("rev-parse", "HEAD") == head
    assert night.run("promote", "R-1", "T01", "--files", "docs.txt", "--yes", "--unproven").code == 0


def test_undo_after_later_commits_needs_a_yes_of_its_own(night: Hermetic) -> None:
    crew = night
    promoted = ok(crew, "promote", "R-1", "T01")
    crew.write({"src/data.txt": (crew.repo / "src/data.txt").read_text().replace("6\n", "six\n")})
    tip = crew.commit("later")
    refused = crew.run("undo", promoted["id"], "--yes")
    assert (refused.code, "a yes of its own" in refused.stderr) == (5, True), refused
    assert "-twelve" in refused.stdout
    assert crew.git("rev-parse", "HEAD").strip() == tip
    dry = crew.run("undo", promoted["id"], "--dry-run", "--json").json
    assert (dry["exact"], "+12" in dry["diff"]) == (False, True)
    done = ok(crew, "undo", promoted["id"], "--inverse")
    assert crew.git("rev-parse", "HEAD~1").strip() == tip
    assert (crew.repo / "src/data.txt").read_text() == NUMBERS.replace("6\n", "six\n")
    assert not (crew.repo / "docs.txt").exists()
    again = ok(crew, "redo", promoted["id"])
    assert (again["undo_of"], crew.git("rev-parse", "HEAD").strip()) == (done["id"], tip)
    nothing = crew.run("redo", promoted["id"], "--yes")
    assert (nothing.code, "not undone" in nothing.stderr) == (7, True), nothing


@pytest.mark.parametrize("join", ["--merge", "--squash"])
def test_a_branch_that_has_moved_on(night: Hermetic, join: str) -> None:
    crew = night
    base = crew.git("rev-parse", "HEAD").strip()
    crew.write({"package.json": "{}\n", "src/data.txt": NUMBERS.replace("6\n", "six\n")})
    tip = crew.commit("later")
    shape = ["--commits", "tasks"] if join != "--squash" else []
    dry = crew.run("promote", "R-1", join, *shape, "--dry-run", "--json").json
    assert (dry["drift"]["severity"], dry["drift"]["both"]) == ("high", ["src/data.txt"])
    assert dry["drift"]["critical"] == ["package.json"]
    ok(crew, "promote", "R-1", join, *shape)
    assert (crew.repo / "src/data.txt").read_text() == NUMBERS.replace("6\n", "six\n").replace(
        "1\n", "one\n", 1
    ).replace("12\n", "twelve\n")
    parents = crew.git("show", "-s", "--format=%P").split()
    if join == "--merge":
        assert parents[0] == tip
        assert crew.git("rev-parse", "HEAD^2~2").strip() == base
    else:
        assert subjects(crew, f"{tip}..") == (["second", "first"] if shape else subjects(crew, "-1"))
    assert crew.git("status", "--porcelain") == ""


def test_drift_that_wants_to_be_seen_first(crew: Hermetic) -> None:
    crew.write({".nightcrew/config.yaml": "drift:\n  on_medium: ask\n", "src/data.txt": NUMBERS})
    crew.commit("settings")
    assert crew.run_tasks(TASKS).code == 0
    assert crew.run("accept", "R-1").code == 0
    crew.write({"package.json": "{}\n"})
    head = crew.git("rev-parse", "HEAD")
    refused = crew.run("promote", "R-1", "--yes")
    assert (refused.code, "drift.on_medium" in refused.stderr, "package.json" in refused.stderr) == (
        5,
        True,
        True,
    )
    assert crew.git("rev-parse", "HEAD") == head
    assert crew.run("promote", "R-1", "--yes", "--drifted").code == 0


def test_hooks_run_when_they_are_asked_for_and_only_then(night: Hermetic) -> None:
    """All four of a commit, in git's order, on the tree as it will be; one that says no leaves everything as it was."""
    crew = night
    said = crew.root / "said"
    folder = crew.repo / ".git/hooks"
    for name, more in {
        "pre-commit": "git diff --cached --name-only HEAD | sort",
        "prepare-commit-msg": ":",
        "commit-msg": "echo 'Checked-by: hook' >> \"$1\"",
        "post-commit": "git log -1 --format=%s",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{{ echo {name}; {more}; }} >> {said}\n")
        if name == "commit-msg":
            (folder / name).write_text(f"#!/bin/sh\necho {name} >> {said}\n{more}\n")
        (folder / name).chmod(0o755)
    head = crew.git("rev-parse", "HEAD")
    (folder / "pre-commit").rename(folder / "kept")
    (folder / "pre-commit").write_text("#!/bin/sh\necho 'the words of the hook' >&2\nexit 3\n")
    (folder / "pre-commit").chmod(0o755)
    refused = crew.run("promote", "R-1", "--hooks", "--yes")
    assert (refused.code, "the words of the hook" in refused.stderr) == (6, True), refused
    assert (crew.git("rev-parse", "HEAD"), crew.git("status", "--porcelain")) == (head, "")
    assert (crew.repo / "src/data.txt").read_text() == NUMBERS
    (folder / "kept").rename(folder / "pre-commit")
    said.unlink(missing_ok=True)

    made = ok(crew, "promote", "R-1", "--hooks")
    lines = said.read_text().splitlines()
    assert [line for line in lines if line in (*folder_names(folder),)] == [
        *("prepare-commit-msg", "commit-msg", "pre-commit", "post-commit")
    ]
    assert lines[lines.index("pre-commit") + 1 : lines.index("post-commit")] == [
        *("docs.txt", "src/app.py", "src/data.txt")
    ]
    assert "Checked-by: hook" in crew.git("log", "-1", "--format=%B", made["new_commit"])
    said.unlink()
    ok(crew, "undo", made["id"])
    ok(crew, "redo", made["id"])
    assert not said.exists(), "hooks ran that nobody asked for"


def folder_names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if not each.name.endswith(".sample")}
