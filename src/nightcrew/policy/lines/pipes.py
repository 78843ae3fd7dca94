"""What a command reads: here-documents, and what the programs before a pipe evidently print."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nightcrew.policy.lines.starts import Start, Stdin
from nightcrew.policy.lines.words import Node, Word


def document_stdin(word: Word) -> Stdin:
    """Return standard input that is a here-document or a here-string."""
    return Stdin("text", word.text, word.known)


def pipe_stdin(upstream: Sequence[Start], node: Node) -> Stdin:
    """Return what the program behind a pipe reads, as far as the programs before it tell."""
    simple = (node.get("Cmd") or {}).get("Type") == "CallExpr"
    alone = len(upstream) == 1 and simple and ("Redirs" not in node or upstream[0].program == "cat")
    exact = _literal_output(upstream[0]) if alone else None
    if exact is not None:
        return Stdin("pipe", exact, exact=True)
    return Stdin("pipe", "\n".join(s.text for s in upstream))


def _literal_output(start: Start) -> str | None:
    words = start.words[1:]
    if start.opaque or any(not w.known or w.pattern for w in words):
        return None
    texts = [w.text for w in words]
    if start.program == "echo":
        while texts and re.fullmatch(r"-[neE]+", texts[0]):
            texts = texts[1:]
        return " ".join(texts) + "\n" if "\\" not in "".join(texts) else None
    if start.program == "printf" and texts:
        if texts[0] in ("%s", "%s\\n", "%s\n"):
            return "\n".join(texts[1:]) + "\n"
        plain = len(texts) == 1 and "%" not in texts[0] and "\\" not in texts[0].replace("\\n", "")
        return texts[0].replace("\\n", "\n") if plain else None
    if start.program == "cat" and not texts and start.stdin.exact:
        return start.stdin.text
    return None
