"""The hooks of the user's repository: run only where a person asked for it, in the user's working tree as git would run them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from nightcrew.host.tokens import nonce
from nightcrew.model.errors import DeniedByPolicy
from nightcrew.model.text import shown
from nightcrew.promote.programs import find_started
from nightcrew.promote.site import Configured, Site

BEFORE: Final = "pre-commit"
AFTER: Final = "post-commit"
MESSAGE: Final = ("prepare-commit-msg", "commit-msg")
RUN: Final = (BEFORE, *MESSAGE, AFTER)
"""What runs when it is asked for: that of a commit."""
KNOWN: Final = (
    *RUN,
    "post-rewrite",
    "post-checkout",
    "post-merge",
    "reference-transaction",
    "post-index-change",
)
"""Hooks that git would have run for a commit, merge or checkout made by hand (githooks(5))."""

_DEADLINE_S: Final = 1800.0
"""A pre-commit hook may run a whole test suite."""
_SAID_AT_MOST: Final = 20


def find_folder(site: Site, configured: Configured) -> Path:
    """Return where the user's hooks are."""
    if not configured.hooks_path:
        return Path(site.repository.common_dir) / "hooks"
    # Relative to the working tree, as git reads it; `~` is the user's home.
    path = configured.hooks_path
    home = site.env.get("HOME", "")
    return Path(site.repository.root) / (home + path[1:] if path.startswith("~/") else path)


def find_hooks(site: Site, configured: Configured) -> list[str]:
    """Return the names of the hooks that are there and would be run by git."""
    folder = find_folder(site, configured)
    return [name for name in KNOWN if os.access(folder / name, os.X_OK) and (folder / name).is_file()]


def find_promoted(site: Site, configured: Configured, paths: Iterable[str]) -> tuple[str, ...]:
    """Return those of some paths that git runs as a hook, or that decide what it runs.

    That is what lies in the folder of the hooks, where that is in the working tree, what a hook there or in the git
    directory is a link to, and a directory above them, which may become a link itself.
    """
    root = os.path.realpath(site.repository.root)
    folder = find_folder(site, configured)
    found = [folder, *(folder / name for name in KNOWN)]
    places = {place for each in found for place in (os.path.normpath(each), os.path.realpath(each))}
    inside = {place[len(root) + 1 :] for place in places if place.startswith(f"{root}/")}
    git_dir = os.path.relpath(os.path.realpath(site.repository.common_dir), root)
    inside = {place for place in inside if not f"{place}/".startswith(f"{git_dir}/")}
    return tuple(
        path
        for path in paths
        if any(f"{path}/".startswith(f"{place}/") or place.startswith(f"{path}/") for place in inside)
    )


def find_run_by_git(site: Site, configured: Configured, paths: Sequence[str]) -> dict[str, str]:
    """Return those of some paths that git runs or obeys by the user's own settings and hooks, whatever they are called.

    Beside each stand the files on the way to it, in words (``find_started``).
    """
    repository = site.repository
    hooks = find_promoted(site, configured, paths)
    started = find_started(
        repository.root,
        repository.common_dir,
        site.env.get("HOME", ""),
        configured.commands,
        find_folder(site, configured),
        paths,
    )
    run = {**started, **dict.fromkeys(hooks, "")}
    return {path: run[path] for path in paths if path in run}


def refuse_promoted(paths: Iterable[str]) -> None:
    """Refuse to run hooks that are part of what is promoted: the new ones would be run, and nobody runs those here.

    Raises:
        DeniedByPolicy: there are such paths.
    """
    where = [shown(path) for path in paths]
    if where:
        raise DeniedByPolicy(
            "the promotion changes your hooks themselves, so they are not run; nothing was changed",
            code="hook.promoted",
            where=where[:_SAID_AT_MOST],
            hint="look at them, then promote without --hooks",
        )


def run_hook(site: Site, configured: Configured, name: str, *args: str) -> None:
    """Run a hook if it is there.

    Raises:
        DeniedByPolicy: it says no; ``where`` is what it said.
    """
    folder = find_folder(site, configured)
    done = site.git.run(
        *("-c", f"core.hooksPath={folder}", "hook", "run", "--ignore-missing", name, "--", *args),
        check=False,
        timeout_s=_DEADLINE_S,
        extra={"GIT_INDEX_FILE": f"{site.repository.git_dir}/index", "GIT_EDITOR": ":"},
    )
    if done.code != 0:
        said = os.fsdecode(done.stdout + done.stderr).splitlines()
        raise DeniedByPolicy(
            f"your {name} hook says no (exit code {done.code}); nothing was changed",
            code="hook.refused",
            where=[shown(line) for line in said[-_SAID_AT_MOST:]],
            hint="promote without --hooks, or mend what it says and try again",
        )


def run_message_hooks(site: Site, configured: Configured, message: str) -> str:
    """Return a commit message as the user's hooks leave it.

    Raises:
        DeniedByPolicy: one of them says no.
    """
    site.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = site.scratch / f"message.{nonce()}"
    try:
        file.write_text(message, "utf-8", "replace")
        run_hook(site, configured, MESSAGE[0], str(file), "message")
        run_hook(site, configured, MESSAGE[1], str(file))
        return file.read_text("utf-8", "replace")
    finally:
        file.unlink(missing_ok=True)
