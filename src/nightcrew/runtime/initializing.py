"""``init``: the commented files a repository starts with."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import NotFound, UsageError

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

FOLDER: Final = ".nightcrew"
FILES: Final = ("policy.yaml", "config.yaml")


def initialize(parts: Parts, *, force: bool) -> dict[str, Any]:
    """Write the templates into ``.nightcrew/``; what is there stays unless ``force``.

    Raises:
        NotFound: there is no repository here.
        UsageError: the folder cannot be written, or is a link that leads elsewhere.
    """
    from nightcrew.host.files import write_atomic

    root = parts.find_root()
    if root is None:
        raise NotFound(f"no git repository at {parts.cwd}", code="repository.missing", hint="git init")
    folder = root / FOLDER
    if folder.is_symlink():
        raise UsageError(f"{folder} is a symbolic link; nothing was written", code="init.link")
    written, kept = [], []
    try:
        folder.mkdir(exist_ok=True)
        for name in FILES:
            path = folder / name
            if path.exists() and not force:
                kept.append(f"{FOLDER}/{name}")
                continue
            text = files("nightcrew.runtime").joinpath("templates", name).read_text("utf-8")
            write_atomic(path, text.encode(), mode=0o644)
            written.append(f"{FOLDER}/{name}")
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", code="init.unwritable") from error
    return {"written": written, "kept": kept, "next": ["nightcrew doctor", "nightcrew run -f tasks.md"]}
