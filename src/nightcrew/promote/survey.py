"""Looks at the user's index and working tree before a promotion: what would be moved, and what forbids it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nightcrew.model.errors import DriftError
from nightcrew.model.text import count
from nightcrew.promote import standing
from nightcrew.promote.comparison import Comparison, describe, name_path
from nightcrew.promote.edits import Edit, can_merge, merge_edits
from nightcrew.promote.index import Compared, Listing, Reading, list_paths, read_index
from nightcrew.promote.layout import Layout, Want, parents
from nightcrew.promote.moves import Move
from nightcrew.promote.objects import Difference
from nightcrew.promote.site import Configured, Site
from nightcrew.promote.standing import Standing
from nightcrew.promote.transaction import IndexChange


@dataclass(frozen=True, slots=True)
class Survey:
    """What publishing would do here.

    Attributes:
        wants: everything to move, in order.
        index: entries to change.
        kept: paths that stand on disk as promoted already.
        skipped: paths outside the sparse checkout: committed, not written.
        edited: paths where the user's own edits are merged in, and stay uncommitted.
        entries: how many entries the index has.
        reading: of the index file.
    """

    wants: tuple[Want, ...]
    index: tuple[IndexChange, ...]
    kept: tuple[str, ...]
    skipped: tuple[str, ...]
    entries: int
    reading: Reading = field(compare=False)
    edited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is known of the paths beforehand.

    Attributes:
        kept: an undo leaves these files alone.
        index: an undo returns to these entries.
        edited: moves of paths that held the user's own edits: while such a path is as that move left it, what was displaced
            comes back as it is.
        untracked: files that git did not know when the work started: path → entry as the work found it.
    """

    kept: Collection[str] = ()
    index: Mapping[str, IndexChange] = field(default_factory=dict)
    edited: Mapping[str, Move] = field(default_factory=dict)
    untracked: Mapping[str, str] = field(default_factory=dict)


def survey(
    site: Site,
    tree: Standing,
    differences: Sequence[Difference],
    *,
    configured: Configured,
    compared: Compared,
    new_commit: str,
    earlier: Earlier | None = None,
    ask_git: bool = True,
) -> Survey:
    """Compare index and working tree with the commit that is checked out, at the paths of a change.

    Args:
        site, tree, differences: where, and the change.
        configured: what the user's configuration says.
        compared: the index with the commit that is checked out, which the change starts from.
        new_commit: commit or tree the change leads to.
        earlier: for an undo.
        ask_git: files whose plain bytes do not match may be compared through the user's filters.

    Raises:
        DriftError: some path holds work of the user's; each is named with how it differs, nothing was changed.
    """
    earlier = earlier or Earlier()
    listing = read_index(site.git, compared, {each.path: each.old for each in differences})
    skipped = _find_skipped(site, tree, listing, differences, configured, earlier.index)
    looked_at = [each for each in differences if each.path not in skipped]
    assumed = earlier.untracked
    wanted = {each.path: (each.old, each.new, assumed.get(each.path, "")) for each in looked_at}
    comparison = Comparison(site, tree, configured, wanted, ask_git=ask_git)
    problems = _find_staged(listing, differences, assumed) + _find_clashes(site, differences, configured)
    leaving = {each.path for each in looked_at if not each.new}
    moved: list[Want] = []
    kept: list[str] = []
    edits: dict[str, Edit] = {}
    returning: list[Want] = []
    for each in looked_at:
        found = _seen_through(each, comparison, leaving, configured)
        before = earlier.edited.get(each.path)
        base = assumed.get(each.path) or each.old
        if before is not None and found == before.new:
            returning.append(Want(each.path, found, before.old.replace(":", " ", 1), own=True))
        elif each.path in earlier.kept or comparison.matches(each.path, each.new):
            kept.append(each.path)
        elif _is_free(each, found) or comparison.matches(each.path, base):
            moved.append(Want(each.path, found, each.new))
        else:
            edits[each.path] = Edit(each.path, base, found, each.new)
    moved += returning + _merge_edits(site, tree, edits, configured, kept, problems)
    # What is left of a directory in a sparse checkout is often nothing, although the new tree has it: then it goes, as with git.
    keeps = (lambda _: ()) if configured.sparse else _directories_of(site, new_commit)
    wants = _put_in_order(Layout(tree, {w.path for w in moved if not w.entry}, keeps, problems), moved)
    index = tuple(_index_change(each, listing, skipped, earlier) for each in differences)
    edited = tuple(sorted(want.path for want in moved if want.own or want.path in assumed))
    return Survey(
        tuple(wants), index, tuple(kept), tuple(sorted(skipped)), listing.count, listing.reading, edited
    )


