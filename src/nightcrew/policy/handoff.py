"""Who on the user's machine runs a changed path by itself once it has landed, in words. Pure.

The table of classes is data (``handoff.toml``), checked with its examples when it is read. A policy adds classes of its
own, and says per class whether a promotion with such a path needs a yes of its own.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import cache
from importlib.resources import files
from typing import Any, Final

from nightcrew.model.actions import Change, PathChange, Verdict
from nightcrew.model.errors import Place, Problem
from nightcrew.model.text import shown
from nightcrew.policy.globs import Globs
from nightcrew.policy.judge import leaves_tree
from nightcrew.policy.rules import HandoffClass, Policy

TABLE: Final = "handoff.toml"
LISTED: Final = "listed"
"""Class of what ``safety.handoff_paths`` names."""

_EXECUTABLE: Final = 0o100755
_LINK: Final = 0o120000
_LISTED: Final = HandoffClass(
    LISTED, "something on your machine", "the policy says that something on your machine may execute it"
)

Test = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Handoff:
    """A changed path that somebody on the host will execute.

    Attributes:
        path: as in the change.
        kind: id of its class, such as ``git`` or ``ci``.
        who, reason: in words.
        verdict: what a promotion with it needs: ``allow`` nothing, ``ask`` a yes of its own, ``deny`` it does not land.
        source: where that is said.
    """

    path: str
    kind: str
    who: str
    reason: str
    verdict: Verdict
    source: str


@cache
def shipped_classes() -> tuple[HandoffClass, ...]:
    """Return the classes of the table, in its order.

    Raises:
        ValueError: an example of the table is not of the class that it is an example of.
    """
    classes = read_table(files("nightcrew.policy").joinpath(TABLE).read_text("utf-8"))
    wrong = "; ".join(_check_table(classes))
    if wrong:
        raise ValueError(f"{TABLE}: {wrong}")
    return classes


def read_table(text: str) -> tuple[HandoffClass, ...]:
    """Return the classes that a table holds."""
    return tuple(_read_class(name, row) for name, row in tomllib.loads(text).items())


def _read_class(name: str, row: Mapping[str, Any]) -> HandoffClass:
    examples = row.get("examples", {})
    return HandoffClass(
        id=name,
        who=row["who"],
        reason=row["reason"],
        paths=tuple(row.get("paths", ())),
        when=row.get("when", ""),
        match=tuple(examples.get("match", ())),
        not_match=tuple(examples.get("not_match", ())),
    )


def _check_table(classes: Sequence[HandoffClass]) -> Iterator[str]:
    tests = [(each.id, _test_names(each.paths)) for each in classes if each.paths]
    for each in classes:
        if not each.paths and each.when not in ("executable", "link"):
            yield f"{each.id} has neither paths nor a `when` that is known"
        for path in each.match:
            if _last(tests, path) != each.id:
                yield f"{path} is an example of {each.id}, and is classed as {_last(tests, path) or 'nothing'}"
        for path in each.not_match:
            if _last(tests, path) == each.id:
                yield f"{path} is classed as {each.id}, and is an example of what is not"


def _last(tests: Sequence[tuple[str, Test]], path: str) -> str:
    return next((name for name, test in reversed(tests) if test(path)), "")


def check_own(classes: Sequence[tuple[HandoffClass, Place]]) -> Iterator[Problem]:
    """Yield a problem for each example of a policy's own classes that is not what it says."""
    for each, place in classes:
        globs = Globs(each.paths)
        for path in (*each.match, *each.not_match):
            if globs.matches(path) != (path in each.match):
                said = (
                    "does not match its own example"
                    if path in each.match
                    else "matches this, and says it does not"
                )
                yield Problem(place, f"handoff.{each.id}: {said}: {path}")


def find_handoffs(
    policy: Policy, change: Change, hooks: Mapping[str, str] | None = None
) -> tuple[Handoff, ...]:
    """Return every path of a change that would land and that somebody on the host executes, in the order of the change.

    Args:
        policy, change: rules and change.
        hooks: paths that git runs by the user's configuration, whatever they are called, each with the files on the way to it, in words.
    """
    hooks = hooks or {}
    return tuple(
        found
        for path in change.promotable
        if (found := find_handoff(policy, path, hook=path.path in hooks, way=hooks.get(path.path, "")))
        is not None
    )


