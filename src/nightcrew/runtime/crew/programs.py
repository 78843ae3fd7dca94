"""Where an agent's own program is on this machine, and what must be visible inside for it to run there.

A program from a package manager is a link to a script in a package that needs an interpreter which is named by name only.
So the whole package is shown inside, read-only, and the directory of the interpreter, with its installation, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from nightcrew.agents.adapter import Program
from nightcrew.model.isolation import Bind
from nightcrew.runtime.inside import SYSTEM

#: A first line is looked at as far as this.
_LINE_BYTES: Final = 256
#: Marks the top of a Python environment.
_PYTHON_MARK: Final = "pyvenv.cfg"


def find_program(name: str, *, path: str, root: str) -> Program | None:
    """Look a program up on PATH; None when it is not there, or is part of the repository itself.

    Args:
        name: name or path. path: the PATH of the user. root: the repository: what it holds is no tool of the user's.
    """
    found = shutil.which(name, path=path)
    if found is None:
        return None
    place = Path(found).absolute()
    if _lies_in(place.resolve(), Path(root)):
        return None
    interpreter = _find_interpreter(place.resolve(), path)
    shown = [each for each in dict.fromkeys(_find_places(place, interpreter)) if not _is_system(each)]
    binds = tuple(Bind(str(each), str(each)) for each in _drop_nested(shown))
    visible = _is_system(place) or any(_lies_in(place, each) for each in shown)
    return Program(str(place if visible else place.resolve()), binds, _find_search(interpreter))


def _find_places(program: Path, interpreter: Path | None) -> Iterator[Path]:
    """Yield what must be visible: the program's package, its interpreter and what that one is installed in."""
    yield from _find_package(program)
    if interpreter is not None:
        yield from _find_package(interpreter)


def _find_package(program: Path) -> Iterator[Path]:
    """Yield the folders that belong together with a program: its Python environment, or all of node_modules, or a prefix."""
    real = program.resolve()
    for above in program.parents:
        if (above / _PYTHON_MARK).is_file():
            yield above
    for above in reversed(real.parents):
        if above.name == "node_modules":
            yield above
            return
    yield _find_installation(real)


def _find_installation(real: Path) -> Path:
    """Return the prefix that a program is installed in, when that is a folder of its own, else the file alone.

    ``~/.nvm/versions/node/v20/bin/node`` is; ``~/.local/bin/claude`` is not: beside it lies what is nobody's business.
    """
    prefix = real.parent.parent
    return (
        prefix
        if real.parent.name == "bin" and (prefix / "lib").is_dir() and prefix.name != ".local"
        else real
    )


def _find_interpreter(program: Path, path: str) -> Path | None:
    """Return the interpreter that a script names in its first line; None for a program in machine code."""
    try:
        with program.open("rb") as file:
            line = file.readline(_LINE_BYTES)
    except OSError:
        # It can be executed and not be read: then it is no script.
        return None
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode("utf-8", "replace").split()
    if words and Path(words[0]).name == "env":
        names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        found = shutil.which(names[0], path=path) if names else None
        return Path(found) if found else None
    return Path(words[0]) if words else None


def _find_search(interpreter: Path | None) -> tuple[str, ...]:
    """Return the directory in which an interpreter is found by its name inside, when no system directory has it."""
    if interpreter is None or _is_system(interpreter):
        return ()
    real = interpreter.resolve()
    return (str(real.parent if real.name == interpreter.name else interpreter.parent),)


def _drop_nested(places: list[Path]) -> list[Path]:
    return [each for each in places if not any(other in each.parents for other in places)]


def _is_system(place: Path) -> bool:
    return any(_lies_in(place, Path(each)) for each in SYSTEM)


def _lies_in(place: Path, folder: Path) -> bool:
    return place == folder or folder in place.parents