def _put_in_order(layout: Layout, moved: Sequence[Want]) -> Sequence[Want]:
    wants = layout.order(moved)
    if layout.problems:
        raise _drift(layout.problems)
    return wants


def _merge_edits(
    site: Site,
    tree: Standing,
    edits: Mapping[str, Edit],
    configured: Configured,
    kept: list[str],
    problems: list[str],
) -> list[Want]:
    """Return what is to come where the user's edits can be merged; name the others as problems, and add to ``kept``."""
    possible = [edit for edit in edits.values() if can_merge(edit)]
    merged = merge_edits(site, tree, possible, configured) if possible else {}
    wants = []
    for path, edit in edits.items():
        entry = merged.get(path)
        if entry is None:
            problems.append(name_path(path, describe(edit.found, edit.base, None)))
        elif entry[7:] == edit.found[7:] and (entry[:6] == edit.found[:6] or not configured.file_mode):
            kept.append(path)  # the user wrote the same
        else:
            wants.append(Want(path, edit.found, entry, own=True))
    return wants


def _seen_through(
    each: Difference, comparison: Comparison, leaving: Collection[str], configured: Configured
) -> str:
    """Return what will stand at a path once the leaving files are out of the way."""
    found = comparison.fingerprints[each.path]
    if found == standing.BEHIND_LINK and any(parent in leaving for parent in parents(each.path)):
        return ""
    if configured.ignore_case and not each.old and each.path.casefold() in {p.casefold() for p in leaving}:
        return ""
    return found


def _is_free(each: Difference, found: str) -> bool:
    """Tell whether a new file can come: nothing is there, or a directory (the layout looks into that)."""
    return not each.old and (not found or found.startswith("dir"))


def _find_staged(
    listing: Listing, differences: Sequence[Difference], assumed: Mapping[str, str]
) -> list[str]:
    problems = []
    leaving = {each.path for each in differences if not each.new}
    for each in differences:
        staged = listing.entries.get(each.path, "")
        if staged not in (each.old, each.new, assumed.get(each.path, each.old)):
            problems.append(name_path(each.path, describe("", each.old, staged)))
        if each.new and not each.old:
            inside = [path for path in listing.below(each.path) if path not in leaving]
            above = [path for path in parents(each.path) if listing.holds(path) and path not in leaving]
            problems += [
                name_path(path, f"is staged and in the way of {each.path}") for path in inside + above
            ]
    return problems


def _find_clashes(site: Site, differences: Sequence[Difference], configured: Configured) -> list[str]:
    """Names that differ only in case cannot both exist where the file system ignores case."""
    if not configured.ignore_case:
        return []
    gone = {each.path for each in differences if not each.new}
    taken: dict[str, str] = {}
    for path in list_paths(site.git):
        if path not in gone:
            taken.setdefault(path.casefold(), path)
    problems = []
    for each in differences:
        if not each.new:
            continue
        other = taken.setdefault(each.path.casefold(), each.path)
        if other != each.path:
            problems.append(
                name_path(each.path, f"differs from {other} only in case, which this file system ignores")
            )
    return problems


def _index_change(
    each: Difference, listing: Listing, skipped: Collection[str], earlier: Earlier
) -> IndexChange:
    before = listing.entries.get(each.path, "")
    known = earlier.index.get(each.path)
    after = known.before if known and known.after == before else each.new
    flags = listing.flags.get(each.path, "") or (known.flags if known else "")
    return IndexChange(each.path, before, after, flags or ("S" if each.path in skipped else ""))


