"""Find tasks that wait for each other, without recursion (a plan may be 10,000 tasks deep). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

Needs = Mapping[str, Sequence[str]]


def find_loops(needs: Needs) -> list[tuple[str, ...]]:
    """Return loops so that taking each apart leaves no task in a loop that was not named here.

    A depth-first walk; each loop is reported once, starting with its member that comes first in ``needs``.
    """
    position = {name: index for index, name in enumerate(needs)}
    finished: set[str] = set()
    loops: dict[tuple[str, ...], None] = {}
    for start in needs:
        if start not in finished:
            for loop in _walk(start, needs, finished):
                first = loop.index(min(loop, key=position.__getitem__))
                loops[(*loop[first:], *loop[:first])] = None
    return list(loops)


def _walk(start: str, needs: Needs, finished: set[str]) -> Iterator[list[str]]:
    path = [start]
    on_path = {start: 0}
    todo = [iter(needs[start])]
    while path:
        following = next(todo[-1], None)
        if following is None:
            todo.pop()
            name = path.pop()
            del on_path[name]
            finished.add(name)
        elif following in on_path:
            yield path[on_path[following] :]
        elif following not in finished:
            on_path[following] = len(path)
            path.append(following)
            todo.append(iter(needs[following]))
