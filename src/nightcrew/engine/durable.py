"""DBOS as we use it: on the journal's own database, with JSON only, one executor, quiet. The only configuration of it.

Imported when a process hosts the engine and not before (0.6 s). Two things here reach below its public face, and the
dependency is pinned to a minor version because of them: pickle is refused wherever a row asks for it, and recovery
looks at its queue at once instead of after a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import dbos
from dbos import _serialization as serialization
from dbos._dbos import _get_dbos_instance

from nightcrew.model.errors import EngineUnavailable

if TYPE_CHECKING:
    import sqlalchemy as sa

#: Goes up when a workflow body or a step's name changes, so that old histories are not replayed by new code.
APPLICATION_VERSION: Final = "1"
EXECUTOR: Final = "local"
#: Attempts block a thread each while their process runs; everything else takes a thread for milliseconds.
MAX_THREADS: Final = 256
#: How often a queue with slots is looked at; about 1.5 % of a core per queue at 2 ms a look.
QUEUE_LOOK_S: Final = 0.2
#: How soon workflows of a dead host are taken up, and how often that queue is looked at later.
RECOVERY_LOOK_S: Final = 0.05
REST_LOOK_S: Final = 30.0
#: DBOS serves each queue with a thread of its own.
MAX_QUEUES: Final = 16


class WorkflowFailed(Exception):
    """The recorded failure of a workflow or step, as text."""


class JsonSerializer(serialization.Serializer):
    """JSON and nothing else: a row that could run code is refused, and what JSON cannot hold is a defect."""

    def serialize(self, data: Any) -> str:
        """Return JSON; an exception becomes its text."""
        if isinstance(data, BaseException):
            data = {"error": f"{type(data).__name__}: {data}"}
        return json.dumps(data, ensure_ascii=True, separators=(",", ":"))

    def deserialize(self, serialized_data: str) -> Any:
        """Return the value; the text of an exception becomes an exception again."""
        value = json.loads(serialized_data)
        return (
            WorkflowFailed(value["error"]) if isinstance(value, dict) and value.keys() == {"error"} else value
        )

    def name(self) -> str:
        """Name stored with every value, so that nobody else's rows are read as ours."""
        return "nightcrew_json"


@dataclass(frozen=True, slots=True)
class Bodies:
    """The workflow functions, registered."""

    drive: Callable[..., Any]
    perform: Callable[..., Any]
    attempt: Callable[..., Any]


def register(drive: Callable[..., Any], perform: Callable[..., Any], attempt: Callable[..., Any]) -> Bodies:
    """Register the three bodies under names that do not change; unlimited recoveries, because we count losses ourselves."""

    def wrap(name: str, body: Callable[..., Any]) -> Callable[..., Any]:
        return dbos.DBOS.workflow(name=name, max_recovery_attempts=None)(body)

    return Bodies(
        wrap("nightcrew.run", drive), wrap("nightcrew.task", perform), wrap("nightcrew.attempt", attempt)
    )


def start(engine: sa.Engine, log: logging.Handler) -> asyncio.AbstractEventLoop:
    """Launch DBOS on this database, take up what a dead host left, and return the loop its workflows run in.

    Raises:
        EngineUnavailable: it cannot be launched; the log says more.
    """
    refuse_pickle()
    quiet(log)
    config: dbos.DBOSConfig = {
        "name": "nightcrew",
        "system_database_url": engine.url.render_as_string(hide_password=False),
        "system_database_engine": engine,
        "application_version": APPLICATION_VERSION,
        "executor_id": EXECUTOR,
        "serializer": JsonSerializer(),
        "max_executor_threads": MAX_THREADS,
        "log_level": "ERROR",
        "console_log_level": "ERROR",
        "enable_otlp": False,
        "use_listen_notify": False,
        # Nothing of ours listens; this is only how soon its thread notices that we stop.
        "notification_listener_polling_interval_sec": 0.1,
        "scheduler_polling_interval_sec": 3600.0,
    }
    dbos.DBOS(config=config)
    look_for_recovered(RECOVERY_LOOK_S)
    try:
        dbos.DBOS.launch()
    except Exception as error:
        dbos.DBOS.destroy()
        raise EngineUnavailable(f"the engine does not start: {error}", code="engine.launch") from error
    loop = _get_dbos_instance()._background_event_loop.target_loop()  # noqa: SLF001
    if loop is None:
        raise EngineUnavailable("the engine has no event loop", code="engine.launch")
    return loop


def look_for_recovered(every_s: float) -> None:
    """Set how often the queue of recovered workflows is looked at: public settings do not reach it.

    Its default is a second, which is half the time a take-over may need; once taken over, it is never needed again.
    """
    queue = _get_dbos_instance()._registry.get_internal_queue()  # noqa: SLF001
    queue._polling_interval_sec = every_s  # noqa: SLF001


def stop() -> None:
    """End DBOS without waiting for workflows: what is pending stays pending, for the next host."""
    dbos.DBOS.destroy()


def refuse_pickle() -> None:
    """Make the default serializer useless: a row may name it whatever serializer we configure."""

    def refuse(*_: Any) -> Any:
        raise WorkflowFailed("a pickled value in the database was refused")

    # On the instance, because that is what DBOS looks the methods up on.
    vars(serialization.DBOSDefaultSerializer).update(serialize=refuse, deserialize=refuse)


def quiet(handler: logging.Handler) -> None:
    """Send what DBOS says to our log; it puts itself on the console only when it has no handler."""
    logger = logging.getLogger("dbos")
    logger.handlers[:] = [handler]
    logger.propagate = False


async def start_workflow(name: str, body: Callable[..., Any], *args: Any) -> Any:
    """Start a workflow under an id; when it was started before, that one is meant. Returns its handle."""
    with dbos.SetWorkflowID(name):
        return await dbos.DBOS.start_workflow_async(body, *args)


async def enqueue_workflow(queue: str, name: str, body: Callable[..., Any], *args: Any) -> Any:
    """Put a workflow on a queue under an id; when it was put there before, that one is meant. Returns its handle."""
    with dbos.SetWorkflowID(name):
        return await dbos.DBOS.enqueue_workflow_async(queue, body, *args)


async def run_step(name: str, body: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a step: once it has come back, its result is recorded and it is never run again."""
    return await dbos.DBOS.run_step_async({"name": name}, body, *args)


async def sleep(seconds: float) -> None:
    """Wait durably: a host that takes over waits only for what is left."""
    await dbos.DBOS.sleep_async(seconds)


def offer_slots(queue: str, slots: int) -> None:
    """Make sure that a queue with so many slots exists."""
    dbos.DBOS.register_queue(
        queue, worker_concurrency=slots, polling_interval_sec=QUEUE_LOOK_S, on_conflict="always_update"
    )


def find_status(name: str) -> str:
    """Return the state of a workflow as DBOS names it, empty when there is none of that id."""
    found = dbos.DBOS.get_workflow_status(name)
    return "" if found is None else str(found.status)
