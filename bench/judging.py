"""Rows: a decision of the policy, the search for secrets, the journal. The size of the repository plays no part."""

from __future__ import annotations

import sqlite3
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from ground import Ground, command
from rows import Act, Row, interleave

from nightcrew.host.clock import SystemClock
from nightcrew.host.shell import parse
from nightcrew.journal import Journal
from nightcrew.model.actions import Action
from nightcrew.policy.judge import judge
from nightcrew.policy.load import layer, parse_policy
from nightcrew.policy.scanning.contents import scan_content
from nightcrew.policy.secrets import redact

RULES = 100
DECISIONS = 1000
COMMAND = "cd src && make -j4 test > log.txt"
SEARCHED = 1000
SOURCES = 24 << 20
EVENTS, BATCH = 10_000, 50


def measure(ground: Ground, rounds: int) -> Iterator[Row]:
    yield from _decide(rounds)
    yield _search(ground, rounds)
    yield _search_sources(ground, rounds)
    yield from _append(ground, rounds)


def _decide(rounds: int) -> Iterator[Row]:
    rule = "  - {{id: r{0}, when: {{program: p{0}}}, decision: ask, reason: measured, hint: none}}\n"
    text = "version: 1\ncommands:\n" + "".join(rule.format(number) for number in range(RULES))
    policy = layer([parse_policy(text, "bench")])
    action = Action("exec", command=COMMAND)
    tree = parse(COMMAND)
    commands = iter(range(10**9))

    def decide() -> None:
        for _ in range(DECISIONS):
            judge(policy, action, parse=lambda _: tree)

    def decide_anew() -> None:
        for _ in range(DECISIONS):
            # Another line every time; its tree is handed over, so that reading it is counted and parsing is not.
            judge(policy, Action("exec", command=f"{COMMAND} {next(commands)}"), parse=lambda _: tree)

    parse_one = Act(lambda: parse(f"{COMMAND} {next(commands)}"))
    decided, anew, parsed = interleave([Act(decide), Act(decide_anew), parse_one], rounds)
    yield Row(f"a decision of the policy, {RULES} rules", 0, decided / DECISIONS, "50 us", 0.05, 1)
    yield Row("the same for a line not read before", 0, anew / DECISIONS, "50 us", 0.05, 1)
    yield Row("a command line parsed", 0, parsed, "5 ms", 5.0, 1)


