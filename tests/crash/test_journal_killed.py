"""Writers that are killed, and writers at the same time. Real processes on one real file."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time

from nightcrew.host.clock import SystemClock
from nightcrew.journal import Journal
from nightcrew.model.records import RunRecord

WRITER = """
import sys
from nightcrew.host.clock import SystemClock
from nightcrew.journal import Journal
url, name, rounds, per = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
journal = Journal.open(url, clock=SystemClock())
for number in range(rounds):
    with journal.write() as tx:
        mine = tx.next_id("C")
        for part in range(per):
            tx.append("x.happened", run=name if part % 2 else "R-9", data={"by": name, "round": number, "part": part, "id": mine})
    print(number, flush=True)
"""


def start(url, name, rounds, per=4):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, name, str(rounds), str(per)], stdout=subprocess.PIPE
    )


def read(journal):
    with journal.read() as tx:
        return tx.events()


def test_processes_and_threads_at_once_keep_one_gapless_chain(tmp_path):
    url = f"sqlite:///{tmp_path}/state/n.db"
    children = [start(url, f"R-{n}", 60) for n in (1, 2)]
    journal = Journal.open(url, clock=SystemClock())

    def write():
        for _ in range(30):
            with journal.write() as tx:
                tx.append("x.happened", run="R-9", data={"id": tx.next_id("C")})

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for child in children:
        child.communicate()
        assert child.returncode == 0
    found = journal.verify()
    assert found.ok, found.problem
    events = read(journal)
    assert [e.seq for e in events] == list(range(1, 2 * 60 * 4 + 3 * 30 + 1))
    ids = [e.data["id"] for e in events if e.data.get("part", 0) == 0]
    assert len(ids) == len(set(ids)) == 2 * 60 + 90
    journal.close()


def test_killed_while_writing_leaves_whole_transactions_and_a_chain_that_verifies(tmp_path):
    chance = random.Random(7)
    url = f"sqlite:///{tmp_path}/n.db"
    journal = Journal.open(url, clock=SystemClock())
    promised = 0
    for round_ in range(6):
        child = start(url, f"R-{round_}", 100_000, per=20)
        lines = [child.stdout.readline() for _ in range(3)]
        time.sleep(chance.random() * 0.1)
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.readlines()
        child.wait()
        child.stdout.close()
        promised += len([line for line in lines if line.endswith(b"\n")])
        found = journal.verify()
        assert found.ok, found.problem
        assert found.events % 20 == 0
        assert found.events >= 20 * promised
    with journal.write() as tx:
        tx.append("x.happened")
    assert journal.verify().ok
    journal.close()


def test_killed_before_the_commit_nothing_is_there(tmp_path):
    url = f"sqlite:///{tmp_path}/n.db"
    script = (
        "import sys; from nightcrew.host import crash; from nightcrew.host.clock import SystemClock; from nightcrew.journal import Journal\n"
        "from nightcrew.model.records import RunRecord\n"
        "journal = Journal.open(sys.argv[1], clock=SystemClock())\n"
        "with journal.write() as tx: tx.append('x.happened')\n"
        "crash.arm('here')\n"
        "with journal.write(durable=True) as tx:\n"
        "    tx.add(RunRecord(tx.next_id('R'), 'draft', 't', '/', 'k', 'c', 't', 1, 'd', 'p', 'u', '2025'), 'run.created')\n"
        "    tx.flush(); crash.point('here')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, url], check=False)
    assert done.returncode == -signal.SIGKILL
    journal = Journal.open(url, clock=SystemClock())
    assert [e.kind for e in read(journal)] == ["x.happened"]
    with journal.write() as tx:
        assert tx.find(RunRecord) == []
        assert tx.next_id("R") == "R-1"
    assert journal.verify().ok
    journal.close()


def test_two_processes_that_create_the_database_at_once(tmp_path):
    for round_ in range(3):
        url = f"sqlite:///{tmp_path}/{round_}/n.db"
        children = [start(url, f"R-{n}", 3) for n in range(4)]
        for child in children:
            child.communicate()
            assert child.returncode == 0
        journal = Journal.open(url, clock=SystemClock())
        found = journal.verify()
        assert (found.ok, found.events) == (True, 4 * 3 * 4), found
        journal.close()
