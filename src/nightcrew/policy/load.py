"""policy.yaml → Policy, with every problem at its place. Format: docs/formats/policy.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final

from nightcrew.model.actions import Verdict, strictest
from nightcrew.model.errors import Problem
from nightcrew.model.text import closest
from nightcrew.model.yamltext import YamlPath, check_shape, read_document, refuse_problems
from nightcrew.policy import blocks, patterns
from nightcrew.policy.examples import check_examples
from nightcrew.policy.handoff import LISTED, check_own, shipped_classes
from nightcrew.policy.layers import layer_over
from nightcrew.policy.netblock import read_network
from nightcrew.policy.reading import Reading
from nightcrew.policy.rules import Allowance, HandoffClass, Placed, Policy, Rule, Subject

__all__ = ["DEFAULTS", "Policy", "default_policy", "layer", "parse_policy", "policy_schema"]

DEFAULTS: Final = "defaults.yaml"

Parse = Callable[[str], Mapping[str, Any]]


@cache
def policy_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of policy.yaml, as shipped in the package for editors."""
    schema: Mapping[str, Any] = json.loads(
        files("nightcrew.policy").joinpath("policy.schema.json").read_text("utf-8")
    )
    return schema


@cache
def default_policy() -> Policy:
    """Return the shipped policy (``defaults.yaml`` in this package)."""
    return parse_policy(shipped_text(), DEFAULTS)


@cache
def shipped_text() -> str:
    """Return the text of the shipped policy."""
    return files("nightcrew.policy").joinpath(DEFAULTS).read_text("utf-8")


def parse_policy(text: str, source: str, *, parse: Parse | None = None, ceiling: bool = False) -> Policy:
    """Read one policy file.

    Args:
        text: content; an empty text is a policy that says nothing.
        source: file name, as decisions and problems will name it.
        parse: shell parser (``host.shell.parse``); with it the examples of the rules are checked.
        ceiling: this layer belongs to the owner of the machine: layers inside it can only be stricter.

    Raises:
        InvalidInput: with all problems, each at file:line:column.
    """
    problems: list[Problem] = []
    document = read_document(text, source, problems)
    policy = Policy(sources=(source,), ceiling=ceiling)
    # The shape of the shipped one is checked by our tests; loading what checks shapes costs more than all the reading.
    if document is not None and not (source == DEFAULTS and text == shipped_text()):
        check_shape(document, policy_schema(), problems)
    if document is not None and isinstance(document.value, dict):
        policy = _Reading(document, problems, ceiling).read()
        if parse is not None:
            problems.extend(check_examples(policy, parse))
    refuse_problems(problems, source)
    return policy


def layer(policies: Sequence[Policy]) -> Policy:
    """Put layers together, outermost first: shipped, system, user, repository.

    The shipped policy is always the outermost layer, given or not. A rule replaces the rule of the same id outside of
    it, down to that rule's floor; all other rules stand side by side (deny beats ask beats allow).

    Raises:
        InvalidInput: a layer loosens what an outer one fixed, or refers to a rule that is not there.
    """
    given = [p for p in policies if DEFAULTS not in p.sources]
    shipped = [p for p in policies if DEFAULTS in p.sources] or [default_policy()]
    return layer_over([*shipped, *given])


#: What ``safety`` decides.
_SAFETY: Final = (
    *("handoff", "outside_scope", "suspicious", "unplanned_change", "unplanned_delete", "while_running"),
)


