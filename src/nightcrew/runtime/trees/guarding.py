"""What stands against a tree before it lands: secrets in it, and paths that something on the host will execute.

A secret lands only when it is allowed by its fingerprint; a path that is handed off to a program lands only with a yes of
its own. Both are judged on exactly the tree that would land, against the commit it would land on, by the rules as they
stand in the working tree now: a person has just been told, and has just changed them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.actions import Finding, Verdict
from nightcrew.model.errors import DeniedByPolicy, UsageError, WaitingForHuman
from nightcrew.model.text import count, shown
from nightcrew.policy.handoff import Handoff, class_ids, find_handoffs
from nightcrew.policy.scanning.change import scan_change
from nightcrew.policy.scanning.texts import hide_in_name
from nightcrew.runtime.trees.canaries import find_landing

if TYPE_CHECKING:
    from nightcrew.model.trees import Repository
    from nightcrew.policy.rules import Policy
    from nightcrew.runtime.parts import Parts

_MANY = 20
REFUSED: Final = "promotion.refused"
"""Kind of the event of a promotion that secrets, planted credentials or paths stood against."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What was found in a tree that is about to land.

    Attributes:
        run: whose results it holds.
        secrets: findings; those with ``deny`` stand against it.
        handoffs: changed paths that something on the host will execute.
        classes: names a person may say yes to.
        agreed: paths that a person said yes to.
        engines: what searched for secrets.
        planted: credentials of ours that were planted as a tripwire; they never land.
    """

    run: str = ""
    secrets: tuple[Finding, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    classes: tuple[str, ...] = ()
    agreed: frozenset[str] = frozenset()
    engines: tuple[str, ...] = ()
    planted: tuple[Finding, ...] = ()

    @property
    def open(self) -> tuple[Handoff, ...]:
        """Paths that need a yes of their own and have none."""
        return tuple(h for h in self.handoffs if h.verdict is Verdict.ASK and h.path not in self.agreed)

    def agree(self, names: Iterable[str]) -> Guard:
        """Return it with a yes to classes or single paths.

        Raises:
            UsageError: a name is neither a class nor one of the paths.
        """
        agreed = set(self.agreed)
        for name in names:
            meant = [h.path for h in self.handoffs if name in (h.kind, h.path)]
            if not meant and name not in self.classes:
                raise UsageError(
                    f"--allow-handoff {shown(name)}: that is neither a class nor a path of this promotion; nothing was done",
                    code="handoff.unknown",
                    where=[f"classes: {', '.join(self.classes)}"],
                )
            agreed.update(meant)
        return replace(self, agreed=frozenset(agreed))

    def refuse_secrets(self) -> None:
        """Do nothing when nothing stands against it for good.

        Raises:
            DeniedByPolicy: it holds a secret that is not allowed, or a path that may never land.
        """
        if self.planted:
            raise DeniedByPolicy(
                "a credential that nightcrew planted as a tripwire is in what would land; nothing was changed",
                code="promote.canary",
                where=[finding.message for finding in self.planted[:_MANY]],
                hint=f"see where it comes from, and take it out: nightcrew diff {self.run}   nightcrew retry {self.run}/T..",
            )
        secrets = [finding for finding in self.secrets if finding.verdict is Verdict.DENY]
        if secrets:
            unread = sum(finding.rule == "secrets.unread" for finding in secrets)
            what = count(len(secrets) - unread, "secret")
            if unread == len(secrets):
                what = f"{count(unread, 'file')} that could not be searched for secrets"
            raise DeniedByPolicy(
                f"{what} in what would land; nothing was changed",
                code="promote.secret",
                where=[finding.message for finding in secrets[:_MANY]],
                hint=f"take it out: nightcrew retry {self.run}/T..   or, if it may be there: nightcrew secrets allow "
                f'{secrets[0].fingerprint} --reason "why" --until YYYY-MM-DD',
            )
        denied = [each for each in self.handoffs if each.verdict is Verdict.DENY]
        if denied:
            raise DeniedByPolicy(
                "the policy lets some of these paths never land; nothing was changed",
                code="promote.handoff_denied",
                where=[f"{describe_handoff(each)} ({each.source})" for each in denied[:_MANY]],
                hint="promote the tasks that do not change them, or change the rule: nightcrew policy check",
            )

    def refuse(self, otherwise: str = "") -> None:
        """Do nothing when nothing stands against it and every path that is handed off has its yes.

        Args:
            otherwise: the command that would go on, without the yes.

        Raises:
            DeniedByPolicy: it holds a secret that is not allowed, or a path that may never land.
            WaitingForHuman: a path has no yes; ``--yes`` does not cover it.
        """
        self.refuse_secrets()
        if self.open:
            kinds = dict.fromkeys(each.kind for each in self.open)
            said = " ".join(f"--allow-handoff {kind}" for kind in kinds)
            raise WaitingForHuman(
                f"nothing was done: {count(len(self.open), 'path')} would be executed on your machine, and need a yes "
                "of their own (--yes does not cover it)",
                code="promote.handoff",
                where=[describe_handoff(each) for each in self.open[:_MANY]],
                hint=f"{otherwise or f'nightcrew promote {self.run}'} {said}",
            )

    def to_plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "secrets": [_plain_secret(each) for each in self.secrets],
            "planted": [{"path": hide_in_name(each.path), "message": each.message} for each in self.planted],
            "handoff": [
                {
                    "path": hide_in_name(h.path),
                    "class": h.kind,
                    "who": h.who,
                    "reason": h.reason,
                    "decision": str(h.verdict),
                }
                for h in self.handoffs
            ],
            "secret_engines": list(self.engines),
        }

    def to_event(self) -> dict[str, Any]:
        """Return what the journal keeps of it: what was agreed to, and what was allowed."""
        allowed = [f.fingerprint for f in self.secrets if f.severity != "low" and f.verdict is Verdict.ALLOW]
        agreed = {each.path: each.kind for each in self.handoffs if each.path in self.agreed}
        return {
            **({"handoff": agreed} if agreed else {}),
            **({"secrets_allowed": allowed} if allowed else {}),
            **({"secret_engines": list(self.engines)} if self.engines else {}),
        }


def note_refusal(parts: Parts, guard: Guard, promotion: str) -> bool:
    """Tell the journal what stands against a promotion for good; nothing, and False, when nothing does.

    Where the second engine alone found something, this is the only place that holds its fingerprint.
    """
    secrets = [each.fingerprint for each in guard.secrets if each.verdict is Verdict.DENY]
    never = [each.path for each in guard.handoffs if each.verdict is Verdict.DENY]
    planted = [each.path for each in guard.planted]
    if not (secrets or never or planted):
        return False
    data = {"promotion": promotion, "secrets": secrets, "handoff": never, "planted": planted}
    with parts.journal.write() as tx:
        tx.append(REFUSED, run=guard.run, actor=f"user:{parts.env.user}", data=data)
    return True


def describe_handoff(each: Handoff) -> str:
    """Return who executes a path and why it matters, in one line."""
    return f"{shown(hide_in_name(each.path))}: {each.who} ({each.kind}): {each.reason}"


def guard_tree(
    parts: Parts,
    repository: Repository,
    run: str,
    old_commit: str,
    tree: str,
    hooks: Mapping[str, str] | None = None,
) -> Guard:
    """Look at the tree that would land on a commit.

    Args:
        run: id of the run.
        old_commit: what the branch is at, or a new one starts from.
        tree: the tree that would land.
        hooks: paths in it that git runs by the user's configuration, each with the files on the way to it, in words.
    """
    from nightcrew.runtime.trees.scanners import scan_strongly

    policy = rules_now(parts, repository)
    store = parts.store(repository)
    base = store.tree_of(old_commit)
    change = store.compare(base, tree)
    today = parts.clock.now().date()
    secrets = scan_change(policy, change, store.read_blob, today=today, verdict=Verdict.DENY)
    planted = find_landing(parts.env.state, store, run, change)
    more, engine = scan_strongly(parts, store, policy, change, secrets, today=today)
    return Guard(
        run,
        (*secrets, *more),
        find_handoffs(policy, change, hooks),
        class_ids(policy),
        engines=("nightcrew", *engine),
        planted=planted,
    )


def rules_now(parts: Parts, repository: Repository) -> Policy:
    """Return the policy of the working tree as it is now."""
    from nightcrew.runtime.rules import read_rules

    return read_rules(parts.env, Path(repository.root) if repository.root else None).policy


def _plain_secret(finding: Finding) -> dict[str, Any]:
    return {
        "path": hide_in_name(finding.path),
        "line": finding.line,
        "rule": finding.rule,
        "severity": finding.severity,
        "fingerprint": finding.fingerprint,
        "decision": "allow" if finding.verdict is Verdict.ALLOW else "deny",
        "message": finding.message,
    }
