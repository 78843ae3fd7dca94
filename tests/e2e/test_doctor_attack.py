"""``doctor --attack``: the shipped self-check, as a person runs it; and that its attacks are real ones."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from nightcrew.sandbox.attacks.catalogue import ENTRIES
from nightcrew.testing.hermetic import Hermetic

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay]

#: What gets through where there are no walls, whoever one is: an attack that did not would prove nothing elsewhere.
THROUGH = {
    "read_secret", "read_home", "stat_outside", "write_outside", "change_outside", "remove_outside", "chmod_outside",
    "follow_symlink", "link_hard", "race_symlink", "climb_by_rename", "change_git_settings", "read_shared_memory",
    "list_processes", "signal_process", "trace_self", "read_environments", "enter_process", "hold_privileges",
    "call_refused", "call_the_unknown", "use_keyring", "mount_anything", "hide_memory", "take_large_segment",
    "reach_loopback", "reach_loopback_oddly", "reach_abstract", "reach_unix", "find_segment", "read_sys",
    "fill_disk", "fill_deleted", "fill_inodes",
}  # fmt: skip
#: And what only root gets.
THROUGH_AS_ROOT = {
    "read_accounts", "write_system", "make_device", "become_other", "go_before_others", "write_switches", "read_kernel",
    "open_packet", "open_raw", "nest_namespaces", "load_module", "set_clock", "rename_machine", "make_writable",
}  # fmt: skip
BY_TREE = {
    "grow_file",
    "open_files",
    "print_endless_line",
    "ignore_term",
    "stay_silent",
    "leave_daemon",
    "outlive_runtime",
}


def left_behind(crew: Hermetic) -> list[Path]:
    return [path for path in crew.state.iterdir() if path.name.startswith("attack-")]


def test_everything_that_is_promised_holds(crew: Hermetic) -> None:
    (crew.home / "private.txt").write_text("mine\n")
    done = crew.run("doctor", "--attack", "--json", timeout_s=120)
    assert done.code == 0, done
    found = done.json
    assert (found["level"], found["ok"], found["counts"]["broken"]) == ("S3", True, 0)
    assert [each["name"] for each in found["findings"]] == [entry.name for entry in ENTRIES]
    assert len(ENTRIES) > 80
    opened = [each for each in found["findings"] if not each["held"]]
    assert {each["name"] for each in opened} <= {"burn_cpu"}, (
        "only what needs a control group may be open here"
    )
    assert all(each["why"] for each in opened)
    assert not any("attack itself failed" in each["said"] for each in found["findings"])
    assert left_behind(crew) == []
    assert list(crew.find_processes()) == []


@pytest.mark.parametrize("backend", ["bwrap", "podman"])
def test_it_holds_as_well_by_what_others_build(crew: Hermetic, backend: str) -> None:
    if shutil.which(backend) is None:
        pytest.skip(f"needs {backend}")
    done = crew.run("doctor", "--attack", "--backend", backend, "--json", timeout_s=150)
    if done.code == 11 and backend == "podman":
        pytest.skip(f"podman does not run here: {done.stderr[-300:]}")
    assert done.code == 0, done
    assert done.json["backend"] == backend
    opened = {each["name"] for each in done.json["findings"] if not each["held"]}
    assert opened <= {"burn_cpu"}, done.json["findings"]
    assert left_behind(crew) == []


def test_without_walls_the_attacks_get_through_and_the_person_is_told(crew: Hermetic) -> None:
    """What is tried is what would happen: at level S0 it does, but for what ends a tree."""
    (crew.home / "private.txt").write_text("mine\n")
    done = crew.run("doctor", "--attack", "--level", "S0", "--json", timeout_s=120)
    assert done.code == 0, done
    findings = {each["name"]: each for each in done.json["findings"]}
    through = {name for name, each in findings.items() if not each["held"]}
    assert (THROUGH | (THROUGH_AS_ROOT if os.geteuid() == 0 else set())) - through == set()
    assert {name for name in BY_TREE if not findings[name]["held"]} == set()
    assert not any("attack itself failed" in each["said"] for each in findings.values())
    assert all("S0 holds nothing" in findings[name]["why"] for name in through)
    assert left_behind(crew) == []
    assert list(crew.find_processes()) == []


def test_the_table_for_a_person_and_what_a_weaker_level_does_not_promise(crew: Hermetic) -> None:
    done = crew.run("doctor", "--attack", "--level", "S1", timeout_s=120)
    if done.code == 11:
        pytest.skip("needs Landlock")
    assert done.code == 0, done
    lines = done.stdout.splitlines()
    assert [line for line in lines if re.fullmatch(r"[a-z]+", line)] == [
        "files", "processes", "kernel", "network", "proxy", "greed", "ending",
    ]  # fmt: skip
    assert any(re.match(r"  held +make the system calls .* all of \d\d calls$", line) for line in lines)
    assert any(
        re.match(r"  open +see the host's processes .*\(the host's /proc is seen", line) for line in lines
    )
    assert re.match(
        r"level S1, built by landlock: \d\d attacks held off, 3 that .* not promise .*, 0 broken through$",
        lines[-1],
    )


def test_what_cannot_be_attacked_is_refused(crew: Hermetic) -> None:
    done = crew.run("doctor", "--level", "S3")
    assert (done.code, "they need --attack" in done.stderr) == (2, True)
    done = crew.run("doctor", "--attack", "--backend", "bwrap", "--level", "S1")
    assert done.code == 2, done
    assert "gives isolation S3 or S2, not S1" in done.stderr
    done = crew.run("doctor", "--attack", "--backend", "docker")
    assert done.code == 11, done
    assert "nothing was started" in done.stderr


def test_doctor_tells_which_limit_the_kernel_keeps(crew: Hermetic) -> None:
    [check] = [each for each in crew.run("doctor", "--json").json["checks"] if each["name"] == "limits"]
    told = dict(line.split(": ", 1) for line in check["more"])
    assert set(told) == {
        "memory", "processes", "cpus", "open_files", "file", "scratch", "disk", "inodes", "output",
    }  # fmt: skip
    assert told["disk"].startswith("watched"), "no quota of the file system is used"
    assert told["memory"].startswith(("exact", "watched"))
    assert (check["status"] == "warn") == told["cpus"].startswith("not kept")