def _search(ground: Ground, rounds: int) -> Row:
    place = ground.state / "searched"
    chosen = ground.files.spread(min(SEARCHED, ground.number // 2), seed=12)
    ground.files.write(place, chosen, 0)
    contents = [(ground.files.paths[at], ground.files.content(at)) for at in chosen]

    def search() -> None:
        for path, content in contents:
            scan_content(content, path)

    def grep() -> None:
        command("sh", "-c", f"grep -rE 'AKIA[0-9A-Z]{{16}}' {place} || true")

    ours, theirs = interleave([Act(search), Act(grep)], rounds)
    return Row(f"secrets searched in {len(chosen)} files", 0, ours, "grep -r of one pattern", theirs, 10)


def _search_sources(ground: Ground, rounds: int) -> Row:
    """Large files of real source text: Python's own library, which stands beside every interpreter."""
    library = Path(sysconfig.get_path("stdlib"))
    place = ground.state / "sources"
    place.mkdir()
    contents: list[tuple[str, bytes]] = []
    size = 0
    for path in sorted(library.rglob("*.py")):
        if "site-packages" in path.parts or size >= SOURCES:
            continue
        content = path.read_bytes()
        size += len(content)
        (place / f"{len(contents)}.py").write_bytes(content)
        contents.append((str(path.relative_to(library)), content))

    def search() -> None:
        for path, content in contents:
            scan_content(content, path)

    def grep() -> None:
        command("sh", "-c", f"grep -rE 'AKIA[0-9A-Z]{{16}}' {place} || true")

    ours, theirs = interleave([Act(search), Act(grep)], rounds)
    what = f"secrets searched in {size >> 20} MiB of sources"
    return Row(what, 0, ours, "grep -r of one pattern", theirs, 10)


def _append(ground: Ground, rounds: int) -> Iterator[Row]:
    """The journal as it is, and with the search for secrets in texts that are new every time, beside two yardsticks: INSERT into a bare
    table, and INSERT into a table declared like the journal's. Both write the same bytes of data, which were encoded before."""
    numbers = iter(range(10**9))
    acts = [
        _journal(ground, numbers),
        _journal(ground, numbers, redact=redact),
        _rows(ground, numbers, _BARE),
        _rows(ground, numbers, _SAME),
    ]
    ours, searched, bare, same = interleave(acts, rounds)
    what = f"{EVENTS} events into the journal, {BATCH} at once"
    yield Row(what, 0, ours, "INSERT with the same sync mode", bare, 2)
    yield Row(what, 0, ours, "INSERT of the same rows into the same table", same, 2)
    yield Row(what, 0, ours, "10,000 events a second", EVENTS / 10, 1)
    yield Row(
        f"{what}, new texts searched for secrets", 0, searched, "10,000 events a second", EVENTS / 10, 1
    )


def _journal(ground: Ground, numbers: Iterator[int], redact: Callable[[str], str] = lambda text: text) -> Act:
    opened: list[Journal] = []

    def prepare() -> None:
        url = f"sqlite:///{ground.state}/j{next(numbers)}.db"
        opened.append(Journal.open(url, clock=SystemClock(), redact=redact))
        with opened[-1].write() as tx:
            tx.append("a.b")

    texts = _texts()

    def append() -> None:
        for batch in texts:
            with opened[-1].write() as tx:
                for text in batch:
                    tx.append("a.b", run="R-1", data={"path": "src/app.py", "text": text})

    return Act(append, prepare, lambda: opened.pop().close())


def _texts() -> list[list[str]]:
    """Return what is told, by batches: other words in every event."""
    text = "step {}.{} of this task: make -j4 test, then write down what came of it in notes.md"
    return [[text.format(batch, number) for number in range(BATCH)] for batch in range(EVENTS // BATCH)]


_BARE = "CREATE TABLE e (seq INTEGER PRIMARY KEY, at, kind, run, task, attempt, actor, data, prev, hash)"
_SAME = (
    "CREATE TABLE e (seq INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, run TEXT NOT NULL, task TEXT NOT NULL, "
    "attempt TEXT NOT NULL, actor TEXT NOT NULL, data TEXT NOT NULL, prev TEXT NOT NULL, hash TEXT NOT NULL)"
)


def _rows(ground: Ground, numbers: Iterator[int], tables: str) -> Act:
    opened: list[sqlite3.Connection] = []
    batches = [[f'{{"path":"src/app.py","text":"{text}"}}' for text in batch] for batch in _texts()]
    at, prev, digest = "2025-11-21T13:40:02.000123Z", "p" * 64, "h" * 64
    insert = (
        "INSERT INTO e (at, kind, run, task, attempt, actor, data, prev, hash) VALUES (?,?,?,?,?,?,?,?,?)"
    )

    def prepare() -> None:
        opened.append(sqlite3.connect(ground.state / f"i{next(numbers)}.db", isolation_level=None))
        opened[-1].execute("PRAGMA journal_mode=WAL")
        opened[-1].execute("PRAGMA synchronous=NORMAL")
        opened[-1].executescript(tables)

    def write() -> None:
        for batch in batches:
            opened[-1].execute("BEGIN")
            for data in batch:
                opened[-1].execute(insert, (at, "a.b", "R-1", "", "", "engine", data, prev, digest))
            opened[-1].execute("COMMIT")

    return Act(write, prepare, lambda: opened.pop().close())
