"""Trees, commits and packs: what is made in our store and handed over to the user's object database."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nightcrew.host.git import Git
from nightcrew.host.tokens import nonce
from nightcrew.model.errors import DriftError, StaleError
from nightcrew.model.text import count, shown
from nightcrew.promote.guard import GITLINK
from nightcrew.promote.packing import Pack
from nightcrew.promote.site import Configured, Site

_FALLBACK = ("nightcrew", "nightcrew@localhost")
_NOBODY = {
    "GIT_AUTHOR_NAME": _FALLBACK[0],
    "GIT_AUTHOR_EMAIL": _FALLBACK[1],
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": _FALLBACK[0],
    "GIT_COMMITTER_EMAIL": _FALLBACK[1],
    "GIT_COMMITTER_DATE": "@0 +0000",
}
"""For commits that only exist to be merged: the same input gives the same object."""

_IDENTITY = re.compile(r"^(?P<name>[^<>]*?) ?<(?P<mail>[^<>]*)>(?: \d+ (?P<zone>[+-]\d{4}))?$")
_NONE, _TREE = "000000", "040000"
_WHAT = ("NAME", "EMAIL", "DATE")
_TRAILER = re.compile(r"^[A-Za-z0-9-]+: ")


@dataclass(frozen=True, slots=True)
class Difference:
    """A path that two trees have differently; entries are ``<mode> <id>``, empty for none."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Differences:
    """All that two trees have differently.

    Attributes:
        files: of what is no directory.
        directories: ids by path, before and after, empty where there is none; the topmost is not among them.
        objects: ids of all that only the newer one has; the topmost tree is not among them.
    """

    files: tuple[Difference, ...]
    directories: Mapping[str, tuple[str, str]]
    objects: frozenset[str]

    def trees(self, old: str, new: str) -> dict[bytes, tuple[bytes, bytes]]:
        """Return the ids of directories as an index remembers them; ``old`` and ``new`` are the topmost."""
        ids = {f"{path}/": each for path, each in self.directories.items()} | {"": (old, new)}
        return {os.fsencode(path): (bytes.fromhex(a), bytes.fromhex(b)) for path, (a, b) in ids.items()}


def compare_trees(git: Git, old: str, new: str) -> tuple[Difference, ...]:
    """Return what differs between two trees, file by file."""
    return compare_whole_trees(git, old, new).files


def compare_whole_trees(git: Git, old: str, new: str) -> Differences:
    """Return what differs between two trees."""
    options = ("-r", "-t", "-z", "--raw", "--no-renames", "--no-abbrev")
    fields = os.fsdecode(git.run("diff-tree", *options, old, new).stdout).split("\0")
    files, directories, objects = [], {}, set()
    for head, path in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, new_mode, old_id, new_id, _ = head[1:].split(" ")
        if new_mode not in (_NONE, GITLINK):
            objects.add(new_id)
        before = "" if old_mode == _NONE else f"{old_mode} {old_id}"
        after = "" if new_mode == _NONE else f"{new_mode} {new_id}"
        if _TREE not in (old_mode, new_mode):
            files.append(Difference(path, before, after))
        else:
            was, is_now = (each[7:] if each.startswith(_TREE) else "" for each in (before, after))
            directories[path] = was, is_now
    return Differences(tuple(files), directories, frozenset(objects))


def tree_of(git: Git, commit: str) -> str:
    """Return the tree of a commit (or of a tree, itself)."""
    return git.text("rev-parse", "--verify", f"{commit}^{{tree}}")


def merge(store: Git, base: str, ours: str, theirs: str) -> str:
    """Merge two trees three ways and return the tree. Renames on either side are followed.

    Raises:
        DriftError: conflicts; every file is named, nothing was changed.
    """
    merged, conflicts = try_merge(store, base, ours, theirs)
    if conflicts:
        raise DriftError(
            f"drift (high): {count(len(conflicts), 'path')} {'was' if len(conflicts) == 1 else 'were'} changed on your branch in another way; nothing was changed",
            code="drift.conflict",
            where=[f"{shown(path)}: changed on both sides" for path in conflicts],
            hint="run the tasks again on the new state, or take over by hand what the diff shows",
        )
    return merged


def try_merge(store: Git, base: str, ours: str, theirs: str) -> tuple[str, tuple[str, ...]]:
    """Merge two trees three ways; return the tree, and the paths that conflict (then the tree means nothing).

    The commits are synthetic, so that exactly ``base`` is the base, however the history of the branch went.
    """
    root = _synthetic(store, base)
    sides = [_synthetic(store, tree, root) for tree in (ours, theirs)]
    done = store.run(
        *("-c", "merge.directoryRenames=false"),
        *("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", *sides),
        check=False,
    )
    fields = [os.fsdecode(field) for field in done.stdout.split(b"\0") if field]
    if done.code in (0, 1) and fields:
        return fields[0], tuple(sorted(set(fields[1:]))) if done.code else ()
    store.run("cat-file", "-e", base)  # says which object is missing, if that is what it is
    raise StaleError(f"git merge-tree failed: {os.fsdecode(done.stderr).strip()}", code="promote.merge")


def _synthetic(store: Git, tree: str, *parents: str) -> str:
    options = [word for parent in parents for word in ("-p", parent)]
    done = store.run("commit-tree", tree, *options, input=b"synthetic\n", extra=_NOBODY)
    return done.stdout.decode("ascii").strip()


