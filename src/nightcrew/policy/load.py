"""policy.yaml → Policy, with every problem at its place. Format: docs/formats/policy.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from nightcrew.model.actions import Verdict, strictest
from nightcrew.model.errors import Problem
from nightcrew.model.text import closest
from nightcrew.model.units import parse_size
from nightcrew.model.yamltext import (
    Document,
    YamlPath,
    check_shape,
    name_path,
    read_document,
    refuse_problems,
)
from nightcrew.policy.examples import check_examples
from nightcrew.policy.globs import check_glob
from nightcrew.policy.handoff import LISTED, check_own, shipped_classes
from nightcrew.policy.layers import layer_over
from nightcrew.policy.rules import (
    Allowance,
    CommandPattern,
    Example,
    FilePattern,
    HandoffClass,
    Placed,
    Policy,
    Rule,
)

__all__ = ["DEFAULTS", "Policy", "default_policy", "layer", "parse_policy", "policy_schema"]

DEFAULTS: Final = "defaults.yaml"

Parse = Callable[[str], Mapping[str, Any]]

_LIMITS: Final = ("files", "lines", "created", "modified", "deleted", "file_size", "total_size")
_WORDS: Final = {"allow": Verdict.ALLOW, "ask": Verdict.ASK, "prompt": Verdict.ASK, "deny": Verdict.DENY}


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
    return parse_policy(files("nightcrew.policy").joinpath(DEFAULTS).read_text("utf-8"), DEFAULTS)


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
    if document is not None:
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


@dataclass
class _Reading:
    """Takes a policy out of a document whose shape may be wrong: what has the wrong type was reported and is skipped."""

    document: Document
    problems: list[Problem]
    ceiling: bool = False
    ids: dict[str, YamlPath] = field(default_factory=dict)

    def read(self) -> Policy:
        rules = [*self.rules("commands", "command"), *self.rules("files", "file")]
        return Policy(
            sources=(self.document.source,),
            rules=tuple(rules),
            fixed_paths=tuple(self.globs("fixed_paths")),
            protected_paths=tuple(self.globs("protected_paths")),
            handoff_paths=tuple(self.globs("handoff_paths")),
            handoff_classes=tuple(self.handoff_classes()),
            allowances=tuple(self.allowances()),
            settings=self.settings(),
            ceiling=self.ceiling,
        )

    def at(self, *path: str | int) -> Any:
        value = self.document.value
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int):
                value = value[part] if part < len(value) else None
            else:
                return None
        return value

    def complain(self, path: YamlPath, message: str, hint: str = "", *, key: bool = False) -> None:
        place = self.document.key_place(*path) if key else self.document.place(*path)
        self.problems.append(Problem(place, f"{name_path(path)}{message}", hint))

    def text(self, *path: str | int) -> str:
        value = self.at(*path)
        return value if isinstance(value, str) else ""

    def texts(self, *path: str | int) -> tuple[str, ...]:
        value = self.at(*path)
        if isinstance(value, str):
            return (value,)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()

    def verdict(self, *path: str | int) -> Verdict | None:
        return _WORDS.get(self.text(*path))

    def globs(self, name: str) -> list[Placed[str]]:
        found = []
        for index, glob in enumerate(self.texts("safety", name)):
            path = ("safety", name, index)
            self.check_glob(glob, path)
            found.append(Placed(glob, self.document.place(*path)))
        return found

    def check_glob(self, glob: str, path: YamlPath) -> None:
        wrong = check_glob(glob)
        if wrong:
            self.complain(path, f"bad glob {glob!r}: {wrong}")

    def settings(self) -> dict[str, Placed[Any]]:
        found: dict[str, Placed[Any]] = {}
        verdicts = [("defaults", k) for k in ("commands", "files", "network", "unparsable")]
        safety = [("safety", "handoff"), ("safety", "outside_scope"), ("secrets", "change")]
        classes = [("handoff", name) for name in self.names("handoff")]
        for path in (*verdicts, *safety, *classes):
            verdict = self.verdict(*path)
            if verdict is None and path[0] == "handoff":
                verdict = self.verdict(*path, "decision")
            if verdict is not None:
                found[".".join(path)] = Placed(verdict, self.document.key_place(*path), self.ceiling)
        for level in ("soft", "hard"):
            for name in _LIMITS:
                self.read_limit(("limits", level, name), found)
        return found

    def names(self, block: str) -> tuple[str, ...]:
        value = self.at(block)
        return tuple(name for name in value if isinstance(name, str)) if isinstance(value, dict) else ()

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
        value = self.at("secrets", "allow")
        for index, item in enumerate(value if isinstance(value, list) else ()):
            path = ("secrets", "allow", index)
            if not isinstance(item, dict):
                continue
            made = Allowance(*(self.text(*path, key) for key in ("fingerprint", "reason", "until", "by")))
            try:
                date.fromisoformat(made.until)
            except ValueError:
                if made.until:
                    self.complain(
                        (*path, "until"), f"there is no day {made.until!r}", "write it like 2027-01-31"
                    )
            yield Placed(made, self.document.place(*path))

    def read_limit(self, path: YamlPath, found: dict[str, Placed[Any]]) -> None:
        value = self.at(*path)
        if isinstance(value, bool) or not isinstance(value, int | str):
            return
        if value == "unlimited":
            number = None
        elif isinstance(value, int):
            number = value
        elif str(path[-1]).endswith("_size"):
            try:
                number = parse_size(value)
            except ValueError as error:
                self.complain(path, str(error))
                return
        else:
            return
        found[".".join(map(str, path))] = Placed(number, self.document.key_place(*path), self.ceiling)

    def rules(self, block: str, subject: Literal["command", "file"]) -> list[Rule]:
        value = self.at(block)
        found = []
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if isinstance(item, dict):
                found.append(self.rule((block, index), subject))
        return found

    def rule(self, path: tuple[str, int], subject: Literal["command", "file"]) -> Rule:
        id_path = (*path, "id")
        name = self.text(*id_path)
        first = self.ids.setdefault(name, id_path) if name else id_path
        if first != id_path:
            self.complain(
                id_path, f"a rule {name!r} stands already in line {self.document.place(*first).line}"
            )
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
        )

    def when(self, path: tuple[str, int], subject: str) -> Any:
        value = self.at(*path, "when")
        if isinstance(value, dict):
            paths: list[YamlPath] = [(*path, "when")]
        elif isinstance(value, list):
            paths = [(*path, "when", n) for n, item in enumerate(value) if isinstance(item, dict)]
        else:
            return None
        one = self.command_pattern if subject == "command" else self.file_pattern
        return tuple(one(p) for p in paths)

    def command_pattern(self, path: YamlPath) -> CommandPattern:
        for name in ("command", "text"):
            self.check_regex((*path, name))
        for name in ("program", "not_program"):
            self.check_names((*path, name))
        opaque = self.at(*path, "opaque")
        return CommandPattern(
            program=self.texts(*path, "program"),
            not_program=self.texts(*path, "not_program"),
            subcommand=self.texts(*path, "subcommand"),
            flags=self.texts(*path, "flags"),
            args=self.texts(*path, "args"),
            command=self.text(*path, "command"),
            text=self.text(*path, "text"),
            opaque=opaque if isinstance(opaque, bool) else None,
            stdin=self.text(*path, "stdin"),
        )

    def check_names(self, path: YamlPath) -> None:
        """Programs are matched by their names alone; a pattern with a folder would never match."""
        for index, name in enumerate(self.texts(*path)):
            if "/" in name:
                where = (*path, index) if isinstance(self.at(*path), list) else path
                self.complain(
                    where,
                    f"{name!r} names a folder, and programs are matched by name",
                    f"write {name.rpartition('/')[2] or '*'!r}",
                )

    def check_regex(self, path: YamlPath) -> None:
        value = self.text(*path)
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            self.complain(
                path, f"bad regular expression: {error}", "in single quotes a backslash needs no second one"
            )

    def file_pattern(self, path: YamlPath) -> FilePattern:
        globs = self.texts(*path, "paths")
        if isinstance(self.at(path[0], path[1], "when"), dict) and "paths" not in self.at(*path):
            self.complain(path, "'paths' is missing", "which paths the rule is about")
        for index, glob in enumerate(globs):
            where = (*path, "paths", index) if isinstance(self.at(*path, "paths"), list) else (*path, "paths")
            self.check_glob(glob, where)
        return FilePattern(paths=globs, do=self.texts(*path, "do"))

    def examples(self, path: tuple[str, int]) -> tuple[Example, ...]:
        found = []
        for name, matches in (("match", True), ("not_match", False)):
            for index, text in enumerate(self.texts(*path, "examples", name)):
                found.append(Example(text, matches, self.document.place(*path, "examples", name, index)))
        return tuple(found)
