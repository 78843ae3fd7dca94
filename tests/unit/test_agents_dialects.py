"""What agents say they want → actions; the command lines they are started with; programs and what they consist of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nightcrew.agents.acp import describe_call as describe_acp
from nightcrew.agents.adapter import Answer, Job, ModelAccess, Program
from nightcrew.agents.adapters import ADAPTERS
from nightcrew.agents.claude import describe_call as describe_claude
from nightcrew.agents.lines import LINE_LIMIT_BYTES, STRAY_LIMIT, BrokenProtocol, JsonLines
from nightcrew.agents.prompts import write_continuation, write_prompt
from nightcrew.agents.wishes import make_relative, read_shell_line
from nightcrew.engine.work.reconciling import compare_paths
from nightcrew.model.actions import Action, Change, PathChange
from nightcrew.model.errors import Place, UsageError
from nightcrew.model.isolation import Bind, Outcome
from nightcrew.model.plans import Task
from nightcrew.model.settings import AgentSetting
from nightcrew.runtime.crew.programs import find_program

URLS = {name: f"http://127.0.0.1:{port}" for port, name in enumerate(("anthropic", "openai", "gemini"), 8001)}
TASK = Task(
    id="T01", number="1", title="Do it", place=Place("tasks.md", 3), accept=("make test",), scope=("src/**",)
)


def make_job(adapter: str, **fields: Any) -> Job:
    job = Job(
        task=TASK,
        setting=AgentSetting(adapter),
        cwd="/repo",
        python="/usr/bin/python3",
        private=Path("/p/1.d"),
        model=ModelAccess(URLS, "placeholder", {"openai": "m-1"}),
        program=Program(f"/usr/bin/{adapter}", (Bind("/pkg", "/pkg"),), ("/node/bin",)),
        memory=Path("/p/memory"),
    )
    return replace(job, **fields)


class FakeProcess:
    """Keeps what is said to it."""

    def __init__(self) -> None:
        self.said: list[Mapping[str, Any]] = []
        self.stopped = ""

    def write(self, data: bytes) -> None:
        self.said.extend(json.loads(line) for line in data.splitlines())

    def close_stdin(self) -> None:
        self.stopped = self.stopped or "closed"

    def stop(self, reason: str) -> None:
        self.stopped = reason


class FakeDesk:
    """Allows everything but what contains a word."""

    def __init__(self, denies: str = "never", waits: str = "never") -> None:
        self.denies, self.waits = denies, waits
        self.asked: list[Action] = []
        self.done: list[Action] = []
        self.frozen: list[Action] = []

    def ask(self, action: Action) -> Answer:
        self.asked.append(action)
        said = action.describe()
        if self.waits in said:
            return Answer("wait", "a human must decide")
        return Answer("deny", "rule x: no") if self.denies in said else Answer("allow")

    def freeze(self, action: Action, reason: str) -> Answer:
        self.frozen.append(action)
        return Answer("wait", reason)

    def rest(self) -> bool:
        return True

    def finished(self, action: Action) -> None:
        self.done.append(action)

    def note(self, kind: str, text: str) -> None:
        return


def begin(adapter: str, desk: FakeDesk, **fields: Any) -> tuple[Any, FakeProcess]:
    session = ADAPTERS[adapter].open(make_job(adapter, **fields), desk)
    process = FakeProcess()
    session.started(process)  # type: ignore[arg-type]
    return session, process


def tell(session: Any, *messages: Mapping[str, Any]) -> None:
    for message in messages:
        session.feed("stdout", json.dumps(message).encode() + b"\n")


def ask_patch(session: Any, item: str, *changes: Mapping[str, Any]) -> None:
    shown = {"type": "fileChange", "id": item, "changes": list(changes), "status": "inProgress"}
    tell(session, {"method": "item/started", "params": {"item": shown}})
    tell(session, {"id": item, "method": "item/fileChange/requestApproval", "params": {"itemId": item}})


@pytest.mark.parametrize(
    ("tool", "given", "said"),
    [
        ("Bash", {"command": "make"}, "make"),
        ("Write", {"file_path": "/repo/a b.txt", "content": "x"}, "write a b.txt"),
        ("Read", {"file_path": "/etc/passwd"}, "read /etc/passwd"),
        ("Grep", {"pattern": "x"}, "read ."),
        ("WebFetch", {"url": "https://example.org/"}, "net (GET https://example.org/)"),
    ],
)
def test_claudes_tools_are_actions(tool: str, given: dict[str, str], said: str) -> None:
    assert describe_claude(tool, given, "/repo").describe() == said


def test_what_is_changed_is_bound_by_its_content() -> None:
    one = describe_claude("Edit", {"file_path": "a", "old_string": "1", "new_string": "2"}, "/repo")
    two = describe_claude("Edit", {"file_path": "a", "old_string": "1", "new_string": "3"}, "/repo")
    assert (one.kind, one.paths, two.paths) == ("write", ("a",), ("a",))
    assert one.digest != two.digest
    unknown = describe_claude("mcp__db__drop", {"table": "users"}, "/repo")
    assert unknown.kind == "other"
    assert unknown.digest != describe_claude("mcp__db__drop", {"table": "logs"}, "/repo").digest


def test_acp_calls_are_actions() -> None:
    diff = {"type": "diff", "path": "/repo/a.txt", "oldText": "", "newText": "hi\n"}
    for asked, said in (
        ({"kind": "execute", "title": "make"}, "make"),
        ({"kind": "execute", "title": "t", "rawInput": {"command": ["echo", "a b"]}}, "echo 'a b'"),
        ({"kind": "edit", "content": [diff]}, "write a.txt"),
        ({"kind": "read", "locations": [{"path": "/repo/b"}]}, "read b"),
        ({"kind": "fetch", "title": "t", "rawInput": {"url": "https://x/"}}, "net (GET https://x/)"),
    ):
        assert describe_acp(asked, {}, "/repo").describe() == said
    for vague in ({"kind": "edit"}, {"kind": "delete"}, {"kind": "execute"}, {"kind": "new"}, {}):
        assert describe_acp(vague, {}, "/repo").kind == "other"
    deleted = describe_acp({"kind": "delete", "locations": [{"path": "/repo/b"}]}, {}, "/repo")
    assert (deleted.kind, deleted.paths) == ("delete", ("b",))


def test_where_a_command_runs_is_part_of_what_is_asked() -> None:
    def describe(said: str = "", **given: Any) -> Action:
        content = [{"type": "content", "content": {"type": "text", "text": said}}]
        asked = {"kind": "execute", "title": "rm -r x", "content": content, "rawInput": given}
        return describe_acp(asked, {}, "/repo")

    assert describe().command == "rm -r x"
    assert describe(workdir="/repo").command == "rm -r x"
    assert describe("[current working directory /repo] (tidies)").command == "rm -r x"
    assert describe(workdir="/repo/db").command == "cd /repo/db && rm -r x"
    assert describe("[in .git/hooks] (tidies) [background]").command == "cd .git/hooks && rm -r x"
    # Nobody knows where that name ends.
    assert describe("[in a] b]").kind == "other"


def test_a_patch_of_codex_stands_or_falls_as_a_whole() -> None:
    desk = FakeDesk(denies=".env")
    session, process = begin("codex", desk)
    ask_patch(
        session,
        "p1",
        {"path": "/repo/a", "kind": {"type": "add"}, "diff": "x"},
        {"path": "/repo/b", "kind": {"type": "delete"}, "diff": ""},
        {"path": "/repo/c", "kind": {"type": "update", "move_path": "/repo/.env"}, "diff": "y"},
    )
    assert [(each.kind, each.paths) for each in desk.asked] == [
        ("write", ("a",)),
        ("delete", ("b",)),
        ("write", (".env",)),
    ]
    assert process.said[-2] == {"id": "p1", "result": {"decision": "decline"}}
    assert process.said[-1]["method"] == "turn/steer"
    tell(session, {"id": "p2", "method": "item/fileChange/requestApproval", "params": {"itemId": "unseen"}})
    assert process.said[-2] == {"id": "p2", "result": {"decision": "decline"}}


def test_a_reason_that_could_not_be_put_into_the_turn_is_told_after_it() -> None:
    session, process = begin("codex", FakeDesk(denies="rm"))
    tell(session, {"id": 1, "result": {}}, {"id": 2, "result": {"thread": {"id": "t"}}})
    asked = {"itemId": "c", "command": "/bin/bash -lc 'rm x'", "cwd": "/repo"}
    tell(session, {"id": 7, "method": "item/commandExecution/requestApproval", "params": asked})
    steer = process.said[-1]["id"]
    ended = {"method": "turn/completed", "params": {"threadId": "t", "turn": {"status": "completed"}}}
    tell(session, {"id": steer, "error": {"message": "no turn"}}, ended)
    assert "rule x: no" in process.said[-1]["params"]["input"][0]["text"]
    tell(session, ended)
    assert session.conclude(Outcome("exited", 0, 1.0)).result == "finished"


def test_claude_is_answered_once_per_call_and_its_own_refusals_are_no_actions() -> None:
    desk = FakeDesk()
    session, process = begin("claude", desk)
    given = {"tool_name": "Bash", "tool_input": {"command": "make"}, "tool_use_id": "c1"}
    hook = {"subtype": "hook_callback", "callback_id": "every_call", "input": given}
    tell(session, {"type": "control_request", "request_id": "1", "request": hook})
    again = {
        "subtype": "can_use_tool",
        "tool_name": "Bash",
        "input": {"command": "make"},
        "tool_use_id": "c1",
    }
    tell(session, {"type": "control_request", "request_id": "2", "request": again})
    assert len(desk.asked) == 1
    assert process.said[-1]["response"]["response"] == {
        "behavior": "allow",
        "updatedInput": {"command": "make"},
    }
    refused = {
        "type": "tool_result",
        "tool_use_id": "c2",
        "is_error": True,
        "content": "<tool_use_error>no</tool_use_error>",
    }
    tell(session, {"type": "user", "message": {"content": [refused]}})
    assert desk.frozen == []
    done = {"type": "tool_result", "tool_use_id": "c3", "content": "ok"}
    tell(session, {"type": "user", "message": {"content": [done]}})
    assert [each.kind for each in desk.frozen] == ["other"]
    assert process.stopped


def ask_claude(session: Any, call: str, tool: str, **given: Any) -> None:
    asked = {"tool_name": tool, "tool_input": given, "tool_use_id": call}
    hook = {"subtype": "hook_callback", "callback_id": "every_call", "input": asked}
    tell(session, {"type": "control_request", "request_id": f"r-{call}", "request": hook})


def test_an_answer_holds_for_what_was_shown_and_not_for_its_id() -> None:
    desk = FakeDesk(denies="git push")
    session, process = begin("claude", desk)
    ask_claude(session, "c1", "Bash", command="ls")
    ask_claude(session, "c1", "Bash", command="git push -f")
    ask_claude(session, "c2", "TodoWrite")
    ask_claude(session, "c2", "Bash", command="git push -f")
    said = [
        each["response"]["response"]["hookSpecificOutput"]["permissionDecision"] for each in process.said[1:]
    ]
    assert said == ["allow", "deny", "allow", "deny"]
    assert [each.describe() for each in desk.asked] == ["ls", "git push -f", "git push -f"]


def finish_claude(session: Any, call: str) -> None:
    ended = {"type": "tool_result", "tool_use_id": call, "content": "ok"}
    tell(session, {"type": "user", "message": {"content": [{**ended, "is_error": True}]}})
    tell(session, {"type": "user", "message": {"content": [ended]}})


def finish_codex(session: Any, call: str) -> None:
    shown = {"type": "commandExecution", "id": call, "command": "git push -f"}
    tell(session, {"method": "item/completed", "params": {"item": {**shown, "status": "declined"}}})
    tell(session, {"method": "item/completed", "params": {"item": {**shown, "status": "completed"}}})


def finish_acp(session: Any, call: str) -> None:
    for status in ("failed", "completed"):
        update = {"sessionUpdate": "tool_call_update", "toolCallId": call, "status": status}
        tell(session, {"method": "session/update", "params": {"update": update}})


@pytest.mark.parametrize("adapter", ["claude", "codex", "gemini"])
def test_what_was_denied_and_done_all_the_same_is_frozen(adapter: str) -> None:
    desk = FakeDesk(denies="git push")
    session, process = begin(adapter, desk)
    if adapter == "claude":
        ask_claude(session, "c1", "Bash", command="git push -f")
        finish = finish_claude
    elif adapter == "codex":
        params = {"itemId": "c1", "command": "git push -f"}
        tell(session, {"id": 7, "method": "item/commandExecution/requestApproval", "params": params})
        finish = finish_codex
    else:
        call = {"toolCallId": "c1", "kind": "execute", "title": "git push -f"}
        tell(session, {"id": 7, "method": "session/request_permission", "params": {"toolCall": call}})
        finish = finish_acp
    assert len(desk.asked) == 1
    assert not process.stopped
    # First as it must be after a denial, then as it must never be.
    finish(session, "c1")
    assert "although it was denied" in process.stopped
    assert [each.kind for each in desk.frozen] == ["other"]


def test_a_call_without_an_id_stands_for_no_other() -> None:
    desk = FakeDesk()
    session, _ = begin("claude", desk)
    ask_claude(session, "", "TodoWrite")
    done = {"type": "tool_result", "content": "ok"}
    tell(session, {"type": "user", "message": {"content": [done]}})
    assert len(desk.frozen) == 1


def test_after_a_park_nothing_more_is_heard() -> None:
    desk = FakeDesk(waits="make")
    session, process = begin("gemini", desk)
    call = {"toolCallId": "c", "kind": "execute", "title": "make"}
    options = [{"optionId": "o", "kind": "allow_once"}]
    question = {
        "id": 5,
        "method": "session/request_permission",
        "params": {"toolCall": call, "options": options},
    }
    before = len(process.said)
    tell(session, question, question)
    assert (len(desk.asked), len(process.said)) == (1, before)
    end = session.conclude(Outcome("stopped", None, 1.0))
    assert (end.result, end.progress["asked"]) == ("waiting", "make")


def test_without_allow_once_nothing_is_chosen() -> None:
    session, process = begin("opencode", FakeDesk())
    params = {"toolCall": {"toolCallId": "c", "kind": "execute", "title": "make"}}
    options = [{"optionId": "o", "kind": "allow_always"}]
    tell(session, {"id": 5, "method": "session/request_permission", "params": {**params, "options": options}})
    assert process.said[-1]["result"] == {"outcome": {"outcome": "cancelled"}}


def test_command_lines_carry_the_gateway_and_no_key() -> None:
    claude = ADAPTERS["claude"].prepare(make_job("claude"))
    assert claude.argv[0] == "/usr/bin/claude"
    assert claude.argv[claude.argv.index("--setting-sources") + 1] == ""
    assert claude.env["ANTHROPIC_BASE_URL"] == URLS["anthropic"]
    assert (claude.env["ANTHROPIC_API_KEY"], claude.search) == ("placeholder", ("/node/bin",))
    assert Bind("/p/memory", "/run/nightcrew/memory", writable=True) in claude.binds
    codex = ADAPTERS["codex"].prepare(make_job("codex"))
    assert f'"base_url" = "{URLS["openai"]}/v1"' in " ".join(codex.argv)
    assert any(word.startswith("projects={") and '"trust_level" = "untrusted"' in word for word in codex.argv)
    assert codex.argv[-1] == "app-server"
    gemini = ADAPTERS["gemini"].prepare(make_job("gemini"))
    assert gemini.argv == (
        *("/usr/bin/gemini", "--acp"),
        *("--admin-policy", "/run/nightcrew/gemini-policy.toml"),
    )
    assert b'decision = "ask_user"' in gemini.files["gemini-policy.toml"]
    settings = json.loads(gemini.files["gemini-settings.json"])
    assert settings["security"]["auth"]["selectedType"] == "gemini-api-key"
    opencode = ADAPTERS["opencode"].prepare(make_job("opencode"))
    assert json.loads(opencode.env["OPENCODE_CONFIG_CONTENT"])["permission"]["bash"] == "ask"


def test_a_conversation_is_taken_up_only_where_it_fits_the_files() -> None:
    progress = {"session": "s-1", "done": ["write a"], "asked": "make"}
    resumed = make_job("claude", progress=progress, remembers=True)
    assert "--resume" in ADAPTERS["claude"].prepare(resumed).argv
    assert "make" in write_continuation(resumed)
    lost = make_job("claude", progress=progress)
    assert "--resume" not in ADAPTERS["claude"].prepare(lost).argv
    told = write_prompt(lost)
    assert all(part in told for part in ("Do it", "make test", "src/**", "- write a", "may do it now: make"))


@pytest.mark.parametrize("name", ["claude", "codex", "gemini", "opencode"])
def test_what_is_missing_is_said(name: str) -> None:
    with pytest.raises(UsageError, match="no way to a model"):
        ADAPTERS[name].prepare(make_job(name, model=None))
    with pytest.raises(UsageError, match="not installed"):
        ADAPTERS[name].prepare(make_job(name, program=None))


def test_lines_come_in_any_pieces() -> None:
    lines = JsonLines()
    data = b'{"a": 1}\n\n[1]\nnot json\n{"b": "\xc3\xa9"}\n{"c"'
    found = [message for byte in data for message in lines.feed(bytes([byte]))]
    assert (found, lines.stray) == ([{"a": 1}, {"b": "\u00e9"}], 2)
    assert list(lines.feed(b": 2}\n")) == [{"c": 2}]


def test_what_is_no_protocol_is_refused() -> None:
    with pytest.raises(BrokenProtocol, match="endless"):
        list(JsonLines().feed(b"x" * (LINE_LIMIT_BYTES + 1)))
    with pytest.raises(BrokenProtocol, match="something else"):
        list(JsonLines().feed(b"hello\n" * (STRAY_LIMIT + 1)))
    deep = b"[" * 100_000 + b"\n"
    assert list(JsonLines().feed(deep)) == []


def test_paths_and_shell_words() -> None:
    assert [
        make_relative(each, "/repo") for each in ("a/../b", "/repo/x", "/repo", "/repository/x", "../y")
    ] == [
        "b",
        "x",
        ".",
        "/repository/x",
        "/y",
    ]
    assert read_shell_line("/bin/bash -lc 'a > b'") == "a > b"
    assert read_shell_line("bash -c 'a' b") == "bash -c 'a' b"
    assert read_shell_line("echo 'a") == "echo 'a"


def test_only_named_paths_are_explained() -> None:
    change = Change("b", "t", tuple(PathChange(path, "added") for path in ("a", "d/x", "e")))
    assert [each.path for each in compare_paths(change, ["a", "d"])] == ["e"]
    many = Change("b", "t", tuple(PathChange(f"p{n}", "added") for n in range(30)))
    assert len(compare_paths(many, [])) == 21


def test_a_program_is_found_with_its_package_and_interpreter(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "node_modules" / "agent" / "cli.js"
    node = tmp_path / "versions" / "v1" / "bin" / "node"
    for each, text in ((package, "#!/usr/bin/env node\n"), (node, "\x7fELF")):
        each.parent.mkdir(parents=True)
        each.write_text(text)
        each.chmod(0o755)
    (tmp_path / "versions" / "v1" / "lib").mkdir()
    link = tmp_path / "bin" / "agent"
    link.parent.mkdir()
    link.symlink_to(package)
    found = find_program("agent", path=f"{link.parent}:{node.parent}", root="/repo")
    assert found is not None
    assert found.path == str(package)
    assert [bind.source for bind in found.binds] == [
        str(tmp_path / "lib" / "node_modules"),
        str(tmp_path / "versions" / "v1"),
    ]
    assert found.search == (str(node.parent),)
    assert find_program("agent", path=str(link.parent), root=str(tmp_path)) is None
    assert find_program("nothing-of-that-name", path=os.defpath, root="/repo") is None
    system = find_program("bash", path="/usr/bin:/bin", root="/repo")
    assert system is not None
    assert (system.binds, system.search) == ((), ())


def test_the_guide_says_what_the_adapters_are() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "agents.md"
    rows = [line.strip("|").split("|") for line in guide.read_text().splitlines() if line.startswith("| `")]
    rows = [row for row in rows if row[0].strip(" `") in ADAPTERS]
    told = {row[0].strip(" `"): [row[place].strip() for place in (1, 2, 4, 5)] for row in rows}
    made = {name: adapter.capabilities for name, adapter in ADAPTERS.items()}
    assert told == {
        name: [can.approvals, "yes" if can.sees_reads else "no", can.resume, can.usage]
        for name, can in made.items()
    }
