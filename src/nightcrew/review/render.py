"""The review as plain text, for pipes, ssh and screen readers: no colour, no box drawing, nothing raw. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from nightcrew.model.actions import Change, Evidence
from nightcrew.model.records import RunRecord
from nightcrew.model.text import count, fit, hang, measure, pad, shorten_id, shown
from nightcrew.review.concerns import Concern, name_signs
from nightcrew.review.dossier import FAILED, GREEN, LOOK, UNFINISHED, Dossier, order_dossiers

MIN_WIDTH: Final = 60
MAX_FILES: Final = 40
"""Ordinary files listed per task; files with a sign are always listed, the rest is counted and one command away."""
TAIL_LINES: Final = 12
"""Last lines of a failed acceptance command that are shown."""

_WORDS: Final = {GREEN: "green", LOOK: "look", FAILED: "FAIL", UNFINISHED: "open"}
_PROVEN: Final = {"verified": "verified", "unverified": "unverified", "failed": "acceptance failed"}
_KIND_LETTERS: Final = {"added": "A", "modified": "M", "deleted": "D", "typechange": "T"}


def render_review(run: RunRecord, dossiers: Sequence[Dossier], width: int = 100) -> str:
    """Return the review of a run: counts, one line per task in the order of attention, then each task in full."""
    page = _Page(run, order_dossiers(dossiers), max(width, MIN_WIDTH))
    lines = [*page.head(), *page.queue()]
    for dossier in page.dossiers:
        lines += page.task(dossier)
    return "\n".join([*lines, *page.foot()])


def render_diff_stat(change: Change, width: int = 100) -> str:
    """Return the changed paths with lines added and deleted and what is special about each, and a total."""
    width = max(width, MIN_WIDTH)
    lines: list[str] = []
    for path in change.paths:
        size = f"{path.size_bytes} bytes" if path.binary else f"+{path.lines_added} -{path.lines_deleted}"
        lines += _file(path.kind, path.path, size, name_signs(path), width)
    promotable = change.promotable
    added, deleted = sum(p.lines_added for p in promotable), sum(p.lines_deleted for p in promotable)
    ignored = len(change.paths) - len(promotable)
    tail = f", {count(ignored, 'ignored file')} left out" if ignored else ""
    lines.append(f" {count(len(promotable), 'file')} +{added} -{deleted}{tail}")
    for refused in change.refused:
        lines += hang(" left out: ", shown(refused), width)
    return "\n".join(lines)


class _Page:
    def __init__(self, run: RunRecord, dossiers: list[Dossier], width: int) -> None:
        self.run = run
        self.dossiers = dossiers
        self.width = width

    def head(self) -> Iterator[str]:
        counts = Counter(dossier.group for dossier in self.dossiers)
        facts = [f"{self.run.id} review", count(len(self.dossiers), "task")]
        facts += [f"{counts[g]} {w}" for g, w in ((GREEN, "green"), (LOOK, "look"), (FAILED, "failed"))]
        if counts[UNFINISHED]:
            facts.append(f"{counts[UNFINISHED]} not finished")
        facts.append(f"base {shorten_id(self.run.base_commit)}")
        yield from hang("", "   ".join(facts), self.width)
        yield from hang(" ", f'"{shown(self.run.title)}"', self.width)

    def queue(self) -> Iterator[str]:
        names = max((len(dossier.name) for dossier in self.dossiers), default=3)
        yield ""
        for dossier in self.dossiers:
            size = f"+{dossier.lines_added} -{dossier.lines_deleted}" if dossier.files else "-"
            front = f" {_WORDS[dossier.group]:<5}  {pad(dossier.name, names)}  {pad(size, 12)}  "
            marks = [f"! {_say(concern)}" for concern in dossier.concerns if concern.look]
            verdict = [f"[{dossier.verdict}]"] if _is_judged(dossier) else []
            title = fit(shown(dossier.title), max(self.width - measure(front), 10))
            yield front + title
            if verdict or marks:
                yield from hang(" " * (12 + names), "  ".join([*verdict, *marks]), self.width)

    def task(self, dossier: Dossier) -> Iterator[str]:
        title = fit(shown(dossier.title), max(self.width - 5 - len(dossier.id), 10))
        yield ""
        yield f"-- {dossier.id} {title}"
        yield from hang(" ", self._facts(dossier), self.width)
        yield from self._origin(dossier)
        for concern in dossier.concerns:
            yield from self._concern(concern)
        yield from self._files(dossier)
        yield from self._evidence(dossier)
        yield from self._history(dossier)
        yield from hang(" ", self._choices(dossier), self.width)

    def _facts(self, dossier: Dossier) -> str:
        verified = _PROVEN.get(dossier.verified, "not verified")
        said = f"  verdict {dossier.verdict}{' (of another tree)' if dossier.verdict_stale else ''}"
        return (
            f"{dossier.state}, {verified}   agent {shown(dossier.agent)}   isolation {dossier.isolation or '-'}"
            f"   attempts {sum(each.worked for each in dossier.attempts)}{said if dossier.verdict else ''}"
            f"{f'   promoted {dossier.promoted}' if dossier.promoted else ''}"
        )

    def _origin(self, dossier: Dossier) -> Iterator[str]:
        trees = [f"tree {shorten_id(dossier.tree) or '-'}", f"base {shorten_id(dossier.base_tree) or '-'}"]
        if dossier.checkpoint:
            trees.append(f"checkpoint {dossier.checkpoint}")
        yield " " + "   ".join(trees)
        needed_by = [d.name for d in self.dossiers if dossier.name in d.depends]
        links = [f"scope {shown(' '.join(dossier.scope)) or 'anywhere'}"]
        links += [f"needs {' '.join(dossier.depends)}"] if dossier.depends else []
        links += [f"needed by {' '.join(needed_by)}"] if needed_by else []
        yield from hang(" planned: ", "   ".join(links), self.width)
        if dossier.reason:
            yield from hang(" reason: ", shown(dossier.reason), self.width)

    def _concern(self, concern: Concern) -> Iterator[str]:
        mark = " ! " if concern.look else "   "
        shown_paths = [shown(path) for path in concern.paths[:MAX_FILES]]
        more = len(concern.paths) - len(shown_paths)
        rest = [f"and {more} more"] if more > 0 else []
        # Most findings begin with the one path that they are about.
        told = len(shown_paths) == 1 and not rest and shown(concern.text).startswith(f"{shown_paths[0]} ")
        listed = "" if told else ", ".join([*shown_paths, *rest])
        yield from hang(mark, f"{shown(concern.text)}{': ' if listed else ''}{listed}", self.width)

    def _files(self, dossier: Dossier) -> Iterator[str]:
        if not dossier.files:
            yield " no files changed"
            return
        ignored = sum(file.ignored for file in dossier.files)
        tail = f"   ({ignored} ignored, not promoted)" if ignored else ""
        total = count(len(dossier.files) - ignored, "file")
        yield f" {total} +{dossier.lines_added} -{dossier.lines_deleted}{tail}"
        plain = 0
        for file in dossier.files:
            plain += not file.signs
            if not file.signs and plain > MAX_FILES:
                continue
            size = f"{file.size_bytes} bytes" if file.binary else f"+{file.lines_added} -{file.lines_deleted}"
            yield from _file(file.kind, file.path, size, file.signs, self.width)
        if plain > MAX_FILES:
            yield f"   and {plain - MAX_FILES} more: nightcrew diff {dossier.id} --stat"

    def _evidence(self, dossier: Dossier) -> Iterator[str]:
        for proof in dossier.evidence:
            yield from self._proof(proof)
        proven = {proof.command for proof in dossier.evidence}
        for command in dossier.accept:
            if command not in proven:
                yield from hang(" not run  ", shown(command), self.width)
        if not dossier.accept:
            yield " no acceptance command was planned"

    def _proof(self, proof: Evidence) -> Iterator[str]:
        label = " ok       " if proof.passed else " FAILED   "
        yield from hang(label, shown(proof.command), self.width)
        code = "killed" if proof.exit_code is None else f"exit code {proof.exit_code}"
        facts = [code, f"{proof.duration_s:.1f} s", f"tree {shorten_id(proof.tree)}", proof.isolation]
        yield from hang(
            " " * 10,
            shown(", ".join([*facts, *([proof.reason] if proof.reason not in ("", code) else [])])),
            self.width,
        )
        if not proof.passed and proof.tail.strip():
            for line in proof.tail.rstrip().split("\n")[-TAIL_LINES:]:
                yield from hang(
                    " " * 10 + "| ", shown(line.rstrip("\r"), keep="\t").expandtabs(4), self.width
                )

    def _history(self, dossier: Dossier) -> Iterator[str]:
        for finding in dossier.findings:
            where = f" ({finding.rule}, {finding.source})" if finding.rule else ""
            text = f"{finding.verdict}: {finding.message}{where}"
            yield from hang(" finding  ", shown(text), self.width)
        if len(dossier.attempts) < 2 and dossier.group == GREEN:
            return
        for attempt in dossier.attempts:
            code = f", exit code {attempt.exit_code}" if attempt.exit_code else ""
            ending = f" ({attempt.ending}{code})" if attempt.ending else ""
            reason = f": {attempt.reason}" if attempt.reason else ""
            yield from hang(
                f" attempt {attempt.number} ", shown(f"{attempt.state}{ending}{reason}"), self.width
            )

    def _choices(self, dossier: Dossier) -> str:
        task = dossier.id
        if dossier.group in (FAILED, UNFINISHED):
            on = {"paused": f"resume {task}", "awaiting_approval": "inbox", "awaiting_answer": "inbox"}
            on |= dict.fromkeys(("failed", "cancelled", "succeeded"), f"retry {task}")
            choices = [f"log {task}", f"diff {task}", on.get(dossier.state, ""), f"why {task}"]
            return " | ".join(f"nightcrew {choice}" for choice in choices if choice)
        return f"nightcrew diff {task} | nightcrew accept {task} | nightcrew reject {task} -m why"

    def foot(self) -> Iterator[str]:
        """The commands that decide about the whole run."""
        green = [each for each in self.dossiers if each.green and not (each.promoted or _is_judged(each))]
        run = self.run.id
        yield ""
        if green:
            yield from hang(" ", f"accept all green ({len(green)}): nightcrew accept {run}", self.width)
        yield from hang(" ", f"diff of everything: nightcrew diff {run}", self.width)
        yield from hang(" ", f"publish what is accepted: nightcrew promote {run}", self.width)


def _is_judged(dossier: Dossier) -> bool:
    """Tell whether a person said yes or no to exactly the result there is."""
    return bool(dossier.verdict) and not dossier.verdict_stale


def _say(concern: Concern) -> str:
    count = len(concern.paths)
    if concern.kind == "finding" or not count:
        return shown(concern.text)
    return f"{concern.text} ({count})" if count > 1 else f"{concern.text}: {shown(concern.paths[0])}"


def _file(kind: str, path: str, size: str, signs: Sequence[str], width: int) -> Iterator[str]:
    said = f"   {', '.join(signs)}" if signs else ""
    yield from hang(f"   {_KIND_LETTERS.get(kind, '?')}  ", f"{shown(path)}   {size}{said}", width)
