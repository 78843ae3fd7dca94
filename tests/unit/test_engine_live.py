"""Who stops a host waits for all that its attempts still write down."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from nightcrew.engine.work.live import Interrupted, Live


def test_an_interrupt_waits_until_every_attempt_is_written_down_as_lost() -> None:
    live, lost = Live(), list[str]()

    def abandon() -> None:
        time.sleep(0.3)
        lost.append("T01")

    def work() -> None:
        with suppress(Interrupted), live.running("T01", abandon) as signals:
            signals.stop.wait(30)
            raise Interrupted

    worker = threading.Thread(target=work)
    worker.start()
    while not live.tasks():
        time.sleep(0.01)
    assert live.interrupt(30)
    assert lost == ["T01"]
    worker.join()
    with pytest.raises(Interrupted), live.running("T02", lambda: lost.append("T02")):
        pass
    assert (lost, live.tasks()) == (["T01", "T02"], set())
