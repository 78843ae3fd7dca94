"""Walk the lines of a tasks file once: items, their keys, fenced values, comments, description. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from nightcrew.model.errors import Place, Problem
from nightcrew.model.text import shown
from nightcrew.plan import keys, lines
from nightcrew.plan.lines import Line

_NUMBERED = re.compile(r"[Tt]?([0-9]{1,6}(?:\.[0-9]{1,6}){0,2})(?:[.:)]?(?=\s|$))[ \t]*(.*)$", re.DOTALL)
_LONG = "put a long value into a fenced block below its key"


@dataclass(slots=True)
class Value:
    """The value of one key: its text (from a line, a fenced block, or both), where it and its key stand."""

    text: str
    place: Place
    key_place: Place


@dataclass(slots=True)
class Draft:
    """An item while it is read. ``box_at`` is the offset in the text of the character between the brackets."""

    number: str
    title: str
    done: bool
    indent: int
    box_at: int
    place: Place
    values: dict[str, list[Value]] = field(default_factory=dict)
    description: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Span:
    """Something over several lines that is not closed yet: a fenced block or a comment.

    Attributes:
        end: what closes it. first: its first line. content: what it holds so far.
        value: the value that a block continues; without one a block is description.
    """

    end: str
    first: Line
    content: list[str] = field(default_factory=list)
    value: Value | None = None


class Reader:
    """Reads one tasks file; ``drafts``, ``title`` and ``problems`` hold the result."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.title = ""
        self.drafts: list[Draft] = []
        self.problems: list[Problem] = []
        self._open: list[Draft] = []  # items that the current line is inside of, outermost first
        self._current: Draft | None = None  # the last item since the last heading
        self._key: tuple[Value, int] | None = (
            None  # the key that a block here would continue, and its indentation
        )
        self._span: _Span | None = None
        self._after_blank = False

    def read(self, text: str) -> None:
        """Read the whole text."""
        for line in lines.split_lines(text):
            if self._span:
                self._read_span(self._span, line)
            elif line.body:
                self._read_content(line)
                self._after_blank = False
            else:
                self._describe("")
                self._after_blank = True
        if self._span:
            what = "comment" if self._span.end == "-->" else "block"
            self._report(self._span.first, f"this {what} is never closed", f"close it with {self._span.end}")

    def _read_content(self, line: Line) -> None:
        if "\0" in line.body:
            self._report(line, "a NUL character", "remove it")
        if len(line.body) > lines.MAX_LINE:
            self._report(
                line, f"a line of {len(line.body)} characters; at most {lines.MAX_LINE} are read", _LONG
            )
            return
        if fence := lines.match_fence(line.body):
            self._open_block(line, fence)
            return
        self._key = None
        self._leave_items(line)
        if line.body.startswith("<!--"):
            self._read_comment(line)
        elif lines.is_heading(line.body) and not self._open:
            self._read_heading(line.body)
        elif box := lines.match_box(line.body):
            self._read_item(line, box)
        elif lines.is_broken_box(line.body):
            self._report(line, "this looks like a task but is none", "write `- [ ] 1. title`")
        else:
            self._read_text(line)

    def _leave_items(self, line: Line) -> None:
        """Close the items that ``line`` is not inside of; a line that just goes on with a paragraph closes none."""
        starts = lines.match_bullet(line.body) or lines.is_heading(line.body)
        if line.body.startswith("<!--") or not (starts or self._after_blank):
            return
        while self._open and line.indent <= self._open[-1].indent:
            self._open.pop()

    def _read_heading(self, body: str) -> None:
        self._current = None
        level, _, name = body.partition(" ")
        if level == "#" and not self.title:
            self.title = name.strip().rstrip("#").strip()

    def _read_item(self, line: Line, box: lines.Box) -> None:
        text = lines.drop_comments(box.text)
        if "<!--" in text:
            self._report(line, "the comment on this line is not closed", "close it with --> on the same line")
        found = _NUMBERED.match(text)
        if found is None:
            self._report_numberless(line, text.strip())
            return
        number, title = found.groups()
        if not title.strip():
            self._report(line, f"task {number} has no title", f"write `- [ ] {number}. what to do`")
        place, box_at = self._place(line), line.start + line.column - 1 + box.mark_at
        draft = Draft(number, title.strip(), box.done, line.indent, box_at, place)
        self.drafts.append(draft)
        self._open.append(draft)
        self._current = draft
        self._apply_comments(line)

    def _report_numberless(self, line: Line, text: str) -> None:
        what = f"the item `{shown(text)}` has no task number" if text else "an item without number and title"
        if re.match(r"[Tt]?[0-9]", text):
            what = f"`{shown(text.split(maxsplit=1)[0])}` is no task number (`1`, `2.1` or `2.1.3`)"
        self._report(line, what, "write `- [ ] 1. title`; a list that is no task gets plain bullets")

    def _read_text(self, line: Line) -> None:
        width = lines.match_bullet(line.body)
        content = line.body[width:]
        key = keys.read_bullet(content) if width else keys.read_prose(content)
        if not self._open:
            self._read_stray(line, key)
        elif key is None:
            self._describe(line.body, line.indent)
            self._apply_comments(line)
        elif key.error:
            self._report(line, key.error, key.hint, at=width)
        else:
            value = self._add(self._open[-1], key, line, width)
            self._key = (value, line.indent)

    def _read_stray(self, line: Line, key: keys.Key | None) -> None:
        """A line outside every item: prose, or a key that was not indented below its item."""
        if key is None or self._current is None or not (key.name or key.meant):
            return
        what = f"`{keys.KEYS[key.name or key.meant]}` stands under no task"
        self._report(line, what, "indent it below its `- [ ]` line")

    def _add(self, draft: Draft, key: keys.Key, line: Line, at: int) -> Value:
        value = Value(key.value, self._place(line, at + key.at), self._place(line, at))
        given = draft.values.setdefault(key.name, [])
        if given and key.name not in keys.REPEATABLE:
            what = f"`{keys.KEYS[key.name]}:` is given twice for task {draft.number}"
            self._report(line, f"{what} (first in line {given[0].key_place.line})", at=at)
        given.append(value)
        return value

    def _describe(self, text: str, indent: int = 0) -> None:
        if self._open:
            inner = max(0, indent - self._open[-1].indent - 2)
            self._open[-1].description.append(" " * inner + text)

    def _read_comment(self, line: Line) -> None:
        if "-->" not in line.body:
            self._span = _Span("-->", line, [line.body])
            return
        rest = lines.drop_comments(line.body).strip()
        if lines.match_box(rest) or lines.is_broken_box(rest):
            self._report(line, "a task on the same line as a comment", "give it a line of its own")
        self._apply_comments(line)

    def _apply_comments(self, line: Line, text: str = "") -> None:
        """Take over the keys that the HTML comments in a line (or in ``text``, begun on that line) hold."""
        whole = text or line.body
        for start, end in lines.find_comments(whole):
            inside = whole[start:end].lstrip()
            at = 0 if text else end - len(inside)
            key = keys.read_comment(inside.rstrip())
            if key is None:
                continue
            if key.error or self._current is None:
                self._report(line, key.error or "this comment belongs to no task", key.hint, at=at)
            else:
                self._add(self._current, key, line, at)

    def _open_block(self, line: Line, fence: str) -> None:
        key, self._key = self._key, None
        self._span = _Span(fence, line)
        if key and line.indent > key[1] and not (key[0].text and self._after_blank):
            self._span.value = key[0]
        else:
            self._leave_items(line)
            self._describe(line.body, line.indent)

    def _read_span(self, span: _Span, line: Line) -> None:
        if span.end == "-->":
            span.content.append(line.body)
            if "-->" in line.body:
                self._span = None
                self._apply_comments(span.first, "\n".join(span.content))
        elif lines.closes_fence(line.body, span.end):
            self._span = None
            self._finish_block(span, line)
        else:
            if "\0" in line.raw:
                self._report(line, "a NUL character", "remove it")
            span.content.append(lines.dedent(line.raw, span.first.indent))

    def _finish_block(self, span: _Span, line: Line) -> None:
        if span.value is None:
            for content in span.content:
                self._describe(content, span.first.indent)
            self._describe(line.body, span.first.indent)
            return
        if not span.value.text:
            span.value.place = Place(self.source, span.first.number + 1, span.first.column)
        parts = [span.value.text] if span.value.text else []
        span.value.text = "\n".join([*parts, *span.content])

    def _place(self, line: Line, at: int = 0) -> Place:
        return Place(self.source, line.number, line.column + at)

    def _report(self, line: Line, message: str, hint: str = "", *, at: int = 0) -> None:
        self.problems.append(Problem(self._place(line, at), message, hint))
