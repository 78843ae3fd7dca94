"""Content-addressed snapshots of a shadow: capture, compare, compose, restore."""
