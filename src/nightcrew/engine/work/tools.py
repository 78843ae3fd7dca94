"""What the attempts of one host share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightcrew.engine.course.forecast import Forecasts
from nightcrew.engine.work.gateway import Models
from nightcrew.engine.work.live import Live
from nightcrew.engine.work.network import Networks
from nightcrew.host.clock import Clock

if TYPE_CHECKING:
    from nightcrew.journal.journal import Journal
    from nightcrew.sandbox.launcher import Launcher


@dataclass(frozen=True, slots=True)
class Tools:
    """What every attempt of this host uses."""

    journal: Journal
    clock: Clock
    launcher: Launcher
    live: Live
    forecasts: Forecasts
    models: Models
    networks: Networks