def _directories_of(site: Site, commit: str) -> Callable[[Collection[str]], Collection[str]]:
    def find(candidates: Collection[str]) -> Collection[str]:
        asked = sorted(candidates)
        if not asked:
            return ()
        names = b"".join(os.fsencode(f"{commit}:{path}") + b"\0" for path in asked)
        # --batch-check repeats the name of what is missing, line ends included; the type alone cannot be confused.
        answers = site.store.run("cat-file", "--batch-check=%(objecttype)", "-z", input=names).stdout
        types = _split_answers(answers, asked, commit)
        return [path for path, kind in zip(asked, types, strict=True) if kind == b"tree"]

    return find


def _split_answers(answers: bytes, asked: Sequence[str], commit: str) -> list[bytes]:
    types, position = [], 0
    for path in asked:
        missing = os.fsencode(f"{commit}:{path}") + b" missing\n"
        if answers.startswith(missing, position):
            types.append(b"")
            position += len(missing)
            continue
        end = answers.index(b"\n", position)
        types.append(answers[position:end])
        position = end + 1
    return types


def _find_skipped(
    site: Site,
    tree: Standing,
    listing: Listing,
    differences: Sequence[Difference],
    configured: Configured,
    earlier: Mapping[str, IndexChange],
) -> set[str]:
    """Paths outside the sparse checkout that are really absent; one that a person put there is looked at like any other.

    What an undo brings back is where it was: in the working tree or not.
    """
    outside = _sparse_test(site, cone=configured.cone) if configured.sparse else None
    found = set()
    for each in differences:
        flagged = listing.flags.get(each.path, "") in ("S", "s")
        before = earlier.get(each.path)
        if before is not None and before.before:
            added = not each.old and before.flags in ("S", "s")
        else:
            added = not each.old and outside is not None and outside(each.path)
        if (flagged or added) and tree.status(each.path) is None:
            found.add(each.path)
    return found


def _sparse_test(site: Site, *, cone: bool) -> Callable[[str], bool] | None:
    """Return a test for "outside the sparse checkout"; None where nothing says what is inside."""
    try:
        text = (Path(site.repository.git_dir) / "info" / "sparse-checkout").read_bytes()
    except FileNotFoundError:
        return None
    lines = [os.fsdecode(line) for line in text.splitlines()]
    return _cone_test(lines) if cone and "/*" in lines and "!/*/" in lines else _pattern_test(lines)


def _pattern_test(lines: Sequence[str]) -> Callable[[str], bool]:
    """Return the test for patterns that a person wrote: as in .gitignore, and what they match is inside."""
    import pathspec  # late: only for a sparse checkout of this kind

    # The engine that takes every name, also one that is not UTF-8.
    inside = pathspec.GitIgnoreSpec.from_lines(lines, backend="simple")
    return lambda path: not inside.match_file(path)


def _cone_test(lines: Sequence[str]) -> Callable[[str], bool]:
    """Return a test for "outside the cone", from the patterns git wrote (gitignore-like, in a fixed form).

    ``/a/`` followed by ``!/a/*/`` means the files directly in ``a``; ``/a/b/`` alone means all below ``a/b``; files at
    the top are always inside.
    """
    shallow = {_unescape(line[2:-3]) for line in lines if line.startswith("!/") and line.endswith("/*/")}
    named = {_unescape(line[1:-1]) for line in lines if line.startswith("/") and line.endswith("/")}
    whole = named - shallow

    def outside(path: str) -> bool:
        above = parents(path)
        return bool(above) and above[0] not in shallow and not any(parent in whole for parent in above)

    return outside


def _unescape(pattern: str) -> str:
    result, escaped = [], False
    for char in pattern:
        if char == "\\" and not escaped:
            escaped = True
            continue
        result.append(char)
        escaped = False
    return "".join(result)


def _drift(problems: Sequence[str]) -> DriftError:
    lines = sorted(set(problems))
    paths = len({line.partition(": ")[0] for line in lines})  # one can be staged, and edited further
    return DriftError(
        f"drift (high): {count(paths, 'path')} {'holds' if paths == 1 else 'hold'} work of yours that is not committed; nothing was changed",
        code="drift.overlap",
        where=lines,
        hint="commit these paths, or put them aside with `git stash push -u -- <paths>`, then try again",
    )
