"""Content-addressed snapshots of shadows: capture, compare, compose, restore. Start reading at ``store.py``.

The store is an ordinary bare git repository of our own (docs/formats/store.md); git on the host never opens a git
directory that an agent could write to.
"""
