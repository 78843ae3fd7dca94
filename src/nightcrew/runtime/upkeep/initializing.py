"""``init``: the commented files a repository starts with."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nightcrew.model.errors import UsageError

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

FOLDER: Final = ".nightcrew"
FILES: Final = ("policy.yaml", "config.yaml")


def initialize(parts: Parts, *, force: bool) -> dict[str, Any]:
    """Write the templates into ``.nightcrew/``; what is there stays unless ``force``.

    In a directory without git, begin a private history of it, so that runs started anywhere below find it.

    Raises:
        UsageError: the folder cannot be written, or is a link that leads elsewhere; home or a directory of the system.
    """
    from nightcrew.host.files import write_atomic

    repository = parts.find_here() or parts.repository_to_start()
    folder = Path(repository.root) / FOLDER
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
            text = files("nightcrew.runtime.upkeep").joinpath("templates", name).read_text("utf-8")
            write_atomic(path, text.encode(), mode=0o644)
            written.append(f"{FOLDER}/{name}")
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", code="init.unwritable") from error
    following = ["nightcrew doctor", "nightcrew run -f tasks.md"]
    history = repository.git_dir if repository.private else ""
    return {"written": written, "kept": kept, "history": history, "next": following}
