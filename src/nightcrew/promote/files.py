"""A promotion as a file: a patch or a bundle. Nothing is written to the user's repository."""

from __future__ import annotations

from typing import Final

from nightcrew.promote.prepared import Prepared
from nightcrew.promote.site import Site

_BRANCHES: Final = "refs/heads/nightcrew/"
_OUTPUT_AT_MOST: Final = 1 << 36


def make_patch(site: Site, prepared: Prepared) -> bytes:
    """Return the commits as a mailbox, binary files and modes included.

    Raises:
        GitError: git cannot.
    """
    # One by one: a range would be walked to its end, which a shallow clone does not have.
    options = ("--stdout", "--binary", "--full-index", "--no-signature", "--no-renames", "-1")
    mails = [
        site.store.run("format-patch", *options, commit, max_output_bytes=_OUTPUT_AT_MOST).stdout
        for commit in prepared.commits
    ]
    return b"".join(mails)


def make_bundle(site: Site, prepared: Prepared) -> bytes:
    """Return the commits as a bundle; whoever fetches from it needs the commit they start from.

    Raises:
        GitError: git cannot.
    """
    branch = _BRANCHES + prepared.id
    site.store.run("update-ref", branch, prepared.new_commit)
    try:
        done = site.store.run(
            "bundle", "create", "-q", "-", f"^{prepared.start}", branch, max_output_bytes=_OUTPUT_AT_MOST
        )
    finally:
        site.store.run("update-ref", "-d", branch)
    return done.stdout
