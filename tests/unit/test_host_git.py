"""Git: discovery of every kind of repository, errors, reading objects. Real git only."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from nightcrew.host.git import BlobReader, Git, GitError
from nightcrew.host.repository import discover
from nightcrew.model.errors import NightcrewError, NotFound, UsageError


@pytest.fixture
def env(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = U\nemail = u@example.org\n[init]\ndefaultBranch = main\n"
    )
    return {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}


def git(env, cwd, *args):
    return subprocess.run(
        ["git", *args], cwd=cwd, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path, env):
    return make_repo(tmp_path / "my project", env)


def make_repo(root, env):
    root.mkdir()
    git(env, root, "init", "-q")
    (root / "a.txt").write_text("one\n")
    git(env, root, "add", "-A")
    git(env, root, "commit", "-qm", "first")
    return root


def test_discover(repo, env):
    (repo / "sub" / "dir").mkdir(parents=True)
    found = discover(repo / "sub" / "dir", env)
    assert found.root == str(repo)
    assert found.git_dir == found.common_dir == str(repo / ".git")
    assert found.head == git(env, repo, "rev-parse", "HEAD")
    assert found.branch == "refs/heads/main"
    assert found.key.startswith("my-project-")
    assert (found.shallow, found.sparse, found.operation) == (False, False, "")


def test_discover_is_not_misled_by_the_environment(repo, env, tmp_path):
    other = make_repo(tmp_path / "other", env)
    hostile = {
        **env,
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": "/nowhere",
    }
    assert discover(repo, hostile).root == str(repo)


def test_discover_detached_head_and_linked_worktree(repo, env, tmp_path):
    git(env, repo, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    found, main = discover(tmp_path / "linked", env), discover(repo, env)
    assert found.branch == ""
    assert found.git_dir == str(repo / ".git" / "worktrees" / "linked")
    assert found.common_dir == main.common_dir
    assert found.key == main.key
    assert found.root == str(tmp_path / "linked")


@pytest.mark.parametrize("name", ["né wlïne", "line\nend", "-dash", "sp ace ", os.fsdecode(b"byte\xff")])
def test_discover_odd_paths(env, tmp_path, name):
    root = make_repo(tmp_path / name, env)
    found = discover(root, env)
    assert found.root == str(root)
    assert (
        Git(found.git_dir, env=env, work_tree=found.root, trusted=True).text("rev-parse", "HEAD")
        == found.head
    )


def test_discover_through_a_link(repo, env, tmp_path):
    (tmp_path / "link").symlink_to(repo)
    assert discover(tmp_path / "link", env).root == str(repo)


def test_discover_shallow_sparse_and_unfinished_merge(repo, env, tmp_path):
    git(env, repo, "commit", "-q", "--allow-empty", "-m", "second")
    git(env, tmp_path, "clone", "-q", "--depth=1", f"file://{repo}", "shallow")
    git(env, tmp_path / "shallow", "config", "core.sparseCheckout", "yes")
    assert not discover(tmp_path / "shallow", env).sparse  # without patterns git shows every path
    (tmp_path / "shallow" / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / "shallow" / ".git" / "info" / "sparse-checkout").write_text("/*\n!/docs/\n")
    found = discover(tmp_path / "shallow", env)
    assert found.shallow
    assert found.sparse
    (repo / ".git" / "MERGE_HEAD").write_text(discover(repo, env).head)
    assert discover(repo, env).operation == "merge"


def test_discover_says_no(repo, env, tmp_path):
    with pytest.raises(NotFound, match="no git repository"):
        discover(tmp_path, env)
    with pytest.raises(NotFound, match="no such directory"):
        discover(tmp_path / "nowhere", env)
    with pytest.raises(UsageError, match="inside a git directory"):
        discover(repo / ".git", env)
    git(env, tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    with pytest.raises(UsageError, match="bare repository"):
        discover(tmp_path / "bare.git", env)


def test_discover_without_a_commit(env, tmp_path):
    git(env, tmp_path, "init", "-q", "new")
    with pytest.raises(UsageError, match="no commit yet") as caught:
        discover(tmp_path / "new", env)
    assert "git commit" in caught.value.hint
    assert discover(tmp_path / "new", env, need_commit=False).head == ""


def test_discover_of_a_foreign_owner_is_git_s_own_no(repo, env):
    if os.geteuid() != 0:
        pytest.skip("needs root to give a repository away")
    for path in [repo, repo / ".git"]:
        os.chown(path, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to another user") as caught:
        discover(repo, env)
    assert "safe.directory" in caught.value.hint
    store = Git(str(repo / ".git"), env=env, trusted=False)
    assert store.text("rev-parse", "HEAD")


def test_run_and_errors(repo, env):
    here = Git(str(repo / ".git"), env=env, work_tree=str(repo), trusted=True)
    assert here.text("status", "--porcelain") == ""
    with pytest.raises(GitError) as caught:
        here.run("rev-parse", "--verify", "nope")
    assert isinstance(caught.value, NightcrewError)
    assert caught.value.status == 128
    assert "Needed a single revision" in caught.value.stderr
    assert str(caught.value).startswith("git rev-parse: ")
    assert here.run("rev-parse", "--verify", "nope", check=False).code == 128
    assert here.text("hash-object", "--stdin") == here.run("hash-object", "--stdin").stdout.decode().strip()


def test_time_out_is_an_error_even_unchecked(repo, env):
    here = Git(str(repo / ".git"), env=env, work_tree=str(repo), trusted=True)
    with pytest.raises(GitError, match="took too long"):
        here.run("-c", "alias.hang=!sleep 30", "hang", check=False, timeout_s=0.2)


def test_author_goes_through_and_extra_goes_on_top(repo, env):
    who = {**env, "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@x", "GIT_AUTHOR_DATE": "1700000000 +0000"}
    here = Git(str(repo / ".git"), env=who, trusted=True)
    tree = here.text("rev-parse", "HEAD^{tree}")
    commit = (
        here.run("commit-tree", tree, "-m", "m", extra={"GIT_COMMITTER_NAME": "C"}).stdout.decode().strip()
    )
    assert here.text("log", "-1", "--format=%an|%ae|%at|%cn", commit) == "A|a@x|1700000000|C"


def test_another_index(repo, env, tmp_path):
    here = Git(
        str(repo / ".git"), env=env, work_tree=str(repo), index_file=str(tmp_path / "index"), trusted=True
    )
    here.run("read-tree", "HEAD")
    (repo / "b").write_text("b")
    here.run("add", "b")
    assert here.text("ls-files") == "a.txt\nb"
    assert git(env, repo, "ls-files") == "a.txt"


def test_blob_reader(repo, env):
    (repo / "big").write_bytes(os.urandom(300_000))
    (repo / "empty").touch()
    git(env, repo, "add", "-A")
    here = Git(str(repo / ".git"), env=env, trusted=True)
    with here.blobs() as blobs:
        assert isinstance(blobs, BlobReader)
        assert blobs.read(":big") == (repo / "big").read_bytes()
        assert blobs.read(":empty") == b""
        assert blobs.info("HEAD")[0] == "commit"
        assert blobs.info(":a.txt") == ("blob", 4)
        for wrong in ("0" * 40, "", "HEAD:nothing", "a\nb"):
            with pytest.raises(KeyError):
                blobs.read(wrong)
        assert blobs.read(":a.txt") == b"one\n"
    with pytest.raises(NightcrewError, match="has ended"):
        blobs.read(":a.txt")
    blobs.close()


def test_blob_reader_is_shared_by_threads(repo, env):
    contents = {}
    for number in range(20):
        (repo / f"f{number}").write_bytes(bytes([number]) * (number * 5000))
        contents[f":f{number}"] = bytes([number]) * (number * 5000)
    git(env, repo, "add", "-A")
    wrong = []
    with Git(str(repo / ".git"), env=env, trusted=True).blobs() as blobs:

        def read_all():
            wrong.extend(name for name, content in contents.items() if blobs.read(name) != content)

        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_missing_git_is_named(tmp_path):
    with pytest.raises(NotFound, match="cannot start git"):
        Git("", env={"PATH": str(tmp_path)}, work_tree=str(tmp_path), trusted=True).run("version")


def test_path_of_the_user_is_never_an_option(env, tmp_path):
    root = make_repo(tmp_path / "--help", env)
    assert Path(discover(root, env).root) == root
