"""A machine that reaches the internet only through a proxy: from the user's settings to what that proxy hears."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nightcrew.testing.hermetic import Hermetic

pytestmark = pytest.mark.needs_userns

FETCH = """
import sys, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=20) as answer:
        print(answer.read().decode(), file=open("out.txt", "a"))
except OSError as problem:
    print(f"{sys.argv[1]}: {problem}")
    sys.exit(7)
"""


class Proxy(BaseHTTPRequestHandler):
    """Answers whole URLs itself, and keeps what it was asked with which login."""

    heard: list[tuple[str, str]] = []  # noqa: RUF012 - of the class: one server in a test

    def do_GET(self) -> None:
        self.heard.append((self.path, self.headers["Proxy-Authorization"] or ""))
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"proxied")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[int]:
    Proxy.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_task_goes_out_through_the_proxy_of_its_user(crew: Hermetic, proxy: int) -> None:
    settings = crew.root / "config" / "nightcrew" / "config.yaml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(
        f"network:\n  upstream_proxy: http://127.0.0.1:{proxy}\n  upstream_login: {{env: PROXY_LOGIN}}\n"
        "pass_env: [LANG, PROXY_LOGIN]\n"
    )
    crew.write({"fetch.py": FETCH})
    crew.commit("fetch")
    shown = crew.look("policy", "network", "--json").json
    assert shown["upstream_proxy"] == f"127.0.0.1:{proxy}"
    tasks = (
        "- [ ] 1. Fetch\n  - Network: world.test\n"
        "  - Run: python3 fetch.py http://world.test/a; ! python3 fetch.py http://elsewhere.test/b;"
        " env | grep -i login > login.txt; true\n"
        '  - Accept: test "$(cat out.txt)" = proxied && test ! -s login.txt\n'
    )
    plan = crew.write_plan(tasks)
    refused = crew.run("run", "-f", str(plan), "--yes", timeout_s=120)
    assert refused.code != 0
    assert "network.upstream_proxy" in refused.stderr
    assert Proxy.heard == []
    ran = crew.run("run", "-f", str(plan), "--yes", timeout_s=180, extra={"PROXY_LOGIN": "me:secret"})
    assert Proxy.heard == [("http://world.test/a", "Basic bWU6c2VjcmV0")], ran
    assert "secret" not in ran.stdout + ran.stderr
    events = crew.look("events", "--kinds", "net.requested", "--json").stdout
    assert '"host": "world.test"' in events or '"host":"world.test"' in events


def test_a_repository_does_not_choose_the_proxy(crew: Hermetic, proxy: int) -> None:
    crew.write(
        {".nightcrew/config.yaml": f"network: {{upstream_proxy: 'http://127.0.0.1:{proxy}'}}\n", "a": "a"}
    )
    crew.commit("mine")
    done = crew.run_tasks("- [ ] 1. Nothing\n  - Run: true\n")
    assert done.code == 2, done
    said = done.stdout + done.stderr
    assert "a repository does not decide which proxy" in said
    assert ".nightcrew/config.yaml" in said
