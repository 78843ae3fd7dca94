"""What a capture of every kind of shadow sees: row 13 of the conformance suite."""

from __future__ import annotations

import time

from nightcrew.checkpoint.memory import CaptureMemory
from shadow_samples import changed, open_one


def test_capture_sees_staged_committed_ignored_binary_renamed_odd_links_and_modes(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        r"""set -e
        echo staged > staged; git add staged
        echo committed > committed; git add committed; git commit -qm c
        echo ignored > noise.log
        printf '\0\001\377' > binary
        git mv src/deep/one src/renamed
        printf x > "$(printf 'new\nline')"; printf x > "$(printf '\377')"; printf x > -dash; printf x > 'quo"te'
        ln -sf /etc/passwd link; ln -s nowhere dangling
        chmod +x README.md
        : > empty
        """,
    )
    captured = world.capture(shadows, shadow)
    found = {p.path: p for p in world.store.compare(shadow.base.tree, captured.tree).paths}
    assert {name: p.kind for name, p in found.items()} == {
        "staged": "added",
        "committed": "added",
        "noise.log": "added",
        "binary": "added",
        "src/deep/one": "deleted",
        "src/renamed": "added",
        "new\nline": "added",
        "\udcff": "added",
        "-dash": "added",
        'quo"te': "added",
        "link": "modified",
        "dangling": "added",
        "README.md": "modified",
        "empty": "added",
    }
    assert [name for name, p in found.items() if p.ignored] == ["noise.log"]
    assert [name for name, p in found.items() if p.binary] == ["binary"]
    assert (found["link"].new_mode, found["link"].link_target) == (0o120000, "/etc/passwd")
    assert (found["README.md"].old_mode, found["README.md"].new_mode) == (0o100644, 0o100755)
    assert (found["README.md"].lines_added, found["README.md"].lines_deleted) == (0, 0)
    assert found["src/renamed"].new_id == found["src/deep/one"].old_id


def test_file_and_directory_trade_places(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "rm -r src && echo file > src && rm README.md && mkdir README.md && echo in > README.md/in",
    )
    assert changed(world, shadows, shadow) == {
        "README.md": "deleted",
        "README.md/in": "added",
        "src": "added",
        "src/app.py": "deleted",
        "src/deep/one": "deleted",
        "src/deep/two": "deleted",
    }


def test_directory_made_anew_loses_what_it_had(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows, shadow, "rm -r src && mkdir -p src/deep && echo 1 > src/deep/one && echo 3 > src/deep/three"
    )
    assert changed(world, shadows, shadow) == {
        "src/app.py": "deleted",
        "src/deep/three": "added",
        "src/deep/two": "deleted",
    }


def test_empty_directory_in_place_of_files_deletes_them(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "rm -r src README.md && mkdir src README.md")
    assert set(changed(world, shadows, shadow)) == {"README.md", "src/app.py", "src/deep/one", "src/deep/two"}


def test_touching_and_undoing_is_no_change(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "touch README.md; echo x > new; rm new; cp README.md k; echo y > README.md; cat k > README.md; rm k;"
        "chmod 600 src/app.py; mv src/deep/one t; mv t src/deep/one; ln -sfn src/app.py link",
    )
    captured = world.capture(shadows, shadow)
    assert captured.tree == shadow.base.tree


def test_old_modification_time_does_not_hide_a_change(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows, shadow, "cp -p README.md /tmp/k; printf '# SAMPLE\\n' > README.md; touch -r /tmp/k README.md"
    )
    assert changed(world, shadows, shadow) == {"README.md": "modified"}


def test_what_git_cannot_store_is_refused_in_words(world, shadows):
    shadow = open_one(world, shadows)
    world.run(
        shadows,
        shadow,
        "mkfifo pipe src/pipe; git init -q nested; echo 1 > nested/file; mkdir -p x/.GIT; echo 1 > x/.GIT/config;"
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")' || mkfifo sock",
    )
    captured = world.capture(shadows, shadow)
    assert [r.partition(": ")[0] for r in captured.refused] == [
        "nested/.git",
        "pipe",
        "sock",
        "src/pipe",
        "x/.GIT",
    ]
    assert "nested/.git: a nested git directory" in captured.refused
    assert "pipe: a FIFO" in captured.refused
    assert world.store.read(captured.tree, "nested/file") == b"1\n"
    assert world.store.read(captured.tree, "x/.GIT/config") is None


def test_deleting_the_whole_git_directory_changes_nothing(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "rm -rf .git; ln -s /etc .git; echo 1 > new")
    assert changed(world, shadows, shadow) == {"new": "added"}
    assert world.run(shadows, shadow, "cat new") == "1\n"


def test_large_file_is_stored_in_pieces_and_read_back(world, shadows):
    shadow = open_one(world, shadows)
    world.run(shadows, shadow, "head -c 20000000 /dev/zero | tr '\\0' x > big; echo end >> big")
    captured = world.capture(shadows, shadow)
    (entry,) = world.store.delta(shadow.base.tree, captured.tree)
    with entry.open() as content:
        data = content.read()
    assert data == b"x" * 20_000_000 + b"end\n"
    assert (
        world.git("--git-dir", str(world.store.path), "cat-file", "-s", f"{captured.tree}:big")
        == "20000004\n"
    )


def test_captures_that_build_on_the_last_one_are_those_that_begin_anew(world, shadows):
    shadow = open_one(world, shadows)
    memory = CaptureMemory()
    steps = (
        ("mkdir -p new/deep && echo 1 > new/deep/one && echo 1 > src/app.py && rm README.md", ()),
        ("true", ()),
        ("echo 2 > src/app.py && echo 3 > new/deep/three", ()),
        ("echo 4 > src/four && mkdir other && echo 5 > other/five", ()),
        ("head -c 2000 /dev/zero > new/deep/one && echo 6 > src/six", ("new/deep/one",)),
        ("true", ("new/deep/one",)),
        ("echo 7 > new/deep/one && rm src/four", ()),
        ("rm -r new && echo 8 > new && echo 8 > other/eight", ()),
        ("echo 9 > other/five && git checkout -q HEAD README.md", ()),
        ("ln -s five other/link && chmod +x other/five", ()),
    )
    for script, refused in steps:
        world.run(shadows, shadow, script)
        # So long that what was done shows in the times of the files.
        time.sleep(0.05)
        limits = {"max_file_bytes": 1000}
        taken = world.store.capture(shadow.base.tree, shadows.scan(shadow), memory=memory, **limits)
        anew = world.store.capture(shadow.base.tree, shadows.scan(shadow), **limits)
        assert (script, taken.tree, taken.refused) == (script, anew.tree, anew.refused)
        assert tuple(each.partition(":")[0] for each in taken.refused) == refused
