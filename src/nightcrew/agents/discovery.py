"""Where agents are: programs that people have, and folders in which tools keep Markdown agents. Two tables, and reading.

Nothing is started here, and of a sign-in only that its file is there: no credential is ever opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from nightcrew.agents.markdown import MAX_BYTES, MarkdownAgent, make_name, read_agent
from nightcrew.model.text import shown

Login = Literal["present", "absent", "unknown"]

#: Files of one folder that are looked at, and how deep below it.
FILES_LIMIT: Final = 200
_DEPTH: Final = 2


@dataclass(frozen=True, slots=True)
class KnownProgram:
    """A coding agent that people have.

    Attributes:
        name: of the program. adapter: what drives it; ``command`` where it speaks no protocol of ours.
        providers: of models that it can use through the gateway.
        sign_ins: files of its own sign-in, below home; empty where it keeps it elsewhere (a keyring).
        home: variable that names another folder for the first part of these, and that part.
    """

    name: str
    adapter: str = "command"
    providers: tuple[str, ...] = ()
    sign_ins: tuple[str, ...] = ()
    home: tuple[str, str] = ("", "")


PROGRAMS: Final[Mapping[str, KnownProgram]] = {
    each.name: each
    for each in (
        KnownProgram(
            "claude",
            "claude",
            ("anthropic",),
            (".claude/.credentials.json",),
            ("CLAUDE_CONFIG_DIR", ".claude"),
        ),
        KnownProgram("codex", "codex", ("openai",), (".codex/auth.json",), ("CODEX_HOME", ".codex")),
        KnownProgram("gemini", "gemini", ("gemini",), (".gemini/oauth_creds.json",)),
        KnownProgram("opencode", "opencode", ("openai",), (".local/share/opencode/auth.json",)),
        KnownProgram("aider", "aider", ("openai", "anthropic", "gemini")),
        KnownProgram("mini", "mini", ("openai", "anthropic", "gemini")),
        KnownProgram("goose"),
        KnownProgram("cursor-agent"),
        KnownProgram("copilot"),
        KnownProgram("qwen", sign_ins=(".qwen/oauth_creds.json",)),
        KnownProgram("amp", sign_ins=(".local/share/amp/secrets.json",)),
        KnownProgram("auggie", sign_ins=(".augment/session.json",)),
        KnownProgram("crush"),
        KnownProgram("droid", sign_ins=(".factory/auth.json",)),
        KnownProgram("kiro-cli"),
        KnownProgram("openhands"),
    )
}

#: Tool → its folders of Markdown agents below home.
HOME_FOLDERS: Final[tuple[tuple[str, str], ...]] = (
    ("claude", ".claude/agents"),
    ("codex", ".codex/agents"),
    ("gemini", ".gemini/agents"),
    ("gemini", ".config/gemini-cli/agents"),
    ("opencode", ".config/opencode/agent"),
    ("opencode", ".config/opencode/agents"),
    ("cursor", ".cursor/agents"),
    ("factory", ".factory/droids"),
    ("copilot", ".copilot/agents"),
    ("qwen", ".qwen/agents"),
    ("amazon-q", ".aws/amazonq/agents"),
    ("amp", ".config/amp/agents"),
    ("augment", ".augment/agents"),
    ("cline", ".cline/agents"),
    ("codebuddy", ".codebuddy/agents"),
    ("crush", ".config/crush/agents"),
    ("goose", ".config/goose/agents"),
    ("iflow", ".iflow/agents"),
    ("kilocode", ".kilocode/agents"),
    ("kiro", ".kiro/agents"),
    ("qoder", ".qoder/agents"),
    ("roo", ".roo/agents"),
    ("windsurf", ".codeium/windsurf/agents"),
)
#: The same below the root of a repository.
REPOSITORY_FOLDERS: Final[tuple[tuple[str, str], ...]] = (
    ("nightcrew", ".nightcrew/agents"),
    ("claude", ".claude/agents"),
    ("codex", ".codex/agents"),
    ("gemini", ".gemini/agents"),
    ("opencode", ".opencode/agent"),
    ("opencode", ".opencode/agents"),
    ("copilot", ".github/agents"),
    ("cursor", ".cursor/agents"),
    ("factory", ".factory/droids"),
    ("qwen", ".qwen/agents"),
    ("augment", ".augment/agents"),
    ("cline", ".cline/agents"),
    ("codebuddy", ".codebuddy/agents"),
    ("iflow", ".iflow/agents"),
    ("kilocode", ".kilocode/agents"),
    ("kiro", ".kiro/agents"),
    ("qoder", ".qoder/agents"),
    ("roo", ".roo/agents"),
    ("windsurf", ".windsurf/agents"),
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of Markdown agents.

    Attributes:
        tool: whose it is. path: absolute. shown: as a person knows it. own: the person's, not a repository's.
    """

    tool: str
    path: Path
    shown: str
    own: bool


