"""What is mounted into a sandbox beside the shadow itself: the user's git objects and environment folders.

Everything an agent could have put into the way is looked at without following links; where something else stands,
nothing is mounted.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from nightcrew.model.isolation import Bind, Overlay
from nightcrew.model.trees import Repository
from nightcrew.shadow.names import GIT
from nightcrew.shadow.skeleton import OBJECTS_INSIDE, alternates_of

_ALTERNATES = "info/alternates"


def overlay_environment(
    place: Path, work: Path, repository: Repository, folders: Sequence[str]
) -> Iterator[Overlay]:
    """Yield an overlay over each live environment folder.

    Args:
        place: directory of the shadow; work: one in it that is new for this mount.
        folders: relative to the repository.
    """
    for number, folder in enumerate(folders):
        live = Path(repository.root) / folder
        if not live.is_dir() or live.is_symlink() or not _make_mount_point(place / "upper", folder):
            continue
        upper = place / "env" / str(number) / "upper"
        upper.mkdir(parents=True, exist_ok=True)
        upper.chmod(0o755)
        (work / str(number)).mkdir()
        yield Overlay(f"{repository.root}/{folder}", (str(live),), str(upper), str(work / str(number)))


def bind_objects(place: Path, repository: Repository) -> Iterator[Bind]:
    """Yield the user's object directories, read-only, at paths that tell nothing of the host.

    Where one of them leans on others, its list of those is covered by one that names their paths inside.
    """
    directories = alternates_of(Path(repository.common_dir) / "objects")
    for number, directory in enumerate(directories):
        yield Bind(str(directory), f"{OBJECTS_INSIDE}/{number}")
    further = "".join(f"{OBJECTS_INSIDE}/{number}\n" for number in range(1, len(directories)))
    for number, directory in enumerate(directories):
        if (directory / _ALTERNATES).exists():
            cover = _keep(place, f"cover-{number}", further if number == 0 else "")
            yield Bind(cover, f"{OBJECTS_INSIDE}/{number}/{_ALTERNATES}")


def point_at_objects(place: Path, repository: Repository) -> Iterator[Bind]:
    """Yield, for a copy, a cover of its own list of object directories, which names paths of the host."""
    inside = f"{GIT}/objects/{_ALTERNATES}"
    if _kind(place / "upper", inside) == stat.S_IFREG:
        cover = _keep(place, "cover", f"{OBJECTS_INSIDE}/0\n")
        yield Bind(cover, f"{repository.root}/{inside}")


def _keep(place: Path, name: str, content: str) -> str:
    target = place / "alternates" / name
    target.parent.mkdir(exist_ok=True)
    target.write_text(content, encoding="ascii")
    return str(target)


def _kind(root: Path, path: str) -> int:
    """Return the file type at a path below a root, 0 when there is none or a link is on the way."""
    place = root
    kind = stat.S_IFDIR
    for part in path.split("/"):
        if kind != stat.S_IFDIR:
            return 0
        place = place / part
        try:
            kind = stat.S_IFMT(place.lstat().st_mode)
        except FileNotFoundError:
            return 0
    return kind


def _make_mount_point(upper: Path, folder: str) -> bool:
    """Make sure a folder exists in the writable layer; tell False when something else is in the way."""
    place = upper
    for part in folder.split("/"):
        place = place / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            return False
        if not place.exists():
            place.mkdir()
            place.chmod(0o755)
    return True