def write_tree(site: Site, entries: Mapping[str, str], start: str = "") -> str:
    """Write a tree into our store and return its id.

    Args:
        entries: path → ``<mode> <id>``, empty to leave the path out.
        start: tree or commit to begin with; empty for nothing. A file that is set where it has a directory replaces
            all of that, and the other way round.
    """
    site.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    index = site.scratch / f"promote.{nonce()}.index"
    git = Git(site.store.git_dir, env=site.env, index_file=str(index), trusted=False)
    none = f"0 {'0' * len(next(iter(entries.values()), '').partition(' ')[2] or start)}"
    ordered = sorted(entries.items(), key=lambda item: bool(item[1]))
    lines = [(entry or none).encode("ascii") + b"\t" + os.fsencode(path) + b"\0" for path, entry in ordered]
    try:
        git.run("read-tree", start or "--empty")
        git.run("update-index", "-z", "--index-info", input=b"".join(lines))
        return git.text("write-tree")
    finally:
        index.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Identities:
    """Who commits are by, from the user's configuration.

    Attributes:
        author, committer: name, mail, time zone.
        moment: seconds since the epoch.
    """

    author: tuple[str, str, str]
    committer: tuple[str, str, str]
    moment: int

    @property
    def made_up(self) -> bool:
        """The configuration names nobody."""
        return self.committer[:2] == _FALLBACK

    def sign(self, author: str) -> dict[str, str]:
        """Return author and committer of a commit as the environment git wants.

        Args:
            author: ``Name <mail>``; empty for the user's own configuration.
        """
        given = _IDENTITY.match(author)
        env: dict[str, str] = {}
        for who, (own_name, own_mail, zone) in (("AUTHOR", self.author), ("COMMITTER", self.committer)):
            named = given if who == "AUTHOR" else None
            name, mail = (named["name"], named["mail"]) if named else (own_name, own_mail)
            env[f"GIT_{who}_NAME"] = name
            env[f"GIT_{who}_EMAIL"] = mail
            env[f"GIT_{who}_DATE"] = f"@{self.moment} {zone}"
        return env


def read_identities(site: Site, committer: tuple[str, str, str], configured: Configured) -> Identities:
    """Return who the user is, once for all commits of a promotion.

    Args:
        committer: as ``read_identity`` gives it.
    """
    moment = int(site.clock.now().timestamp())
    given = [[site.env.get(f"GIT_{who}_{what}") for what in _WHAT] for who in ("AUTHOR", "COMMITTER")]
    alone = not configured.named_apart and given[0] == given[1]
    return Identities(committer if alone else read_identity(site.git, "AUTHOR"), committer, moment)


def read_identity(git: Git, who: str) -> tuple[str, str, str]:
    """Return name, mail and time zone of ``AUTHOR`` or ``COMMITTER``."""
    done = git.run("-c", "user.useConfigOnly=true", "var", f"GIT_{who}_IDENT", check=False)
    found = _IDENTITY.match(os.fsdecode(done.stdout).strip()) if done.code == 0 else None
    if found is None or not found["name"]:
        return (*_FALLBACK, "+0000")
    return found["name"], found["mail"], found["zone"] or "+0000"


def make_commit(site: Site, tree: str, parents: Sequence[str], message: str, who: Mapping[str, str]) -> str:
    """Write a commit into our store, where nobody sees it, and return its id."""
    text = message.replace("\0", "").strip("\n") + "\n"
    options = [word for parent in parents for word in ("-p", parent)]
    done = site.store.run("commit-tree", tree, *options, input=text.encode("utf-8", "replace"), extra=who)
    return done.stdout.decode("ascii").strip()


def add_trailer(message: str, key: str, value: str) -> str:
    """Return a commit message with one more trailer; it joins the trailers that are there."""
    body = message.strip("\n")
    last = body.rpartition("\n\n")[2] if "\n\n" in body else ""
    trailers = bool(last) and all(_TRAILER.match(line) for line in last.splitlines())
    return f"{body}{chr(10) if trailers else chr(10) * 2}{key}: {value}\n"


def pack_up(site: Site, commits: Sequence[str], known: Collection[str] = ()) -> Pack:
    """Return commits, each with what its tree has that its first parent's had not, as one pack.

    Args:
        known: ids of all of it but the commits, where they are known.

    Raises:
        GitError: something of it is not in our store any more.
    """
    ids = {*commits, *known}
    if not known:
        ids |= set(site.store.text("rev-parse", *(f"{commit}^{{tree}}" for commit in commits)).split())
        for commit in commits:
            ids |= compare_whole_trees(site.store, f"{commit}^", commit).objects
    lines = "".join(f"{object_id}\n" for object_id in sorted(ids)).encode("ascii")
    return Pack(
        lambda fd: site.store.run("pack-objects", "--stdout", "-q", "--window=0", input=lines, stdout=fd)
    )


def take_in(site: Site, pack: Pack) -> None:
    """Put a pack into the user's object database.

    Nothing refers to it yet; if we die, the user's next garbage collection removes it. Git checks each object on the way
    in (``.git`` inside trees and the like).

    Raises:
        GitError: disk full, no permission, or an object that must not be.
    """
    site.write_git("index-pack", "--stdin", "--fsck-objects", stdin=pack.rewind())


def find_trees(git: Git, *commits: str) -> tuple[str, ...]:
    """Return the trees of commits; nothing when one commit or tree is not in the object database."""
    asked = "".join(f"{commit}^{{tree}}\n" for commit in commits).encode("ascii")
    answers = git.run("cat-file", "--batch-check", input=asked).stdout.decode("ascii").splitlines()
    found = tuple(answer.split(" ")[0] for answer in answers if " tree " in answer)
    return found if len(found) == len(commits) else ()