def list_folders(home: Path, config: Path, root: Path | None) -> list[Folder]:
    """Return every folder that is there: the person's first, so that no repository stands before them."""
    found = [Folder("nightcrew", config / "agents", str(config / "agents"), own=True)]
    found += [Folder(tool, home / below, f"~/{below}", own=True) for tool, below in HOME_FOLDERS]
    if root is not None:
        found += [Folder(tool, root / below, below, own=False) for tool, below in REPOSITORY_FOLDERS]
    kept: dict[Path, Folder] = {}
    for each in found:
        if each.path.is_dir() and (each.own or _stays_inside(each.path, root)):
            kept.setdefault(each.path.resolve(), each)
    return list(kept.values())


def find_files(folder: Folder) -> Iterator[tuple[Path, str, os.stat_result]]:
    """Yield the Markdown files of a folder in order: path, name as shown, and what the file system says of it."""
    left = FILES_LIMIT
    for path in sorted(folder.path.glob("*.md")) + sorted(folder.path.glob("*/*.md")):
        if left == 0 or len(path.relative_to(folder.path).parts) > _DEPTH:
            return
        try:
            # A link of a repository could lead to any file of the person's, and that into a prompt.
            found = path.stat() if folder.own else path.lstat()
        except OSError:
            continue  # a dangling link, or gone meanwhile
        if stat.S_ISREG(found.st_mode) and (folder.own or _stays_inside(path, folder.path)):
            left -= 1
            # A name can hold anything: it is shown in plans, and on terminals.
            yield path, shown(f"{folder.shown}/{path.relative_to(folder.path)}"), found


def read_file(path: Path, name: str, folder: Folder) -> MarkdownAgent:
    """Return the agent of a file; one that cannot be read says so."""
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if folder.own else os.O_NOFOLLOW)
    broken = MarkdownAgent(make_name(path.stem), name, folder.tool, folder.own)
    try:
        with os.fdopen(os.open(path, flags), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return replace(broken, problem=f"{name}: {error.strerror}")
    if len(data) > MAX_BYTES:
        return replace(broken, problem=f"{name}: larger than {MAX_BYTES >> 10} KiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return replace(broken, problem=f"{name}:1: not UTF-8")
    return read_agent(text, name, path.stem, tool=folder.tool, own=folder.own)


def find_login(program: KnownProgram, home: Path, variables: Mapping[str, str]) -> Login:
    """Tell whether a program's own sign-in is there, by its file alone."""
    if not program.sign_ins:
        return "unknown"
    variable, first = program.home
    moved = variables.get(variable, "") if variable else ""
    for below in program.sign_ins:
        path = Path(moved) / below.removeprefix(f"{first}/") if moved else home / below
        try:
            if path.stat().st_size > 0:
                return "present"
        except OSError:
            continue  # not there, or not for us to see
    return "absent"


def _stays_inside(path: Path, root: Path | None) -> bool:
    """Tell whether nothing on the way to ``path`` leads out of ``root``."""
    return root is not None and path.resolve().is_relative_to(root.resolve())
