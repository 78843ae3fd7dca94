"""A private copy-on-write copy of the repository for one task: open, mount, scan, discard. Start at ``shadows.py``."""
