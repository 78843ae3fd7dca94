"""What the process is told from outside: directories, database, user, colour. The only reader of environment variables."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nightcrew.model.errors import UsageError

SYSTEM_POLICY: Final = Path("/etc/nightcrew/policy.yaml")
_DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything the product takes from the environment of its process.

    Attributes:
        home: home directory of the user.
        state: our state directory, ``$XDG_STATE_HOME/nightcrew``; only we write there.
        config: settings of the user, ``$XDG_CONFIG_HOME/nightcrew``; only the user writes there.
        database: SQLAlchemy URL of the journal.
        user: name that decisions are recorded under.
        path: ``PATH``.
        color: False when ``NO_COLOR`` is set or the terminal is ``dumb``.
        columns: ``COLUMNS``, 0 when it is not a number.
        crash_at: ``NIGHTCREW_CRASH_AT``, for crash tests.
        system_policy: the ceiling of the machine's owner.
        variables: the whole environment, for git and for the background host (never for agents).
        account: account of the machine that runs us; ``user`` is the person that it stands for, see ``runtime.identity``.
        token: ``NIGHTCREW_TOKEN``. scopes: what it may decide; None where there is none.
    """

    home: Path
    state: Path
    config: Path
    database: str
    user: str
    path: str
    color: bool
    columns: int
    crash_at: str
    system_policy: Path
    variables: Mapping[str, str]
    account: str = ""
    token: str = field(default="", repr=False)
    scopes: tuple[str, ...] | None = None


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read the environment of this process, or the one given.

    Raises:
        UsageError: there is no home directory and no XDG directory to put state in.
    """
    given = dict(os.environ if variables is None else variables)  # noqa: TID251  the one reader
    home = _find_home(given)
    state = _xdg(given, "XDG_STATE_HOME", home / ".local" / "state") / "nightcrew"
    user = _find_user(given)
    return Environment(
        home=home,
        state=state,
        config=_xdg(given, "XDG_CONFIG_HOME", home / ".config") / "nightcrew",
        database=given.get("NIGHTCREW_DATABASE") or f"sqlite:///{state / 'nightcrew.db'}",
        user=user,
        path=given.get("PATH") or _DEFAULT_PATH,
        color=not given.get("NO_COLOR") and given.get("TERM") != "dumb",
        columns=_number(given.get("COLUMNS", "")),
        crash_at=given.get("NIGHTCREW_CRASH_AT", ""),
        system_policy=SYSTEM_POLICY,
        variables=given,
        account=user,
        token=given.get("NIGHTCREW_TOKEN", ""),
    )


def _xdg(given: Mapping[str, str], name: str, fallback: Path) -> Path:
    # The XDG specification: a relative path is invalid and must be ignored.
    value = given.get(name, "")
    return Path(value) if value.startswith("/") else fallback


def _find_home(given: Mapping[str, str]) -> Path:
    home = given.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise UsageError(
            "there is no home directory to keep state in",
            code="environment.home",
            hint="set HOME, or XDG_STATE_HOME and XDG_CONFIG_HOME",
        ) from None


def _find_user(given: Mapping[str, str]) -> str:
    # The account that really runs us; USER can be anything and is only taken where the account has no name.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return given.get("USER") or f"uid{os.getuid()}"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