@dataclass
class _Reading(Reading):
    """Takes a policy out of a document."""

    def read(self) -> Policy:
        """Return everything that can be understood."""
        found = self.settings()
        rules = [*blocks.read_destructive(self, found), *self.rules("commands", "command")]
        rules += [*self.rules("files", "file"), *self.rules("dependencies", "dependency")]
        rules += [self.rule(path, "net") for path, _ in self.items("network", "rules")]
        return Policy(
            sources=(self.document.source,),
            rules=tuple(rules),
            fixed_paths=tuple(self.globs("fixed_paths")),
            protected_paths=tuple(self.globs("protected_paths")),
            handoff_paths=tuple(self.globs("handoff_paths")),
            handoff_classes=tuple(self.handoff_classes()),
            allowances=tuple(self.allowances()),
            gates=tuple(blocks.read_gates(self)),
            settings=found,
            ceiling=self.ceiling,
        )

    def globs(self, name: str) -> list[Placed[str]]:
        """Return the globs of a list in ``safety``."""
        found = []
        for index, glob in enumerate(self.texts("safety", name)):
            path = ("safety", name, index)
            self.check_glob(glob, path)
            found.append(Placed(glob, self.document.place(*path)))
        return found

    def settings(self) -> dict[str, Placed[Any]]:
        """Return the single values by dotted name."""
        found: dict[str, Placed[Any]] = {}
        verdicts = [("defaults", k) for k in ("commands", "files", "network", "unparsable")]
        safety = [
            *(("safety", k) for k in _SAFETY),
            ("secrets", "change"),
        ]
        classes = [("handoff", name) for name in self.names("handoff")]
        for path in (*verdicts, *safety, *classes):
            verdict = self.verdict(*path)
            if verdict is None and path[0] == "handoff":
                verdict = self.verdict(*path, "decision")
            if verdict is not None:
                self.put(found, path, verdict)
        for read in blocks.SETTINGS:
            read(self, found)
        read_network(self, found)
        return found

    def handoff_classes(self) -> Iterator[Placed[HandoffClass]]:
        """Yield the classes a policy adds; a name that is neither shipped nor described is a slip."""
        known = {"default", LISTED, *(each.id for each in shipped_classes())}
        for name in self.names("handoff"):
            path = ("handoff", name)
            if not isinstance(self.at(*path), dict):
                if name not in known:
                    near = closest(name, known)
                    self.complain(
                        path,
                        f"there is no class {name!r}",
                        f"did you mean {near!r}?" if near else "",
                        key=True,
                    )
                continue
            if name in known:
                self.complain(
                    path, "this class is shipped; say allow, ask or deny, or choose another name", key=True
                )
                continue
            for index, glob in enumerate(self.texts(*path, "paths")):
                self.check_glob(glob, (*path, "paths", index))
            match, not_match = (self.texts(*path, "examples", key) for key in ("match", "not_match"))
            who, reason = self.text(*path, "who"), self.text(*path, "reason")
            made = HandoffClass(name, who, reason, self.texts(*path, "paths"), "", match, not_match)
            place = self.document.key_place(*path)
            self.problems.extend(check_own([(made, place)]))
            yield Placed(made, place)

    def allowances(self) -> Iterator[Placed[Allowance]]:
        """Yield the secrets that may land."""
        for path, _ in self.items("secrets", "allow"):
            made = Allowance(*(self.text(*path, key) for key in ("fingerprint", "reason", "until", "by")))
            try:
                date.fromisoformat(made.until)
            except ValueError:
                if made.until:
                    self.complain(
                        (*path, "until"), f"there is no day {made.until!r}", "write it like 2027-01-31"
                    )
            yield Placed(made, self.document.place(*path))

    def rules(self, block: str, subject: Subject) -> list[Rule]:
        """Return the rules of a list."""
        return [self.rule(path, subject) for path, _ in self.items(block)]

    def rule(self, path: YamlPath, subject: Subject) -> Rule:
        """Return one rule."""
        id_path = (*path, "id")
        name = self.text(*id_path)
        if name:
            self.take_id(name, id_path)
        decision = self.verdict(*path, "decision") or Verdict.DENY
        floor = self.verdict(*path, "floor")
        if floor is not None and strictest(floor, decision) != decision:
            self.complain((*path, "floor"), f"the decision is weaker than its floor {floor}")
        return Rule(
            id=name,
            subject=subject,
            when=self.when(path, subject),
            decision=decision,
            reason=self.text(*path, "reason"),
            place=self.document.place(*path) if not name else self.document.key_place(*id_path),
            risk=self.text(*path, "risk") or ("medium" if "when" in (self.at(*path) or ()) else ""),
            hint=self.text(*path, "hint"),
            floor=strictest(decision, floor or decision) if self.ceiling else floor,
            examples=self.examples(path),
            unless=self.when(path, subject, "unless") or (),
        )

    def when(self, path: YamlPath, subject: Subject, key: str = "when") -> Any:
        """Return the patterns of a rule; None when it has no ``when``."""
        value = self.at(*path, key)
        if isinstance(value, dict):
            paths: list[YamlPath] = [(*path, key)]
        elif isinstance(value, list):
            paths = [(*path, key, n) for n, item in enumerate(value) if isinstance(item, dict)]
        else:
            return None
        return tuple(patterns.READERS[subject](self, p) for p in paths)
