"""The syntax tree of a command line, walked: every program start, every path written, every part that is not known."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from nightcrew.model.errors import ShellSyntaxError
from nightcrew.policy.lines.effects import find_effects
from nightcrew.policy.lines.gitline import read_git
from nightcrew.policy.lines.pipes import document_stdin, pipe_stdin
from nightcrew.policy.lines.programs import find_runs
from nightcrew.policy.lines.project import PACKAGE_MANAGERS, Project, find_scripts
from nightcrew.policy.lines.runs import Runs, Script
from nightcrew.policy.lines.shell import Shell
from nightcrew.policy.lines.starts import NO_STDIN, Do, Effect, Line, Start, Stdin
from nightcrew.policy.lines.words import Node, Word, literal, read_document, read_text, read_word

Parse = Callable[[str], Mapping[str, Any]]

# A line that hides a command deeper than this was made to; an honest one has three or four levels.
MAX_DEPTH: Final = 24
MAX_STARTS: Final = 2000

# Lines that were read before, each with the very tree it was read from: agents say the same ones again and again.
_KNOWN: Final[dict[tuple[str, str], tuple[Node, Line]]] = {}
_UNKNOWN: Final[tuple[Node | None, Line]] = (None, Line())
_REMEMBERED: Final = 2048
_REMEMBERED_LENGTH: Final = 4096

_WRITES: Final = frozenset({">", ">>", ">|", "&>", "&>>", "<>", ">&", "&>|", "&>>|"})
# Variables whose value some program hands to a shell.
_COMMAND_VARIABLES = re.compile(
    r"(?:GIT_(?:SSH_COMMAND|EXTERNAL_DIFF|PAGER|EDITOR|SEQUENCE_EDITOR|ASKPASS|PROXY_COMMAND)|PAGER|MANPAGER|EDITOR|VISUAL"
    r"|SSH_ASKPASS|SUDO_ASKPASS|PROMPT_COMMAND|LESSOPEN|LESSCLOSE|RSYNC_RSH|CVS_RSH|TAR_OPTIONS|FCEDIT|SUDO_EDITOR|BROWSER)\Z"
)
_OPAQUE_VARIABLES = re.compile(
    r"(?:GIT_CONFIG_(?:KEY_\d+|PARAMETERS)|BASH_ENV|ENV|BASH_FUNC_.*|GIT_EXEC_PATH)\Z"
)
# Expanded as if in double quotes when they are shown; any variable is by ${x@P}.
_PROMPTS: Final = frozenset({"PS0", "PS1", "PS2", "PS4"})
_HAS_COMMAND = re.compile(r"\$\(|`")
# Builtins that evaluate a subscript in a quoted word.
_EVALUATING: Final = frozenset(
    [
        "printf",
        "read",
        "unset",
        "test",
        "[",
        "declare",
        "typeset",
        "local",
        "export",
        "readonly",
        "let",
        "mapfile",
        "readarray",
        "wait",
        "getopts",
    ]
)
_SUBSCRIPT = re.compile(r"\[[^]]*(?:\$\(|`)")
# As the name of a program this means that parser and bash disagree, or that somebody wants them to.
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*(?:\[[^]]*\])?\+?=")
_CONDITIONAL: Final = frozenset({"IfClause", "WhileClause", "ForClause", "CaseClause", "FuncDecl"})


def read_line(text: str, *, parse: Parse, root: str = "", project: Project | None = None) -> Line:
    """Return what a command line starts and writes.

    Args:
        text: bash source.
        parse: text → syntax tree as ``shfmt --to-json`` writes it.
        root: absolute path of the repository, so that absolute paths into it are recognised; empty when not known.
        project: where scripts of package managers and git's aliases are looked up; without it they count as programs.

    Raises:
        ShellSyntaxError: the line itself is not bash.
    """
    tree = parse(text)
    known, line = _KNOWN.get((text, root), _UNKNOWN)
    if known is not tree:
        line = _read(text, tree, parse, root, None)
        if len(text) <= _REMEMBERED_LENGTH:
            if len(_KNOWN) >= _REMEMBERED:
                _KNOWN.clear()
            _KNOWN[text, root] = tree, line
    # What a name stands for may be another thing every time.
    return _read(text, tree, parse, root, project) if project is not None and _has_names(line) else line


def _read(text: str, tree: Node, parse: Parse, root: str, project: Project | None) -> Line:
    walker = _Walker(parse, root.rstrip("/"), project)
    walker.read(tree, Shell(text, text.encode("utf-8", "surrogateescape")))
    return Line(tuple(walker.starts), tuple(dict.fromkeys(walker.effects)))


def _has_names(line: Line) -> bool:
    """Tell whether a project could say more about a line: scripts of package managers, git commands that are none."""
    return any(
        not PACKAGE_MANAGERS.isdisjoint((start.program, *start.via))
        or (start.program == "git" and start.opaque)
        for start in line.starts
    )


class _Walker:
    def __init__(self, parse: Parse, root: str, project: Project | None) -> None:
        self.parse = parse
        self.project = project
        self.root = root
        self.starts: list[Start] = []
        self.effects: list[Effect] = []
        self.depth = 0
        self.functions: set[str] = set()

    def read(self, tree: Node, shell: Shell, stdin: Stdin = NO_STDIN, via: tuple[str, ...] = ()) -> None:
        for statement in tree.get("Stmts", ()):
            self.statement(statement, shell, stdin, via)

    # --- statements -------------------------------------------------------------------------------------------------

    def statement(self, node: Node, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        if node.get("Background"):
            shell = shell.copy()
        if "Redirs" in node:
            stdin = self.redirections(node["Redirs"], shell, stdin)
        command = node.get("Cmd")
        if command is None:
            return
        kind = command["Type"]
        if kind == "CallExpr":
            self.call(command, shell, stdin, via)
        elif kind == "BinaryCmd":
            self.binary(command, shell, stdin, via)
        elif kind in ("CoprocClause", "LetClause"):
            self.read_again(command, shell.copy(), via)
        elif kind == "Subshell":
            self.inside(command, shell.copy(), stdin, via)
        elif kind in _CONDITIONAL:
            self.conditional(command, shell, stdin, via)
        elif kind == "DeclClause":
            self.declaration(command, shell)
        else:
            self.inside(command, shell, stdin, via)

    def binary(self, node: Node, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        if node["Op"] in ("|", "|&"):
            before = len(self.starts)
            self.statement(node["X"], shell.copy(), stdin, via)
            self.statement(node["Y"], shell.copy(), self.pipe(before, node["X"]), via)
            return
        self.statement(node["X"], shell, stdin, via)
        certain, shell.certain = shell.certain, False
        self.statement(node["Y"], shell, stdin, via)
        shell.certain = certain

    def pipe(self, before: int, node: Node) -> Stdin:
        upstream = self.starts[before:]
        # A function of the line may hide behind the name: what it prints is anybody's guess.
        return pipe_stdin(upstream, {} if any(s.program in self.functions for s in upstream) else node)

    def read_again(self, node: Node, shell: Shell, via: tuple[str, ...]) -> None:
        """Walk a coprocess or ``let``, where the parser and bash disagree, by reading what follows the first word anew.

        A coprocess has a name only before a compound command: in ``coproc git push | x`` the program is git. ``let`` is an
        ordinary command to bash: in ``let a|git push`` the stroke is a pipe.
        """
        if node["Type"] == "LetClause":
            start, end, before = node["Let"]["Offset"] + len("let"), node["End"]["Offset"], b":"
        elif _begins_simple(node["Stmt"]):
            start, end, before = node["Coproc"]["Offset"] + len("coproc"), node["Stmt"]["End"]["Offset"], b""
        else:
            self.inside(node, shell, Stdin("pipe"), via)
            return
        text = before + shell.source[start:end]
        self.script(
            Script(Word(text.decode("utf-8", "surrogateescape"))),
            shell,
            Stdin("pipe"),
            via,
            what=node["Type"],
        )

    def conditional(self, node: Node, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        certain, shell.certain = shell.certain, False
        parameters = shell.parameters
        if node["Type"] == "FuncDecl":
            shell.parameters = None
            if "Name" not in node:
                place = node["Pos"]
                raise ShellSyntaxError("a function without a name is not bash", place["Line"], place["Col"])
            self.functions.add(node["Name"]["Value"])
        self.inside(node, shell, stdin, via)
        shell.certain, shell.parameters = certain, parameters

    def inside(self, node: Node, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        """Walk everything below a node: statements as such, words for the commands in them."""
        for value in node.values():
            for child in value if isinstance(value, list) else (value,):
                if not isinstance(child, dict):
                    continue
                if "Cmd" in child or "Redirs" in child:
                    self.statement(child, shell, stdin, via)
                elif "Parts" in child:
                    self.substitutions(child, shell, via)
                elif "Col" not in child:  # a position, the most frequent child of all
                    self.inside(child, shell, stdin, via)

    # --- words ------------------------------------------------------------------------------------------------------

    def substitutions(self, word: Node, shell: Shell, via: tuple[str, ...] = ()) -> None:
        """Walk the commands inside a word."""
        for part in word.get("Parts", ()):
            kind = part["Type"]
            if kind in ("Lit", "SglQuoted", "ExtGlob"):
                continue
            if kind == "DblQuoted":
                self.substitutions(part, shell, via)
            elif kind in ("CmdSubst", "ProcSubst"):
                stdin = Stdin("pipe") if part.get("Op") == ">(" else NO_STDIN
                self.read(part, shell.copy(), stdin, via)
            else:
                self.inside(part, shell, NO_STDIN, via)

    def redirections(self, redirects: Sequence[Node], shell: Shell, stdin: Stdin) -> Stdin:
        for redirect in redirects:
            stdin = self.redirection(redirect, shell, stdin)
        return stdin

    def redirection(self, redirect: Node, shell: Shell, stdin: Stdin) -> Stdin:
        if "Hdoc" in redirect:
            self.substitutions(redirect["Hdoc"], shell)
            return document_stdin(read_document(redirect, shell))
        if "Word" not in redirect:
            return stdin
        self.substitutions(redirect["Word"], shell)
        word = read_text(redirect["Word"], shell)
        operator = redirect["Op"]
        if operator == "<<<":
            return document_stdin(Word(word.text + "\n", word.known))
        if _writes(operator, word.text):
            self.effect("write", word, shell)
        if operator == "<" and redirect.get("N", {}).get("Value", "0") == "0":
            return Stdin("pipe") if not word.known and word.text.startswith("<(") else Stdin("file")
        return stdin

    # --- variables --------------------------------------------------------------------------------------------------

    def assignment(self, node: Node, shell: Shell, *, kept: bool) -> None:
        self.inside({k: v for k, v in node.items() if k in ("Index", "Array")}, shell, NO_STDIN, ())
        if "Value" not in node:
            return
        self.substitutions(node["Value"], shell)
        if "Name" not in node:
            return
        name = node["Name"]["Value"]
        value = read_text(node["Value"], shell)
        self.variable(name, value, shell)
        self.evaluated(name, (value,))
        plain = not (node.get("Append") or "Index" in node)
        if kept and plain and value.known and shell.certain:
            shell.values[name] = value.text

    def variable(self, name: str, value: Word, shell: Shell) -> None:
        """Note what a variable makes other programs run."""
        if _COMMAND_VARIABLES.match(name) and value.text.strip():
            self.script(Script(value), shell, NO_STDIN, (), what=name)
        elif _HAS_COMMAND.search(value.text) and (name in _PROMPTS or "@P}" in shell.text):
            self.add(
                Start(
                    "",
                    (Word(f"{name}={value.text}"),),
                    opaque=f"{name} runs a command when it is shown as a prompt",
                )
            )
        elif _OPAQUE_VARIABLES.match(name) and value.text not in ("", "/dev/null"):
            self.add(
                Start("", (Word(f"{name}={value.text}"),), opaque=f"{name} makes programs run what it names")
            )

    def declaration(self, node: Node, shell: Shell) -> None:
        for argument in node.get("Args", ()):
            self.assignment(argument, shell, kept=node["Variant"]["Value"] == "export")

    # --- program starts ---------------------------------------------------------------------------------------------

    def call(self, node: Node, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        arguments = node.get("Args", ())
        for assignment in node.get("Assigns", ()):
            self.assignment(assignment, shell, kept=not arguments)
        words: list[Word] = []
        for argument in arguments:
            parts = argument.get("Parts", ())
            if len(parts) != 1 or parts[0]["Type"] not in ("Lit", "SglQuoted"):
                self.substitutions(argument, shell, via)
            words += read_word(argument, shell)
        if words:
            if words[0].text in _EVALUATING:
                self.evaluated(words[0].text, words[1:])
            self.start(tuple(words), shell, stdin, via)

    def evaluated(self, what: str, words: Sequence[Word]) -> None:
        """Note texts that run a command when bash takes them for a number: ``a[$(command)]``."""
        for word in words:
            if _SUBSCRIPT.search(word.text) and word.known:
                reason = f"{what} is given a text that runs a command when it is taken for a number: {word}"
                self.add(Start("", (literal(what), word), opaque=reason))

    def start(self, words: tuple[Word, ...], shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        if not words:
            return
        if words[0].text == "--" and len(words) > 1:
            # `time -- command`: bash takes the dashes for the end of time's options, the parser for a program.
            words = words[1:]
        program = words[0].program
        if len(via) > MAX_DEPTH or len(self.starts) > MAX_STARTS:
            self.add(Start("", words, via, stdin, "the line is nested too deep to be read"))
            return
        if not program or _ASSIGNMENT.match(words[0].text):
            self.add(
                Start("", words, via, stdin, f"which program runs is not known before it runs: {words[0]}")
            )
            return
        if program == "git":
            runs = read_git(words, self.project.aliases if self.project else {})
        else:
            runs = find_runs(program, words, stdin) or _PLAIN_RUNS
        if self.project is not None and program in PACKAGE_MANAGERS:
            runs = self.named(runs, self.project, words, shell)
        words = runs.words or words
        if runs.itself or runs.opaque:
            self.add(
                Start(program, words, via, stdin, runs.opaque or self.foreign_source(program, words, shell))
            )
            self.note_effects(program, words, shell)
        if runs is not _PLAIN_RUNS:
            self.run(program, runs, shell, stdin, via)

    def named(self, runs: Runs, project: Project, words: tuple[Word, ...], shell: Shell) -> Runs:
        """Return what a start runs with the scripts that its project gives the names on its command line."""
        if shell.folder is None or shell.folder.startswith("//"):
            return runs
        scripts = find_scripts(project, words, shell.folder)
        return replace(runs, scripts=(*runs.scripts, *scripts)) if scripts else runs

    def run(self, program: str, runs: Runs, shell: Shell, stdin: Stdin, via: tuple[str, ...]) -> None:
        for text in runs.assignments:
            name, _, value = text.partition("=")
            self.variable(name, literal(value), shell)
        for command in runs.commands:
            self.start(command, shell, stdin, (*via, program))
        for script in runs.scripts:
            self.script(script, shell, stdin, (*via, program), what=program)

    def script(self, script: Script, shell: Shell, stdin: Stdin, via: tuple[str, ...], *, what: str) -> None:
        """Walk a shell text that something runs; a part of it that is not known makes it opaque, and is walked too."""
        text = script.text.text
        if not script.text.known:
            self.add(
                Start(
                    "",
                    (literal(what), script.text),
                    via,
                    stdin,
                    f"{what} runs a text that is not known before it runs: {text}",
                )
            )
        if self.depth >= MAX_DEPTH or len(via) > MAX_DEPTH:
            self.add(Start("", (literal(what),), via, stdin, "the line is nested too deep to be read"))
            return
        try:
            tree = self.parse(text)
        except ShellSyntaxError as error:
            self.add(
                Start(
                    "",
                    (literal(what), script.text),
                    via,
                    stdin,
                    f"the text that {what} runs cannot be read: {error.message}",
                )
            )
            return
        self.depth += 1
        inner = Shell(text, text.encode("utf-8", "surrogateescape"), shell.folder, script.arguments)
        self.read(tree, inner, stdin if what not in _STDIN_READERS else NO_STDIN, via)
        self.depth -= 1

    def add(self, start: Start) -> None:
        self.starts.append(start)

    def foreign_source(self, program: str, words: Sequence[Word], shell: Shell) -> str:
        if program not in ("source", ".") or len(words) < 2:
            return ""
        outside = all(p.startswith("//") for p in self.resolve(words[1], shell))
        return f"source reads a file outside the repository: {words[1]}" if outside else ""

    # --- paths ------------------------------------------------------------------------------------------------------

    def note_effects(self, program: str, words: Sequence[Word], shell: Shell) -> None:
        for do, word in find_effects(program, words):
            self.effect(do, word, shell)
        if program in ("cd", "pushd", "popd"):
            self.enter(words, shell)

    def enter(self, words: Sequence[Word], shell: Shell) -> None:
        operands = [w for w in words[1:] if w.text not in ("-P", "-L", "--", "-e")]
        if len(operands) == 1 and operands[0].known and operands[0].text != "-":
            shell.folder = next(iter(self.resolve(operands[0], shell)), None)
        elif operands or words[0].text != "cd":
            shell.folder = None
        else:
            shell.folder = "//~"

    def effect(self, do: Do, word: Word, shell: Shell) -> None:
        self.effects += [Effect(do, path) for path in self.resolve(word, shell)]

    def resolve(self, word: Word, shell: Shell) -> Iterator[str]:
        """Yield the path a word names, in the form of ``Effect.path``."""
        text = word.text
        if (text == "$PWD" or text.startswith("$PWD/")) and not shell.is_assigned("PWD"):
            text = text[5:] or "."
        if text.startswith(("/", "~")) or (not word.known and text[:1] in "$`<…"):
            path = self.inside_root(text)
        elif shell.folder is None:
            path = f"//?/{text}"
        elif shell.folder.startswith("//"):
            path = self.inside_root(f"{shell.folder[1:]}/{text}")
        else:
            path = _normal(f"{shell.folder}/{text}")
        yield path

    def inside_root(self, text: str) -> str:
        text = posixpath.normpath(text)
        if self.root and (text == self.root or text.startswith(f"{self.root}/")):
            return text[len(self.root) + 1 :]
        return "//" + text.lstrip("/")


_PLAIN_RUNS: Final = Runs()
_STDIN_READERS: Final = frozenset({"xargs"})


def _begins_simple(statement: Node) -> bool:
    """Tell whether the first thing in a statement is a simple command."""
    command = statement.get("Cmd") or {}
    if command.get("Type") == "BinaryCmd":
        return _begins_simple(command["X"])
    return command.get("Type") in ("CallExpr", "DeclClause", None)


def _normal(path: str) -> str:
    path = posixpath.normpath(path.lstrip("/") or ".")
    if path == ".":
        return ""
    return f"//{path}" if path == ".." or path.startswith("../") else path


def _writes(operator: str, target: str) -> bool:
    if target.startswith(("/dev/tcp/", "/dev/udp/")):
        # bash opens a connection, in whatever direction it is used.
        return True
    return operator in _WRITES and not (operator == ">&" and re.fullmatch(r"\d+-?|-", target))
