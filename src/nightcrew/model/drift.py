"""Drift: what the user changed since the base commit of a run, weighed against what the run has changed. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from nightcrew.model.text import shown

#: Files that decide how everything else is built, checked or run: changing one under a run is worth knowing.
CRITICAL: Final = frozenset(
    {
        "build.gradle",
        "build.gradle.kts",
        "bun.lock",
        "cargo.lock",
        "cargo.toml",
        "cmakelists.txt",
        "composer.json",
        "composer.lock",
        "deno.lock",
        "docker-compose.yml",
        "docker-compose.yaml",
        "dockerfile",
        "flake.lock",
        "flake.nix",
        "gemfile",
        "gemfile.lock",
        "go.mod",
        "go.sum",
        "jenkinsfile",
        "makefile",
        "package-lock.json",
        "package.json",
        "pdm.lock",
        "pipfile",
        "pipfile.lock",
        "pnpm-lock.yaml",
        "poetry.lock",
        "pom.xml",
        "pyproject.toml",
        "requirements.txt",
        "setup.cfg",
        "setup.py",
        "uv.lock",
        "yarn.lock",
        ".gitlab-ci.yml",
        ".gitmodules",
        ".travis.yml",
        "azure-pipelines.yml",
    }
)
#: Folders of continuous integration.
CRITICAL_FOLDERS: Final = (".github/workflows/", ".circleci/", ".buildkite/", ".gitlab/ci/")
#: Severities, the weightiest first; empty is no drift at all.
SEVERITIES: Final = ("high", "medium", "low", "")


@dataclass(frozen=True, slots=True)
class Drift:
    """What the user changed since the base commit, uncommitted and untracked files included.

    Attributes:
        both: paths that the run changed too (``high``).
        critical: lock files, manifests, CI and .env among the others (``medium``).
        other: the rest (``low``).
    """

    both: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def severity(self) -> str:
        """The weightiest that applies; empty when the user changed nothing."""
        return "high" if self.both else "medium" if self.critical else "low" if self.other else ""

    @property
    def count(self) -> int:
        """How many paths the user changed."""
        return len(self.both) + len(self.critical) + len(self.other)

    def describe(self) -> str:
        """Return it in words, naming at most three paths."""
        paths = self.both or self.critical or self.other
        if not paths:
            return "nothing has changed since the base commit"
        named = ", ".join(shown(path) for path in paths[:3]) + (
            f" and {len(paths) - 3} more" if paths[3:] else ""
        )
        if self.both:
            return f"you and this run both changed {named}"
        return f"you changed {named}" + (", which much else depends on" if self.critical else "")


def weigh(theirs: Collection[str], ours: Collection[str], stood: Collection[str] = ()) -> Drift:
    """Return the drift when the user changed ``theirs`` and the run ``ours``, both as repository-relative paths.

    Args:
        stood: of ``theirs`` what lay there like that already when the run was planned (its tasks file, notes): worth telling
            only where the run changed it too, or where much else depends on it.
    """
    both = sorted(path for path in theirs if path in ours)
    rest = sorted(path for path in theirs if path not in ours)
    critical = [path for path in rest if is_critical(path)]
    other = [path for path in rest if not is_critical(path) and path not in stood]
    return Drift(tuple(both), tuple(critical), tuple(other))


def is_critical(path: str) -> bool:
    """Tell whether much else depends on a path: a lock file, a manifest, a build or CI file, .env."""
    name = path.rpartition("/")[2].lower()
    if name in CRITICAL or name == ".env" or name.startswith((".env.", "dockerfile.")):
        return True
    return (name.startswith("requirements") and name.endswith(".txt")) or path.startswith(CRITICAL_FOLDERS)
