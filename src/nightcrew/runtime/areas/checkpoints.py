"""What can be done with checkpoints: look, compare, go back, go another way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightcrew.runtime.parts import Parts

View = dict[str, Any]


class Checkpoints:
    """The part of the library API that is about checkpoints; ``Runtime.checkpoints`` makes one.

    Methods take what a person typed for a checkpoint.

    Args:
        parts: of the runtime it belongs to.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def of(self, name: str) -> list[View]:
        """Return the checkpoints of a run or task, oldest first."""
        from nightcrew.runtime.results.restoring import list_checkpoints

        return list_checkpoints(self._parts, name)

    def diff(
        self,
        old: str,
        new: str = "",
        *,
        stat: bool = False,
        hunks: bool = False,
        exact: bool = False,
        paths: Sequence[str] = (),
    ) -> View:
        """Return a checkpoint against its base, or against another: ``{raw, shown, hidden, json}``."""
        from nightcrew.runtime.results.differing import Form, diff_checkpoints

        second = self._resolve(new) if new else ""
        form = Form(stat, hunks, tuple(paths), exact)
        return diff_checkpoints(self._parts, self._resolve(old), second, form)

    def plan_restore(
        self,
        checkpoint: str,
        *,
        files: Sequence[str] = (),
        hunks: Sequence[str] = (),
        keep_valid: bool = False,
    ) -> View:
        """Return what a restore would do: ``{task, state, checkpoint, before, tree, paths, put_back, left}``."""
        from nightcrew.runtime.results.restoring import Wish, plan_restore

        wish = Wish(tuple(files), tuple(hunks), keep_valid)
        planned = plan_restore(self._parts, self._resolve(checkpoint), wish)
        return {**planned.to_plain(), "words": wish.to_words()}

    def restore(
        self,
        checkpoint: str,
        *,
        files: Sequence[str] = (),
        hunks: Sequence[str] = (),
        keep_valid: bool = False,
    ) -> View:
        """Make the result of a task what a checkpoint holds; its acceptance must run again."""
        from nightcrew.runtime.results.restoring import Wish, restore

        wish = Wish(tuple(files), tuple(hunks), keep_valid)
        return restore(self._parts, self._resolve(checkpoint), wish)

    def plan_fork(
        self, checkpoint: str, *, agent: str = "", prompt: str = "", run: str = "", script: str = ""
    ) -> View:
        """Return what a fork of a checkpoint would be; nothing is changed."""
        from nightcrew.runtime.results.forking import Wanted, plan_fork

        name = self._resolve(checkpoint)
        return plan_fork(self._parts, name, Wanted(agent, prompt, run, script)).to_plain()

    def fork(self, checkpoint: str, *, digest: str, **wanted: str) -> View:
        """Add a fork of a checkpoint to its run, as ``plan_fork`` has shown it under this digest."""
        from nightcrew.runtime.results.forking import Wanted, fork

        return fork(self._parts, self._resolve(checkpoint), Wanted(**wanted), digest=digest)

    def _resolve(self, text: str) -> str:
        """Return the full id. Raises NotFound: nothing has it. UsageError: several have, or it is not an id."""
        with self._parts.journal.read() as tx:
            return tx.resolve(text, "C")
