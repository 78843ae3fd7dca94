"""The door to git. Which of its habits are switched off, and for whom, stands here and nowhere else.

The user's own repository (``trusted``) keeps the user's configuration, filters included: LFS content must
materialise and line endings must be as the user wants them. What would run programs behind our back is off: hooks,
fsmonitor, pager, editor, signing, automatic maintenance, and the locks that ``git status`` likes to take.

Our own store is git's object format and nothing else: no configuration of system or user, no attributes, no replace
refs. Git is never pointed at a directory that an agent can write.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from nightcrew.host import procs
from nightcrew.host.procs import Completed
from nightcrew.model.errors import NightcrewError

_KEPT: Final = frozenset(
    f"GIT_{who}_{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL", "DATE")
)
_KEPT_TRUSTED: Final = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"})
"""Of the caller's GIT_* variables only these are passed on: the rest would lead git to another repository, index,
object store or program (a git hook that starts nightcrew has several of them set)."""

_QUIET: Final = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
    "GIT_SEQUENCE_EDITOR": "false",
    "GIT_ASKPASS": "false",
    "GIT_MERGE_AUTOEDIT": "no",
    "LC_ALL": "C",
}

_OFF: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.pager", "cat"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gc.auto", "0"),
    ("gc.autoDetach", "false"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
)

_STORE_ENVIRONMENT: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_PROTOCOL_FROM_USER": "0",
}

_STORE_SETTINGS: Final = (
    *_OFF,
    # Root may work for a user whose store it is; child processes of git only believe this from the environment.
    ("safe.directory", "*"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.quotePath", "false"),
    # Newer git reads .gitattributes out of HEAD of a bare repository; the empty tree has none.
    ("attr.tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904"),
    ("protocol.allow", "never"),
    ("protocol.file.allow", "always"),
    ("transfer.fsckObjects", "true"),
)

_SHOWS_DIFFS: Final = frozenset(
    {"diff", "diff-tree", "diff-index", "diff-files", "log", "show", "format-patch"}
)


class GitError(NightcrewError):
    """Git said no. ``argv`` is what was run, ``code`` of the process in ``status``, ``stderr`` its own words."""

    default_code = "git.failed"

    def __init__(self, done: Completed) -> None:
        said = os.fsdecode(done.stderr).strip()
        why = "took too long" if done.timed_out else (said.splitlines() or [f"exit code {done.code}"])[0]
        super().__init__(f"git {_subcommand(done.argv)}: {why}", where=said.splitlines()[1:6])
        self.argv = done.argv
        self.status = done.code
        self.stderr = said


def _subcommand(argv: Sequence[str]) -> str:
    """Return the first word that is neither an option nor the value of ``-c``."""
    words = iter(argv[1:])
    for word in words:
        if word == "-c":
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


class Git:
    """Git on one repository.

    Args:
        git_dir: absolute path of the git directory; empty to let git find it from ``work_tree`` (discovery only).
        env: environment to start from (PATH, HOME, ...). Of its GIT_* variables only names, mails and dates of
            author and committer, and (``trusted``) those that choose the user's configuration are passed on.
        work_tree: absolute path of the working tree; empty for plumbing that needs none.
        index_file: another index than the repository's own.
        trusted: the user's own repository; see the head of this module.
    """

    def __init__(
        self,
        git_dir: str,
        *,
        env: Mapping[str, str],
        work_tree: str = "",
        index_file: str = "",
        trusted: bool,
    ) -> None:
        self.git_dir = git_dir
        self.work_tree = work_tree
        self.index_file = index_file
        self.trusted = trusted
        self._env = _environment(env, trusted=trusted)
        for name, value in (
            ("GIT_DIR", git_dir),
            ("GIT_WORK_TREE", work_tree if git_dir else ""),
            ("GIT_INDEX_FILE", index_file),
        ):
            if value:
                self._env[name] = value

    @property
    def cwd(self) -> str:
        """Where git is started: the working tree, or the git directory when there is none."""
        return self.work_tree or self.git_dir

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the whole environment git gets; ``extra`` goes on top, GIT_* variables included."""
        return {**self._env, **(extra or {})}

    def argv(self, *args: str) -> list[str]:
        """Return the full command line for a git command, with what we always add."""
        settings = _OFF if self.trusted else ()
        words = ["git", "--no-pager", *(w for key, value in settings for w in ("-c", f"{key}={value}"))]
        if args and args[0] in _SHOWS_DIFFS:
            return [*words, args[0], "--no-ext-diff", "--no-textconv", *args[1:]]
        return [*words, *args]

    def run(
        self,
        *args: str,
        input: bytes = b"",  # noqa: A002  (the word of the standard library)
        check: bool = True,
        timeout_s: float = 120.0,
        extra: Mapping[str, str] | None = None,
        max_output_bytes: int = 1 << 30,
        stdin: int = -1,
        stdout: int = -1,
    ) -> Completed:
        """Run one git command.

        Args:
            args: subcommand and its arguments.
            input: bytes for its stdin.
            check: raise when it fails; otherwise the caller reads ``code`` (a time-out raises all the same).
            extra: environment variables for this call only.
            stdin, stdout: descriptors of files, in place of ``input`` and of what is returned.

        Raises:
            GitError: it failed (``check``), took too long, or wrote more than ``max_output_bytes``.
            NotFound: git is not installed, or the repository is gone.
        """
        done = procs.run(
            self.argv(*args),
            env=self.environment(extra),
            cwd=self.cwd,
            input=input,
            timeout_s=timeout_s,
            max_output_bytes=max_output_bytes,
            stdin=stdin,
            stdout=stdout,
        )
        if done.timed_out or done.truncated or (check and done.code != 0):
            raise GitError(done)
        return done

    def text(self, *args: str, timeout_s: float = 120.0) -> str:
        """Run one git command and return its output as text without the line ends around it.

        Bytes that are not UTF-8 become surrogate escapes.

        Raises:
            GitError: it failed.
        """
        return os.fsdecode(self.run(*args, timeout_s=timeout_s).stdout).strip("\n")

    def blobs(self) -> BlobReader:
        """Start a reader of objects; close it."""
        return BlobReader(self)


