"""Which failure may be tried again, and after how long. Pure.

| failure      | what happened                                            | again?                             |
|--------------|----------------------------------------------------------|------------------------------------|
| `lost`       | our own process was killed while the attempt ran         | at once, up to LOST_LIMIT in a row |
| `spawn`      | the process did not come up inside its sandbox in time   | as configured, with back-off       |
| `agent`      | the agent ended with a failure or without its last word  | as configured, with back-off       |
| `provider_down` | the provider of its model was overloaded, not reached, or limited us | with waits of its own, never sooner than it asks |
| `provider_refused` | the provider does not take the key or the request, or we do not | no                       |
| `acceptance` | our acceptance commands failed on its result             | only agents that may do better     |
| `network`    | it was refused the network, and would be again           | no: the rule is still there        |
| `loop`       | it did the same again and again                          | no: the next one would cost as much |
| `idle`, `hard` | it said nothing, or ran, for too long                  | no: the next one would cost as much |
| `memory`, `disk` | it used more than it may                             | no: the limit is still there       |
| `denied`     | a rule or a person said no                               | no: they would say it again        |
| `conflict`   | the results it builds on do not fit together             | no                                 |
| `isolation`  | this machine cannot confine it as required               | no                                 |
| `cancelled`  | a person stopped it                                      | no                                 |
| `unusable`   | the task or its agent's setting cannot be used           | no                                 |
| `internal`   | a defect of ours; a report is in the log                 | no                                 |

"May do better" is a capability of the adapter: `command` and `script` do the same thing again, so a failed acceptance
ends them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nightcrew.model.settings import Retries

#: Attempts lost one after the other before we stop blaming the machine; each one killed a whole host process.
LOST_LIMIT: Final = 10

#: What a provider asks for beyond this is not waited for in one piece.
LONGEST_WAIT_S: Final = 3600.0
PROVIDER_DOWN: Final = "provider_down"

WITH_BACKOFF: Final = frozenset({"spawn", "agent"})
IF_NOT_DETERMINISTIC: Final = frozenset({"acceptance"})

#: Ending of a sandboxed process → failure class. ``exited`` and ``stopped`` are for the adapter to judge.
ENDINGS: Final = {
    "spawn_timeout": "spawn",
    "idle_timeout": "idle",
    "hard_timeout": "hard",
    "memory": "memory",
    "disk": "disk",
    "cancelled": "cancelled",
    "lost": "lost",
}


@dataclass(frozen=True, slots=True)
class Retry:
    """Whether to try again, and after how many seconds."""

    again: bool
    delay_s: float = 0.0


def decide_retry(
    failures: Sequence[str], retries: Retries, *, deterministic: bool, spread: float, wait_s: float = 0.0
) -> Retry:
    """Decide after the last of ``failures`` (classes of all failed attempts of this generation, oldest first).

    Args:
        failures: failure classes; parked and succeeded attempts are not in it.
        retries: the configured numbers.
        deterministic: the adapter's capability.
        spread: a number in 0..1 that places the delay inside its jitter; drawn by the caller and recorded.
        wait_s: what a provider has asked for.
    """
    last = failures[-1]
    if last == "lost":
        return Retry(_count_tail(failures, "lost") < LOST_LIMIT)
    if last == PROVIDER_DOWN:
        return _wait_for_provider(failures, retries, spread, wait_s)
    retryable = last in WITH_BACKOFF or (last in IF_NOT_DETERMINISTIC and not deterministic)
    tried = sum(1 for failure in failures if failure not in ("lost", PROVIDER_DOWN))
    if not retryable or tried >= retries.attempts:
        return Retry(False)
    return Retry(True, back_off(tried, retries, spread))


def _wait_for_provider(failures: Sequence[str], retries: Retries, spread: float, wait_s: float) -> Retry:
    """An outage passes by itself, only not soon: there are attempts for it beside the configured ones."""
    waits = retries.provider_waits_s
    tried = failures.count(PROVIDER_DOWN)
    if tried > len(waits):
        return Retry(False)
    plain = waits[tried - 1]
    # Jitter only upwards: who asks for a minute must not be asked again before it.
    return Retry(True, max(plain, min(wait_s, LONGEST_WAIT_S)) * (1 + retries.jitter * spread))


def back_off(tried: int, retries: Retries, spread: float) -> float:
    """Return the seconds to wait after the ``tried``-th failure: exponential, capped, within +- jitter."""
    plain = min(retries.cap_s, retries.base_s * retries.factor ** (tried - 1))
    return max(0.0, plain * (1 + retries.jitter * (2 * spread - 1)))


def _count_tail(failures: Sequence[str], wanted: str) -> int:
    count = 0
    for failure in reversed(failures):
        if failure != wanted:
            break
        count += 1
    return count
