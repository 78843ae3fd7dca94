"""The checkpoint store: trees of shadows in a bare git repository of our own, and every question about them.

Objects of the user's repository are read through ``objects/info/alternates``; nothing is ever written there. Any git
can read the store: ``git --git-dir <store> log refs/nightcrew/checkpoints/C-1``.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from nightcrew.checkpoint import layout, packs
from nightcrew.checkpoint.batches import BlobBatches
from nightcrew.checkpoint.capture import Capture
from nightcrew.checkpoint.collection import Collected, collect_store, using
from nightcrew.checkpoint.compaction import Tidying, compact
from nightcrew.checkpoint.compare import (
    describe_changes,
    is_blob,
    list_differences,
    list_with_counts,
)
from nightcrew.checkpoint.compose import Composer, Part
from nightcrew.checkpoint.conversions import Conversions, UserSettings, read_user_settings
from nightcrew.checkpoint.hunks import check_room, list_hunks, merge_entries
from nightcrew.checkpoint.ignored import IgnoreRules
from nightcrew.checkpoint.inventory import Usage, measure_store
from nightcrew.checkpoint.matching import Matcher
from nightcrew.checkpoint.memory import CaptureMemory
from nightcrew.checkpoint.objects import (
    MODE_GITLINK,
    TreeEntry,
    encode_commit,
    identify,
    loose_path,
    open_loose_blob,
    write_loose,
)
from nightcrew.checkpoint.presence import find_missing
from nightcrew.checkpoint.refs import list_refs, remove_refs
from nightcrew.checkpoint.trees import TreeEdit, TreeReader
from nightcrew.host import crash
from nightcrew.host.git import BlobReader, Git
from nightcrew.model.actions import Change
from nightcrew.model.errors import EngineUnavailable, NightcrewError, NotFound
from nightcrew.model.trees import (
    Captured,
    Composition,
    Conflict,
    DeltaEntry,
    Entry,
    Hunk,
    Missing,
    Repository,
)

_T = TypeVar("_T")

REFS: Final = "refs/nightcrew/checkpoints/"
#: A collector holds the store for a moment; a minute is one that hangs.
USING_WAIT_S: Final = 60.0


class Store:
    """The checkpoints of one repository.

    Safe to use from several threads and processes: objects are only added, each capture becomes visible in one act.

    Args:
        path: the store's directory; made on first use.
        repository: the user's repository; only its objects are read.
        env: environment for git.
    """

    def __init__(self, path: Path, repository: Repository, *, env: Mapping[str, str]) -> None:
        self.path = path
        self._repository = repository
        self._env = env
        self._opening = threading.Lock()
        self._reader: BlobReader | None = None
        self._settings: UserSettings | None = None
        self._local: packs.LocalObjects | None = None
        self._tidying = Tidying(path, self._git)

    # -- writing ------------------------------------------------------------------------------------------------

    def capture(
        self,
        base_tree: str,
        entries: Iterable[Entry],
        *,
        memory: CaptureMemory | None = None,
        max_file_bytes: int = 0,
        when_read: Callable[[], None] | None = None,
    ) -> Captured:
        """Write what a shadow changed; the cost is that of the changes, with ``memory`` of those since the last time.

        Args:
            base_tree: tree that the shadow was opened on (its base commit's tree with its delta).
            entries: from ``Shadows.scan``.
            memory: of earlier captures of the same shadow (and of no other one).
            max_file_bytes: a larger file is refused; 0 for no limit.
            when_read: called once nothing of the shadow is needed any more, before all of it is made to last.

        Raises:
            StaleError: something still writes to the shadow.
            NotFound: the base tree is not there any more.
            OSError: disk full; nothing became visible.
        """
        memory = CaptureMemory() if memory is None else memory
        with memory.turn:
            memory.start(base_tree, max_file_bytes)
            reader = memory.reader = memory.reader or TreeReader(self._read_tree, self._read_objects)
            scratch = self.path / "scratch"
            conversions = Conversions(
                reader,
                self._read_object,
                base_tree,
                self._user_settings(),
                scratch,
                self._git,
                memory.attributes,
                memory.ruleless,
            )
            local = self._local_objects(len(base_tree))
            with self.using():
                return Capture(reader, self._objects(), local, conversions, memory).take(entries, when_read)

    def commit(
        self, tree: str, *, parents: Sequence[str] = (), message: str, at: datetime | str, ref: str = ""
    ) -> str:
        """Make a commit of a tree and, with ``ref``, keep it under that name.

        Args:
            tree: a tree of this store.
            parents: commits of this store or of the user's repository.
            at: its date, which is also part of its id.
            ref: full ref name, or a checkpoint id (then it is ``refs/nightcrew/checkpoints/<id>``).
        """
        moment = at if isinstance(at, datetime) else datetime.fromisoformat(at)
        data = encode_commit(tree, parents, message, int(moment.timestamp()))
        name = identify("commit", data, len(tree))
        write_loose(self._objects(), "commit", io.BytesIO(data), len(data), name)
        if ref:
            # The name of a checkpoint follows from its row: a power loss may take it, `name_checkpoints` brings it back.
            durable = ref.startswith("refs/")
            layout.write_ref(self.path, ref if durable else REFS + ref, name, durable=durable)
            self._tidying.note()
        return name

    def promotable(self, base_tree: str, tree: str) -> str:
        """Return the tree without the *added* paths that the base tree's rules ignore.

        A tracked file that matches an ignore rule and was changed stays: git itself would commit it.
        """
        added = [d.path for d in list_differences(self._git(), base_tree, tree) if d.kind == "added"]
        dropped = self._ignored(base_tree, tree, added)
        return self._edit(tree, dict.fromkeys(dropped))

    def overlay_paths(self, tree: str, source_tree: str, globs: Sequence[str]) -> str:
        """Return ``tree`` with the paths that match a glob as they are in ``source_tree`` (absent there: deleted).

        Args:
            globs: gitignore-style; a path or directory as it is written matches too, whatever characters it has.
        """
        chosen = Matcher(globs)
        edits = {
            d.path: TreeEntry(d.new_mode, d.new_id) if d.new_id else None
            for d in list_differences(self._git(), tree, source_tree)
            if chosen(os.fsdecode(d.path))
        }
        return self._edit(tree, edits)

    def take_hunks(self, old_tree: str, hunks: Iterable[Hunk]) -> str:
        """Return ``old_tree`` with some hunks of a change that starts from it; exact bytes, modes and absence.

        Args:
            hunks: from ``hunks(old_tree, ...)``, each at most once, in any order.

        Raises:
            StaleError: a hunk was made for another content than this tree has.
            UsageError: there is no room for a file, because a hunk that makes it is not among them.
        """
        reader = TreeReader(self._read_tree)
        pack = packs.PackWriter(self._objects(), len(old_tree))
        try:
            edits = merge_entries(
                hunks, partial(reader.find_leaf, old_tree), self._read_object, partial(pack.add, "blob")
            )
            check_room(edits, reader, old_tree)
            pack.publish()
        finally:
            pack.abandon()
        return self._edit(old_tree, edits)

    def compose(self, base_tree: str, parts: Sequence[Part]) -> Composition:
        """Put the changes of several parts together.

        Args:
            base_tree: what they are put on.
            parts: (name, its base tree, its tree), merged in this order.
        """
        return Composer(self._git(), self._objects()).compose(base_tree, parts)

    # -- reading ------------------------------------------------------------------------------------------------

    def compare(self, base_tree: str, tree: str, *, refused: Sequence[str] = ()) -> Change:
        """Return what ``tree`` changes against ``base_tree``; ``refused`` is handed through from the capture."""
        differences, counts = list_with_counts(self._git(), base_tree, tree)
        ignored = self._ignored(base_tree, tree, [d.path for d in differences if d.kind == "added"])
        sizes = self._measure(d.new_id for d in differences if is_blob(d))
        paths = describe_changes(differences, counts, ignored, sizes, self._read_object)
        return Change(base_tree, tree, tuple(sorted(paths, key=lambda p: p.path)), tuple(refused))

    def hunks(self, old_tree: str, new_tree: str) -> tuple[Hunk, ...]:
        """Return the change from one tree to another as pieces with stable ids, by path and place in the file."""
        return list_hunks(self._git(), old_tree, new_tree)

    def missing(
        self, parts: Sequence[Part], tree: str, *, only: Collection[str] | None = None
    ) -> tuple[Missing, ...]:
        """Return the hunks of parts that a tree put together from them does not hold; normally none.

        Args:
            parts: everything it is made of, in that order; a later part may have superseded a hunk it started on.
            tree: what came out, also after a merge with other commits.
            only: names of the parts to look at; all of them by default.
        """
        names = {name for name, _, _ in parts} if only is None else only
        return tuple(find_missing(self._git(), parts, tree, names))

    def forecast(
        self, base_tree: str, one: Part, other: Part, *, below: Sequence[Part] = ()
    ) -> tuple[Conflict, ...]:
        """Return where two tasks that know nothing of each other will collide; nothing when they will fit.

        Args:
            base_tree: base of the run.
            one, other: (name, tree it started from, tree it has now).
            below: results that ``one`` or ``other`` started on, in dependency order; not needed when both started
                from the same tree.
        """
        start = one[1] if one[1] == other[1] else base_tree
        pieces = [one, other] if start == one[1] else [*below, one, other]
        return self.compose(start, pieces).conflicts

    def delta(self, old_tree: str, new_tree: str) -> Iterator[DeltaEntry]:
        """Yield what must be done to files of the old tree to make them those of the new one.

        Deletions come first, so that a file can take the place of a directory and the other way round. Submodules
        are left out: a shadow has no working tree for them.
        """
        found = [
            d
            for d in list_differences(self._git(), old_tree, new_tree)
            if MODE_GITLINK not in (d.old_mode, d.new_mode)
        ]
        found.sort(key=lambda d: d.kind != "deleted")
        wanted = {d.new_id for d in found if d.new_id}
        loose = {blob for blob in wanted if os.path.exists(f"{self.path}/objects/{blob[:2]}/{blob[2:]}")}  # noqa: PTH110
        blobs = [d.new_id for d in found if d.new_id in wanted - loose]
        sizes = self._measure(blobs)
        batches = BlobBatches(self._read_objects, blobs, sizes)
        for d in found:
            open_blob = self._open_blob if d.new_id in loose else batches.open
            content = partial(open_blob, d.new_id)
            yield DeltaEntry(os.fsdecode(d.path), d.new_mode, content, d.new_id, sizes.get(d.new_id, -1))

    def patch(self, old_tree: str, new_tree: str, *, paths: Sequence[str] = (), stat: bool = False) -> bytes:
        """Return the difference as text for a person (``stat``: a table of files and counts).

        Args:
            paths: only these paths and what is below them, taken literally.
        """
        form = ["--stat=100"] if stat else ["-p", "--full-index"]
        limit = ["--", *paths] if paths else []
        done = self._git().run(
            "diff-tree",
            "-r",
            "--find-renames",
            *form,
            old_tree,
            new_tree,
            *limit,
            extra={"GIT_LITERAL_PATHSPECS": "1"},
        )
        return done.stdout

    def tree_of(self, commit: str) -> str:
        """Return the tree id of a commit, checkpoint ref or tree.

        Raises:
            NotFound: neither the store nor the user's repository has it.
        """
        done = self._git().run("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}", check=False)
        if done.code != 0:
            raise self._missing(commit)
        return done.stdout.decode().strip()

    def read(self, tree: str, path: str) -> bytes | None:
        """Return the content of a path (for a symbolic link its target), None when there is no file."""
        entry = TreeReader(self._read_tree).find(tree, os.fsencode(path))
        if entry is None or entry.is_tree or entry.mode == MODE_GITLINK:
            return None
        return self._read_object(entry.id)

    def read_blob(self, object_id: str) -> bytes:
        """Return the content of a blob by its id.

        Raises:
            NotFound: neither the store nor the user's repository has it.
        """
        return self._read_object(object_id)

    def usage(self) -> Usage:
        """Return what the store takes on disk; a look at some hundred files."""
        return measure_store(self._objects())

    def tidy(self) -> bool:
        """Put small packs together now, however few they are; tell whether there was something to do."""
        self._tidying.wait()
        return compact(self._git(), self.path, limit=1)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Keep a collector from removing anything meanwhile: from reading what a checkpoint is to recording a new one.

        Raises:
            EngineUnavailable: a collector has been removing for a minute.
        """
        self._open()
        lock = using(self.path)
        if not lock.acquire(USING_WAIT_S):
            raise EngineUnavailable(f"{self.path} is being collected", code="store.busy")
        try:
            yield
        finally:
            lock.release()

    def collect(
        self,
        find_roots: Callable[[], Collection[str]],
        *,
        unused_since: datetime,
        pruned: Collection[str] = (),
        cut: Collection[str] = (),
        dry_run: bool = False,
    ) -> Collected:
        """Remove what no root reaches and nobody relied on lately; see ``collection``.

        Args:
            find_roots: returns the commits and trees that are needed, as it is now.
            unused_since: what was written or relied on later stays.
            pruned: ids of checkpoints whose names go.
            cut: commits that stay although their parent does not.
            dry_run: only tell what would become free.

        Raises:
            EngineUnavailable: the store is busy; nothing was removed.
        """
        self._tidying.wait()
        git = self._git()
        if not dry_run:
            layout.cut_history(self.path, cut)
            remove_refs(git, [REFS + name for name in pruned])
            crash.point("checkpoint.collect_forgotten")
        moment_ns = int(unused_since.timestamp() * 1_000_000_000)
        return collect_store(git, self.path, find_roots, unused_since_ns=moment_ns, dry_run=dry_run)

    def name_checkpoints(self, commits: Mapping[str, str]) -> None:
        """Write the refs of checkpoints (id → commit) that are not there."""
        known = self.refs()
        for name, commit in commits.items():
            if REFS + name not in known:
                layout.write_ref(self.path, REFS + name, commit)

    def refs(self) -> Mapping[str, str]:
        """Return full name → commit of every ref of the store."""
        return list_refs(self._git())

    def remove_refs(self, names: Collection[str]) -> None:
        """Remove refs by their full names; what is not there is fine."""
        remove_refs(self._git(), names)

    def close(self) -> None:
        """End the git process that reads objects, and wait for packs being put together; the store may be used again."""
        self._tidying.wait()
        with self._opening:
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    # -- inside -------------------------------------------------------------------------------------------------

    def _objects(self) -> Path:
        self._open()
        return self.path / "objects"

    def _local_objects(self, id_length: int) -> packs.LocalObjects:
        if self._local is None:
            self._local = packs.LocalObjects(self._objects(), id_length)
        return self._local

    def _user_settings(self) -> UserSettings:
        if self._settings is None:
            git = Git(self._repository.git_dir, env=self._env, trusted=True)
            self._settings = read_user_settings(git, self._repository, self._env)
        return self._settings

    def _git(self, work_tree: str = "") -> Git:
        self._open()
        return Git(str(self.path), env=self._env, work_tree=work_tree, trusted=False)

    def _open(self) -> BlobReader:
        with self._opening:
            if self._reader is None:
                layout.prepare(self.path, self._repository)
                self._reader = BlobReader(Git(str(self.path), env=self._env, trusted=False))
            return self._reader

    def _read_object(self, object_id: str) -> bytes:
        return self._ask(lambda reader: reader.read(object_id))

    def _read_tree(self, tree: str) -> bytes:
        return self._read_object(tree)

    def _read_objects(self, objects: Sequence[str]) -> list[bytes]:
        return self._ask(lambda reader: reader.read_many(objects))

    def _ask(self, question: Callable[[BlobReader], _T]) -> _T:
        """Put a question to git, to a new one when the old one has ended (somebody killed it, memory was short)."""
        try:
            try:
                return question(self._open())
            except NightcrewError as error:
                if error.code != "program.ended":
                    raise
                self.close()
                return question(self._open())
        except KeyError as missing:
            raise self._missing(str(missing.args[0])) from None

    def _open_blob(self, blob: str) -> BinaryIO:
        # Large blobs were stored loose so that they can be read in pieces; loose ones of git itself are small.
        path = loose_path(self.path / "objects", blob)
        return open_loose_blob(path) if path.exists() else io.BytesIO(self._read_object(blob))

    def _measure(self, blobs: Iterable[str]) -> dict[str, int]:
        wanted = sorted({blob for blob in blobs if blob})
        if not wanted:
            return {}
        sizes = self._ask(lambda reader: reader.sizes(wanted))
        return dict(zip(wanted, sizes, strict=True))

    def _ignored(self, base_tree: str, tree: str, added: Sequence[bytes]) -> set[bytes]:
        reader = TreeReader(self._read_tree)
        rules = IgnoreRules(reader, self._read_object, base_tree, self.path / "scratch", self._git)
        return rules.select(added, lambda path: self.read(tree, os.fsdecode(path)) or b"")

    def _edit(self, tree: str, edits: Mapping[bytes, TreeEntry | None]) -> str:
        if not edits:
            return tree
        edit = TreeEdit(TreeReader(self._read_tree), tree)
        for path, entry in sorted(edits.items(), key=lambda item: item[1] is not None):
            if entry is None:
                edit.clear(path)
            else:
                edit.put(path, entry)
        pack = packs.PackWriter(self._objects(), len(tree))
        try:
            made = edit.write(partial(pack.add, "tree"))
            pack.publish()
        finally:
            pack.abandon()
        return made

    def _missing(self, what: str) -> NotFound:
        return NotFound(
            f"object {what} is neither in the checkpoint store nor in the repository",
            code="store.missing_object",
            where=[f"store: {self.path}", f"repository: {self._repository.root}"],
            hint="it was given up to save space (nightcrew gc), or a history rewrite followed by `git gc` removed the "
            "base commit; bring that back (git fetch, git reflog) or start a new run from the present HEAD",
        )
