"""The forms of programs that run other programs and are not plain wrappers: xargs, find, eval, watch, tar and friends."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from nightcrew.policy.lines.clients import CLIENTS, read_client
from nightcrew.policy.lines.runs import Runs, Script, Words
from nightcrew.policy.lines.shells import SHELLS, read_shell, read_stdin_script, reads_program
from nightcrew.policy.lines.starts import Stdin
from nightcrew.policy.lines.words import Word, join_words
from nightcrew.policy.lines.wrappers import Wrapper, skip_options, unwrap

# A file name that find or xargs will fill in.
FILLED: Final = Word("…", known=False, loose=True)
_XARGS: Final = Wrapper(
    values=frozenset(
        [
            "a",
            "arg-file",
            "d",
            "delimiter",
            "E",
            "I",
            "L",
            "max-lines",
            "n",
            "max-args",
            "P",
            "max-procs",
            "s",
            "max-chars",
            "process-slot-var",
            "J",
            "R",
            "S",
        ]
    ),
    plain=frozenset(
        [
            "0",
            "null",
            "o",
            "open-tty",
            "p",
            "interactive",
            "r",
            "no-run-if-empty",
            "t",
            "verbose",
            "x",
            "exit",
            "show-limits",
            "e",
            "i",
            "l",
            "eof",
            "replace",
        ]
    ),
)


def find_runs(program: str, words: Words, stdin: Stdin) -> Runs | None:
    """Return what the program ``words[0]`` runs in turn, None when it is an ordinary program."""
    if program in SHELLS:
        return read_shell(program, words, stdin)
    if stdin.kind == "pipe" and not stdin.exact and reads_program(program, words):
        return Runs(opaque=f"{program} reads its program from a pipe: content is not known before it runs")
    special = _SPECIAL.get(program)
    if special is not None:
        return special(words, stdin)
    unwrapped = unwrap(program, words)
    # Only the program's own options count, not those of a command that it runs.
    own = words[: len(words) - len(unwrapped.words)] if unwrapped else words
    options = SCRIPT_OPTIONS.get(program)
    scripts = tuple(Script(t) for t in option_values(own, options)) if options else ()
    if unwrapped is None:
        return Runs(scripts=scripts) if scripts else None
    if scripts:
        return Runs(scripts=scripts, itself=False)
    if unwrapped.unclear:
        return Runs(opaque=unwrapped.unclear, assignments=unwrapped.assignments)
    if not unwrapped.words:
        return Runs(assignments=unwrapped.assignments)
    return Runs((unwrapped.words,), assignments=unwrapped.assignments, itself=False)


def read_eval(words: Words, stdin: Stdin) -> Runs:
    """``eval``: its words joined are run; unknown parts are run too, so they make it opaque."""
    del stdin
    rest = words[1:]
    if rest and rest[0].text == "--":
        rest = rest[1:]
    if not rest:
        return Runs()
    known = all(w.known and not w.pattern for w in rest)
    return Runs(scripts=(Script(Word(" ".join(w.text for w in rest), known=known)),), itself=False)


def read_source(words: Words, stdin: Stdin) -> Runs:
    """``source`` and ``.``: a file of the repository is fine; one from outside, or from a pipe, is not known."""
    del stdin
    if len(words) < 2:
        return Runs()
    word = words[1]
    if word.text.startswith("<("):
        return Runs(opaque=f"source runs what another command prints: {word}")
    if not word.known or word.pattern:
        return Runs(opaque=f"which file is sourced is not known before it runs: {word}")
    return Runs(words=(Word("source"), *words[1:]))


def read_trap(words: Words, stdin: Stdin) -> Runs:
    """``trap 'text' SIGNAL``: the text is run later."""
    del stdin
    rest = [w for w in words[1:] if w.text not in ("-p", "-l", "--", "-P")]
    if len(rest) < 2 or rest[0].text in ("", "-"):
        return Runs()
    return Runs(scripts=(Script(rest[0]),))


def read_alias(words: Words, stdin: Stdin) -> Runs:
    """``alias name='text'``: the text is run when the name is."""
    del stdin
    texts = [(w, w.text.partition("=")[2]) for w in words[1:] if "=" in w.text]
    return Runs(scripts=tuple(Script(Word(text, known=w.known)) for w, text in texts if text.strip()))


def read_shopt(words: Words, stdin: Stdin) -> Runs:
    """``shopt -s expand_aliases``: from here on a name may stand for another command."""
    del stdin
    aliases = any(w.text == "expand_aliases" or not w.known for w in words[1:])
    return Runs(opaque="with aliases a command may be another than its name says" if aliases else "")


def read_hash(words: Words, stdin: Stdin) -> Runs:
    """``hash -p file name``: from here on a name stands for another program."""
    del stdin
    renamed = any(re.match(r"-\w*p", w.text) or not w.known for w in words[1:])
    return Runs(opaque="hash -p makes a name stand for another program" if renamed else "")


def read_env(words: Words, stdin: Stdin) -> Runs:
    """``env``: like any wrapper, and with ``-S`` it splits a text into words itself."""
    del stdin
    for position, word in enumerate(words[1:], 1):
        split = re.match(r"(?:-[iv0]*S|--split-string=?)(.*)", word.text, re.DOTALL)
        if split:
            text = split[1] or (words[position + 1].text if position + 1 < len(words) else "")
            rest = words[position + (1 if split[1] else 2) :]
            return Runs(
                scripts=(Script(Word(f"env {text} {join_words(rest)}", known=word.known)),), itself=False
            )
        if not word.text.startswith("-") and "=" not in word.text:
            break
    unwrapped = unwrap("env", words)
    if unwrapped is None or unwrapped.unclear or not unwrapped.words:
        return Runs(opaque=unwrapped.unclear if unwrapped else "")
    return Runs((unwrapped.words,), assignments=unwrapped.assignments, itself=False)


def read_command(words: Words, stdin: Stdin) -> Runs:
    """``command``: with ``-v`` or ``-V`` it only looks a name up."""
    del stdin
    if len(words) > 1 and re.match(r"-p*[vV]", words[1].text):
        return Runs()
    unwrapped = unwrap("command", words)
    if unwrapped is None or unwrapped.unclear or not unwrapped.words:
        return Runs(opaque=unwrapped.unclear if unwrapped else "")
    return Runs((unwrapped.words,), itself=False)


def read_xargs(words: Words, stdin: Stdin) -> Runs:
    """``xargs``: the words it reads are added to the command, or put in place of ``{}``."""
    unwrapped = skip_options("xargs", _XARGS, words, 1)
    if unwrapped.unclear:
        return Runs(opaque=unwrapped.unclear)
    command = unwrapped.words
    if not command:
        return Runs()
    mark = _replace_mark(words[: len(words) - len(command)])
    if mark:
        lines = stdin.text.splitlines()[:20] if stdin.exact else []
        fills = [Word(line.strip()) for line in lines] or [FILLED]
        return Runs(tuple(tuple(_fill(w, mark, f) for w in command) for f in fills), itself=False)
    added = [Word(t) for t in stdin.text.split()] if stdin.exact else [FILLED]
    return Runs(((*command, *added),), itself=False)


def _replace_mark(options: Words) -> str:
    for word, following in zip(options, [*options[1:], Word("")], strict=False):
        if word.text == "-I":
            return following.text
        if word.text.startswith(("-I", "-i", "--replace")):
            return (
                word.text.removeprefix("--replace").removeprefix("=").removeprefix("-I").removeprefix("-i")
                or "{}"
            )
    return ""


def _fill(word: Word, mark: str, filling: Word) -> Word:
    if mark not in word.text:
        return word
    if word.text == mark:
        return filling
    return Word(word.text.replace(mark, filling.text), word.known and filling.known, word.pattern)


def read_find(words: Words, stdin: Stdin) -> Runs:
    """``find -exec``: the command runs on names below the folders that find was given."""
    del stdin
    roots = [w.text for w in _find_roots(words)] or ["."]
    commands: list[tuple[Word, ...]] = []
    position = 1
    while position < len(words):
        if words[position].text in ("-exec", "-execdir", "-ok", "-okdir"):
            start = position + 1
            while position < len(words) and not (words[position].text == ";" or _ends_exec(words, position)):
                position += 1
            commands += [_below(words[start:position], root) for root in roots[:5] if position > start]
        position += 1
    return Runs(tuple(dict.fromkeys(commands)))


def _find_roots(words: Words) -> list[Word]:
    rest = list(words[1:])
    while rest and rest[0].text in ("-H", "-L", "-P"):
        rest = rest[1:]
    roots = []
    for word in rest:
        if word.text.startswith(("-", "(", "!", ",")):
            break
        roots.append(word)
    return roots


def _ends_exec(words: Words, position: int) -> bool:
    return words[position].text == "+" and words[position - 1].text == "{}"


def _below(command: Words, root: str) -> tuple[Word, ...]:
    name = Word(f"{root.rstrip('/')}/{{}}")
    filled = [_fill(w, "{}", name) if w.text == "{}" else w for w in command]
    if command[0].text == "{}":
        filled[0] = FILLED
    return tuple(filled)


def read_joined(words: Words, stdin: Stdin) -> Runs:
    """``watch``, ``parallel``: the words after the options, joined, are a shell text."""
    del stdin
    rest = list(words[1:])
    while rest and rest[0].text.startswith("-"):
        takes_value = rest[0].text in (
            "-n",
            "--interval",
            "-j",
            "--jobs",
            "-a",
            "--arg-file",
            "-S",
            "--delay",
            "--timeout",
        )
        rest = rest[2 if takes_value else 1 :]
    end = next((n for n, w in enumerate(rest) if w.text.startswith(":::")), len(rest))
    if not end:
        return (
            Runs(opaque="what parallel runs comes from its input")
            if words[0].program == "parallel"
            else Runs()
        )
    known = all(w.known for w in rest[:end])
    inputs = [w for w in rest[end:] if not w.text.startswith(":::")]
    scripts = [Script(Word(" ".join(w.text for w in rest[:end]), known=known))]
    scripts += [
        Script(Word(" ".join([*(w.text for w in rest[:end]), i.text]), known=known and i.known))
        for i in inputs
    ]
    return Runs(scripts=tuple(scripts[:20]), itself=False)


def read_terminal(words: Words, stdin: Stdin) -> Runs:
    """``tmux``, ``screen``: every argument with a blank may be a shell text."""
    del stdin
    return Runs(scripts=tuple(Script(w) for w in words[1:] if " " in w.text))


def read_editor(words: Words, stdin: Stdin) -> Runs:
    """``vim -c '!text'``: an editor command that begins with ``!`` is a shell text."""
    del stdin
    values = [
        *option_values(words, ("-c", "--cmd")),
        *(Word(w.text[1:], w.known) for w in words if w.text[:1] == "+"),
    ]
    bang = re.compile(r"\s*:?\s*(?:silent!?\s+)?(?:!|call\s+system\s*\(\s*['\"])")
    matches = [(w, bang.match(w.text)) for w in values]
    return Runs(scripts=tuple(Script(Word(w.text[m.end() :], w.known)) for w, m in matches if m))


_Special = Callable[[Words, Stdin], Runs]
_SPECIAL: Final[Mapping[str, _Special]] = {
    "eval": read_eval,
    "source": read_source,
    ".": read_source,
    "trap": read_trap,
    "alias": read_alias,
    "shopt": read_shopt,
    "hash": read_hash,
    "env": read_env,
    "command": read_command,
    "xargs": read_xargs,
    "find": read_find,
    "gfind": read_find,
    "watch": read_joined,
    "parallel": read_joined,
    "tmux": read_terminal,
    "screen": read_terminal,
    **dict.fromkeys(("vi", "vim", "nvim", "ex", "view"), read_editor),
    **dict.fromkeys(CLIENTS, read_client),
    **dict.fromkeys(("at", "batch"), lambda words, stdin: read_stdin_script(words[0].program, stdin)),
}

# Options whose value is a shell text.
SCRIPT_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "su": ("-c", "--command", "--session-command"),
    "runuser": ("-c", "--command", "--session-command"),
    "script": ("-c", "--command"),
    "flock": ("-c", "--command"),
    "nix-shell": ("--run", "--command"),
    "npm": ("-c", "--call"),
    "npx": ("-c", "--call"),
    "tar": (
        "--to-command",
        "-I",
        "--use-compress-program",
        "--rsh-command",
        "-F",
        "--info-script",
        "--new-volume-script",
    ),
    "rsync": ("-e", "--rsh"),
    "zip": ("-TT", "--unzip-command"),
    "man": ("-P", "--pager"),
    "sort": ("--compress-program",),
    "split": ("--filter",),
    "gdb": ("--eval-command",),
    **dict.fromkeys(("mapfile", "readarray", "compgen", "complete"), ("-C",)),
    "jobs": ("-x",),
}


def option_values(words: Words, options: Sequence[str]) -> list[Word]:
    """Return the values of the options: next word, after ``=``, attached, or at the end of a cluster (``-qec``)."""
    values = []
    for position, word in enumerate(words[1:], 1):
        if word.text == "--":
            break
        value = _option_value(word, options)
        if value == "" and position + 1 < len(words):
            values.append(words[position + 1])
        elif value:
            values.append(Word(value.removeprefix("exec="), word.known))
    return values


def _option_value(word: Word, options: Sequence[str]) -> str | None:
    text = word.text
    for option in options:
        if text == option:
            return ""
        if option.startswith("--"):
            if text.startswith(f"{option}="):
                return text[len(option) + 1 :]
        elif len(option) == 2 and re.match(r"-[A-Za-z]+\Z", text) and text.endswith(option[1]):
            return ""
        elif text.startswith(option) and not text.startswith("--"):
            return text[len(option) :]
    if text.startswith("--checkpoint-action=exec="):
        return text.partition("=exec=")[2]
    return None
