"""Undo and redo land trees too: an inverse, and whatever comes back, pass the same gates as a promotion."""

from __future__ import annotations

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

KEY = "gh" + "p_kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pAabcd"


def test_what_lands_again_passes_the_gates_again(crew: Hermetic) -> None:
    crew.write({"Makefile": f"all:\n\techo one {KEY}\n"})
    crew.commit("a Makefile of the user's own, with a key in it")
    done = crew.run_tasks(
        "- [ ] 1. work\n  - Run: printf 'all:\\n\\techo two\\n' > Makefile && echo x > src/new.txt\n"
    )
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01").code == 0
    assert crew.run("promote", "R-1", "--yes", "--allow-handoff", "build").code == 0
    # Exact: what comes back is what was there; nobody is asked anything.
    assert crew.run("undo", "M-1", "--yes").code == 0
    # What comes again is the agent's: it is asked for again.
    refused = crew.run("redo", "M-1", "--yes")
    assert refused.code == 5, refused
    assert "Makefile: make and other build tools" in refused.stderr or "Makefile" in refused.stderr
    assert "nightcrew redo M-1 --yes --allow-handoff build" in refused.stderr
    assert crew.run("redo", "M-1", "--yes", "--allow-handoff", "build").code == 0
    # Commits came after it: the inverse is a new tree, and it brings a key that is in nothing that landed before.
    crew.write({"later.txt": "later\n"})
    crew.commit("later")
    before = crew.git("rev-parse", "HEAD")
    dry = crew.run("undo", "M-1", "--dry-run", "--json").json
    assert [(each["path"], each["class"]) for each in dry["handoff"]] == [("Makefile", "build")]
    assert [each["path"] for each in dry["secrets"]] == ["Makefile"]
    assert KEY not in str(dry)
    refused = crew.run("undo", "M-1", "--inverse", "--yes", "--allow-handoff", "build")
    assert refused.code == 6, refused
    assert "1 secret in what would land; nothing was changed" in refused.stderr
    assert crew.git("rev-parse", "HEAD") == before
    [found] = dry["secrets"]
    assert crew.run("secrets", "allow", found["fingerprint"], "--reason", "mine, and old").code == 0
    assert crew.run("undo", "M-1", "--inverse", "--yes").code == 5
    done = crew.run("undo", "M-1", "--inverse", "--yes", "--allow-handoff", "Makefile")
    assert done.code == 0, done
    assert KEY in crew.git("show", "HEAD:Makefile")
