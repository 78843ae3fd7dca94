"""One adapter file per coding agent: how it is started, what it asks, when it has succeeded."""
