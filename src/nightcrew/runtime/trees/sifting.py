"""Smart going back: of a change, keep what the policy of its run lets pass and put the rest back, by file and by hunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.actions import Change, Verdict
from nightcrew.model.plans import Plan
from nightcrew.model.records import PlanRecord, RunRecord, TaskRecord
from nightcrew.model.trees import Hunk

if TYPE_CHECKING:
    from nightcrew.checkpoint.selecting import Judge
    from nightcrew.runtime.parts import Parts

_NO_ROOM: Final = ("there is no room for it beside what is put back",)


@dataclass(frozen=True, slots=True)
class Sifted:
    """A tree of which everything passes, and what was put back for that.

    Attributes:
        tree: what is left.
        put_back: per path: ``{path, whole, hunks, why}``.
        left: what policy says against the change as a whole; choosing among its paths does not mend it.
    """

    tree: str
    put_back: tuple[Mapping[str, Any], ...] = ()
    left: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """Return it for a person and for JSON."""
        return {"put_back": [dict(each) for each in self.put_back], "left": list(self.left)}


def sift(parts: Parts, run: RunRecord, task: TaskRecord, base_tree: str, tree: str) -> Sifted:
    """Return the tree with everything put back to ``base_tree`` that policy denies or would ask a person about.

    What is kept passes without anybody's say-so: the result is looked at again as a whole, and a path that still does
    not pass there is put back entirely.
    """
    from nightcrew.checkpoint.hunks import leave_out_homeless
    from nightcrew.checkpoint.selecting import keep_valid

    judge = make_judge(parts, run, task)
    store = parts.store(parts.repository_of(run))
    hunks = store.hunks(base_tree, tree)
    choice = keep_valid(store.compare(base_tree, tree), hunks, judge)
    why = {each.path: each.why for each in choice.put_back}
    kept = leave_out_homeless(hunks, choice.kept)
    made = store.take_hunks(base_tree, kept)
    bad = {path: said for path, said in judge(store.compare(base_tree, made)).items() if path}
    if bad:
        kept = leave_out_homeless(hunks, [hunk for hunk in kept if hunk.path not in bad])
        made = store.take_hunks(base_tree, kept)
    stay = {hunk.id for hunk in kept}
    homeless = {hunk.path: _NO_ROOM for hunk in choice.kept if hunk.id not in stay}
    return Sifted(made, _describe(hunks, kept, homeless | why | bad), choice.left)


def make_judge(parts: Parts, run: RunRecord, task: TaskRecord) -> Judge:
    """Return what says why paths of a change may not stay: the run's own policy and the task's scope."""
    from nightcrew.policy.inspect import inspect
    from nightcrew.runtime.rules import rules_from_plain

    with parts.journal.read() as tx:
        record = tx.need(PlanRecord, f"{run.id}/P{run.plan_version}")
    planned = Plan.from_plain(record.body).task(task.name)
    policy, scope = rules_from_plain(record.policies).under(planned.role).policy, planned.scope

    def judge(change: Change) -> Mapping[str, Sequence[str]]:
        against: dict[str, list[str]] = defaultdict(list)
        for finding in inspect(policy, change, scope=scope):
            if finding.verdict is not Verdict.ALLOW:
                against[finding.path].append(f"{finding.message} (rule {finding.rule}, {finding.source})")
        return against

    return judge


def _describe(
    hunks: Sequence[Hunk], kept: Sequence[Hunk], why: Mapping[str, Sequence[str]]
) -> tuple[Mapping[str, Any], ...]:
    stay = {hunk.id for hunk in kept}
    gone: dict[str, list[str]] = defaultdict(list)
    for hunk in hunks:
        if hunk.id not in stay:
            gone[hunk.path].append(hunk.id)
    partly = {hunk.path for hunk in kept}
    return tuple(
        {"path": path, "whole": path not in partly, "hunks": names, "why": list(why.get(path, ()))}
        for path, names in gone.items()
    )
