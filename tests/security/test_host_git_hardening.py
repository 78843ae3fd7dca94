"""Nothing that a repository or an environment says makes host git start a program (threats B)."""

from __future__ import annotations

import os
import subprocess

import pytest

from nightcrew.host.git import Git
from nightcrew.host.repository import discover


@pytest.fixture
def trap(tmp_path):
    """A program that leaves a mark when it is run."""
    program = tmp_path / "trap.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/ran\ncat 2>/dev/null\nexit 0\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def env(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = U\nemail = u@example.org\n[init]\ndefaultBranch = main\n"
    )
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}


def plain(env, cwd, *args):
    subprocess.run(["git", *args], cwd=cwd, env=env, check=True, capture_output=True)


HOOKS = (
    "pre-commit",
    "post-commit",
    "post-checkout",
    "reference-transaction",
    "post-index-change",
    "post-merge",
)


@pytest.fixture
def repo(tmp_path, env, trap):
    root = tmp_path / "repo"
    root.mkdir()
    plain(env, root, "init", "-q")
    (root / "a.txt").write_text("one\n")
    (root / ".gitattributes").write_text("*.txt filter=evil diff=evil merge=evil\n")
    plain(env, root, "add", "-A")
    plain(env, root, "commit", "-qm", "first")
    for hook in HOOKS:
        (root / ".git" / "hooks" / hook).symlink_to(trap)
    settings = {
        "core.fsmonitor": trap,
        "core.pager": trap,
        "core.editor": trap,
        "sequence.editor": trap,
        "core.sshCommand": trap,
        "commit.gpgSign": "true",
        "gpg.program": trap,
        "diff.external": trap,
        "diff.evil.command": trap,
        "diff.evil.textconv": trap,
        "pager.log": trap,
        "credential.helper": f"!{trap}",
        "gc.auto": "1",
        "alias.status": f"!{trap}",
    }
    for key, value in settings.items():
        plain(env, root, "config", key, str(value))
    return root


def exercise(git, *, work):
    head = git.text("rev-parse", "HEAD")
    git.run("diff", "HEAD~0", "HEAD", "--")
    git.run("log", "-p", "-1")
    git.run("show", "HEAD")
    git.run("diff-tree", "-p", "HEAD")
    tree = git.text("write-tree")
    commit = git.text("commit-tree", tree, "-p", head, "-m", "next")
    git.run("update-ref", "refs/heads/side", commit)
    git.run("cat-file", "-p", "HEAD")
    git.run("gc", "--auto")
    if work:
        git.run("status", "--porcelain=v2")
        git.run("diff")
        git.run("diff-index", "-p", "HEAD")
        git.run("update-index", "--refresh", check=False)


def test_users_own_repository_runs_no_hook_monitor_pager_editor_or_signer(repo, env, tmp_path):
    (repo / "a.txt").write_text("two\n")
    exercise(Git(str(repo / ".git"), env=env, work_tree=str(repo), trusted=True), work=True)
    discover(repo, env)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_users_own_filters_do_run(repo, env, trap, tmp_path):
    """LFS and the like are the user's, and what they make is what must be seen."""
    plain(env, repo, "config", "filter.evil.clean", str(trap))
    (repo / "a.txt").write_text("two\n")
    Git(str(repo / ".git"), env=env, work_tree=str(repo), trusted=True).run("add", "a.txt")
    assert (tmp_path / "ran").exists()


def test_our_store_runs_nothing_of_the_user_s_configuration(repo, env, trap, tmp_path):
    """The same commands on a store, with hostile settings in the user's and the environment's configuration."""
    store = tmp_path / "store.git"
    plain(env, tmp_path, "clone", "-q", "--bare", str(repo), str(store))
    (tmp_path / "ran").unlink(missing_ok=True)
    home = tmp_path / "home" / ".gitconfig"
    home.write_text(
        f"[core]\nfsmonitor = {trap}\npager = {trap}\nhooksPath = {tmp_path}/hooks\nattributesFile = {tmp_path}/attributes\n"
        f'[diff]\nexternal = {trap}\n[filter "evil"]\nclean = {trap}\nsmudge = {trap}\n[diff "evil"]\ntextconv = {trap}\n'
    )
    (tmp_path / "hooks").mkdir()
    for hook in HOOKS:
        (tmp_path / "hooks" / hook).symlink_to(trap)
    (tmp_path / "attributes").write_text("* filter=evil diff=evil\n")
    hostile = {
        **env,
        "GIT_EXTERNAL_DIFF": str(trap),
        "GIT_PAGER": str(trap),
        "GIT_SSH_COMMAND": str(trap),
        "GIT_EDITOR": str(trap),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": str(tmp_path / "hooks"),
        "GIT_TRACE2_EVENT": str(tmp_path / "ran"),
        "GIT_NAMESPACE": "elsewhere",
        "XDG_CONFIG_HOME": str(tmp_path / "home"),
    }
    git = Git(str(store), env={**hostile, **_who()}, index_file=str(tmp_path / "index"), trusted=False)
    git.run("read-tree", "HEAD")
    exercise(git, work=False)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()


def test_replace_refs_do_not_change_what_our_store_shows(repo, env, tmp_path):
    store = tmp_path / "store.git"
    plain(env, tmp_path, "clone", "-q", "--bare", str(repo), str(store))
    git = Git(str(store), env={**env, **_who()}, trusted=False)
    other = git.run("hash-object", "-w", "--stdin", input=b"forged\n").stdout.decode().strip()
    plain(env, store, "replace", git.text("rev-parse", "HEAD:a.txt"), other)
    assert git.text("cat-file", "blob", "HEAD:a.txt") == "one"
    with git.blobs() as blobs:
        assert blobs.read("HEAD:a.txt") == b"one\n"


def test_no_question_is_ever_asked_on_a_terminal(repo, env):
    git = Git(str(repo / ".git"), env=env, work_tree=str(repo), trusted=True)
    assert git.environment()["GIT_TERMINAL_PROMPT"] == "0"
    assert git.run("commit", "--allow-empty", check=False).code != 0


def _who():
    return {
        f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
