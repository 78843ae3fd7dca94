"""Fake agents on PATH, for tests that drive the installed command."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

from nightcrew.testing import peers
from nightcrew.testing.hermetic import Hermetic


def install(crew: Hermetic, name: str, *fault: str, as_name: str = "") -> Path:
    """Put a fake agent on PATH, as a package manager does: a link to a script beside which nothing is."""
    package = crew.root / "lib" / f"{as_name or name}.py"
    package.parent.mkdir(exist_ok=True)
    words = [name if name in ("claude", "codex") else "acp", *fault]
    head = f"#!{os.path.realpath(sys.executable)}\nimport sys\n"
    head += f"if '--version' in sys.argv: sys.exit(print('9.9 (fake)'))\nsys.argv[1:1] = {words!r}\n"
    body = inspect.getsource(peers).replace("from __future__ import annotations\n", "")
    package.write_text(head + body)
    package.chmod(0o755)
    program = crew.root / "bin" / (as_name or name)
    program.parent.mkdir(exist_ok=True)
    program.symlink_to(package)
    crew.variables["PATH"] = f"{program.parent}:{crew.variables['PATH']}".replace(
        f"{program.parent}:{program.parent}:", f"{program.parent}:"
    )
    return program


def set_up_providers(crew: Hermetic) -> None:
    """Name a provider that is never reached: the fakes have no model."""
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    key = "{env: EXAMPLE_KEY}"
    crew.variables["EXAMPLE_KEY"] = "never-sent"
    own.joinpath("config.yaml").write_text(
        f"version: 1\nproviders:\n  anthropic: {{url: 'http://127.0.0.1:9', key: {key}}}\n"
    )
