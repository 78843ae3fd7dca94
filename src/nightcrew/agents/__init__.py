"""One adapter per coding agent: how it is launched, how its words become actions."""
