"""What can be done with policies: test, compare, import, replay, suggest; and what a run will ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.model.people import Proof
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]


class Policies:
    """The part of the library API that is about policies; ``Runtime.policies`` makes one.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def test(self, file: Path | None = None) -> View:
        """Return what every example of every rule does, by itself and under the whole policy.

        Args:
            file: as if it were the repository's own; the policy in force by default, here and in the other methods.

        Raises:
            InvalidInput: with all problems of the rules. NotFound: no such file.
        """
        from nightcrew.runtime.rulebook.policing import test_policy

        return test_policy(self._parts, file)

    def diff(self, old: Path | None, new: Path) -> View:
        """Return in what a policy differs from another, each difference with its effect."""
        from nightcrew.runtime.rulebook.policing import diff_policies, read_candidate

        return diff_policies(read_candidate(self._parts, old), read_candidate(self._parts, new))

    def import_file(self, file: Path, *, write: bool = False, proof: Proof | None = None) -> View:
        """Return another system's policy as ours; with ``write`` it becomes the repository's own."""
        from nightcrew.runtime.rulebook.policing import import_file

        return import_file(self._parts, file, write=write, proof=proof)

    def schema(self) -> View:
        """Return the JSON Schema of policy.yaml."""
        from nightcrew.policy.load import policy_schema

        return dict(policy_schema())

    def replay(self, file: Path | None = None, *, since_s: float = 0.0, run: str = "") -> View:
        """Return which decisions of the past would be others under a policy.

        Args:
            file: the policy. since_s: how far back, in seconds; 0 for everything. run: full id, only this run.
        """
        from nightcrew.runtime.rulebook.history import read_history
        from nightcrew.runtime.rulebook.policing import read_candidate
        from nightcrew.runtime.rulebook.replaying import replay

        history = read_history(self._parts, since_s=since_s, run=run)
        return replay(read_candidate(self._parts, None), read_candidate(self._parts, file), history)

    def suggest(self, *, since_s: float = 0.0, run: str = "", times: int = 2, tighten: bool = False) -> View:
        """Return what earlier answers teach: exceptions for what always got a yes, or the least that was used.

        Args:
            since_s, run: as for ``replay``. times: yeses that an exception needs. tighten: the least that was used.
        """
        from nightcrew.runtime.rulebook import replaying
        from nightcrew.runtime.rulebook.history import read_history
        from nightcrew.runtime.rulebook.policing import read_candidate

        rules = read_candidate(self._parts, None)
        history = read_history(self._parts, since_s=since_s, run=run)
        return (
            replaying.tighten(rules, history) if tighten else replaying.suggest(rules, history, times=times)
        )

    def forecast(self, run: str) -> View:
        """Return which questions the plan of a run will raise, numbered, with the answers that are there."""
        from nightcrew.runtime.plans.forecasting import view_forecast

        return view_forecast(self._parts, run)

    def answer_ahead(self, run: str, answers: Mapping[int, str], *, digest: str, reason: str = "") -> View:
        """Answer numbered questions of a forecast in advance; see ``forecasting.answer_ahead``."""
        from nightcrew.runtime.plans.forecasting import answer_ahead

        return answer_ahead(self._parts, run, answers, digest=digest, reason=reason)
