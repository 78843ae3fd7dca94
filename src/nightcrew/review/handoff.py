"""Paths that something on the host executes by itself once they are in the repository. Pure.

The list is about who runs it (threats: "handoff"), not about how bad it is; it errs towards naming too much, since a
named path only costs one look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_FOLDERS: Final[Mapping[str, str]] = {
    ".git": "git",
    ".githooks": "git hooks",
    ".husky": "git hooks",
    ".github": "continuous integration or repository automation",
    ".gitlab": "continuous integration",
    ".circleci": "continuous integration",
    ".buildkite": "continuous integration",
    ".vscode": "the editor's tasks and settings",
    ".idea": "the editor's tasks and settings",
    ".devcontainer": "the editor's container",
    ".claude": "settings of a coding agent",
    ".codex": "settings of a coding agent",
    ".gemini": "settings of a coding agent",
    ".cursor": "settings of a coding agent",
    ".opencode": "settings of a coding agent",
    ".nightcrew": "nightcrew's own rules",
    ".venv": "a committed environment",
    "venv": "a committed environment",
    "node_modules": "a committed environment",
    ".cargo": "the build tool",
    ".mvn": "the build tool",
}

_NAMES: Final[tuple[tuple[str, str], ...]] = (
    (r"\.git(attributes|modules|config)|\.pre-commit-(config|hooks)\.yaml|lefthook\.ya?ml", "git"),
    (r"\.envrc|\.(bash|zsh)(rc|env|_profile)|\.profile|\.tool-versions|\.?mise\.toml", "the shell or direnv"),
    (r"\.(vim|nvim|ex|gdb|lldb)(rc|init)", "the editor or debugger"),
    (
        r"\.gitlab-ci\.ya?ml|\.travis\.ya?ml|jenkinsfile|azure-pipelines\.ya?ml|bitbucket-pipelines\.ya?ml",
        "continuous integration",
    ),
    (
        r"(claude|agents|gemini|codex)\.md|\.aider.*|\.mcp\.json|\.cursorrules",
        "a coding agent's instructions",
    ),
    (
        r"package\.json|\.(npm|yarn)rc.*|pnpm-workspace\.yaml|.*\.gemspec|gemfile|composer\.json",
        "a package manager",
    ),
    (
        r"setup\.(py|cfg)|pyproject\.toml|pipfile|pip\.conf|(.*-)?requirements.*\.(txt|in)|environment\.ya?ml",
        "a package manager",
    ),
    (
        r"(package-lock|npm-shrinkwrap)\.json|yarn\.lock|pnpm-lock\.yaml|uv\.lock|poetry\.lock|pipfile\.lock|cargo\.lock|go\.sum|gemfile\.lock",
        "a package manager (locked dependencies)",
    ),
    (
        r"cargo\.toml|build\.rs|go\.mod|pom\.xml|(build|settings)\.gradle(\.kts)?|gradlew(\.bat)?|mvnw",
        "the build tool",
    ),
    (
        r"(gnu)?makefile|.*\.mk|cmakelists\.txt|.*\.cmake|justfile|taskfile\.ya?ml|meson\.build|build(\.bazel)?|workspace|rakefile",
        "the build tool",
    ),
    (
        r"dockerfile(\..*)?|.*\.dockerfile|containerfile|(docker-)?compose.*\.ya?ml|vagrantfile|procfile",
        "the container or process runner",
    ),
    (
        r"conftest\.py|pytest\.ini|tox\.ini|noxfile\.py|(jest|vitest|karma|playwright|cypress)\.config\..*",
        "the test runner",
    ),
    (r"(site|user)customize\.py|.*\.pth", "every Python program that starts there"),
    (
        r"(webpack|vite|rollup|babel|eslint|prettier|tailwind|next)\.config\..*|\.eslintrc.*|\.babelrc.*",
        "the build tool",
    ),
)
_COMPILED: Final = tuple((re.compile(pattern), who) for pattern, who in _NAMES)


def find_runner(path: str) -> str:
    """Say who executes ``path`` on the host without being asked; empty when nobody is known to."""
    *folders, name = path.lower().split("/")
    for folder in folders:
        if folder in _FOLDERS:
            return _FOLDERS[folder]
    return next((who for pattern, who in _COMPILED if pattern.fullmatch(name)), "")
