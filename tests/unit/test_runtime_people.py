"""People: forgetting everybody takes a day, and what a host that posts may be given."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nightcrew.gate.answering import Answer
from nightcrew.gate.approvals import decide
from nightcrew.host.clock import SystemClock
from nightcrew.host.posting import post
from nightcrew.model.errors import DeniedByPolicy, NotAuthenticated, StaleError
from nightcrew.model.people import Proof
from nightcrew.model.records import ApprovalRecord
from nightcrew.runtime.api import Runtime
from nightcrew.runtime.settings.environment import read_environment

PIN = "904711"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class MovedClock(SystemClock):
    """The machine's clock, moved by hand."""

    def __init__(self) -> None:
        self.at = NOON

    def now(self) -> datetime:
        return self.at

    def pass_time(self, **by: float) -> None:
        self.at += timedelta(**by)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
def runtime(tmp_path: Path, clock: MovedClock) -> Iterator[Runtime]:
    variables = {
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PATH": "/usr/bin:/bin",
    }
    made = Runtime(read_environment(variables), cwd=tmp_path, clock=clock)
    made.people.set_pin(PIN)
    yield made
    made.close()


def methods(runtime: Runtime) -> list[str]:
    return list(runtime.people.whoami()["methods"])


def test_everybody_is_forgotten_a_day_after_it_was_asked_for(runtime: Runtime, clock: MovedClock) -> None:
    assert runtime.people.whoami()["reset_asked_at"] == ""
    assert runtime.people.reset()["state"] == "asked"
    assert runtime.people.whoami()["reset_asked_at"], "whoever has a factor sees it"
    clock.pass_time(hours=23, minutes=59)
    with pytest.raises(StaleError) as early:
        runtime.people.reset()
    assert early.value.code == "auth.reset_wait"
    assert methods(runtime) == ["pin"]
    clock.pass_time(minutes=2)
    assert runtime.people.reset()["state"] == "done"
    assert methods(runtime) == []
    runtime.people.set_pin("55190")
    assert runtime.people.reset()["state"] == "asked", "it begins anew"


def test_a_right_proof_takes_it_back(runtime: Runtime, clock: MovedClock) -> None:
    runtime.people.reset()
    clock.pass_time(hours=20)
    with pytest.raises(NotAuthenticated):
        runtime.people.set_pin("55190", proof=Proof(pin="1905"))
    assert runtime.people.whoami()["reset_asked_at"], "a wrong one does not"
    runtime.people.set_pin("55190", proof=Proof(pin=PIN))
    clock.pass_time(hours=20)
    assert runtime.people.reset()["state"] == "asked"
    assert methods(runtime) == ["pin"]


def test_what_was_asked_for_long_ago_is_no_short_way(runtime: Runtime, clock: MovedClock) -> None:
    runtime.people.reset()
    clock.pass_time(days=9)
    assert runtime.people.reset()["state"] == "asked", (
        "a person who comes to the terminal now waits a day too"
    )
    assert methods(runtime) == ["pin"]


# -- one person under two names ------------------------------------------------------------------------------------

ASKED = ApprovalRecord(
    id="A-1", kind="action", state="pending", run="R-1", task="R-1/T01", digest="d" * 64, action={}, shown="x",
    rule="r", source="s", reason="why", risk="high", requester="agent:a", requested_at="2026-11-21T12:00:00.000000Z",
    quorum=2, owner="ada",
)  # fmt: skip


def say(by: str, account: str) -> Answer:
    return Answer(
        "approved", by, "command line", ASKED.digest, "2026-11-21T12:01:00.000000Z", account=account
    )


def test_one_account_is_one_voter_under_every_name() -> None:
    once = decide(ASKED, say("ada", "ada"))
    with pytest.raises(StaleError, match="both names are of the account ada"):
        decide(once, say("grace", "ada"))
    assert decide(once, say("grace", "")).state == "approved", "who has proved to be grace is"
    with pytest.raises(DeniedByPolicy):
        decide(replace(ASKED, not_requester=True), say("grace", "ADA"))


# -- posting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["https://a..b/", "https://" + "a" * 70 + ".example/", "http://127.0.0.1:9/\u00e9", "http://127.0.0.1:x/", "http://[::1/"],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_a_problem_and_no_error(url: str) -> None:
    came = post(url, b"{}", {}, timeout_s=5)
    assert (came.status, bool(came.problem)) == (0, True)


def test_headers_in_drops_end_with_the_time() -> None:
    """Each drop comes in time; all of them never would."""
    server = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        there, _ = server.accept()
        with there:
            try:
                there.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    there.sendall(b"x")
                    time.sleep(0.1)
            except OSError:
                return

    threading.Thread(target=drip, daemon=True).start()
    came = post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, timeout_s=1)
    server.close()
    assert (came.status, came.problem) == (0, "it did not answer in time")