def find_handoff(policy: Policy, path: PathChange, *, hook: bool = False, way: str = "") -> Handoff | None:
    """Return who would execute one changed path; None when nobody is known to, or the policy takes it out.

    With ``hook`` it is git, whatever the path is called; ``way`` are the files on the way to it, in words.
    """
    classes: _Classes | None = policy.compiled.get("handoff")
    if classes is None:
        classes = policy.compiled["handoff"] = _Classes(policy)
    if not hook:
        return classes.find(path)
    found = classes.find_hook(path)
    return replace(found, reason=f"{found.reason}: {shown(way)}") if way else found


def find_class(path: str, *, hook: bool = False) -> HandoffClass | None:
    """Return the class of a path by its name and the shipped table; None when nobody is known to execute it.

    With ``hook`` it is git, whatever the path is called.
    """
    name = "git" if hook else _last(_shipped_tests(), path)
    return next((each for each in shipped_classes() if each.id == name), None)


def find_runner(path: str) -> str:
    """Say who executes a path of this name, by the shipped table; empty when nobody is known to."""
    found = find_class(path)
    return found.who if found else ""


def class_ids(policy: Policy) -> tuple[str, ...]:
    """Return the ids of all classes, shipped and the policy's own."""
    return (*(each.id for each in shipped_classes()), LISTED, *(p.value.id for p in policy.handoff_classes))


class _Classes:
    """The classes in force under one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known = {each.id: (each, TABLE) for each in shipped_classes()}
        self._tests = [*_shipped_tests()]
        for placed in policy.handoff_classes:
            self._known[placed.value.id] = (placed.value, placed.source)
            self._tests.append((placed.value.id, Globs(placed.value.paths).matches))
        self._listed = Globs([g.value for g in policy.handoff_paths])
        self._opened = Globs(
            [g.value.removeprefix("!") for g in policy.handoff_paths if g.value.startswith("!")]
        )

    def find(self, path: PathChange) -> Handoff | None:
        if path.new_mode == _LINK and leaves_tree(path.path, path.link_target):
            return self._tell(path, *self._known["symlink"])
        number = self._listed.find(path.path)
        name = _last(self._tests, path.path)
        if number is None and (not name or self._opened.matches(path.path)):
            executable = path.new_mode == _EXECUTABLE != path.old_mode
            return self._tell(path, *self._known["executable"]) if executable else None
        if not name and number is not None:
            return self._tell(path, _LISTED, self._policy.handoff_paths[number].source)
        return self._tell(path, *self._known[name])

    def find_hook(self, path: PathChange) -> Handoff:
        """Return what holds for a path that git runs."""
        return self._tell(path, *self._known["git"])

    def _tell(self, path: PathChange, each: HandoffClass, source: str) -> Handoff:
        placed = self._policy.verdict(f"handoff.{each.id}") or self._policy.verdict("handoff.default")
        verdict = placed.value if placed else Verdict.ASK
        return Handoff(
            path.path, each.id, each.who, each.reason, verdict, placed.source if placed else source
        )


@cache
def _shipped_tests() -> tuple[tuple[str, Test], ...]:
    return tuple((each.id, _test_names(each.paths)) for each in shipped_classes() if each.paths)


def _test_names(patterns: Sequence[str]) -> Test:
    """Return the test that patterns of the table stand for; case does not matter."""
    folders = {p[:-1] for p in patterns if p.endswith("/") and p.count("/") == 1}
    deep = [f"/{p}" for p in patterns if p.endswith("/") and p.count("/") > 1]
    names = {p for p in patterns if "/" not in p and not set(p) & set("*?[")}
    globs = [translate(p) for p in patterns if "/" not in p and p not in names]
    globbed = re.compile("|".join(globs)).match if globs else None
    top = {p[1:] for p in patterns if p.startswith("/")}
    inner = [p for p in patterns if "/" in p and p[0] != "/" and not p.endswith("/")]
    ends = [re.compile(r"(?:.*/)?" + translate(p)).match for p in inner]

    def test(path: str) -> bool:
        whole = path.lower()
        *parents, name = whole.split("/")
        return (
            name in names
            or whole in top
            or not folders.isdisjoint(parents)
            or (globbed is not None and globbed(name) is not None)
            or any(each in f"/{whole}" for each in deep)
            or any(each(whole) for each in ends)
        )

    return test
