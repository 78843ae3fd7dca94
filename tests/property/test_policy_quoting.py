"""Our reading of quotes, escapes and braces against bash's own."""

from __future__ import annotations

import os
import subprocess

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nightcrew.host.shell import ShellSyntaxError, parse
from nightcrew.policy.lines.shell import Shell
from nightcrew.policy.lines.words import read_word

# No glob characters: what they become depends on a folder. No NUL, which no argument can hold.
PLAIN = st.text(st.sampled_from("abz019-_=+:,./@%^~{}é"), min_size=1, max_size=6)
ANY = st.text(st.sampled_from("ab \t\n'\"\\$`!#&|;<>(){}~=,.*?[]é\x01\x7f"), max_size=6)
ESCAPE = st.sampled_from(
    [
        r"\n",
        r"\t",
        r"\\",
        r"\'",
        r"\"",
        r"\?",
        r"\a",
        r"\e",
        r"\x41",
        r"\x4",
        r"\101",
        r"\7",
        r"\u00e9",
        r"\U1F600",
        r"\cA",
        r"\q",
        r"\xzz",
        r"\xc3\xa9",
        r"\xff",
        r"\0x",
        "a",
        " ",
        "$",
        "é",
    ]
)


def in_double_quotes(text: str) -> str:
    return '"' + "".join("\\" + c if c in '"\\$`' else c for c in text) + '"'


PIECE = st.one_of(
    PLAIN,
    ANY.filter(bool).map(lambda t: "".join("\\" + c for c in t)),
    ANY.map(lambda t: "'" + t.replace("'", "") + "'"),
    ANY.map(in_double_quotes),
    st.text(st.sampled_from("ab\\'n !"), max_size=5).map(
        # An odd backslash at the end would quote the closing quote: it gets a companion.
        lambda t: '"' + t + "\\" * ((len(t) - len(t.rstrip("\\"))) % 2) + '"'
    ),
    st.lists(ESCAPE, max_size=4).map(lambda parts: "$'" + "".join(parts) + "'"),
    st.sampled_from(
        [
            "{a,b}",
            "{1..3}",
            "{a,{b,c}}",
            "{,x}",
            "{a}",
            "{}",
            "{c..a}",
            "{01..3}",
            "{1..9..4}",
            "{a,b",
            "{'a,b',c}",
            "{a\\,b,c}",
        ]
    ),
)
BRACES = st.text("{{}},,.ab1", min_size=2, max_size=10)
WORD = st.lists(PIECE | BRACES, min_size=1, max_size=5).map("".join)


def ask_bash(text: str, folder: str) -> list[bytes] | None:
    done = subprocess.run(
        ["bash", "--norc", "-c", f"printf '%s\\0' end {text}"],
        capture_output=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/home/nobody"},
        timeout=20,
        check=False,
    )
    return done.stdout.split(b"\0")[1:-1] if done.returncode == 0 else None


def ask_us(text: str) -> list[str] | None:
    """Return the words as we read them, None when we say ourselves that a part is not known (two pieces made a ``$?``)."""
    tree = parse(f"printf {text}")
    shell = Shell(text, text.encode("utf-8", "surrogateescape"))
    [statement] = tree["Stmts"]
    words = [w for node in statement["Cmd"]["Args"][1:] for w in read_word(node, shell)]
    return [w.text for w in words] if all(w.known for w in words) else None


@given(st.lists(WORD, min_size=1, max_size=4))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([r"$'rm\0x'", "{rm,-rf,/}", "g\\it", '"a\\\nb"', "a\\\nb"])
@example(["0{},}", "{},{},x}", "{{a,b}", "{a},b}", "{},x}y", "x{a,b}{},c}", "{{,}..0}", "{{1..3}..0}"])
@example(["{a,b}{c,d}", "x{1..12..3}y", "{z..x}", "{-1..2}", "{a,b}'{c,d}'"])
def test_words_are_what_bash_makes_of_them(tmp_path_factory, words: list[str]) -> None:
    text = " ".join(words)
    try:
        ours = ask_us(text)
    except (ShellSyntaxError, ValueError):
        return
    theirs = ask_bash(text, str(tmp_path_factory.getbasetemp()))
    if ours is None or theirs is None:
        return
    # bash expands a leading ~; to us it stays a sign for the home folder, which rules look for.
    if any(w.startswith("~") or "=~" in w or ":~" in w for w in ours):
        return
    assert [os.fsencode(w) for w in ours] == theirs
