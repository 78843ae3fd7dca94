"""The log of a host takes over whatever Python would print by itself, and holds nothing of a secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BODY = "kX9wQ2mZ7vB4nL8tR1yC6sD3fG5hJ0pA"
HOST = """
import asyncio, gc, logging, sys, threading, warnings
from pathlib import Path
from nightcrew.engine.logbook import Logbook
from nightcrew.policy.secrets import redact

def key(mark):
    return "gh" + f"p_{mark}" + sys.argv[2]

class Broken:
    def __del__(self):
        raise ValueError(key("Unraisable"))

def fail():
    raise RuntimeError(key("Thread"))

async def leave_failed():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)

book = Logbook(Path(sys.argv[1]), redact)
thread = threading.Thread(target=fail)
thread.start()
thread.join()
logging.getLogger("some.library").error("it said %s", key("Library"))
warnings.warn(key("Warning"))
asyncio.run(leave_failed())
held = Broken()
del held
gc.collect()
book.close()
logging.getLogger("some.library").error("afterwards")
"""


def test_everything_that_is_said_by_itself_is_in_the_log_and_redacted(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(log), BODY], capture_output=True, text=True, check=True
    )
    text = log.read_text()
    assert text.count("ghp_***pA") == 4
    assert BODY[:8] not in text
    assert "ZeroDivisionError" in text
    assert (done.stdout, done.stderr) == ("", "afterwards\n")
    assert log.stat().st_mode & 0o777 == 0o600
