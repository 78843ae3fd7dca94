"""From what stands in a tasks file (a Draft) to a Task: values parsed, the agent chosen. Pure."""

from __future__ import annotations

from nightcrew.model import ids
from nightcrew.model.errors import Place, Problem
from nightcrew.model.plans import Task
from nightcrew.model.routes import ANY
from nightcrew.model.text import shown
from nightcrew.model.usage import parse_budget
from nightcrew.plan import values
from nightcrew.plan.keys import KEYS
from nightcrew.plan.reader import Draft, Value
from nightcrew.policy.places import read_item


def build_task(draft: Draft, problems: list[Problem]) -> Task:
    """Turn a draft into a task; what cannot be understood is left out and added to ``problems``."""
    return _Builder(draft, problems).build()


class _Builder:
    def __init__(self, draft: Draft, problems: list[Problem]) -> None:
        self.draft = draft
        self.problems = problems

    def build(self) -> Task:
        draft = self.draft
        self._drop_empty()
        accept = draft.values.get("accept", [])
        install = draft.values.get("install", [])
        network = self._read_network()
        depends = self._read_depends()
        return Task(
            id=ids.name_task(draft.number),
            number=draft.number,
            title=draft.title,
            place=draft.place,
            description="\n".join(draft.description).strip(),
            agent=self._choose_agent(),
            run=self._read("run"),
            script=self._read_script(),
            prompt=self._read("prompt"),
            depends=tuple(depends),
            scope=self._read_scope(),
            accept=tuple(values.strip_ticks(value.text) for value in accept),
            timeout_s=self._read_timeout(),
            files=self._read_files(),
            creates=self._read_listed("creates"),
            modifies=self._read_listed("modifies"),
            deletes=self._read_listed("deletes"),
            budget=self._read_budget(),
            role=self._read("role"),
            model=self._read("model"),
            done=draft.done,
            run_place=self._find_place("run"),
            accept_places=tuple(value.place for value in accept),
            agent_place=self._find_place("agent"),
            script_place=self._find_place("script"),
            role_place=self._find_place("role"),
            fallback=tuple(
                each.strip().removeprefix("@") for each in self._read("fallback").split(",") if each.strip()
            ),
            fallback_place=self._find_place("fallback"),
            depends_places=tuple(depends.values()),
            network=tuple(network),
            install=tuple(values.strip_ticks(value.text) for value in install),
            network_places=tuple(network.values()),
            install_places=tuple(value.place for value in install),
        )

    def _drop_empty(self) -> None:
        for name, given in self.draft.values.items():
            for value in given:
                if not values.strip_ticks(value.text).strip():
                    hint = f"write it behind the colon: `- {KEYS[name]}: …`, or in a fenced block below it"
                    self._report(value.key_place, f"`{KEYS[name]}:` has no value", hint)
        kept = {name: [v for v in given if v.text.strip()] for name, given in self.draft.values.items()}
        self.draft.values = {name: given for name, given in kept.items() if given}

    def _choose_agent(self) -> str:
        """The agent as named, or the one that ``Run:`` or ``Script:`` can only mean; else one that is to be chosen."""
        named = self._read("agent").removeprefix("@")
        has_run, has_script = ("run" in self.draft.values), ("script" in self.draft.values)
        if named:
            return named
        if has_run and has_script and not self.draft.done:
            what = f"task {self.draft.number} has both `Run:` and `Script:`"
            self._report(self.draft.place, what, "keep one of them, or make two tasks")
        if has_script:
            return "script"
        return "command" if has_run or self.draft.done else ANY

    def _read_depends(self) -> dict[str, Place]:
        """Task name → where it is written, each once, in the order written."""
        found: dict[str, Place] = {}
        for value in self.draft.values.get("depends", []):
            items = values.split_items(value.text)
            if [item.lower() for item, _ in items] in (["none"], ["-"]):
                continue
            for item, at in items:
                place = _shift(value, at)
                if name := values.read_number(item):
                    found.setdefault(name, place)
                else:
                    self._report(
                        place, f"`{shown(item)}` is not the number of a task", "write `- Depends: 1, 2.1`"
                    )
        return found

    def _read_scope(self) -> tuple[str, ...]:
        globs: dict[str, None] = {}
        for value in self.draft.values.get("scope", []):
            for glob, at in values.split_items(value.text):
                globs[glob] = None
                if wrong := values.check_glob(glob):
                    self._report(
                        _shift(value, at),
                        f"the scope `{shown(glob)}` {wrong}",
                        "write globs such as `src/**`",
                    )
            if globs and all(glob.startswith("!") for glob in globs):
                self._report(
                    value.place, "the scope only excludes", "add what it may change, such as `src/**`"
                )
        return tuple(globs)

    def _read_network(self) -> dict[str, Place]:
        """Item → where it is written, each once, in the order written; names of presets are looked up later."""
        found: dict[str, Place] = {}
        for value in self.draft.values.get("network", []):
            items = values.split_items(value.text)
            if [item.lower() for item, _ in items] in (["none"], ["-"]):
                continue
            for item, at in items:
                place = _shift(value, at)
                found.setdefault(item.lower(), place)
                try:
                    read_item(item.lower())
                except ValueError as error:
                    self._report(place, str(error), "write `- Network: pypi, example.org:8443, install:npm`")
        return found

    def _read_timeout(self) -> float | None:
        text = self._read("timeout")
        if not text:
            return None
        try:
            return values.parse_timeout(text)
        except ValueError as error:
            self._report(self.draft.values["timeout"][0].place, str(error), "write `- Timeout: 10m`")
            return None

    def _read_budget(self) -> str:
        text = self._read("budget")
        if not text:
            return ""
        try:
            return parse_budget(shown(text)).describe()
        except ValueError as error:
            self._report(self.draft.values["budget"][0].place, str(error), "write `- Budget: 5usd`")
            return ""

    def _read_files(self) -> int:
        text = self._read("files")
        if not text:
            return 0
        if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= values.MAX_FILES and len(text) < 9:
            return int(text)
        what = f"`{shown(text)}` is not a number of files between 1 and {values.MAX_FILES}"
        self._report(self.draft.values["files"][0].place, what, "write `- Files: 4`")
        return 0

    def _read_listed(self, name: str) -> tuple[str, ...]:
        """Return the files that it says it will create, modify or delete, each once."""
        globs: dict[str, None] = {}
        for value in self.draft.values.get(name, []):
            for glob, at in values.split_items(value.text):
                globs[glob] = None
                wrong = values.check_glob(glob) or ("begins with `!`" if glob.startswith("!") else "")
                if wrong:
                    what = f"`{shown(glob)}` in `{KEYS[name]}:` {wrong}"
                    self._report(_shift(value, at), what, f"write paths such as `- {KEYS[name]}: src/app.py`")
        return tuple(globs)

    def _read_script(self) -> str:
        path = self._read("script")
        if path.startswith(("/", "~")) or ".." in path.split("/"):
            what = f"the script `{shown(path)}` is outside the repository"
            self._report(
                self.draft.values["script"][0].place, what, "name it relative to the tasks file, without `..`"
            )
        return path

    def _read(self, name: str) -> str:
        given = self.draft.values.get(name)
        return values.strip_ticks(given[0].text) if given else ""

    def _find_place(self, name: str) -> Place | None:
        given = self.draft.values.get(name)
        return given[0].place if given else None

    def _report(self, place: Place, message: str, hint: str) -> None:
        self.problems.append(Problem(place, message, hint))


def _shift(value: Value, offset: int) -> Place:
    """The place of the character ``offset`` in a value."""
    before = value.text[:offset]
    line_breaks = before.count("\n")
    if not line_breaks:
        return Place(value.place.file, value.place.line, value.place.column + offset)
    return Place(value.place.file, value.place.line + line_breaks, 0)
