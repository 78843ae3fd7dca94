"""The strong engine, where its package is installed: it finds at promotion what ours has no form for, and is told by name."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = [
    pytest.mark.needs_userns,
    pytest.mark.skipif(find_spec("kingfisher") is None, reason="needs the package of nightcrew[secrets]"),
]

#: Of an issuer whose form the engine knows and ours does not; one that ours is taught to know proves nothing here.
KEY = "zpka" + "_0f1e2d3c4b5a69788796a5b4c3d2e1f0_4be1c7a9"


def test_it_refuses_what_ours_does_not_know_and_can_be_allowed(crew: Hermetic) -> None:
    spec = find_spec("kingfisher")
    assert spec is not None
    assert spec.origin
    extra = {"PYTHONPATH": str(Path(spec.origin).parents[1])}
    done = crew.run_tasks(
        "- [ ] 1. work\n  - Run: printf 'x = %s_%s_%s\\n' " + KEY.replace("_", " ") + " > src/x.txt\n"
        "  - Accept: test -f src/x.txt\n"
    )
    assert done.code == 0, done
    assert crew.run("accept", "R-1/T01").code == 0
    refused = crew.run("promote", "R-1", "--yes", extra=extra, timeout_s=170)
    assert refused.code == 6, refused
    assert "src/x.txt:1" in refused.stderr
    assert KEY[8:-4] not in refused.stderr
    view = crew.run("promote", "R-1", "--dry-run", "--json", extra=extra).json
    assert view["secret_engines"] == ["nightcrew", "kingfisher"]
    [found] = view["secrets"]
    assert found["rule"].startswith("secrets.kingfisher.")
    assert crew.run("secrets", "allow", found["fingerprint"], "--reason", "closed account").code == 0
    done = crew.run("promote", "R-1", "--yes", extra=extra)
    assert done.code == 0, done
    events = [json.loads(line) for line in crew.look("events", "--json").stdout.splitlines()]
    [prepared] = [event for event in events if event["kind"] == "promotion.prepared"]
    assert prepared["data"]["secret_engines"] == ["nightcrew", "kingfisher"]
    assert not list(crew.state.rglob("scan-*")), "the copies are gone"
    doctor = crew.run("doctor", extra=extra)
    assert "kingfisher at promotion" in doctor.stdout + doctor.stderr
