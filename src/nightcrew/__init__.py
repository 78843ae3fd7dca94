"""nightcrew: your coding agents take the night shift; you stay in charge."""

__version__ = "0.1.0"
