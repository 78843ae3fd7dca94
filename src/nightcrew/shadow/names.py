"""Names that a shadow treats apart: git directories in every spelling that some git would take for one."""

from __future__ import annotations

import re
from typing import Final

GIT: Final = ".git"

# Characters that HFS+ leaves out when it compares names; git refuses them inside ".git" on every system.
_IGNORED_BY_HFS: Final = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# What NTFS takes for ".git": its short name, trailing dots and spaces, a stream after a colon.
_GIT_ON_NTFS: Final = re.compile(r"(?:\.git|git~1)[. ]*(?::.*)?", re.DOTALL)


def is_git_name(name: str) -> bool:
    """Tell whether a file of this name would be, or be mistaken for, a git directory."""
    return _GIT_ON_NTFS.fullmatch(_IGNORED_BY_HFS.sub("", name).lower()) is not None


def is_plain_path(path: str) -> bool:
    """Tell whether a repository-relative path stays below its root and outside git directories."""
    return all(part not in ("", ".", "..") and not is_git_name(part) for part in path.split("/"))
