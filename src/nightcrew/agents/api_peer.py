"""The inside half of the ``api`` agent: an agent loop over a model's API, run by the interpreter inside the sandbox.

It speaks JSON lines. In, first: the order (see ``api.ApiDialect.begin``). Before each call of a tool it says ``{"ask": id,
"tool": ..., "given": {...}}`` and waits for ``{"allow": id}`` or ``{"deny": id, "reason": ...}``; after one that was allowed,
``{"done": id, "tool": ..., "ok": true}``; in between ``{"says": ...}``; at the very end ``{"end": "finished", "answer": ...}`` or
``{"end": "failed", "reason": ...}``. Its tools are ordinary functions of this process, so they reach what the sandbox lets them
reach. The conversation is kept in a file before anything is asked: who is ended while it waits takes up just that call.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, NoReturn

#: Of what a command prints, told to the model.
OUTPUT_LIMIT = 30_000
FILE_LIMIT = 200_000
STEPS_LIMIT = 200


def say(message: dict[str, Any]) -> None:
    """Send one line."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def hear() -> dict[str, Any]:
    """Return the next line; leave at once when nobody is there any more."""
    line = sys.stdin.readline()
    if not line:
        os._exit(3)
    answer: dict[str, Any] = json.loads(line)
    return answer


def finish(how: str, **more: Any) -> NoReturn:
    """Send the terminal event and leave."""
    say({"end": how, **more})
    sys.stdout.flush()
    os._exit(0 if how == "finished" else 1)


def read_file(path: str) -> str:
    """Return the text of a file of the repository."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(FILE_LIMIT)


def list_files(folder: str = ".") -> str:
    """Return the paths of the files in a folder and below it, without hidden folders."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.normpath(os.path.join(place, name)) for name in sorted(names)]
        if len(found) > 2000:
            return "\n".join([*found[:2000], "and more"])
    return "\n".join(found)


def write_file(path: str, content: str) -> str:
    """Write a file of the repository as a whole, making it and its folders when they are not there."""
    above = os.path.dirname(path)
    if above:
        os.makedirs(above, exist_ok=True)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content)
    return f"{len(content)} characters written"


def edit_file(path: str, old: str, new: str) -> str:
    """Replace a piece of a file, which must stand in it exactly once."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(old) != 1:
        return f"nothing was changed: the piece stands there {text.count(old)} times"
    write_file(path, text.replace(old, new))
    return "replaced"


def run_command(command: str) -> str:
    """Run a command line with bash in the repository and return what it prints, with its exit code."""
    with tempfile.TemporaryFile() as output:
        streams = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
        ]
        child = os.posix_spawnp("bash", ["bash", "-c", command], os.environ, file_actions=streams)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    cut = text if len(text) <= OUTPUT_LIMIT else f"{text[:1000]}\n[...]\n{text[-OUTPUT_LIMIT:]}"
    return f"{cut}\n[exit code {code}]"


TOOLS = (read_file, list_files, write_file, edit_file, run_command)


def make_tools() -> list[Any]:
    """Return the tools; every call of each waits for an answer from outside."""
    from pydantic_ai import RunContext, Tool

    def wrap(function: Any) -> Any:
        def tell(ctx: RunContext[None], **given: Any) -> str:
            try:
                result, ok = function(**given), True
            except (OSError, ValueError) as problem:
                result, ok = f"failed: {problem}", False
            say({"done": ctx.tool_call_id, "tool": function.__name__, "given": given, "ok": ok})
            return str(result)

        import inspect

        context = inspect.Parameter(
            "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=RunContext[None]
        )
        signature = inspect.signature(function, eval_str=True)
        named: Any = tell
        named.__signature__ = signature.replace(parameters=[context, *signature.parameters.values()])
        named.__annotations__ = {**inspect.get_annotations(function, eval_str=True), "ctx": RunContext[None]}
        named.__name__ = function.__name__
        named.__doc__ = function.__doc__
        return Tool(named, takes_ctx=True, requires_approval=True, sequential=True)

    return [wrap(each) for each in TOOLS]


def make_model(order: dict[str, Any]) -> Any:
    """Return the model, reached through the gateway."""
    name, url, key = order["model"], order["url"], order["key"]
    if order["provider"] == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(name, provider=AnthropicProvider(api_key=key, base_url=url))
    if order["provider"] == "gemini":
        from pydantic_ai.models.google import GoogleModel
        from pydantic_ai.providers.google import GoogleProvider

        return GoogleModel(name, provider=GoogleProvider(api_key=key, base_url=url))
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    return OpenAIChatModel(name, provider=OpenAIProvider(api_key=key, base_url=f"{url}/v1"))


def load(path: str) -> list[Any]:
    """Return the conversation so far; empty for a new one."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    if not path or not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        return list(ModelMessagesTypeAdapter.validate_json(file.read()))


def keep(path: str, messages: bytes) -> None:
    """Write the conversation down, whole or not at all."""
    if path:
        with open(f"{path}.new", "wb") as file:
            file.write(messages)
        os.replace(f"{path}.new", path)


def decide(requests: Any) -> Any:
    """Ask for every call that waits, one after the other, and return the answers."""
    from pydantic_ai import DeferredToolResults, ToolDenied

    results = DeferredToolResults()
    for call in requests.approvals:
        given = call.args_as_dict()
        say({"ask": call.tool_call_id, "tool": call.tool_name, "given": given})
        answer = hear()
        if answer.get("allow") == call.tool_call_id:
            results.approvals[call.tool_call_id] = True
        else:
            results.approvals[call.tool_call_id] = ToolDenied(str(answer.get("reason") or "denied"))
    return results


def find_waiting(messages: list[Any]) -> Any:
    """Return the calls at the end of a conversation that nobody has answered; None when there are none."""
    from pydantic_ai import DeferredToolRequests
    from pydantic_ai.messages import ModelResponse, ToolCallPart

    if not messages or not isinstance(messages[-1], ModelResponse):
        return None
    calls = [part for part in messages[-1].parts if isinstance(part, ToolCallPart)]
    return DeferredToolRequests(approvals=calls) if calls else None


def work(order: dict[str, Any]) -> NoReturn:
    """Go through the conversation to its end."""
    from pydantic_ai import Agent, DeferredToolRequests, StructuredDict
    from pydantic_ai.usage import UsageLimits

    shape = StructuredDict(json.loads(order["schema"]), name="plan") if order["schema"] else str
    agent: Any = Agent(
        make_model(order), output_type=[shape, DeferredToolRequests], tools=make_tools(), retries=3
    )
    messages = load(order["history"])
    waiting = find_waiting(messages)
    prompt = None if waiting else order["prompt"]
    while True:
        results = decide(waiting) if waiting else None
        done = agent.run_sync(
            prompt,
            message_history=messages or None,
            deferred_tool_results=results,
            usage_limits=UsageLimits(request_limit=STEPS_LIMIT),
        )
        messages, prompt = done.all_messages(), None
        keep(order["history"], done.all_messages_json())
        if not isinstance(done.output, DeferredToolRequests):
            finish("finished", answer=done.output)
        waiting = done.output


def main() -> NoReturn:
    """Work through one order."""
    order = hear()
    sys.path[:0] = order["packages"]
    try:
        work(order)
    except Exception as problem:  # whatever a library raises: it is told, and ends the attempt
        finish("failed", reason=f"{type(problem).__name__}: {problem}"[:2000])


if __name__ == "__main__":
    main()
