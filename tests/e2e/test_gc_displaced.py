"""``nightcrew gc`` and what promotions have replaced: told before it is done, done once, and left where it cannot be read."""

from __future__ import annotations

import json

import pytest

from nightcrew.host.clock import SystemClock
from nightcrew.host.repository import discover
from nightcrew.promote.promoter import Promoter
from nightcrew.promote.pruning import KEEP
from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns


def promote_often(crew: Hermetic, times: int) -> None:
    """Promote a new version of one file again and again, as the command does it."""
    (store,) = crew.state.glob("*/objects")
    promoter = Promoter(
        discover(crew.repo, crew.variables),
        store_git_dir=str(store),
        state_dir=store.parent,
        env=crew.variables,
        clock=SystemClock(),
    )
    for number in range(times):
        (crew.repo / "often").write_text(f"{number}\n")
        crew.git("add", "often")
        tree = crew.git("write-tree").strip()
        crew.git("reset", "-q", "--hard")
        commit = crew.git("rev-parse", "HEAD").strip()
        promoter.publish(promoter.prepare(f"M-{100 + number}", base_commit=commit, tree=tree, message="m\n"))


def test_what_old_promotions_have_replaced_goes(crew: Hermetic) -> None:
    assert crew.run_tasks("- [ ] 1. one\n  - Run: touch one\n  - Accept: test -e one\n").code == 0
    promote_often(crew, KEEP + 3)
    (told,) = crew.run("gc", "--dry-run", "--json").json["repositories"]
    assert told["displaced"] == 2  # of three old ones, the first came where nothing was
    assert told["displaced_bytes"] > 0
    plan = crew.repo / ".git/nightcrew/M-122/plan.json"
    written = plan.read_text()
    plan.write_text(json.dumps({**json.loads(written), "format": 99}))
    newer = crew.run("gc", "--json")
    assert newer.code == 0, newer
    (left,) = newer.json["repositories"]
    assert left["displaced"] == 0
    assert "what promotions have displaced stays: " in left["notes"][0]
    plan.write_text(written)
    (done,) = crew.run("gc", "--json").json["repositories"]
    assert (done["displaced"], done["displaced_bytes"]) == (told["displaced"], told["displaced_bytes"])
    (again,) = crew.run("gc", "--json").json["repositories"]
    assert again["displaced"] == 0
