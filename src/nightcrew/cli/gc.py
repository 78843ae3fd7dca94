"""``nightcrew gc``."""

from __future__ import annotations

from typing import Any

import click

from nightcrew.cli.options import command as make
from nightcrew.cli.screen import Screen
from nightcrew.model.text import count, shown
from nightcrew.model.units import describe_size
from nightcrew.runtime.api import Runtime


@make("gc", example="nightcrew gc --dry-run\nnightcrew gc\nnightcrew gc --json", exits=(9,))
@click.option("-n", "--dry-run", is_flag=True, help="Only tell what would be given up.")
def command(runtime: Runtime, screen: Screen, *, dry_run: bool) -> None:
    """Give up what nothing needs any more, in nightcrew's own state; nothing of yours is touched.

    Checkpoints: all of the last hour stay, every fifth of the last day, the first and the last of each task before that; and whatever an
    unfinished run, an open question, a result that is neither promoted nor rejected, or a promotion refers to. When they take more than
    checkpoints.disk, all others go too, as soon as that frees anything: what was written within the last hour, or since the oldest attempt
    that still runs began, stays. Besides: working copies that were left over, exports of base commits, transcripts older than
    transcripts.keep_days, files that all but the last 20 promotions have replaced (undo then takes them from git; what you had not committed
    stays), and records of the engine about runs as old as that. At the end of a run a part of this happens by itself.
    """
    done = runtime.collect(dry_run=dry_run)
    if screen.json:
        screen.emit(done)
        return
    for each in done["repositories"]:
        screen.data(shown(each["repository"]))
        for line in _describe(each):
            screen.data(f"  {line}")
        for note in each["notes"]:
            screen.warn(shown(note))
    if done["workflows"]:
        screen.data(f"{count(done['workflows'], 'record')} of the engine about runs that are long over")
    freed = describe_size(done["freed_bytes"])
    if dry_run:
        screen.verb("Dry run", f"{freed} would become free; nothing was removed", "cyan")
    else:
        screen.verb("Collected", f"{freed} became free")


def _describe(tally: dict[str, Any]) -> list[str]:
    """Return what was given up in one repository, a line for each kind."""
    counted = (
        ("checkpoints", "checkpoint", " pruned", 0),
        ("shadows", "shadow", " left over", tally["shadows_bytes"]),
        ("transcripts", "transcript", "", tally["transcripts_bytes"]),
        ("pins", "base commit", " let go", 0),
        ("undo_pins", "old promotion", " let go", 0),
        ("displaced", "file", " that an old promotion replaced", tally["displaced_bytes"]),
    )
    lines = [
        f"{count(tally[key], what)}{then}{_size(size)}" for key, what, then, size in counted if tally[key]
    ]
    sized = (("objects_bytes", "objects of checkpoints"), ("exports_bytes", "exports of base commits"))
    lines += [f"{what}{_size(tally[key])}" for key, what in sized if tally[key]]
    if tally["shadows_bytes"] and not tally["shadows"]:
        lines.append(f"remains of shadows{_size(tally['shadows_bytes'])}")
    limit = f" of {describe_size(tally['limit_bytes'])}" if tally["limit_bytes"] else ""
    return [
        *(lines or ["nothing to give up"]),
        f"checkpoints take {describe_size(tally['store_bytes'])}{limit}",
    ]


def _size(size_bytes: int) -> str:
    return f": {describe_size(size_bytes)}" if size_bytes else ""
