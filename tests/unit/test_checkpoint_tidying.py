"""Packs put together in the background: a real store, threads that note and wait as they like."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest

from nightcrew.checkpoint import compaction
from nightcrew.checkpoint.compaction import MAX_SMALL_PACKS, Tidying
from nightcrew.checkpoint.inventory import list_packs
from nightcrew.checkpoint.packs import PackWriter
from nightcrew.host.git import Git


@pytest.fixture
def store(tmp_path):
    store = tmp_path / "store"
    subprocess.run(["git", "init", "-q", "--bare", str(store)], check=True)
    return store


@pytest.fixture
def tidying(store):
    env = {"PATH": os.environ["PATH"], "HOME": str(store)}
    return Tidying(store, lambda: Git(str(store), env=env, trusted=False))


def fill(store, begin, number=MAX_SMALL_PACKS + 1):
    ids = []
    for each in range(begin, begin + number):
        pack = PackWriter(store / "objects", 40)
        ids.append(pack.add("blob", b"%d" % each))
        pack.publish()
    return ids


def read_all(store, ids):
    words = ["git", "--git-dir", str(store), "cat-file", "--batch-check=%(objecttype)"]
    done = subprocess.run(words, input="\n".join(ids), check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_who_waits_gets_done_at_once_what_was_noted(store, tidying, monkeypatch):
    monkeypatch.setattr(compaction, "_QUIET_S", 3600.0)
    ids = fill(store, 0)
    tidying.note()
    assert len(list_packs(store / "objects")) == len(ids)
    tidying.wait()
    assert len(list_packs(store / "objects")) == 1
    assert read_all(store, ids) == ["blob"] * len(ids)
    # Nothing of the haste is left over for the next one.
    more = fill(store, 1000)
    tidying.note()
    assert len(list_packs(store / "objects")) == len(more) + 1
    tidying.wait()
    assert len(list_packs(store / "objects")) == 1


def test_checkpoints_without_end_do_not_put_it_off_for_ever(store, tidying, monkeypatch):
    monkeypatch.setattr(compaction, "_QUIET_S", 0.05)
    ids = fill(store, 0)
    over = threading.Event()

    def note() -> None:
        while not over.wait(0.001):
            tidying.note()

    noting = threading.Thread(target=note)
    noting.start()
    try:
        for _ in range(2000):
            if len(list_packs(store / "objects")) == 1:
                break
            over.wait(0.01)
        assert len(list_packs(store / "objects")) == 1
    finally:
        over.set()
        noting.join()
    tidying.wait()
    assert read_all(store, ids) == ["blob"] * len(ids)


def test_notes_and_waits_of_many_threads(store, tidying, monkeypatch):
    monkeypatch.setattr(compaction, "_QUIET_S", 0.001)
    ids: list[str] = []

    def go(number: int) -> None:
        for turn in range(40):
            ids.extend(fill(store, number * 10_000 + turn * 10, 3))
            tidying.note()
            if turn % 3 == number % 3:
                tidying.wait()

    threads = [threading.Thread(target=go, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    tidying.wait()
    assert not [each for each in threading.enumerate() if each.name == "nightcrew-tidying"]
    assert read_all(store, ids) == ["blob"] * len(ids)


def test_a_checkpoint_is_stored_though_no_thread_is_to_be_had(store, tidying, monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        tidying.note()
        tidying.wait()
    fill(store, 0)
    tidying.note()
    tidying.wait()
    assert len(list_packs(store / "objects")) == 1
