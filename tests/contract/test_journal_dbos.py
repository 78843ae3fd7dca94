"""The durable engine on the journal's own database connection pool. Each in a process of its own: DBOS is global."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, threading
from nightcrew.host.clock import SystemClock
from nightcrew.journal import Journal
url = sys.argv[1]
journal = Journal.open(url, clock=SystemClock())
from dbos import DBOS
DBOS(config={"name": "nightcrew", "system_database_engine": journal.engine, "system_database_url": url,
             "run_admin_server": False, "log_level": "ERROR"})

@DBOS.step()
def step(value):
    with journal.write() as tx:
        tx.append("step.done", run="R-1", data={"value": value})
    return value + 1

@DBOS.workflow()
def workflow(value):
    return step(step(value))

DBOS.launch()
stop = threading.Event()
def busy():
    while not stop.is_set():
        with journal.write() as tx:
            tx.append("other.happened")
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads: thread.start()
handles = [DBOS.start_workflow(workflow, number) for number in range(10)]
results = [handle.get_result() for handle in handles]
stop.set()
for thread in threads: thread.join()
from sqlalchemy import text
with journal.engine.connect() as connection:
    kinds = connection.execute(text("select distinct typeof(created_at), typeof(updated_at) from workflow_status")).all()
DBOS.destroy()
found = journal.verify()
with journal.read() as tx:
    steps = len(tx.events(kinds=("step.done",)))
print(results == list(range(2, 12)), found.ok, steps, [tuple(k) for k in kinds])
"""


def test_dbos_launches_runs_and_ends_on_our_engine_while_we_write(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"sqlite:///{tmp_path}/state/n.db"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "True True 20 [('integer', 'integer')]\n", done.stderr[-3000:]


def test_the_millisecond_function_gives_whole_milliseconds():
    """``unixepoch('subsec') * 1000`` goes into INTEGER columns; a fraction would be stored as a float."""
    for milliseconds in range(1_763_000_000_000, 1_763_000_000_000 + 200_000, 7):
        assert milliseconds / 1000 * 1000 == milliseconds
