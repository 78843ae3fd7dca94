"""A role file → Role, with every problem at its place. Format: docs/formats/role.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

from nightcrew.model.actions import Verdict
from nightcrew.model.errors import Place, Problem
from nightcrew.model.text import closest
from nightcrew.model.units import parse_duration
from nightcrew.model.usage import Budget, parse_budget
from nightcrew.model.yamltext import YamlPath, check_shape, read_document, refuse_problems
from nightcrew.policy import blocks, patterns
from nightcrew.policy.examples import check_examples
from nightcrew.policy.load import policy_schema
from nightcrew.policy.places import read_item
from nightcrew.policy.reading import Reading
from nightcrew.policy.roles.entries import Meant, read_entry
from nightcrew.policy.roles.hours import LOCAL, Hours, find_zone, read_days, read_time
from nightcrew.policy.roles.role import Caps, Confidence, Role, name_rule
from nightcrew.policy.rules import FilePattern, Patterns, Placed, Policy, Rule, Subject

Parse = Callable[[str], Mapping[str, Any]]

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
"""Names of roles: small letters, digits and single hyphens, as in the name of the file."""

_SUBJECTS: Final[Mapping[str, Subject]] = {
    "commands": "command",
    "files": "file",
    "dependencies": "dependency",
    "network": "net",
}
_DECISIONS: Final[Mapping[str, Verdict]] = {
    "autonomous": Verdict.ALLOW,
    "requires_approval": Verdict.ASK,
    "forbidden": Verdict.DENY,
}
_WORDS: Final[Mapping[str, str]] = {
    "autonomous": "the role may do this by itself",
    "requires_approval": "the role asks before it does this",
    "forbidden": "the role never does this",
}
_RISKS: Final[Mapping[str, str]] = {"autonomous": "low", "requires_approval": "medium", "forbidden": "high"}


@cache
def role_schema() -> Mapping[str, Any]:
    """Return the JSON Schema of a role file, complete in itself, for editors."""
    schema: dict[str, Any] = json.loads(
        files("nightcrew.policy.roles").joinpath("role.schema.json").read_text("utf-8")
    )
    policy = policy_schema()
    shared = {**policy["$defs"], "gates": policy["properties"]["gates"]}
    return {**schema, "$defs": {**shared, **schema["$defs"]}}


def parse_role(
    text: str, name: str, source: str, *, layer: str = "repository", parse: Parse | None = None
) -> Role:
    """Read one role file.

    Args:
        text: content. name: of the role, from the name of its file. source: the file, as messages will name it.
        layer: ``shipped``, ``user`` or ``repository``.
        parse: shell parser (``host.shell.parse``); with it the examples are checked.

    Raises:
        InvalidInput: with all problems, each at file:line:column.
    """
    problems: list[Problem] = []
    if not NAME.match(name):
        said = f"{name!r} is no name for a role"
        hint = "name the file with small letters, digits and hyphens: release-manager.yaml"
        problems.append(Problem(Place(source, 1, 1), said, hint))
    document = read_document(text, source, problems)
    role = Role(name, source, layer, Place(source, 1, 1))
    if document is not None:
        check_shape(document, role_schema(), problems)
        if not isinstance(document.value, dict) and not problems:
            problems.append(Problem(document.place(), "a role is a mapping with an 'authority'"))
    if document is not None and isinstance(document.value, dict):
        role = _Reading(document, problems, role=role).read()
        if parse is not None:
            problems.extend(check_examples(Policy(rules=role.rules), parse))
    refuse_problems(problems, source)
    return role


@dataclass
class _Reading(Reading):
    """Takes a role out of a document."""

    role: Role = field(default_factory=lambda: Role("", "", "", Place("")))

    def read(self) -> Role:
        """Return everything that can be understood."""
        found: dict[str, Placed[Any]] = {}
        blocks.read_limits(self, found)
        lists = {name: tuple(self.entries(name)) for name in _DECISIONS}
        self.check_overlap(lists)
        return replace(
            self.role,
            title=self.text("display_name"),
            description=self.text("description"),
            competencies=self.placed_texts("competencies"),
            agents=self.placed_texts("agents"),
            model=self.text("model"),
            autonomous=lists["autonomous"],
            requires_approval=lists["requires_approval"],
            forbidden=lists["forbidden"],
            otherwise=self.otherwise(),
            tolerance=self.put_on("risk_tolerance", self.text("risk_tolerance") or None),
            confidence=self.put_on("confidence", self.confidence()),
            limits={name: placed for name, placed in found.items() if placed.value is not None},
            gates=tuple(blocks.read_gates(self)),
            caps=self.put_on("caps", self.caps()),
            network=self.put_on("network", self.network()),
            hours=self.put_on("working_hours", self.hours()),
            review=self.put_on(
                "require_review_before_promote", self.at("require_review_before_promote") or None
            ),
        )

    def put_on(self, key: str, value: Any) -> Placed[Any] | None:
        """Return a value with the place of its key; None for none."""
        return None if value is None else Placed(value, self.document.key_place(key))

    def placed_texts(self, key: str) -> tuple[Placed[str], ...]:
        return tuple(
            Placed(text, self.document.place(key, number)) for number, text in enumerate(self.texts(key))
        )

    # -- authority --------------------------------------------------------------------------------------------

    def otherwise(self) -> Placed[Verdict]:
        verdict = self.verdict("authority", "otherwise")
        if verdict is not None:
            return Placed(verdict, self.document.key_place("authority", "otherwise"))
        return Placed(Verdict.ASK, self.document.key_place("authority"))

    def entries(self, name: str) -> Iterator[Rule]:
        """Yield the entries of one list as rules."""
        listed = self.at("authority", name)
        for number, item in enumerate(listed if isinstance(listed, list) else ()):
            path: YamlPath = ("authority", name, number)
            meant = self.meant(path, item)
            if meant is not None:
                yield self.rule(path, name, number, item, meant)

    def meant(self, path: YamlPath, item: Any) -> Meant | None:
        """Return what an entry is about, None when that cannot be understood."""
        if isinstance(item, str):
            return self.line(path, item)
        if not isinstance(item, dict):
            return None
        given = [key for key in ("action", *_SUBJECTS) if key in item]
        if len(given) != 1:
            said = "says twice what it is about" if given else "does not say what it is about"
            hint = "write one of: action, commands, files, dependencies, network"
            self.complain((*path, given[1]) if given else path, said, hint, key=True)
            return None
        if given[0] == "action":
            return self.line((*path, "action"), self.text(*path, "action"))
        subject = _SUBJECTS[given[0]]
        when = self.when((*path, given[0]), subject)
        return Meant(subject, when) if when else None

    def line(self, path: YamlPath, text: str) -> Meant | None:
        try:
            return read_entry(text) if text else None
        except ValueError as error:
            self.complain(path, str(error))
            return None

    def when(self, path: YamlPath, subject: Subject) -> Any:
        value = self.at(*path)
        if isinstance(value, dict):
            paths: list[YamlPath] = [path]
        else:
            listed = value if isinstance(value, list) else ()
            paths = [(*path, number) for number, item in enumerate(listed) if isinstance(item, dict)]
        for each in paths:
            if subject == "file" and not self.texts(*each, "paths"):
                self.complain(each, "'paths' is missing", "which paths the entry is about")
            if subject in ("command", "file") and "autonomous" in path and self.texts(*each, "sql"):
                self.complain((*each, "sql"), "what SQL does cannot be autonomous: it is read from contents")
        return tuple(patterns.READERS[subject](self, each) for each in paths)

    def rule(self, path: YamlPath, name: str, number: int, item: Any, meant: Meant) -> Rule:
        own = self.text(*path, "id") if isinstance(item, dict) else ""
        if own:
            self.take_id(own, (*path, "id"))
        place = self.document.key_place(*path, "id") if own else self.document.place(*path)
        return Rule(
            id=name_rule(self.role.name, own or f"{name}.{number + 1}"),
            subject=meant.subject,
            when=cast(Patterns, tuple(map(_with_folders, meant.when))),
            decision=_DECISIONS[name],
            reason=self.text(*path, "reason") or meant.reason or self.words(name),
            place=place,
            risk=self.text(*path, "risk") or meant.risk or _RISKS[name],
            hint=self.text(*path, "hint") or meant.hint,
            examples=self.examples(path) if isinstance(item, dict) else (),
        )

    def words(self, name: str) -> str:
        return _WORDS[name].replace("the role", f"the role {self.role.name}", 1)

    def check_overlap(self, lists: Mapping[str, tuple[Rule, ...]]) -> None:
        """Complain of what stands in two lists: only the stricter one would count, and somebody meant the other."""
        first: dict[tuple[Subject, Any], tuple[str, Rule]] = {}
        for name in reversed(tuple(_DECISIONS)):
            for rule in lists[name]:
                known = first.setdefault((rule.subject, rule.when), (name, rule))
                if known[0] != name:
                    said = (
                        f"stands in {known[0]} too (line {known[1].place.line}), and can only be one of both"
                    )
                    self.problems.append(
                        Problem(rule.place, f"authority.{name}: {said}", "take one of them out")
                    )

    # -- single values ------------------------------------------------------------------------------------------

    def confidence(self) -> Confidence | None:
        block = self.at("confidence")
        if not isinstance(block, dict):
            return None
        given = {
            key: float(value)
            for key in ("auto", "flag", "ask")
            if isinstance(value := block.get(key), int | float) and not isinstance(value, bool)
        }
        made = replace(Confidence(), **given)
        if not made.ask <= made.flag <= made.auto:
            said = f"ask ({made.ask:g}) must not be above flag ({made.flag:g}), and that not above auto ({made.auto:g})"
            self.complain(("confidence",), said)
        return made

    def caps(self) -> Caps | None:
        if not isinstance(self.at("caps"), dict):
            return None
        return Caps(task=self.amount("task"), run=self.amount("run"), attempt_s=self.time("attempt"))

    def amount(self, key: str) -> Budget:
        text = self.text("caps", key)
        try:
            return parse_budget(text) if text else Budget()
        except ValueError as error:
            self.complain(("caps", key), str(error))
            return Budget()

    def time(self, key: str) -> float:
        value = self.at("caps", key)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return 0.0
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.complain(("caps", key), str(error))
            return 0.0
        if seconds <= 0:
            self.complain(("caps", key), "must be more than nothing", "write such as 30m")
        return seconds

    def network(self) -> tuple[str, ...] | None:
        if not isinstance(self.at("network"), list):
            return None
        for number, text in enumerate(self.texts("network")):
            try:
                item = read_item(text)
            except ValueError as error:
                self.complain(("network", number), str(error))
                continue
            if item.phase != "work":
                self.complain(("network", number), "holds in every phase", "leave out install:")
        return self.texts("network")

    def hours(self) -> Hours | None:
        if not isinstance(self.at("working_hours"), dict):
            return None
        since, until = self.minutes("from"), self.minutes("to")
        days, zone = tuple(range(7)), self.text("working_hours", "tz") or LOCAL
        for key, check in (("tz", self.check_zone), ("days", self.check_days)):
            if self.at("working_hours", key) is not None:
                check(("working_hours", key))
        if self.texts("working_hours", "days") and not self.has_problem("working_hours", "days"):
            days = read_days(self.texts("working_hours", "days"))
        return Hours(since, until, days, zone) if since is not None and until is not None else None

    def minutes(self, key: str) -> int | None:
        text = self.text("working_hours", key)
        try:
            return read_time(text) if text else None
        except ValueError as error:
            self.complain(
                ("working_hours", key), str(error), 'write a time of day in quotes, such as "22:00"'
            )
            return None

    def check_zone(self, path: YamlPath) -> None:
        name = self.text(*path)
        try:
            find_zone(name)
        except ValueError as error:
            from zoneinfo import available_timezones

            near = closest(name, available_timezones())
            self.complain(path, str(error), f"did you mean {near!r}?" if near else "such as Europe/Berlin")

    def check_days(self, path: YamlPath) -> None:
        try:
            read_days(self.texts(*path))
        except ValueError as error:
            self.complain(path, str(error), "write mon, tue, wed, thu, fri, sat or sun")

    def has_problem(self, *path: str) -> bool:
        place = self.document.place(*path)
        return any(problem.place == place for problem in self.problems)


def _with_folders(pattern: Any) -> Any:
    """Return a pattern on files in which ``dir/**`` means the folder itself too: it is made and removed as a whole."""
    if not isinstance(pattern, FilePattern):
        return pattern
    folders = (glob.removesuffix("/**") for glob in pattern.paths if glob.endswith("/**"))
    return replace(pattern, paths=(*pattern.paths, *(glob for glob in folders if glob.strip("*/!"))))
