"""Pins: refs of ours that keep the commit a run started from, also when the user rewrites history and collects garbage.

They lie in ``refs/nightcrew/base/<owner>/``, which no fetch, push, clone or branch list of the user's touches by itself.
Writing one changes nothing else: no branch, no reflog, no index, no file of the working tree. The owner is a state
directory: two people who work on one repository both have a run ``R-1``, and neither lets go of the other's.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import Final

from nightcrew.host.git import GitError
from nightcrew.model.errors import DriftError, NotFound
from nightcrew.promote.site import Site, find_read_only
from nightcrew.promote.transaction import PINS

BASES: Final = "refs/nightcrew/base/"

_OWNER_DIGITS: Final = 12
"""Of a SHA-256 in hexadecimal: enough to tell the few state directories of one repository apart."""

_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
"""What our ids are made of; nothing of it means something to git."""


def set_pin(site: Site, name: str, commit: str) -> bool:
    """Keep a commit under a name; see ``Promoter.pin``."""
    ref = _ref(site, name)
    if site.commit_of(ref) == commit:
        return True
    if find_read_only(site):
        return False
    if not site.commit_of(commit):
        raise NotFound(
            f"{commit[:12]} is not in {site.repository.root}; nothing was changed",
            code="promote.unknown_commit",
            hint="a history rewrite followed by `git gc` may have removed it: start a new run from the present HEAD",
        )
    _update(site, ref, commit)
    return True


def remove_pin(site: Site, name: str) -> None:
    """Let go of a commit; see ``Promoter.unpin``."""
    ref = _ref(site, name)
    if site.commit_of(ref):
        _update(site, "-d", ref)


def list_pins(site: Site) -> dict[str, str]:
    """Return name → commit; see ``Promoter.pins``."""
    ours = _ours(site)
    listed = os.fsdecode(site.git.run("for-each-ref", "--format=%(refname) %(objectname)", ours).stdout)
    found = (line.rpartition(" ")[::2] for line in listed.splitlines())
    return {ref.removeprefix(ours): commit for ref, commit in found}


def list_undo_pins(site: Site) -> frozenset[str]:
    """Return the transactions whose commits are kept; also those of other state directories."""
    listed = os.fsdecode(site.git.run("for-each-ref", "--format=%(refname)", PINS).stdout)
    return frozenset(ref.removeprefix(PINS) for ref in listed.splitlines())


def remove_undo_pin(site: Site, transaction: str) -> None:
    """Let go of the commits of a transaction; see ``Promoter.let_go``."""
    if not _NAME.match(transaction):
        raise ValueError(f"not the name of a transaction: {transaction!r}")
    if site.commit_of(PINS + transaction):
        _update(site, "-d", PINS + transaction)


def _ours(site: Site) -> str:
    """Return where the pins of this state directory lie."""
    place = os.fsencode(os.path.realpath(site.scratch))
    return f"{BASES}{hashlib.sha256(place).hexdigest()[:_OWNER_DIGITS]}/"


def _ref(site: Site, name: str) -> str:
    if not _NAME.match(name):
        raise ValueError(f"not the name of a pin: {name!r}")
    return _ours(site) + name


def _update(site: Site, *words: str) -> None:
    try:
        site.write_git("update-ref", "--no-deref", *words)
    except GitError as error:
        raise DriftError(
            f"git cannot write {words[-1] if words[0] == '-d' else words[0]}; nothing was changed",
            code="drift.locked",
            where=error.stderr.splitlines()[:3],
            hint="if no git is running here, remove the .lock file it names, then try again",
        ) from error
