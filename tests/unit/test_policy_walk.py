"""Every command of every construct of bash is found; what is written is found; folders and variables are followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nightcrew.host.shell import parse
from nightcrew.policy.lines.walk import read_line

# `planted` stands wherever bash runs a command.
CONSTRUCTS = r"""
planted
planted && planted || planted
planted | planted |& planted
planted; planted & planted
! planted
time planted
time -p planted
(planted)
{ planted; }
((x = $(planted)))
let x=$(planted) "y=$(planted)"
[[ $(planted) == $(planted) ]]
[[ -f $(planted) && ! -n $(planted) || ( $(planted) =~ $(planted) ) ]]
if planted; then planted; elif planted; then planted; else planted; fi
if planted; then planted; elif planted; then planted; elif planted; then planted; fi
while planted; do planted; done
until planted; do planted; done
for x in $(planted) a "$(planted)"; do planted; done
for x; do planted; done
for ((i = $(planted); i < $(planted); i += $(planted))); do planted; done
for ((;;)) { planted; }
select x in $(planted); do planted; done
case $(planted) in $(planted)) planted;; "$(planted)" | x) planted;& *) planted;;& esac
f() { planted; }
f() (planted)
function f { planted; }
function f() if planted; then planted; fi
f() { planted; } > $(planted)
coproc planted
coproc NAME { planted; }
coproc (planted)
x=$(planted)
x=$(planted) planted
x+=$(planted)
x[$(planted)]=$(planted)
x=(a $(planted) [1]=$(planted) [$(planted)]=b)
declare -A x=([a]=$(planted))
declare x=$(planted) $(planted)
declare -x $(planted)=1
export x=$(planted) y
local x=$(planted)
readonly x=`planted`
typeset -i x=$(planted)
echo $(planted) `planted` "$(planted)" "`planted`"
echo "a $(echo "b $(planted)")"
echo ${x:-$(planted)} ${x:+"$(planted)"} ${x:=`planted`} ${x:?$(planted)}
echo ${x/$(planted)/$(planted)} ${x//a/$(planted)} ${x#$(planted)} ${x%%$(planted)}
echo ${x:$(planted):$(planted)} ${x[$(planted)]} ${#x[$(planted)]} ${!x[$(planted)]}
echo ${x^$(planted)} ${x,,$(planted)}
echo $((1 + $(planted))) $(( $(planted) ? $(planted) : $(planted) ))
echo $((x[$(planted)]++)) $[ $(planted) ]
echo <(planted) >(planted)
planted < $(planted) > $(planted) 2>> $(planted)
planted <<< $(planted)
planted <<< "a $(planted)"
{ planted; } > $(planted)
$(planted) > $(planted)
> $(planted)
planted {a,$(planted)} $(planted){b,c}
trap $(planted) EXIT
eval $(planted)
"$(planted)" x
planted $'a' $"a $(planted)"
planted # planted
if planted; then planted; fi > $(planted) | planted
$(<$(planted))
""".strip().splitlines()

DOCUMENTS = [
    "planted <<E\na $(planted) `planted` ${x:-$(planted)}\nE",
    "planted <<-E\n\t$(planted)\n\tE",
    "planted <<'E'\nplanted $(planted)\nE",
    "planted <<E && planted\n$(planted)\nE\nplanted",
    "while planted; do planted; done <<E\n$(planted)\nE",
    "# planted\nplanted\n\nplanted \\\n  x",
]


def count_calls(node: Any) -> int:
    return sum(1 for call in find_calls(node) if first_word(call) == "planted")


def find_calls(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if node.get("Type") == "CallExpr" and node.get("Args"):
            yield node
        for value in node.values():
            yield from find_calls(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_calls(value)


def first_word(call: dict[str, Any]) -> str:
    parts = call["Args"][0].get("Parts", [])
    return "".join(str(p.get("Value", "$")) for p in parts)


@pytest.mark.parametrize("text", [*CONSTRUCTS, *DOCUMENTS])
def test_every_command_of_a_construct_is_found(text: str) -> None:
    expected = count_calls(parse(text))
    assert expected > 0
    found = [s for s in read_line(text, parse=parse).starts if s.program == "planted"]
    # `eval $(x)` is walked once as a word and once as the text that is run.
    again = text.startswith(("eval", "trap"))
    assert len(found) == expected + again, [s.effective for s in read_line(text, parse=parse).starts]


def test_a_coprocess_has_no_name_before_a_simple_command() -> None:
    starts = read_line("coproc git push --force | cat", parse=parse).starts
    assert [s.effective for s in starts] == ["git push --force", "cat"]
    starts = read_line("coproc GIT_EDITOR='git push' git commit", parse=parse).starts
    assert [s.effective for s in starts] == ["git push", "git commit"]


EFFECTS = [
    ("echo x > a", ["write a"]),
    ("echo x >> a 2> b", ["write a", "write b"]),
    ("echo x &> a; echo y &>> b", ["write a", "write b"]),
    ("echo x >| a", ["write a"]),
    ("echo x <> a", ["write a"]),
    ("echo x >& a", ["write a"]),
    ("echo x 2>&1 >&2 3>&- 4<&0", []),
    ("cat < a", []),
    ("> a", ["write a"]),
    ("echo x > 'a b'", ["write a b"]),
    ("echo x > ./s/../a", ["write a"]),
    ("echo x > ../a", ["write //../a"]),
    ("echo x > /etc/a", ["write //etc/a"]),
    ("echo x > /repo/src/a", ["write src/a"]),
    ("rm -rf /repo", ["delete "]),
    ("echo x > ~/a", ["write //~/a"]),
    ("cd s; echo x > a", ["write s/a"]),
    ("cd s && cd t && echo x > a", ["write s/t/a"]),
    ("cd s/t && cd .. && echo x > a", ["write s/a"]),
    ("cd /repo/s && echo x > a", ["write s/a"]),
    ("cd /tmp && echo x > a", ["write //tmp/a"]),
    ("cd; echo x > a", ["write //~/a"]),
    ("cd $x; echo x > a", ["write //?/a"]),
    ("cd s; cd -; echo x > a", ["write //?/a"]),
    ("(cd s; echo x > a); echo x > b", ["write s/a", "write b"]),
    ("pushd s; echo x > a", ["write s/a"]),
    ("cd s | cat; echo x > a", ["write a"]),
    ("bash -c 'echo x > a'", ["write a"]),
    ("cd s; bash -c 'cd t; echo x > a'; echo y > b", ["write s/t/a", "write s/b"]),
    ('echo x > "$PWD/a"', ["write a"]),
    ("f=a; echo x > $f", ["write a"]),
    ("echo x > $f", ["write //$f"]),
    ("rm a b", ["delete a", "delete b"]),
    ("rm -rf -- -a", ["delete -a"]),
    ("mv a b c/", ["delete a", "delete b", "write c", "write c/a", "write c/b"]),
    ("cp a b", ["write b", "write b/a"]),
    ("cp -t d a", ["write d", "write d/a"]),
    ("cp --target-directory=d a", ["write d", "write d/a"]),
    ("ln -s /x a", ["symlink a", "symlink a/x"]),
    ("chmod -R +x a b", ["chmod a", "chmod b"]),
    ("chown me: a", ["chmod a"]),
    ("tee -a a b", ["write a", "write b"]),
    ("touch -d now a", ["write a"]),
    ("truncate -s 0 a", ["write a"]),
    ("sed s/a/b/ a", []),
    ("sed -i s/a/b/ a b", ["write a", "write b"]),
    ("sed -i.bak -e s/a/b/ a", ["write a"]),
    ("sed --in-place -e s/a/b/ -e x a", ["write a"]),
    ("dd if=a of=b", ["write b"]),
    ("curl -o a x", ["write a"]),
    ("wget -Oa x", ["write a"]),
    ("find s -delete", ["delete s"]),
    ("find s -name .env -delete", ["delete s", "delete s/.env"]),
    ("git rm a", ["delete a"]),
    ("git mv a b", ["delete a", "write b", "write b/a"]),
    ("echo a | xargs rm", ["delete a"]),
    ("sudo tee a", ["write a"]),
]


@pytest.mark.parametrize(("text", "expected"), EFFECTS, ids=[row[0] for row in EFFECTS])
def test_what_a_line_writes(text: str, expected: list[str]) -> None:
    effects = read_line(text, parse=parse, root="/repo").effects
    assert [f"{e.do} {e.path}" for e in effects] == expected


PROGRAMS = [
    ("sudo env A=1 timeout 5 nice ls -l", ["ls -l"]),
    ("/usr/bin/ls", ["ls"]),
    ("./x.sh a", ["x.sh a"]),
    ('"$VIRTUAL_ENV/bin/python" x', ["python x"]),
    ("$HOME/bin/tool", ["tool"]),
    ("git -C a -c b=c --git-dir=d push -n", ["git push -n"]),
    ("echo 'a b' \"c\" d\\ e", ["echo 'a b' c 'd e'"]),
    ("a; b | c && d", ["a", "b", "c", "d"]),
    ("X=ls; $X -l", ["ls -l"]),
    ("X='ls -l'; $X a", ["ls -l a"]),
    ("X='ls -l'; \"$X\" a", ["'ls -l' a"]),
    ("echo ls | sh", ["echo ls", "sh", "ls"]),
    ("cat <<E | sh\nls\nE", ["cat", "sh", "ls"]),
    ("sh <<E\nls\nE", ["sh", "ls"]),
    ("env", ["env"]),
    ("sudo -l", ["sudo -l"]),
    ("xargs", ["xargs"]),
    ("find . -name x", ["find . -name x"]),
    ("uv pip list", ["uv pip list"]),
    ("env -S 'ls -l' a", ["ls -l a"]),
    ("command -v ls", ["command -v ls"]),
    ("make -j4 'all tests'", ["make -j4 'all tests'"]),
    ("echo $x", ["echo $x"]),
    ('echo "$(date)"', ["date", "echo $(date)"]),
    ("", []),
    ("# nothing", []),
    ("x=1", []),
]


@pytest.mark.parametrize(("text", "expected"), PROGRAMS, ids=[row[0] for row in PROGRAMS])
def test_which_programs_a_line_starts(text: str, expected: list[str]) -> None:
    assert [s.effective for s in read_line(text, parse=parse).starts] == expected


def test_wrappers_are_remembered() -> None:
    [start] = read_line("sudo -u bob nice ls", parse=parse).starts
    assert start.via == ("sudo", "nice")


def test_what_a_pipe_brings_is_known_as_far_as_it_can_be() -> None:
    starts = read_line("echo a b | psql", parse=parse).starts
    assert (starts[1].stdin.kind, starts[1].stdin.text, starts[1].stdin.exact) == ("pipe", "a b\n", True)
    starts = read_line("cat x | psql", parse=parse).starts
    assert (starts[1].stdin.kind, starts[1].stdin.exact) == ("pipe", False)


def test_nesting_without_end_is_opaque_and_ends() -> None:
    text = "ls"
    for _ in range(12):
        text = "eval " + text
    assert read_line(text, parse=parse).opaque == ()
    deep = " ".join(["nice"] * 200) + " ls"
    assert read_line(deep, parse=parse).starts[-1].opaque


def test_a_line_that_makes_very_many_words_ends() -> None:
    line = read_line(
        "echo {1..9999999} {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", parse=parse
    )
    assert len(line.starts) == 1
    assert read_line("{1..9999999}", parse=parse).opaque