def _environment(env: Mapping[str, str], *, trusted: bool) -> dict[str, str]:
    kept = _KEPT | _KEPT_TRUSTED if trusted else _KEPT
    result = {
        name: value
        for name, value in env.items()
        if not name.startswith("GIT_") or name in kept or (trusted and _is_counted_setting(name))
    }
    result |= _QUIET
    if not trusted:
        result |= _STORE_ENVIRONMENT
        result["GIT_CONFIG_COUNT"] = str(len(_STORE_SETTINGS))
        for number, (key, value) in enumerate(_STORE_SETTINGS):
            result[f"GIT_CONFIG_KEY_{number}"] = key
            result[f"GIT_CONFIG_VALUE_{number}"] = value
    return result


def _is_counted_setting(name: str) -> bool:
    return name == "GIT_CONFIG_COUNT" or name.startswith(("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"))


class BlobReader:
    """Objects of one repository, read through one git process that stays (``cat-file --batch-command``).

    Safe to share between threads; each request waits its turn.
    """

    _DEADLINE_S: Final = 120.0
    _AT_ONCE: Final = 500
    """Questions sent before the first answer is read: all of them fit into a pipe, or both sides would wait."""

    def __init__(self, git: Git) -> None:
        self._conversation = procs.Conversation(
            git.argv("cat-file", "--batch-command"), env=git.environment(), cwd=Path(git.cwd)
        )

    def read(self, object_id: str) -> bytes:
        """Return the content of an object.

        Raises:
            KeyError: there is no such object.
            NightcrewError: git ended or does not answer.
        """
        with self._conversation as talk:
            _, size = self._ask("contents", object_id)
            data = talk.receive(size + 1, timeout_s=self._DEADLINE_S)
        return data[:-1]

    def read_many(self, object_ids: Sequence[str]) -> list[bytes]:
        """Return the contents of several objects, in this order; one wait instead of one per object.

        Raises:
            KeyError: one of them is missing; it is named.
            NightcrewError: git ended or does not answer.
        """
        found: list[bytes] = []
        for at in range(0, len(object_ids), self._AT_ONCE):
            batch = object_ids[at : at + self._AT_ONCE]
            with self._conversation as talk:
                talk.send(b"".join(os.fsencode(f"contents {each}\n") for each in batch))
                answers = [self._hear_content() for _ in batch]
            for object_id, data in zip(batch, answers, strict=True):
                if data is None:
                    raise KeyError(object_id)
                found.append(data)
        return found

    def sizes(self, object_ids: Sequence[str]) -> list[int]:
        """Return the sizes of several objects in bytes, in this order; one wait instead of one per object.

        Raises:
            KeyError: one of them is missing; it is named.
            NightcrewError: git ended or does not answer.
        """
        found: list[int] = []
        for at in range(0, len(object_ids), self._AT_ONCE):
            batch = object_ids[at : at + self._AT_ONCE]
            with self._conversation as talk:
                talk.send(b"".join(os.fsencode(f"info {each}\n") for each in batch))
                answers = [self._hear() for _ in batch]
            for object_id, answer in zip(batch, answers, strict=True):
                if answer is None:
                    raise KeyError(object_id)
                found.append(answer[1])
        return found

    def info(self, object_id: str) -> tuple[str, int]:
        """Return type (``blob``, ``tree``, ``commit``, ``tag``) and size in bytes of an object.

        Raises:
            KeyError: there is no such object.
            NightcrewError: git ended or does not answer.
        """
        with self._conversation:
            return self._ask("info", object_id)

    def close(self) -> None:
        """End the git process; harmless when it ended already."""
        self._conversation.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, what: str, object_id: str) -> tuple[str, int]:
        if not object_id or "\n" in object_id:
            raise KeyError(object_id)
        self._conversation.send(os.fsencode(f"{what} {object_id}\n"))
        answer = self._hear()
        if answer is None:
            raise KeyError(object_id)
        return answer

    def _hear(self) -> tuple[str, int] | None:
        """Return the type and size that git answers with, None when it has no such object."""
        words = os.fsdecode(self._conversation.receive_line(timeout_s=self._DEADLINE_S)).rsplit(" ", 2)
        return (words[1], int(words[2])) if len(words) == 3 and words[2].isdigit() else None

    def _hear_content(self) -> bytes | None:
        answer = self._hear()
        if answer is None:
            return None
        return self._conversation.receive(answer[1] + 1, timeout_s=self._DEADLINE_S)[:-1]
