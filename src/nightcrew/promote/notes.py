"""What a person should know about a promotion before saying yes, in words."""

from __future__ import annotations

from typing import Final

from nightcrew.model.text import shown
from nightcrew.promote.content import touches_attributes
from nightcrew.promote.hooks import RUN, find_hooks
from nightcrew.promote.prepared import Prepared
from nightcrew.promote.site import Configured, Site, short
from nightcrew.promote.survey import Survey

_NAMED_AT_MOST: Final = 3


def write_notes(
    site: Site, prepared: Prepared, found: Survey | None, configured: Configured, *, nobody: bool
) -> tuple[str, ...]:
    """Return the notes of a prepared promotion.

    Args:
        site, prepared, configured: what is promoted where, and what the user's configuration says.
        found: what the working tree has; None when it is not touched.
        nobody: git names no committer.
    """
    notes = _about_branch(site, prepared)
    if found is not None:
        notes += _about_files(prepared, found)
    notes += _about_hooks(find_hooks(site, configured), prepared)
    if prepared.kind == "commit" and configured.sign:
        notes.append("the commit is not signed (commit.gpgSign is set; nightcrew starts no signing program)")
    if nobody:
        notes.append(
            "git has no user.name and user.email here: the commit is by nightcrew <nightcrew@localhost>"
        )
    return tuple(notes)


def _about_branch(site: Site, prepared: Prepared) -> list[str]:
    branch = short(prepared.branch)
    if not prepared.new_commit:
        return [f"exact: {branch}, which the promotion made, is removed"]
    if prepared.kind == "restore":
        return [f"exact: {branch} returns to {prepared.new_commit[:12]}"]
    if prepared.place == "new":
        return [
            f"{branch} is made at {prepared.start[:12]}; your files stay as they are",
            *_about_base(site, prepared),
        ]
    if prepared.place == "file":
        return [
            f"on top of {prepared.start[:12]}; nothing in your repository changes",
            *_about_base(site, prepared),
        ]
    if prepared.place == "branch":
        return [f"{branch} is not checked out: your files stay as they are", *_about_base(site, prepared)]
    return _about_base(site, prepared)


def _about_base(site: Site, prepared: Prepared) -> list[str]:
    """Say what the new commits are merged with."""
    branch, base = short(prepared.branch), prepared.base_commit[:12]
    if not prepared.merged:
        return []
    if not site.commit_of(prepared.base_commit):
        return [
            "the work started from your uncommitted edits: they stay uncommitted, only what the tasks changed is committed"
        ]
    if not site.is_ancestor(prepared.base_commit, prepared.start):
        return [f"{branch} does not have {base}, the commit the work started from: merged onto it"]
    return [f"{branch} has moved on to {prepared.start[:12]}: merged with what came after"]


def _about_hooks(found: list[str], prepared: Prepared) -> list[str]:
    if prepared.place == "file":
        return []
    run = [name for name in found if prepared.hooks and name in RUN]
    left = [name for name in found if name not in run]
    said = [f"your hooks are run: {', '.join(run)}"] if run else []
    return [*said, f"hooks are not run: {', '.join(left)}"] if left else said


def _about_files(prepared: Prepared, found: Survey) -> list[str]:
    notes = []
    if found.skipped:
        notes.append(f"committed, but not written (outside your sparse checkout): {_name(found.skipped)}")
    if found.kept and prepared.kind == "commit":
        notes.append(f"on disk as promoted already, not touched: {_name(found.kept)}")
    if found.edited:
        notes.append(f"merged with your own edits, which stay uncommitted: {_name(found.edited)}")
    if touches_attributes(prepared.paths):
        notes.append(
            "a .gitattributes changes: files are written as they are in git, without line-end conversion or filters (LFS)"
        )
    return notes


def _name(paths: tuple[str, ...]) -> str:
    names = ", ".join(shown(path) for path in paths[:_NAMED_AT_MOST])
    more = len(paths) - _NAMED_AT_MOST
    return f"{names} and {more} more" if more > 0 else names
