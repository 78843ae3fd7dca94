"""Fake coding agents that answer a request for a plan, in the words of their protocols; and a program that asks a model."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nightcrew.testing import peers
from nightcrew.testing.hermetic import Hermetic

PATCH = """
_FIRST, _LATER = {first!r}, {later!r}


def _patch(kind):
    begin, end = kind.begin, kind.end

    def new_begin(self):
        prompt = begin(self)
        self.answer = (_LATER if "cannot be taken" in prompt else _FIRST) if "JSON Schema" in prompt else ""
        return prompt

    def new_end(self, problem):
        if not self.answer:
            return end(self, problem)
        if kind is Claude:
            shaped = {{}}
            try:
                shaped = {{"structured_output": json.loads(self.answer)}}
            except ValueError:
                pass
            say({{"type": "result", "subtype": "success", "is_error": False, "session_id": self.session,
                 "result": self.answer, **shaped}})
            return None
        if kind is Codex:
            self._tell("item/completed", item={{"type": "agentMessage", "id": "m", "text": self.answer}})
        else:
            for piece in (self.answer[:7], self.answer[7:]):
                self._update({{"sessionUpdate": "agent_message_chunk", "content": {{"type": "text", "text": piece}}}})
        return end(self, problem)

    kind.begin, kind.end = new_begin, new_end


for _kind in (Claude, Codex, Acp):
    _patch(_kind)

"""


def task(number: str, title: str, **more: Any) -> dict[str, Any]:
    """Return a task as a planner says it; its description tells the fakes what to run."""
    folder = f"part{number}"
    made = {
        "id": number,
        "title": title,
        "description": f"RUN: mkdir -p {folder} && echo {number} > {folder}/done.txt",
        "depends": [],
        "scope": [f"{folder}/**"],
        "accept": [f"test -s {folder}/done.txt"],
    }
    return made | more


def plan(*tasks: Mapping[str, Any], **more: Any) -> str:
    """Return an answer with these tasks."""
    return json.dumps(
        {"summary": "as asked", "complexity": "SIMPLE", "gaps": [], "tasks": list(tasks)} | more
    )


GOOD = plan(task("1", "Limit the rate"), task("2", "Document it", depends=["1"]))


def install_planner(
    crew: Hermetic, name: str, first: str = GOOD, later: str = GOOD, *, program: str = ""
) -> None:
    """Put a fake agent on PATH that answers with ``first``, and with ``later`` when told what is wrong."""
    package = crew.root / "lib" / f"{name}.py"
    package.parent.mkdir(exist_ok=True)
    words = [name if name in ("claude", "codex") else "acp"]
    head = f"#!{os.path.realpath(sys.executable)}\nimport sys\n"
    head += f"if '--version' in sys.argv: sys.exit(print('9.9 (fake)'))\nsys.argv[1:1] = {words!r}\n"
    body = inspect.getsource(peers).replace("from __future__ import annotations\n", "")
    guard = 'if __name__ == "__main__":'
    assert guard in body
    package.write_text(head + body.replace(guard, PATCH.format(first=first, later=later) + guard))
    package.chmod(0o755)
    link = crew.root / "bin" / (program or name)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(package)
    if str(link.parent) not in crew.variables["PATH"]:
        crew.variables["PATH"] = f"{link.parent}:{crew.variables['PATH']}"


def configure(crew: Hermetic, text: str = "") -> Path:
    """Write the user's own settings, with providers that are never reached."""
    own = crew.root / "config" / "nightcrew"
    own.mkdir(parents=True, exist_ok=True)
    crew.variables["EXAMPLE_KEY"] = "never-sent"
    key = "{env: EXAMPLE_KEY}"
    wires = "".join(
        f"  {w}: {{url: 'http://127.0.0.1:9', key: {key}}}\n" for w in ("anthropic", "openai", "gemini")
    )
    own.joinpath("config.yaml").write_text(f"version: 1\nproviders:\n{wires}{text}")
    return own / "config.yaml"
