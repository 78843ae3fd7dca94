"""The names of the store, all of them or many at once; one at a time is written by ``layout.write_ref``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from nightcrew.host.git import Git


def list_refs(git: Git) -> Mapping[str, str]:
    """Return full name → object id."""
    rows = git.run("for-each-ref", "--format=%(refname) %(objectname)").stdout.decode().splitlines()
    return dict(row.split(" ") for row in rows)


def remove_refs(git: Git, names: Collection[str]) -> None:
    """Remove refs by their full names, all or none; what is not there is fine.

    Raises:
        GitError: another git holds the lock of one of them.
    """
    there = sorted(list_refs(git).keys() & set(names)) if names else []
    if there:
        git.run("update-ref", "--stdin", "-z", input=b"".join(f"delete {n}\0\0".encode() for n in there))
