"""A forbidden command hidden in random nesting and quoting is never allowed."""

from __future__ import annotations

import shlex

from hypothesis import given, settings
from hypothesis import strategies as st

from nightcrew.host.shell import ShellSyntaxError, parse
from nightcrew.model.actions import Action, Verdict
from nightcrew.policy.judge import judge
from nightcrew.policy.load import default_policy, layer

PLANTED = st.sampled_from(
    [
        ["git", "push", "--force"],
        ["git", "push", "-f", "origin", "docs"],
        ["git", "push", "origin", "+docs"],
        ["rm", "-rf", "/"],
        ["rm", "-r", "-f", "--no-preserve-root", "/"],
        ["psql", "-c", "DROP TABLE users"],
        ["mkfs.ext4", "/dev/sda1"],
    ]
)
HARMLESS = st.sampled_from(
    ["ls", "echo hi", "true", "cat x", "python -c 'print(1)'", "test -f x", "x=1", ":", "pytest -q"]
)


def single(word: str) -> str:
    return shlex.quote(word) if not word.isalnum() else f"'{word}'"


def double(word: str) -> str:
    return '"' + "".join("\\" + c if c in '"\\$`' else c for c in word) + '"'


def escaped(word: str) -> str:
    return "".join("\\" + c for c in word)


def ansi(word: str) -> str:
    return "$'" + "".join(f"\\x{ord(c):02x}" for c in word) + "'"


def octal(word: str) -> str:
    return "$'" + "".join(f"\\{ord(c):03o}" for c in word) + "'"


def halves(word: str) -> str:
    return f"{single(word[:1])}{double(word[1:])}" if len(word) > 1 else double(word)


def broken(word: str) -> str:
    return f"{escaped(word[:1])}\\\n{escaped(word[1:])}"


QUOTE = st.sampled_from([shlex.quote, single, double, escaped, ansi, octal, halves, broken])


@st.composite
def quoted_commands(draw: st.DrawFn) -> str:
    words = draw(PLANTED)
    separator = draw(st.sampled_from([" ", "  ", "\t", " \\\n "]))
    return separator.join(draw(QUOTE)(word) for word in words)


PREFIXES = st.sampled_from(
    [
        "{}",
        "sudo {}",
        "sudo -u root -n {}",
        "env {}",
        "env -i A=1 {}",
        "A=1 B=2 {}",
        "nice -n 5 {}",
        "nohup {}",
        "timeout 5 {}",
        "timeout -k 1 -s KILL 5m {}",
        "stdbuf -oL {}",
        "command {}",
        "exec {}",
        "time {}",
        "! {}",
        "setsid {}",
        "ionice -c 3 {}",
        "xargs {}",
        "xargs -n1 -P 4 {}",
        "find . -exec {} \\;",
        "find . -name x -exec {} {{}} +",
        "busybox {}",
        "uv run {}",
        "flock /tmp/lock {}",
        "strace -f {}",
    ]
)
FRAMES = st.sampled_from(
    [
        "{}",
        "({})",
        "{{ {}; }}",
        "{} &",
        "{h}; {}",
        "{h} && {}",
        "{h} || {}",
        "{h} | {}",
        "{} | {h}",
        "{h} | ( {h}; {} )",
        "if {}; then {h}; fi",
        "if {h}; then {h}; else {}; fi",
        "while {h}; do {}; done",
        "until {}; do {h}; done",
        "for i in a b; do {}; done",
        "for ((i=0; i<3; i++)); do {}; done",
        "case x in x) {};; esac",
        "f() {{ {}; }}; f",
        "function f {{ {}; }}",
        "echo $({})",
        'echo "a $({}) b"',
        "x=$({})",
        "x=(a $({}))",
        "export y=$({})",
        "echo ${{x:-$({})}}",
        "echo ${{x/a/$({})}}",
        "cat <({})",
        "{h} > >({})",
        "[[ -n $({}) ]]",
        "echo $(( $({}) + 1 ))",
        "cat <<EOF\na $({}) b\nEOF",
        "cat <<< $({})",
        "coproc {}",
        "{h}\n{}\n{h}",
        "{} > out.txt 2>&1",
        "select x in a; do {}; done",
        "time {}",
        "declare z=$({})",
        "let x=$({})",
    ]
)
TEXTS = st.sampled_from(
    [
        "bash -c {}",
        "sh -c {}",
        "zsh -ec {}",
        "bash -o pipefail -c {}",
        "bash --noprofile -c {} name a b",
        "env X=1 bash -c {}",
        "eval {}",
        "bash <<< {}",
        "echo {} | sh",
        "printf '%s\\n' {} | bash -s",
        "trap {} EXIT",
        "su -c {}",
        "watch {}",
        "find . -exec sh -c {} \\;",
        "xargs -I% sh -c {}",
        "flock /tmp/x -c {}",
        "script -qec {} /dev/null",
        "git -c alias.x=!{} x",
        "git submodule foreach {}",
        "git rebase --exec {} main",
        "GIT_EDITOR={} git commit",
        "parallel {} ::: a b",
    ]
)


@st.composite
def hidden_lines(draw: st.DrawFn) -> str:
    line = draw(PREFIXES).format(draw(quoted_commands()))
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            line = draw(TEXTS).format(draw(st.sampled_from([shlex.quote, double]))(line))
        else:
            line = draw(FRAMES).format(line, h=draw(HARMLESS))
    return line


POLICY = layer([default_policy()])


@given(line=hidden_lines())
@settings(max_examples=600, deadline=None)
def test_a_planted_command_is_never_allowed(line: str) -> None:
    decision = judge(POLICY, Action("exec", line), parse=parse)
    assert decision.verdict is not Verdict.ALLOW, decision


@given(line=hidden_lines())
@settings(max_examples=300, deadline=None)
def test_a_planted_command_is_denied_where_all_of_the_line_can_be_read(line: str) -> None:
    try:
        parse(line)
    except ShellSyntaxError:
        return
    decision = judge(POLICY, Action("exec", line), parse=parse)
    assert decision.opaque or decision.verdict is Verdict.DENY, decision


@given(
    text=st.text(max_size=60)
    | st.text(st.sampled_from("ab$(){}[]<>|&;'\"\\`!*?~ \n\t=#0-9gitrm"), max_size=60)
)
@settings(max_examples=500, deadline=None)
def test_any_text_gets_an_answer(text: str) -> None:
    decision = judge(POLICY, Action("exec", text), parse=parse)
    assert decision.rule
    assert decision.reason
    if decision.opaque:
        assert decision.verdict is not Verdict.ALLOW


@given(text=st.text(st.sampled_from("ab$(){}|&;'\" \n"), max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_same_line_gets_the_same_answer(text: str) -> None:
    action = Action("exec", text)
    assert judge(POLICY, action, parse=parse) == judge(POLICY, action, parse=parse)
