"""nightcrew: your coding agents take the night shift; you stay in charge.

As a library: ``Runtime`` is the whole of it, ``Policy``, ``Gate`` and ``Journal`` are its parts for orchestrators of your own.
They are loaded when they are first asked for. Guide: docs/guides/python.md.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

__version__ = "0.1.0"
__all__ = ["Action", "Decision", "Gate", "Journal", "Policy", "Runtime", "__version__"]


# Their types stand in __init__.pyi: a name at the top must not tie every folder below to all of them.
def __getattr__(name: str) -> _Any:
    if name in __all__:
        return getattr(_import_module("nightcrew.runtime.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
