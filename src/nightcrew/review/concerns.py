"""What a person should look at in the change of one task, derived from the change itself. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.model.actions import Change, PathChange
from nightcrew.model.text import find_hidden, shown
from nightcrew.policy.handoff import find_class, find_runner

EXECUTABLE: Final = 0o100755
SYMLINK: Final = 0o120000
SUBMODULE: Final = 0o160000

_TEST_FOLDERS: Final = frozenset({"test", "tests", "__tests__", "spec", "specs", "testing"})
_TEST_NAME: Final = re.compile(
    r"(test_.*|.*[._-](test|tests|spec))\.[a-z0-9]+|tests?\.[a-z0-9]+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Concern:
    """One reason to look.

    Attributes:
        kind: stable word: ``scope``, ``deleted_test``, ``shrunk_test``, ``executable``, ``mode``, ``symlink``,
            ``submodule``, ``binary``, ``handoff``, ``hidden_name``, ``case_clash``, ``refused``, ``ignored``,
            ``finding``, ``unverified``, ``acceptance``, ``isolation``, ``stale_verdict``, ``takeover``, ``stale``, ``held``, ``rivals``, ``empty``.
        text: in words.
        paths: the paths it is about.
        look: a person must look, so the task is not green; False means only worth knowing.
    """

    kind: str
    text: str
    paths: tuple[str, ...] = ()
    look: bool = True


def name_signs(path: PathChange, run_by_git: Collection[str] = ()) -> tuple[str, ...]:
    """Return what is special about one path, as words for the list of files; ``run_by_git``: see ``find_concerns``."""
    words = [word for _, word, applies in _SIGNS if applies(path)]
    if path.link_target:
        words.append(f"points to {shown(path.link_target)}")
    runner = "git" if path.path in run_by_git else find_runner(path.path)
    if not path.ignored and runner:
        words.append(f"read by {runner}")
    if path.ignored:
        words.append("ignored, will not be promoted")
    return tuple(words)


def find_concerns(change: Change, scope: Sequence[str], run_by_git: Collection[str] = ()) -> list[Concern]:
    """Return the concerns that the change itself gives, worst first.

    Args:
        change: base against result.
        scope: the task's globs; empty means that it had none.
        run_by_git: paths that git runs or obeys by the user's settings and hooks, whatever they are called.
    """
    paths = change.promotable
    found = [
        *_find_outside(paths, scope),
        *_find_signs(paths),
        *_find_handoffs(paths, run_by_git),
        *_find_case_clashes(paths),
    ]
    if change.refused:
        found.append(Concern("refused", "cannot be kept and was left out", change.refused))
    ignored = tuple(path.path for path in change.paths if path.ignored)
    if ignored:
        found.append(Concern("ignored", "ignored by the base's .gitignore and left out", ignored, look=False))
    if not paths:
        found.append(Concern("empty", "nothing would change in your repository", look=False))
    return found


def _find_outside(paths: Sequence[PathChange], scope: Sequence[str]) -> Iterator[Concern]:
    if not scope or not paths:
        return
    import pathspec  # late: only when there is a scope

    # The engine that takes every name, also one that is not UTF-8.
    spec = pathspec.GitIgnoreSpec.from_lines(scope, backend="simple")
    outside = tuple(path.path for path in paths if not spec.match_file(path.path))
    if outside:
        yield Concern("scope", "outside the task's scope", outside)


def _is_test(path: PathChange) -> bool:
    *folders, name = path.path.split("/")
    return (
        any(folder.lower() in _TEST_FOLDERS for folder in folders) or _TEST_NAME.fullmatch(name) is not None
    )


def _becomes_executable(path: PathChange) -> bool:
    return path.new_mode == EXECUTABLE and path.old_mode != EXECUTABLE


def _loses_executable(path: PathChange) -> bool:
    return path.old_mode == EXECUTABLE and path.new_mode not in (EXECUTABLE, 0)


def _is_hidden(path: PathChange) -> bool:
    return bool(find_hidden(path.path) or find_hidden(path.link_target)) or path.path.startswith("-")


# kind, words, and when a path shows it; worst first.
_SIGNS: Final[tuple[tuple[str, str, Callable[[PathChange], bool]], ...]] = (
    ("hidden_name", "name with invisible or misleading characters", _is_hidden),
    ("deleted_test", "test deleted", lambda p: p.kind == "deleted" and _is_test(p)),
    ("symlink", "symbolic link", lambda p: p.new_mode == SYMLINK),
    ("submodule", "submodule", lambda p: SUBMODULE in (p.old_mode, p.new_mode)),
    ("executable", "becomes executable", _becomes_executable),
    (
        "shrunk_test",
        "test lost lines",
        lambda p: p.kind == "modified" and _is_test(p) and p.lines_deleted > p.lines_added,
    ),
    ("mode", "no longer executable", _loses_executable),
    ("binary", "binary", lambda p: p.binary and p.kind != "deleted"),
)


def _find_signs(paths: Sequence[PathChange]) -> Iterator[Concern]:
    for kind, words, applies in _SIGNS:
        chosen = tuple(path.path for path in paths if applies(path))
        if chosen:
            yield Concern(kind, words, chosen)


def _find_handoffs(paths: Sequence[PathChange], run_by_git: Collection[str]) -> Iterator[Concern]:
    """Who on the machine executes what by itself, with the reason; one concern for each class of programs."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if each := find_class(path.path, hook=path.path in run_by_git):
            by_class[f"{each.who} executes it by itself ({each.id}): {each.reason}"].append(path.path)
    for text, names in by_class.items():
        yield Concern("handoff", text, tuple(names))


def _find_case_clashes(paths: Sequence[PathChange]) -> Iterator[Concern]:
    """New names that differ from another name of this change only in case: one of them is lost on some systems."""
    same: Mapping[str, list[PathChange]] = defaultdict(list)
    for path in paths:
        if path.kind != "deleted":
            same[path.path.casefold()].append(path)
    clashes = tuple(p.path for group in same.values() if len(group) > 1 for p in group)
    if clashes:
        yield Concern("case_clash", "differ only in upper and lower case", clashes)
