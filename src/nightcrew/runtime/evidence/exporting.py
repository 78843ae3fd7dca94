"""Events in the forms that other programs read: JSON lines as recorded, CSV, OpenTelemetry. Pure."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from nightcrew.host.clock import parse_stamp
from nightcrew.model import canonical
from nightcrew.model.events import Event

COLUMNS: Final = ("seq", "at", "kind", "run", "task", "attempt", "actor", "data", "prev", "hash")
_AT_ONCE: Final = 200
"""Events in one request of OpenTelemetry."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SEVERE: Final[Mapping[str, tuple[int, str]]] = {
    "failed": (17, "ERROR"),
    "denied": (13, "WARN"),
    "reached": (13, "WARN"),
    "refused": (13, "WARN"),
    "left": (17, "ERROR"),
}


def write_jsonl(events: Iterable[Event]) -> Iterator[str]:
    """Yield a line of canonical JSON for each event, as recorded: its hash can be made anew from it.

    Older events can hold numbers that JSON has no form for; a valid line goes before their hash.
    """
    for event in events:
        yield canonical.encode_plain(canonical.without_infinities(canonical.to_plain(event))) + "\n"


def write_csv(events: Iterable[Event]) -> Iterator[str]:
    """Yield a heading and a row for each event; what a spreadsheet would take for a formula gets an apostrophe in front."""
    yield _row(COLUMNS)
    for event in events:
        plain: dict[str, Any] = canonical.to_plain(event)
        plain["data"] = canonical.encode_plain(canonical.without_infinities(plain["data"]))
        yield _row([_cell(plain[name]) for name in COLUMNS])


def _row(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def write_otel(events: Iterable[Event]) -> Iterator[str]:
    """Yield lines of OTLP JSON (``ExportLogsServiceRequest``), as a collector's file receiver reads them.

    A run is a trace, an attempt (else its task) a span: their ids are made of ours, so they are the same in every export.
    """
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(_log_record(event))
        if len(batch) == _AT_ONCE:
            yield _request(batch)
            batch = []
    if batch:
        yield _request(batch)


def _request(records: list[dict[str, Any]]) -> str:
    resource = {"attributes": [_attribute("service.name", "nightcrew")]}
    scope = {"scope": {"name": "nightcrew.journal"}, "logRecords": records}
    return canonical.encode_plain({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}) + "\n"


def _log_record(event: Event) -> dict[str, Any]:
    severity, word = _SEVERE.get(event.kind.rpartition(".")[2], (9, "INFO"))
    named = {
        "nightcrew.run": event.run,
        "nightcrew.task": event.task,
        "nightcrew.attempt": event.attempt,
        "nightcrew.actor": event.actor,
        "nightcrew.hash": event.hash,
        "nightcrew.prev": event.prev,
    }
    attributes = [_attribute("nightcrew.seq", event.seq)]
    attributes += [_attribute(name, value) for name, value in named.items() if value]
    record: dict[str, Any] = {
        "severityNumber": severity,
        "severityText": word,
        "eventName": event.kind,
        "body": _value(canonical.to_plain(event.data)),
        "attributes": attributes,
    }
    if event.at:  # nothing is left of the time of an event that was emptied
        moment = parse_stamp(event.at)
        record["timeUnixNano"] = str(int(moment.timestamp()) * 10**9 + moment.microsecond * 1000)
    if event.run:
        record["traceId"] = hashlib.sha256(event.run.encode()).hexdigest()[:32]
        if span := event.attempt or event.task:
            record["spanId"] = hashlib.sha256(span.encode()).hexdigest()[:16]
    return record


def _attribute(name: str, value: Any) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: Any) -> dict[str, Any]:
    """Return a value as OTLP JSON has it: whole numbers are texts there."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        # Protobuf's JSON has texts for what JSON has no numbers for.
        return {"doubleValue": value if math.isfinite(value) else canonical.name_float(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [_attribute(str(key), item) for key, item in value.items()]}}
    return {} if value is None else {"stringValue": str(value)}


FORMATS: Final[Mapping[str, Callable[[Iterable[Event]], Iterator[str]]]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "otel": write_otel,
}
