"""Removing what the durable engine recorded of runs that are long over: its rows are of use to a recovery only."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal

#: States of a workflow in which it does nothing ever again.
_OVER: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
#: Deleted in one transaction; others wait for the database meanwhile.
_AT_ONCE: Final = 200


def forget_workflows(journal: Journal, runs: Collection[str], *, before: datetime, dry_run: bool) -> int:
    """Remove the workflows of these runs that ended before a moment; return how many there are.

    Args:
        runs: ids of final runs; a workflow of another run, or one that has not ended, stays.
        before: the moment.
        dry_run: only count.
    """
    if not runs or not sa.inspect(journal.engine).has_table("workflow_status"):
        return 0
    # Imported only when there is something to do: it takes half a second.
    import dbos

    client = dbos.DBOSClient(system_database_engine=journal.engine, lazy=True, retry_connection_errors=False)
    try:
        ended = client.list_workflows(
            status=_OVER, completed_before=before.isoformat(), load_input=False, load_output=False
        )
        names = [each.workflow_id for each in ended if each.workflow_id.partition("/")[0] in runs]
        for at in range(0, 0 if dry_run else len(names), _AT_ONCE):
            client.delete_workflows(names[at : at + _AT_ONCE])
    finally:
        client.destroy()
    return len(names)
