"""The user's settings for git, as far as an export depends on them: read once, compared by their digest."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nightcrew.host.git import Git
from nightcrew.model.trees import Repository

# What decides how a commit looks as files.
_DECIDES: Final = re.compile(
    r"^(core\.(autocrlf|eol|ignorecase|filemode|symlinks|precomposeunicode|attributesfile|sparsecheckout.*"
    r"|protecthfs|protectntfs)|filter\..*)$"
)


def read_settings(git: Git) -> dict[str, str]:
    """Return the user's settings by name; section and name in lower case, a subsection as it is written."""
    rows = git.run("config", "--list", "--includes", "-z").stdout.split(b"\0")
    pairs = (os.fsdecode(row).partition("\n") for row in rows if row)
    return {key: value if line else "true" for key, line, value in pairs}


def digest_rules(settings: Mapping[str, str], repository: Repository, env: Mapping[str, str]) -> str:
    """Return a digest of everything outside the commit that decides how its files look.

    Two exports with the same digest give a blob at a path the same bytes, or leave the same paths out.
    """
    digest = hashlib.sha256()
    for key in sorted(settings):
        if _DECIDES.match(key):
            digest.update(os.fsencode(f"{key}\0{settings[key]}\0"))
    for place in _rule_files(settings, repository, env):
        try:
            content = place.read_bytes()
        except OSError:
            # Not there, or not readable: git goes on without such a file too.
            content = b""
        digest.update(b"%d\0" % len(content) + content)
    return digest.hexdigest()


def _rule_files(
    settings: Mapping[str, str], repository: Repository, env: Mapping[str, str]
) -> Iterator[Path]:
    home = env.get("HOME", "")
    config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
    yield Path(settings.get("core.attributesfile") or f"{config}/git/attributes").expanduser()
    yield Path(repository.common_dir) / "info/attributes"
    yield Path(repository.git_dir) / "info/sparse-checkout"
    yield Path("/etc/gitattributes")
