"""What of the accepted results goes, in which commits, and under which words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nightcrew.model.errors import StaleError
from nightcrew.model.records import RunRecord, TaskRecord
from nightcrew.model.trees import Conflict, Hunk
from nightcrew.runtime.landing.choosing import Selection
from nightcrew.runtime.results.composing import Piece, check_landed, compose, cut_piece

if TYPE_CHECKING:
    from nightcrew.checkpoint.store import Store
    from nightcrew.promote.commits import Step

_SUBJECT_WIDTH: Final = 72
_NO_AGENTS: Final = ("", "command")
"""What did the work of a task and is no agent: the command lines that a person wrote."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of the results goes.

    Attributes:
        files, hunks: globs, and ids of hunks; with either, nothing else goes.
        waived: ids of hunks and names of tasks that may be missing from the result.
        per_task: one commit for each task, in dependency order; else one for all of them.
        author: ``Name <mail>``, empty for the user's own.
    """

    files: Sequence[str] = ()
    hunks: Sequence[str] = ()
    waived: Collection[str] = ()
    per_task: bool = False
    author: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a task that goes.

    Attributes:
        task: whose.
        piece: its change, without what is left out.
        left: what is left out by name: ``T01 path`` (all of a path) or ``T01 H-... path`` (one hunk of it).
    """

    task: TaskRecord
    piece: Piece
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shape:
    """All that is to go.

    Attributes:
        shares: of the tasks that are promoted, in dependency order; at least one.
        before: pieces that were promoted earlier; later results build on them.
        steps: the commits.
        paths: every path that was reviewed.
        start: the base tree with what was promoted earlier.
    """

    shares: tuple[Share, ...]
    before: tuple[Piece, ...]
    steps: tuple[Step, ...]
    paths: frozenset[str]
    start: str

    @property
    def pieces(self) -> list[Piece]:
        """What the last commit holds."""
        return [*self.before, *(share.piece for share in self.shares)]

    @property
    def tasks(self) -> list[TaskRecord]:
        """The tasks of which something goes, in the order written."""
        return sorted((share.task for share in self.shares), key=lambda task: task.position)

    @property
    def left(self) -> tuple[str, ...]:
        """Everything that is left out, by name."""
        return tuple(name for share in self.shares for name in share.left)


def shape(store: Store, run: RunRecord, selection: Selection, cut: Cut) -> Shape:
    """Put the chosen results together.

    What is promoted already belongs into it: later results build on it, and against a branch that has it, it merges away.

    Raises:
        UsageError: no hunk has that id.
        StaleError: the results do not fit together, or nothing is left of them.
    """
    before = [cut_piece(store, task) for task in selection.promoted]
    whole = [Share(task, cut_piece(store, task)) for task in selection.tasks]
    shares = _take_named(store, run, whole, cut) if cut.files or cut.hunks else whole
    start = compose(store, run, before, waived=cut.waived)
    trees = _stack(store, run, start, [share.piece for share in shares])
    pieces = [*before, *(share.piece for share in shares)]
    check_landed(store, run, pieces, trees[-1], waived=cut.waived)
    paths = {path.path for _, base, tree in pieces for path in store.compare(base, tree).paths}
    return Shape(tuple(shares), tuple(before), _make_steps(run, shares, trees, cut), frozenset(paths), start)


def _stack(store: Store, run: RunRecord, start: str, pieces: Sequence[Piece]) -> list[str]:
    """Return the tree after each piece, one on top of the other."""
    from nightcrew.runtime.results.differing import describe_conflict

    trees, conflicts = [start], list[Conflict]()
    for piece in pieces:
        composed = store.compose(trees[-1], [piece])
        conflicts += composed.conflicts
        trees.append(composed.tree or trees[-1])
    if conflicts:
        # Once more as a whole: then each conflict says which of the other tasks it is with.
        conflicts = list(store.compose(start, pieces).conflicts) or conflicts
        raise StaleError(
            f"the accepted results of {run.id} do not fit together; nothing was done",
            code="promote.conflict",
            where=[describe_conflict(each) for each in conflicts],
            hint=f"promote them one after the other, or reject one: nightcrew reject {run.id}/T..",
        )
    return trees[1:]


def _take_named(store: Store, run: RunRecord, whole: Sequence[Share], cut: Cut) -> list[Share]:
    """Keep what was named of each task; a task of which nothing was named does not go."""
    from nightcrew.checkpoint.hunks import choose

    found = {share.task.id: store.hunks(share.piece[1], share.piece[2]) for share in whole}
    everything = [hunk for each in found.values() for hunk in each]
    listing = f"nightcrew diff {whole[0].task.id if whole else run.id} --hunks"
    named = {hunk.id for hunk in choose(everything, cut.hunks, listing=listing)}
    shares = []
    for share in whole:
        name, base, tree = share.piece
        kept = set(named)
        if cut.files:
            kept |= {hunk.id for hunk in store.hunks(base, store.overlay_paths(base, tree, cut.files))}
        hunks = found[share.task.id]
        chosen = [hunk for hunk in hunks if hunk.id in kept]
        if chosen:
            piece = (name, base, store.take_hunks(base, chosen))
            shares.append(Share(share.task, piece, _name_left(name, hunks, kept)))
    if not shares:
        raise StaleError(
            f"nothing of {run.id} that can be promoted matches {' '.join([*cut.files, *cut.hunks])}",
            code="promote.nothing",
            hint=f"nightcrew diff {run.id} --stat",
        )
    return shares


def _name_left(task: str, hunks: Sequence[Hunk], kept: Collection[str]) -> tuple[str, ...]:
    touched = {hunk.path for hunk in hunks if hunk.id in kept}
    left = [hunk for hunk in hunks if hunk.id not in kept]
    named = (f"{h.id} {h.path}" if h.path in touched else h.path for h in left)
    return tuple(dict.fromkeys(f"{task} {name}" for name in named))


def _make_steps(run: RunRecord, shares: Sequence[Share], trees: Sequence[str], cut: Cut) -> tuple[Step, ...]:
    from nightcrew.promote.commits import Step

    if cut.per_task:
        return tuple(
            Step(tree, write_message(run, [share.task]), cut.author)
            for share, tree in zip(shares, trees, strict=True)
        )
    tasks = sorted((share.task for share in shares), key=lambda task: task.position)
    return (Step(trees[-1], write_message(run, tasks), cut.author),)


def write_message(run: RunRecord, tasks: Sequence[TaskRecord]) -> str:
    """Return the commit message: titles, then trailers that lead back to the run and name the agents."""
    subject = tasks[0].title if len(tasks) == 1 else run.title
    if len(subject) > _SUBJECT_WIDTH:
        subject = subject[: _SUBJECT_WIDTH - 1].rstrip() + "…"
    body = "" if len(tasks) == 1 else "\n".join(f"- {task.name} {task.title}" for task in tasks) + "\n\n"
    agents = dict.fromkeys(task.agent for task in tasks if task.agent not in _NO_AGENTS)
    trailers = [
        f"Nightcrew-Run: {run.id}",
        *(f"Nightcrew-Task: {task.id}" for task in tasks),
        *(f"Co-authored-by: {agent} <{agent}@nightcrew.invalid>" for agent in agents),
    ]
    return f"{subject}\n\n{body}" + "\n".join(trailers) + "\n"
