"""What is read from the environment, and what is not believed."""

from __future__ import annotations

from pathlib import Path

from nightcrew.model.isolation import Bind
from nightcrew.runtime.inside import find_binds, find_path
from nightcrew.runtime.settings.environment import read_environment


def test_xdg_directories_are_used_when_absolute() -> None:
    env = read_environment({"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"})
    assert env.state == Path("/s/nightcrew")
    assert env.config == Path("/c/nightcrew")
    assert env.database == "sqlite:////s/nightcrew/nightcrew.db"


def test_relative_xdg_directories_are_ignored() -> None:
    env = read_environment({"HOME": "/h", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": ""})
    assert env.state == Path("/h/.local/state/nightcrew")
    assert env.config == Path("/h/.config/nightcrew")


def test_another_database() -> None:
    url = "postgresql+psycopg://u@h/db"
    assert read_environment({"HOME": "/h", "NIGHTCREW_DATABASE": url}).database == url


def test_a_home_that_is_no_path_falls_back_to_the_account() -> None:
    assert read_environment({"HOME": "nowhere"}).home.is_absolute()


def test_the_account_decides_under_which_name_decisions_are_recorded() -> None:
    assert read_environment({"HOME": "/h", "USER": "somebody-else"}).user != "somebody-else"


def test_colour() -> None:
    assert read_environment({"HOME": "/h"}).color
    assert not read_environment({"HOME": "/h", "NO_COLOR": "1"}).color
    assert read_environment({"HOME": "/h", "NO_COLOR": ""}).color
    assert not read_environment({"HOME": "/h", "TERM": "dumb"}).color


def test_columns_must_be_a_number() -> None:
    assert read_environment({"HOME": "/h", "COLUMNS": "72"}).columns == 72
    assert read_environment({"HOME": "/h", "COLUMNS": "wide"}).columns == 0


def test_path_inside_holds_only_what_exists_inside(tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    env = read_environment({"HOME": "/h", "PATH": "/home/me/bin:/usr/bin:relative:/opt/tool/bin:/py/bin"})
    path = find_path(env, str(tmp_path), [Bind("/py", "/py")]).split(":")
    assert path[0] == str(tmp_path / ".venv" / "bin")
    assert "/home/me/bin" not in path
    assert "relative" not in path
    assert path[1:4] == ["/usr/bin", "/opt/tool/bin", "/py/bin"]
    assert len(path) == len(set(path))


def test_binds_never_cover_the_repository(tmp_path: Path) -> None:
    for bind in find_binds(str(tmp_path)):
        assert not str(tmp_path).startswith(bind.target + "/")
        assert not bind.target.startswith("/usr")
        assert not bind.writable
