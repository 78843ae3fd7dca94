"""Programs that run another program given on their own command line, and how to find it there.

A wrapper is described by its options, because the first word that is not an option is the program. An option that is
not listed may or may not take a value, so what is run is then not known, and the line is opaque: asked, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.policy.lines.words import Word


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How a wrapper's command line is built.

    Attributes:
        values: options that take the next word, without dashes (``-uname`` and ``--user=name`` need no next word).
        plain: options without a value.
        operands: words before the program (the seconds of ``timeout``).
        assignments: ``NAME=value`` words may stand before the program.
        subcommand: first word that makes it a wrapper at all (``uv run``); empty for any.
        numbers: ``-10`` is an option.
    """

    values: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    operands: int = 0
    assignments: bool = False
    subcommand: str = ""
    numbers: bool = False


def _wrapper(
    values: str = "", plain: str = "", *, operands: int = 0, assignments: bool = False, numbers: bool = False
) -> Wrapper:
    return Wrapper(frozenset(values.split()), frozenset(plain.split()), operands, assignments, "", numbers)


def _runner(subcommand: str, values: str = "", plain: str = "") -> Wrapper:
    return Wrapper(frozenset(values.split()), frozenset(plain.split()), subcommand=subcommand)


# Options as documented by GNU coreutils 9, util-linux 2.40, findutils 4.9, sudo 1.9, strace 6 and the tools' own help.
WRAPPERS: Final[Mapping[str, Wrapper]] = {
    "sudo": _wrapper(
        "u user g group h host p prompt C close-from D chdir R chroot r role t type T command-timeout U other-user",
        "A askpass b background B bell E preserve-env H set-home k reset-timestamp K remove-timestamp n non-interactive "
        "P preserve-groups S stdin v validate i login s shell l list e edit V version N no-update",
        assignments=True,
    ),
    "doas": _wrapper("u C a", "n s L"),
    "env": _wrapper(
        "u unset C chdir",
        "i ignore-environment 0 null v debug block-signal default-signal ignore-signal list-signal-handling",
        assignments=True,
    ),
    "flock": _wrapper(
        "w wait timeout E conflict-exit-code c command",
        "s shared x e exclusive u unlock n nb nonblock o close F no-fork verbose",
        operands=1,
    ),
    "runuser": _wrapper("u user g group G supp-group c command session-command", "l login m p f"),
    "nice": _wrapper("n adjustment", numbers=True),
    "ionice": _wrapper("c class n classdata p pid P pgid u uid", "t ignore"),
    "nohup": _wrapper(),
    "setsid": _wrapper("", "c ctty f fork w wait"),
    "time": _wrapper("f format o output", "a append p portability q quiet v verbose"),
    "timeout": _wrapper("k kill-after s signal", "foreground f preserve-status p v verbose", operands=1),
    "stdbuf": _wrapper("i input o output e error"),
    "chrt": _wrapper(
        "T sched-runtime P sched-period D sched-deadline p pid", "a b f i o r R v d m", operands=1
    ),
    "taskset": _wrapper("", "a all-tasks c cpu-list p pid", operands=1),
    "numactl": _wrapper(
        "i interleave m membind N cpunodebind C physcpubind p preferred", "l localalloc b all"
    ),
    "prlimit": _wrapper(
        "p pid o output", "noheadings raw verbose c d e f i l m n q r s t u v x y nofile nproc"
    ),
    "chroot": _wrapper("userspec groups", "skip-chdir", operands=1),
    "unshare": _wrapper(
        "R root w wd S setuid G setgid propagation setgroups map-user map-group map-users map-groups",
        "m mount u uts i ipc n net p pid U user C cgroup T time f fork r map-root-user c map-current-user "
        "mount-proc kill-child keep-caps",
    ),
    "nsenter": _wrapper(
        "t target S setuid G setgid", "a all m mount u uts i ipc n net p pid U user C cgroup F no-fork"
    ),
    "setpriv": _wrapper(
        "reuid regid groups inh-caps ambient-caps bounding-set securebits pdeathsig",
        "no-new-privs clear-groups init-groups keep-groups reset-env",
    ),
    "command": _wrapper("", "p"),
    "builtin": _wrapper(),
    "exec": _wrapper("a", "c l"),
    "busybox": _wrapper(),
    "toybox": _wrapper(),
    "strace": _wrapper(
        "a b e E I o O p P s S u U X trace output attach string-limit user",
        "A c C d D f ff F h i k n q qq r t tt ttt T v V w x xx y yy Y z Z follow-forks",
    ),
    "ltrace": _wrapper("a e l n o p s u x w A D F", "b c C f h i L r S t tt ttt T V"),
    "valgrind": _wrapper(),
    "catchsegv": _wrapper(),
    "unbuffer": _wrapper("", "p"),
    "fakeroot": _wrapper("l lib faked s i b", "u unknown-is-real"),
    "faketime": _wrapper("p date-prog", "m f exclude-monotonic", operands=1),
    "tini": _wrapper("p e", "s v vv vvv w g h version"),
    "dumb-init": _wrapper("r rewrite", "c single-child v verbose"),
    "dbus-run-session": _wrapper("config-file dbus-daemon"),
    "xvfb-run": _wrapper(
        "e error-file f auth-file n server-num p xauth-protocol s server-args w wait",
        "a auto-servernum l listen-tcp",
    ),
    "systemd-run": _wrapper(
        "p property u unit slice uid gid nice working-directory E setenv",
        "user scope t pty P pipe wait q quiet r G collect d",
    ),
    "systemd-inhibit": _wrapper("", "list"),
    "caffeinate": _wrapper("t w", "d i m s u"),
    "rlwrap": _wrapper("f file H history-filename C command-name", "a c r s"),
    "entr": _wrapper("", "a c cc d dd n p r s x z"),
    "linux64": _wrapper(),
    "linux32": _wrapper(),
    "setarch": _wrapper("", "R addr-no-randomize", operands=1),
    "torsocks": _wrapper(),
    "proxychains": _wrapper("f", "q"),
    "proxychains4": _wrapper("f", "q"),
    "sem": _wrapper("j jobs id", "fg wait"),
}

# Tools whose `run` starts a program in an environment; what stands before `run` are their own options.
RUNNERS: Final[Mapping[str, Wrapper]] = {
    "uv": _runner(
        "run",
        "with with-editable with-requirements extra group only-group no-group p python project directory env-file package "
        "index default-index C config-setting cache-dir config-file color index-url extra-index-url",
        "no-sync frozen locked isolated no-project all-extras no-dev dev only-dev active q quiet v verbose offline exact "
        "all-groups no-editable no-env-file no-cache n no-config s script refresh no-progress all-packages U upgrade",
    ),
    "poetry": _runner(
        "run", "C directory P project", "q quiet v verbose n no-interaction no-ansi no-plugins no-cache"
    ),
    "pipenv": _runner("run", "", "q quiet v verbose"),
    "pdm": _runner("run", "p project", "s site-packages q quiet v verbose"),
    "hatch": _runner("run", "e env", "q quiet v verbose"),
    "rye": _runner("run", "pyproject", ""),
    "bundle": _runner("exec", "gemfile", "keep-file-descriptors"),
    "conda": _runner("run", "n name p prefix cwd", "no-capture-output live-stream v verbose"),
    "mamba": _runner("run", "n name p prefix cwd", "no-capture-output live-stream v verbose"),
    "direnv": _runner("exec"),
    "perf": _runner("stat", "e event o output r repeat x", "a d p v i"),
}


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a wrapper runs.

    Attributes:
        words: the program and its arguments, empty when it runs none.
        assignments: ``NAME=value`` words that it sets.
        unclear: why that cannot be known; empty when it is.
    """

    words: tuple[Word, ...] = ()
    assignments: tuple[str, ...] = ()
    unclear: str = ""


def unwrap(program: str, words: Sequence[Word]) -> Unwrapped | None:
    """Return what ``words`` (the wrapper first) run; None when ``program`` is no wrapper."""
    wrapper = WRAPPERS.get(program)
    if wrapper is not None:
        return skip_options(program, wrapper, words, 1)
    runner = RUNNERS.get(program)
    if runner is None:
        return None
    position = next((n for n, w in enumerate(words[1:], 1) if w.text == runner.subcommand), 0)
    if not position or any(not w.text.startswith("-") for w in words[1:position:2]):
        return None
    # direnv names a folder between its subcommand and the program.
    return skip_options(program, runner, words, position + 1 + (program == "direnv"))


def skip_options(program: str, wrapper: Wrapper, words: Sequence[Word], position: int) -> Unwrapped:
    """Return what stands in ``words`` after the options and operands of ``wrapper``, from ``position`` on."""
    operands = wrapper.operands
    assignments: list[str] = []
    while position < len(words):
        word = words[position]
        if word.loose and operands == 0:
            return Unwrapped(tuple(words[position:]), tuple(assignments))
        if word.text == "--":
            position += 1
            break
        taken = _option_length(wrapper, word.text)
        if taken < 0:
            unclear = f"option {word.text} of {program} is not known here, so what it runs is not either"
            return Unwrapped((), tuple(assignments), unclear)
        if taken:
            position += taken
            continue
        # env takes every word with an = for one, also where the name is empty.
        if wrapper.assignments and "=" in word.text:
            assignments.append(word.text)
        elif operands == 0:
            break
        else:
            operands -= 1
        position += 1
    return Unwrapped(tuple(words[position + operands if operands else position :]), tuple(assignments))


def _option_length(wrapper: Wrapper, text: str) -> int:
    """Return how many words an option takes, 0 when it is none, -1 when that is not known."""
    if not text.startswith("-") or text == "-":
        return 0
    if text.startswith("--"):
        name, equals, _ = text[2:].partition("=")
        if equals:
            return 1
        return 2 if name in wrapper.values else 1 if name in wrapper.plain else -1
    if text[1:] in wrapper.values:
        return 2
    if text[1:] in wrapper.plain or (wrapper.numbers and text[1:].lstrip("+-").isdigit()):
        return 1
    return _cluster_length(wrapper, text[1:])


def _cluster_length(wrapper: Wrapper, letters: str) -> int:
    for index, letter in enumerate(letters):
        if letter in wrapper.values:
            return 2 if index == len(letters) - 1 else 1
        if letter not in wrapper.plain:
            return -1
    return 1
